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

from charter.constitution import Constitution
from charter.handover import Handover
from charter.methods.exams import examine
from charter.methods.learning import Standing, learn, on_gate, scored
from charter.methods.preferring import Lessons, Preferences, preferences
from charter.methods.sifting import sifted, sifted_pairs, sifted_prompts
from charter.ports import Roles
from charter.run import Run
from charter.stages.draw import disjoint, draw
from charter.stages.norms import hand_over
from charter.supervision import Supervision, supervision


def rlhf(run: Run, roles: Roles, task: Lessons) -> tuple[Standing, Constitution, str]:
    """Aligns ``task.start``, or the policy that the run goes on from: the policy, the constitution that it was compared
    under, and why learning ended. Decisions read gate and check pairs; held-out is scored first and last."""
    start, given = run.steps("000"), task.given
    policy = given.policy if given is not None else task.start
    constitution = task.constitution
    prompts = start.once("prompts", draw, task.redteam, task.guard, task.options.draw)
    helpful = start.once("helpful", disjoint, task.helpful, task.guard)
    start.once("supervision", told, constitution, given, len(task.pairs), len(prompts) + len(helpful))
    begun = on_gate(start, policy, roles, task)
    scored(start, "heldout", policy, roles, task)
    examine(start, policy, task.start, roles.examiners, task.answers)
    found = preferences(start, policy, constitution, (prompts, helpful), roles, task)
    best, why = learn(run, begun, curated(run, found, roles, task), roles, task)
    end = run.steps("final")
    scored(end, "heldout", best.policy, roles, task)
    examine(end, best.policy, task.start, roles.examiners, task.answers)
    rows = (given.examples, given.replayed) if given is not None else ((), ())
    seen = (given.rehearsed, given.probed) if given is not None else ((), ())
    causes = given.causes if given is not None else ()
    end.once("handover", hand_over, best.policy, constitution, rows, seen, causes)
    return best, constitution, why


def curated(run: Run, found: Preferences, roles: Roles, task: Lessons) -> Preferences:
    """What is trained on, sifted where the spec asks for it: pairs, what is replayed, and prompts that are practised
    on. Check pairs, which only measure, stay as they are."""
    return replace(
        found,
        learn=sifted_pairs(run.steps("pairs"), found.learn, roles, task),
        replay=sifted(run.steps("replayed"), found.replay, roles, task),
        prompts=sifted_prompts(run.steps("practised"), found.prompts, roles, task)
        if task.options.learn.how == "rloo"
        else found.prompts,
    )


def told(constitution: Constitution, given: Handover | None, preferences: int, prompts: int) -> Supervision:
    """How much people wrote for this step; the rules of a step before were counted there."""
    fresh = Constitution() if given is not None and given.constitution == constitution else constitution
    return supervision(fresh, (), prompts=prompts).model_copy(update={"preferences": preferences})
