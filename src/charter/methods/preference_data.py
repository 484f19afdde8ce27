"""Where preferences come from, a part of methods: answers compared by people, a judge or the policy; and replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.judging.judge_reward import JudgeRewarder
from charter.judging.pair_comparison import both_orders
from charter.judging.rubrics import CONDUCT, Rubric
from charter.ports import Rewarder, Roles
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.preferences import ResponsePair
from charter.records.revisions import Revision
from charter.records.training_rows import Example, PreferencePair, RatedAnswer
from charter.run import Steps
from charter.similarity.splits import LeakageFilter
from charter.spec import MethodOptions
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.curate import CurationSetup
from charter.stages.judge import judge, select_violations
from charter.stages.monitors import score_rewards
from charter.stages.policy_training import keep_good_answers, merge_prompts, rate_answers
from charter.stages.preference_pairs import (
    MODEL_RATER,
    aggregate_people,
    filter_pairs,
    judge_preferences,
    make_candidate_pairs,
    measure_position_bias,
    repeat_prompts,
    require_pairs,
    sample_prompts,
    score_preferences,
    select_agreed_pairs,
    select_train_pairs,
    select_validation_pairs,
    summarise_pairs,
    summarise_raters,
    to_trials,
)
from charter.stages.probe import probe
from charter.stages.reflect import critique, revise
from charter.templates import Templates


@dataclass(frozen=True)
class PreferenceInputs:
    """What is learnt from, with what, and how. ``pairs``: what people preferred, where they did;
    ``constitution``: what pairs are compared under."""

    start: ModelRef
    redteam: Sequence[Prompt]
    helpful: Sequence[Prompt]
    guard: LeakageFilter
    near: float
    templates: Templates
    answers: Sampling
    options: MethodOptions
    rubric: Rubric = CONDUCT
    given: RunState | None = None
    pairs: Sequence[ResponsePair] = ()
    constitution: Constitution = field(default_factory=Constitution)
    sifting: CurationSetup | None = None


@dataclass(frozen=True)
class PreferenceData:
    """Pairs to learn from, and to check on; lessons that are replayed beside; prompts to practise on; what tells the
    worth of an answer, once it is there; and answers that were rated by themselves."""

    train_pairs: Sequence[PreferencePair]
    validation_pairs: Sequence[PreferencePair]
    replay: Sequence[Example]
    prompts: Sequence[Prompt]
    rewarder: Rewarder | None = None
    rated: Sequence[RatedAnswer] = ()


def collect_preferences(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: tuple[Sequence[Prompt], Sequence[Prompt]],
    roles: Roles,
    task: PreferenceInputs,
) -> PreferenceData:
    """Pairs from people, from the judge or from the policy itself; sorted and split; and replay."""
    asked, judging = task.options.learn.pairs, task.options.judge
    redteam = run.once("asked_redteam", sample_prompts, prompts[0], asked.prompts)
    helpful = run.once("asked_helpful", sample_prompts, prompts[1], asked.prompts)
    benign = write_benign_prompts(run, policy, redteam, roles, task)
    benign = [*benign, *helpful]
    chosen = run.once("asked", merge_prompts, redteam, benign)
    if task.options.learn.rates_answers:
        rated = collect_rated_answers(run, policy, constitution, chosen, roles, task)
        return PreferenceData((), (), collect_all_replay(run, policy, chosen, roles, task), chosen, rated=rated)
    place, people = None, None
    if asked.by == "people":
        people = run.once("raters", summarise_raters, task.pairs)
        said = run.once("preferred", aggregate_people, task.pairs)
    else:
        orders = both_orders(draw_candidate_pairs(run, policy, constitution, (chosen, benign), roles, task))
        if asked.by == "judge":
            answers = run.map(
                "preferences", judge_preferences, orders, roles.judge, constitution, task.templates, judging
            )
            rater = roles.judge.identity
        else:
            with roles.target(policy) as target:
                answers = run.map("preferences", score_preferences, orders, target, constitution, task.templates)
            rater = MODEL_RATER
        place = run.once("position", measure_position_bias, orders, answers)
        said = run.once("preferred", select_agreed_pairs, orders, answers, rater)
    kept = run.once("usable", filter_pairs, said, task.guard, asked)
    require_pairs(run.once("sorted", summarise_pairs, said, task.guard, asked, task.near, people), place)
    learn, check = (
        run.once("learnt", select_train_pairs, kept, task.near),
        run.once("checked", select_validation_pairs, kept, task.near),
    )
    return PreferenceData(learn, check, collect_all_replay(run, policy, chosen, roles, task), chosen)


def collect_rated_answers(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: Sequence[Prompt],
    roles: Roles,
    task: PreferenceInputs,
) -> list[RatedAnswer]:
    """Answers that the policy draws, and gives under the constitution, each found good or bad by the judge."""
    drawn, revisions = draw_answers(run, policy, constitution, prompts, roles, task)
    answers = [*drawn, *(r.exchange.model_copy(update={"id": f"{r.id}/ruled"}) for r in revisions)]
    said = run.map("answer_ratings", score_rewards, answers, build_judge_rewarder(roles, task))
    return run.once("rated", rate_answers, answers, said, task.guard, roles.judge.identity)


def collect_all_replay(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, task: PreferenceInputs
) -> list[Example]:
    """What the run before replayed, and fresh good answers of the starting policy."""
    before = task.given.replay_rows if task.given is not None else ()
    fresh = collect_replay(run, policy, prompts, roles, task) if task.options.learn.replay_prompts else []
    return list({row.id: row for row in (*before, *fresh)}.values())


def write_benign_prompts(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, task: PreferenceInputs
) -> list[Prompt]:
    """Benign prompts in the form of those that the policy fails on, so that what is learnt is the rule, and no refusal
    of the form."""
    options, texts = task.options, task.templates
    if not options.contrast.count:
        return []
    with roles.target(policy) as target:
        exchanges = run.map("exchanges", probe, prompts, target, task.answers)
    verdicts = run.map("verdicts", judge, exchanges, roles.judge, task.rubric, texts, options.judge)
    findings = run.once("findings", select_violations, exchanges, verdicts)
    clusters = run.once("clusters", cluster, findings, options.cluster)
    wanted = (options.contrast, options.cluster)
    found = run.map("lookalikes", contrast, clusters, roles.proposer, task.guard, texts, wanted)
    return list({p.id: p for lookalikes in found for p in lookalikes.prompts}.values())


def draw_candidate_pairs(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: tuple[Sequence[Prompt], Sequence[Prompt]],
    roles: Roles,
    task: PreferenceInputs,
) -> list[ResponsePair]:
    """Two answers to one prompt, from what the policy draws and what it answers under the constitution. ``prompts``:
    all, and the benign ones among them."""
    drawn, revisions = draw_answers(run, policy, constitution, prompts[0], roles, task)
    return run.once("pairs", make_candidate_pairs, drawn, revisions, prompts[1], task.options.learn.pairs)


def draw_answers(
    run: Steps,
    policy: ModelRef,
    constitution: Constitution,
    prompts: Sequence[Prompt],
    roles: Roles,
    task: PreferenceInputs,
) -> tuple[list[Exchange], list[Revision]]:
    """What the policy draws, and what it answers under the constitution."""
    asked = task.options.learn.pairs
    many = run.once("copies", repeat_prompts, prompts, asked.draws)
    warm = task.answers.model_copy(update={"temperature": asked.temperature})
    direct = task.options.reflect.model_copy(update={"turns": "direct"})
    with roles.target(policy) as target:
        drawn = run.map("drawn", probe, many, target, warm)
        revisions = list[Revision]()
        if asked.under_rules and constitution.active:
            trials = run.once("again", to_trials, drawn)
            how = (direct, task.answers)
            thoughts = run.map("critiques", critique, trials, target, constitution, task.templates, how)
            revisions = run.map("revisions", revise, trials, thoughts, target, constitution, task.templates, how)
    return drawn, revisions


def collect_replay(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, task: PreferenceInputs
) -> list[Example]:
    """Good answers of the starting policy, by the judge."""
    asked = run.once("rehearsals", sample_prompts, prompts, task.options.learn.replay_prompts)
    with roles.target(policy) as target:
        answers = run.map("answers", probe, asked, target, task.answers)
    checks = run.map("answer_rewards", score_rewards, answers, build_judge_rewarder(roles, task))
    return run.once("replay", keep_good_answers, answers, checks)


def build_judge_rewarder(roles: Roles, task: PreferenceInputs) -> JudgeRewarder:
    """The judge as what rewards."""
    return JudgeRewarder(roles.judge, task.rubric, task.templates, task.options.judge)
