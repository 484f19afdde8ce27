"""Where preferences come from, a part of methods: answers compared by people, a judge or the policy; and replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.constitution.document import Constitution
from charter.judging.judge_reward import JudgeRewarder
from charter.judging.pair_comparison import both_orders
from charter.methods.inputs import Inputs
from charter.methods.reflection import Reviser, reflect
from charter.ports import Rewarder, Roles
from charter.records.chat import Exchange, Prompt
from charter.records.item_ids import join_id
from charter.records.model_refs import ModelRef
from charter.records.preferences import PositionBias, ResponsePair
from charter.records.revisions import Revision
from charter.records.training_rows import Example, PreferencePair, RatedAnswer
from charter.runs import NextStep, Steps
from charter.stages.clustering import cluster
from charter.stages.contrast import contrast
from charter.stages.judge import judge, select_violations
from charter.stages.monitors import score_rewards
from charter.stages.policy_training import keep_good_answers, merge_prompts, rate_answers, settle_ratings
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
from charter.stages.reflect import ReflectionSetup


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


@dataclass(frozen=True)
class ComparedPrompts:
    """Prompts whose answers are compared: those of red teaming, and benign ones."""

    redteam: Sequence[Prompt]
    benign: Sequence[Prompt]


def collect_preferences(
    run: Steps, policy: ModelRef, constitution: Constitution, prompts: ComparedPrompts, roles: Roles, inputs: Inputs
) -> PreferenceData:
    """Pairs from people, from the judge or from the policy itself, filtered and split; and replay."""
    options, near = inputs.options.learn, inputs.near_duplicate
    asked_redteam = run.once("asked_redteam", sample_prompts, prompts.redteam, options.pairs.prompts)
    asked_helpful = run.once("asked_helpful", sample_prompts, prompts.benign, options.pairs.prompts)
    benign = [*write_benign_prompts(run, policy, asked_redteam, roles, inputs), *asked_helpful]
    asked = run.once("asked", merge_prompts, asked_redteam, benign)
    if options.rates_answers:
        if options.kto.rows == "people":
            rated = run.once("rated", settle_ratings, inputs.ratings, inputs.guard)
        else:
            rated = collect_rated_answers(run, policy, constitution, asked, roles, inputs)
        return PreferenceData((), (), collect_all_replay(run, policy, asked, roles, inputs), asked, rated=rated)
    if options.pairs.by == "people":
        raters, position = run.once("raters", summarise_raters, inputs.pairs), None
        preferred = run.once("preferred", aggregate_people, inputs.pairs)
    else:
        raters = None
        position, preferred = compare_answers(run, policy, constitution, ComparedPrompts(asked, benign), roles, inputs)
    usable = run.once("usable", filter_pairs, preferred, inputs.guard, options.pairs)
    pair_summary = run.once("pair_summary", summarise_pairs, preferred, inputs.guard, options.pairs, near, raters)
    require_pairs(pair_summary, position)
    train_pairs = run.once("train_pairs", select_train_pairs, usable, near)
    validation_pairs = run.once("validation_pairs", select_validation_pairs, usable, near)
    return PreferenceData(train_pairs, validation_pairs, collect_all_replay(run, policy, asked, roles, inputs), asked)


def compare_answers(
    run: Steps, policy: ModelRef, constitution: Constitution, prompts: ComparedPrompts, roles: Roles, inputs: Inputs
) -> tuple[PositionBias, list[PreferencePair]]:
    """Answers compared in both orders, by the judge or by the policy's own log-probabilities: how far their place
    decides, and what is preferred. ``prompts.redteam``: all of them, the benign ones too."""
    texts = inputs.templates
    orders = both_orders(draw_candidate_pairs(run, policy, constitution, prompts, roles, inputs))
    if inputs.options.learn.pairs.by == "judge":
        judging = inputs.options.judge
        preferences = run.map("preferences", judge_preferences, orders, roles.judge, constitution, texts, judging)
        rater = roles.judge.identity
    else:
        with roles.target(policy) as target:
            preferences = run.map("preferences", score_preferences, orders, target, constitution, texts)
        rater = MODEL_RATER
    position = run.once("position", measure_position_bias, orders, preferences)
    preferred = run.once("preferred", select_agreed_pairs, orders, preferences, rater)
    return position, preferred


def collect_rated_answers(
    run: Steps, policy: ModelRef, constitution: Constitution, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs
) -> list[RatedAnswer]:
    """Answers that the policy draws, and gives under the constitution, each found good or bad by the judge."""
    drawn, revisions = draw_answers(run, policy, constitution, prompts, roles, inputs)
    answers = [*drawn, *(r.exchange.model_copy(update={"id": join_id(r.id, "ruled")}) for r in revisions)]
    answer_ratings = run.map("answer_ratings", score_rewards, answers, build_judge_rewarder(roles, inputs))
    rated = run.once("rated", rate_answers, answers, answer_ratings, inputs.guard, roles.judge.identity)
    return rated


def collect_all_replay(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs
) -> list[Example]:
    """What the run before replayed, and fresh good answers of the starting policy."""
    before = inputs.given.replay_rows if inputs.given is not None else ()
    fresh = collect_replay(run, policy, prompts, roles, inputs) if inputs.options.learn.replay_prompts else []
    return list({row.id: row for row in (*before, *fresh)}.values())


def write_benign_prompts(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs
) -> list[Prompt]:
    """Benign prompts in the form of those that the policy fails on, so that what is learnt is the rule, and no refusal
    of the form."""
    options, texts, shown = inputs.options, inputs.templates, inputs.options.cluster.show
    if not options.contrast.count:
        return []
    judging = NextStep("verdicts", judge, roles.judge, *inputs.judge_arguments())
    with roles.target(policy) as target:
        exchanges = run.map("exchanges", probe, prompts, target, inputs.answers, then=judging)
    verdicts = run.map_next(judging, exchanges)
    findings = run.once("findings", select_violations, exchanges, verdicts)
    clusters = run.once("clusters", cluster, findings, options.cluster, roles.embedder)
    lookalikes = run.map("lookalikes", contrast, clusters, roles.proposer, inputs.guard, texts, options.contrast, shown)
    return list({p.id: p for found in lookalikes for p in found.prompts}.values())


def draw_candidate_pairs(
    run: Steps, policy: ModelRef, constitution: Constitution, prompts: ComparedPrompts, roles: Roles, inputs: Inputs
) -> list[ResponsePair]:
    """Two answers to one prompt, from what the policy draws and what it answers under the constitution."""
    drawn, revisions = draw_answers(run, policy, constitution, prompts.redteam, roles, inputs)
    pairs = run.once("pairs", make_candidate_pairs, drawn, revisions, prompts.benign, inputs.options.learn.pairs)
    return pairs


def draw_answers(
    run: Steps, policy: ModelRef, constitution: Constitution, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs
) -> tuple[Sequence[Exchange], Sequence[Revision]]:
    """What the policy draws, and what it answers under the constitution."""
    asked = inputs.options.learn.pairs
    copies = run.once("copies", repeat_prompts, prompts, asked.draws)
    warm = inputs.answers.model_copy(update={"temperature": asked.temperature})
    direct = inputs.options.reflect.model_copy(update={"turns": "direct"})
    with roles.target(policy) as target:
        drawn = run.map("drawn", probe, copies, target, warm)
        revisions: Sequence[Revision] = ()
        if constitution.active:
            again = run.once("again", to_trials, drawn)
            setup = ReflectionSetup(constitution, inputs.templates, direct, roles.embedder)
            revisions = reflect(run, "", again, Reviser(target, setup, inputs.answers, inputs.answers))
    return drawn, revisions


def collect_replay(
    run: Steps, policy: ModelRef, prompts: Sequence[Prompt], roles: Roles, inputs: Inputs
) -> list[Example]:
    """Good answers of the starting policy, by the judge."""
    rehearsals = run.once("rehearsals", sample_prompts, prompts, inputs.options.learn.replay_prompts)
    with roles.target(policy) as target:
        answers = run.map("answers", probe, rehearsals, target, inputs.answers)
    answer_rewards = run.map("answer_rewards", score_rewards, answers, build_judge_rewarder(roles, inputs))
    replay = run.once("replay", keep_good_answers, answers, answer_rewards)
    return replay


def build_judge_rewarder(roles: Roles, inputs: Inputs) -> JudgeRewarder:
    """The judge as what rewards."""
    return JudgeRewarder(roles.judge, *inputs.judge_arguments())
