"""Learning from preferences: RLHF (Ouyang et al., arXiv 2203.02155), and its AI-feedback form (Bai et al., arXiv
2212.08073, section 4), where the judge prefers under a principle drawn at random.

Every departure from the papers is a named switch of ``Learning``:

1. rloo: REINFORCE with a leave-one-out baseline (Ahmadian et al., arXiv 2402.14740) in rounds, each with a fresh
   optimiser, held to the policy that practice began with (papers: PPO without a break).
2. pairs: kept only if both orders agree; labels are soft where votes differ (papers: people's choices; both orders
   averaged).
3. pairs: one of a prompt's answers is given under the constitution, so that a policy that never refuses has something
   to learn from (papers: a supervised stage comes first; here it may: ``warm_up``, or a chain).
4. guard, gate: learning ends where answers move too far, or where rewards rise while good answers are lost (papers:
   stopped by hand).
5. dpo: no reward model and no practice (Rafailov et al., arXiv 2305.18290), with an SFT term.
"""

from __future__ import annotations

from dataclasses import replace

from charter.constitution.document import Constitution
from charter.constitution.exemplars import HumanLines, human_lines
from charter.constitution.run_state import RunState
from charter.methods.benchmark_evaluation import score_heldout
from charter.methods.inputs import Inputs
from charter.methods.preference_data import ComparedPrompts, PreferenceData, collect_preferences
from charter.methods.preference_training import PolicyEval, score_on_gate, train_on_preferences
from charter.methods.row_curation import curate_pairs, curate_prompts, curate_rows
from charter.ports import Roles
from charter.runs import Run
from charter.stages.draw import draw, exclude_protected
from charter.stages.norm_application import build_handover


def rlhf(run: Run, roles: Roles, inputs: Inputs) -> tuple[PolicyEval, Constitution, str]:
    """Aligns ``inputs.start``, or the policy that the run goes on from. Gives the policy, the constitution that answers
    were compared under, and why learning ended.

    Decisions read gate and check pairs; held-out is scored first and last."""
    start, given = run.steps("000"), inputs.given
    policy = given.policy if given is not None else inputs.start
    constitution = inputs.constitution
    prompts = start.once("prompts", draw, inputs.redteam, inputs.guard, inputs.options.draw)
    helpful = start.once("helpful", exclude_protected, inputs.helpful, inputs.guard)
    said, asked = len(inputs.pairs) + len(inputs.ratings), len(prompts) + len(helpful)
    start.once("supervision", count_human_lines, constitution, given, said, asked)
    begun = score_on_gate(start, policy, roles, inputs)
    score_heldout(start, policy, roles, inputs)
    found = collect_preferences(start, policy, constitution, ComparedPrompts(prompts, helpful), roles, inputs)
    best, why = train_on_preferences(run, begun, curate_preferences(run, found, roles, inputs), roles, inputs)
    end = run.steps("final")
    score_heldout(end, best.policy, roles, inputs)
    left = given if given is not None else RunState(policy=policy, constitution=constitution)
    final = left.model_copy(update={"policy": best.policy, "constitution": constitution})
    end.once("handover", build_handover, final)
    return best, constitution, why


def curate_preferences(run: Run, found: PreferenceData, roles: Roles, inputs: Inputs) -> PreferenceData:
    """What is trained on, sifted where the spec asks for it: pairs, what is replayed, and prompts that are practised
    on. Check pairs, which only measure, stay as they are."""
    return replace(
        found,
        train_pairs=curate_pairs(run.steps("pairs"), found.train_pairs, roles, inputs),
        replay=curate_rows(run.steps("replayed"), found.replay, roles, inputs),
        prompts=curate_prompts(run.steps("practised"), found.prompts, roles, inputs)
        if inputs.options.learn.algorithm == "rloo"
        else found.prompts,
    )


def count_human_lines(constitution: Constitution, given: RunState | None, preferences: int, prompts: int) -> HumanLines:
    """How much people wrote for this step; the rules of a step before were counted there."""
    fresh = Constitution() if given is not None and given.constitution == constitution else constitution
    return human_lines(fresh, (), prompts=prompts).model_copy(update={"preferences": preferences})
