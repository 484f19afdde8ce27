"""Learning from preferences, a part of methods: a reward model, practice in rounds, what is tried again, and what
watches over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.judging.rubrics import REFUSAL
from charter.methods.benchmark_evaluation import measure_gate_benchmarks
from charter.methods.preference_data import PreferenceData, PreferenceInputs, build_judge_rewarder
from charter.ports import PreferenceTrainers, Rewarder, Roles
from charter.records.chat import Exchange
from charter.records.decisions import Decision
from charter.records.measurements import Measurement, Metric, Score, Split
from charter.records.model_refs import ModelRef
from charter.records.preferences import GateAnswer, PolicyStats
from charter.records.training_rows import TrainingRow
from charter.run import Run, Steps
from charter.stages.evaluator_scores import break_down_scores, compute_scores, measure
from charter.stages.gate_checks import check_gates
from charter.stages.judge import judge
from charter.stages.monitors import (
    check_reward_model,
    compute_policy_stats,
    decide_policy,
    measure_reward_fit,
    pairs_to_exchanges,
    sample_demonstrations,
    score_likelihoods,
    score_rewards,
    summarise_gate_answers,
    without_curve,
)
from charter.stages.policy_training import mix_examples, mix_pairs, mix_rated_answers, train_on_policy, train_on_rows
from charter.stages.preference_pairs import sample_prompts
from charter.stages.probe import probe


@dataclass(frozen=True)
class PolicyEval:
    """A policy with what gate says of it; ``held``: what decides of that, by the ``metrics``."""

    policy: ModelRef
    scores: Sequence[Score] = ()
    exchanges: Sequence[Exchange] = ()
    measured: Sequence[Measurement] = ()
    deciding_measurements: Sequence[Measurement] = ()
    metrics: Sequence[Metric] = ()
    gate_answers: Sequence[GateAnswer] = ()
    stats: PolicyStats | None = None


def train_on_preferences(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, task: PreferenceInputs
) -> tuple[PolicyEval, str]:
    """The policy that is left when learning ends, and why it ended."""
    train = {"dpo": train_offline, "kto": train_offline, "rloo": train_rloo}[task.options.learn.algorithm]
    return train(run, begun, found, roles, task)


def train_offline(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, task: PreferenceInputs
) -> tuple[PolicyEval, str]:
    """What was preferred learnt at once, and again where what comes of it may not stay."""
    assert roles.learners is not None
    begin, gating = monitor_policy(run.steps("000"), begun, begun, found, roles, task), task.options.gates
    kto = task.options.learn.algorithm == "kto"
    for tries in range(gating.retries + 1):
        folder, (more, share) = run.steps(f"{tries + 1:03d}"), gating.retry_settings(tries)
        if kto:
            args = (found.train_pairs, found.rated, found.replay, more)
            rows: Sequence[TrainingRow] = folder.once("mixed", mix_rated_answers, *args)
        else:
            rows = folder.once("mixed", mix_pairs, found.train_pairs, found.replay, more)
        policy = folder.once("policy", train_on_rows, begun.policy, rows, roles.learners.preference_tuner, share)
        now, decision = evaluate_candidate(folder, (begin, begin, tries), policy, found, roles, task)
        if decision.action == "go_on":
            return now, "the answers were learnt" if kto else "the pairs were learnt"
        if decision.action == "give_up":
            break
    return begin, decision.reason


def train_rloo(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, task: PreferenceInputs
) -> tuple[PolicyEval, str]:
    """Practice in rounds, each from the last good policy. A round that is rolled back is tried again, the first one
    with its warm-up; the smaller step stays for the rounds after it."""
    assert roles.learners is not None
    rounds, gating, practises = task.options.learn.rloo.rounds, task.options.gates, roles.learners.rl_tuner
    worth, rewarder, unfit = choose_reward(run.steps("reward"), begun.policy, found, roles, task)
    found = replace(found, rewarder=rewarder)
    begin = monitor_policy(run.steps("000"), begun, begun, found, roles, task)
    if unfit:
        return begin, unfit
    best, warm, tries = begin, begun.policy, 0
    for number in range(1, rounds + gating.retries + 1):
        folder, (_, share) = run.steps(f"{number:03d}"), gating.retry_settings(tries)
        if best is begin:
            warm = sft_warm_up(run, begun.policy, tries, found, roles, task)
        start = warm if best is begin else best.policy
        policy = folder.once("policy", train_on_policy, start, warm, worth, found.prompts, (practises, share))
        now, decision = evaluate_candidate(folder, (begin, best, tries), policy, found, roles, task)
        if decision.action == "give_up":
            return best, f"round {number - tries}: {decision.reason}"
        if decision.action == "roll_back":
            tries += 1
            continue
        best = now
        if number - tries == rounds:
            break
    return best, "all rounds were done"


def sft_warm_up(
    run: Run, policy: ModelRef, tries: int, found: PreferenceData, roles: Roles, task: PreferenceInputs
) -> ModelRef:
    """What practice begins with: the policy after the warm-up, if there is one."""
    count = task.options.learn.rloo.warm_up
    if not count:
        return policy
    folder, (more, share) = (
        run.steps(f"warm-{tries + 1}" if tries else "warm"),
        task.options.gates.retry_settings(tries),
    )
    shown = folder.once("shown", sample_demonstrations, found.train_pairs, count)
    taken = folder.once("rows", mix_examples, shown, found.replay, more)
    return folder.once("policy", train_on_rows, policy, taken, roles.tuner, share)


def choose_reward(
    run: Steps, policy: ModelRef, found: PreferenceData, roles: Roles, task: PreferenceInputs
) -> tuple[ModelRef | Rewarder, Rewarder, str]:
    """What practice is learnt toward: a reward model, measured on the check pairs; or the judge. And why not."""
    learners: PreferenceTrainers | None = roles.learners
    assert learners is not None
    if task.options.learn.rloo.reward == "judge":
        judged = build_judge_rewarder(roles, task)
        return judged, judged, ""
    made = run.once("policy", train_on_rows, policy, found.train_pairs, learners.reward_tuner)
    model = run.once("model", without_curve, made)
    rewarder = learners.load_rewarder(model)
    answers = run.once("answers", pairs_to_exchanges, found.validation_pairs)
    said = run.map("rewards", score_rewards, answers, rewarder)
    measured = run.once("fit", measure_reward_fit, found.validation_pairs, said)
    decision = run.once("decision", check_reward_model, measured, task.options.learn.guard)
    return model, rewarder, decision.reason if decision.action == "stop" else ""


def evaluate_candidate(
    run: Steps,
    before: tuple[PolicyEval, PolicyEval, int],
    trained: ModelRef,
    found: PreferenceData,
    roles: Roles,
    task: PreferenceInputs,
) -> tuple[PolicyEval, Decision]:
    """What gate and the guards say of a policy, beside the start's and the last good one's; and whether it stays.
    ``before``: these two, and how often the run was rolled back already."""
    begin, best, tries = before
    policy = run.once("bare", without_curve, trained)
    now = monitor_policy(run, score_on_gate(run, policy, roles, task), begin, found, roles, task)
    options, others = task.options, () if best is begin else (best.deciding_measurements,)
    held = (begin.deciding_measurements, *others)
    looks = options.learn.policy_count + options.gates.retries
    lost = run.once("gates", check_gates, held, now.deciding_measurements, now.metrics, options.gates, looks)
    told = (options.learn.guard, options.gates, tries)
    return now, run.once(
        "decision",
        decide_policy,
        (begin.stats, begin.gate_answers, best.gate_answers),
        (now.stats, now.gate_answers),
        lost,
        told,
    )


def monitor_policy(
    run: Steps,
    now: PolicyEval,
    begin: PolicyEval,
    found: PreferenceData,
    roles: Roles,
    task: PreferenceInputs,
) -> PolicyEval:
    """A policy with what the guards see: divergence from the start, log-probabilities of the check pairs, length,
    refusals, and reward beside what is judged."""
    guard = task.options.learn.guard
    warm = task.answers.model_copy(update={"temperature": 1.0})
    prompts = run.once("sampled", sample_prompts, [e.prompt for e in now.exchanges], guard.kl_prompts)
    pairs = run.once("pair_answers", pairs_to_exchanges, found.validation_pairs)
    with roles.target(now.policy) as target:
        drawn = run.map("sample", probe, prompts, target, warm)
        own = run.map("sample_likelihoods", score_likelihoods, drawn, target)
        likely = run.map("pair_likelihoods", score_likelihoods, pairs, target)
    with roles.target(begin.policy) as target:
        before = run.map("sample_before", score_likelihoods, drawn, target)
    kept = {p.id for p in prompts}
    answered = [e for e in now.exchanges if e.id in kept]
    asking = (roles.measuring_judge, REFUSAL, task.templates, task.options.judge)
    refusals = run.map("refusals", judge, answered, *asking)
    worth = run.map("gate_rewards", score_rewards, now.exchanges, found.rewarder) if found.rewarder else []
    gate = run.once("seen", summarise_gate_answers, now.exchanges, now.measured, worth, roles.benchmark)
    said = run.once("guarded", compute_policy_stats, gate, (own, before), (found.validation_pairs, likely), refusals)
    return replace(now, gate_answers=gate, stats=said)


def score_on_gate(run: Steps, policy: ModelRef, roles: Roles, task: PreferenceInputs) -> PolicyEval:
    """A policy with all that decides on gate."""
    found = score_split(run, "gate", policy, roles, task)
    held, metrics = measure_gate_benchmarks(run, policy, list(found.measured), roles, task.answers)
    return replace(found, deciding_measurements=held, metrics=metrics)


def score_split(run: Steps, split: Split, policy: ModelRef, roles: Roles, task: PreferenceInputs) -> PolicyEval:
    """The evaluator's scores of a policy on gate or held-out."""
    with roles.target(policy) as target:
        exchanges = run.map(f"{split}_exchanges", probe, roles.benchmark.prompts(split), target, task.answers)
    measured = run.map(f"{split}_measurements", measure, exchanges, roles.benchmark)
    if split == "heldout":
        run.once("heldout_breakdown", break_down_scores, exchanges, measured, roles.benchmark)
    return PolicyEval(
        policy, run.once(f"{split}_scores", compute_scores, measured, roles.benchmark), exchanges, measured
    )
