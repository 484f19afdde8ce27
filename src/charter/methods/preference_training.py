"""Learning from preferences, a part of methods: a reward model, practice in rounds, what is tried again, and what
watches over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.judging.rubrics import REFUSAL
from charter.methods.benchmark_evaluation import measure_gate_benchmarks, score
from charter.methods.inputs import Inputs
from charter.methods.policy_trial import count_retries, try_until_decided
from charter.methods.preference_data import PreferenceData, build_judge_rewarder
from charter.ports import PreferenceTrainers, Rewarder, Roles
from charter.records.chat import Exchange
from charter.records.decisions import Decision
from charter.records.measurements import Measurement, Metric
from charter.records.model_refs import ModelRef
from charter.records.preferences import GateAnswer, PolicyStats
from charter.records.training_rows import TrainingRow
from charter.runs import Run, Steps
from charter.stages.gate_checks import check_gates
from charter.stages.judge import judge
from charter.stages.monitors import (
    MonitoredPolicy,
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
    """A policy with what gate says of it, and what the guards see.

    Args:
        policy: The policy.
        exchanges: Its answers to the gate prompts.
        measured: What the evaluator measured in them.
        deciding_measurements: What decides, with that of benchmarks.
        metrics: The metrics that decide.
        gate_answers: The answers as the guards see them.
        stats: The figures that the guards look at.
    """

    policy: ModelRef
    exchanges: Sequence[Exchange] = ()
    measured: Sequence[Measurement] = ()
    deciding_measurements: Sequence[Measurement] = ()
    metrics: Sequence[Metric] = ()
    gate_answers: Sequence[GateAnswer] = ()
    stats: PolicyStats | None = None

    @property
    def monitored(self) -> MonitoredPolicy:
        """What the guards decide from."""
        assert self.stats is not None
        return MonitoredPolicy(self.stats, self.gate_answers)


@dataclass(frozen=True)
class EarlierPolicies:
    """What a policy is held against: the start, and the last good one; and how often the run was rolled back."""

    start: PolicyEval
    best: PolicyEval
    tries: int


def train_on_preferences(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, inputs: Inputs
) -> tuple[PolicyEval, str]:
    """The policy that is left when learning ends, and why it ended."""
    train = {"dpo": train_offline, "kto": train_offline, "rloo": train_rloo}[inputs.options.learn.algorithm]
    return train(run, begun, found, roles, inputs)


def train_offline(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, inputs: Inputs
) -> tuple[PolicyEval, str]:
    """What was preferred learnt at once, and again where what comes of it may not stay."""
    assert roles.learners is not None
    begin, gating = monitor_policy(run.steps("000"), begun, begun, found, roles, inputs), inputs.options.gates
    tuner, kto = roles.learners.preference_tuner, inputs.options.learn.algorithm == "kto"

    def attempt(tries: int) -> tuple[PolicyEval, Decision]:
        folder, (more, share) = run.steps(f"{tries + 1:03d}"), gating.retry_settings(tries)
        mixed: Sequence[TrainingRow]
        if kto:
            mixed = folder.once("mixed", mix_rated_answers, found.train_pairs, found.rated, found.replay, more)
        else:
            mixed = folder.once("mixed", mix_pairs, found.train_pairs, found.replay, more)
        policy = folder.once("policy", train_on_rows, begun.policy, mixed, tuner, share)
        return evaluate_candidate(folder, EarlierPolicies(begin, begin, tries), policy, found, roles, inputs)

    now, decision = try_until_decided(attempt, gating)
    if decision.action != "go_on":
        return begin, decision.reason
    return now, "the answers were learnt" if kto else "the pairs were learnt"


def train_rloo(
    run: Run, begun: PolicyEval, found: PreferenceData, roles: Roles, inputs: Inputs
) -> tuple[PolicyEval, str]:
    """Practice in rounds, each from the last good policy. A round that is rolled back is tried again, the first one
    with its warm-up; the smaller step stays for the rounds after it."""
    assert roles.learners is not None
    rounds, gating, practises = inputs.options.learn.rloo.rounds, inputs.options.gates, roles.learners.rl_tuner
    worth, rewarder, unfit = choose_reward(run.steps("reward"), begun.policy, found, roles, inputs)
    found = replace(found, rewarder=rewarder)
    begin = monitor_policy(run.steps("000"), begun, begun, found, roles, inputs)
    if unfit:
        return begin, unfit
    best, warm, tries = begin, begun.policy, 0
    for number in range(1, rounds + gating.retries + 1):
        folder, (_, share) = run.steps(f"{number:03d}"), gating.retry_settings(tries)
        if best is begin:
            warm = sft_warm_up(run, begun.policy, tries, found, roles, inputs)
        start = warm if best is begin else best.policy
        policy = folder.once("policy", train_on_policy, start, warm, worth, found.prompts, practises, share)
        now, decision = evaluate_candidate(folder, EarlierPolicies(begin, best, tries), policy, found, roles, inputs)
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
    run: Run, policy: ModelRef, tries: int, found: PreferenceData, roles: Roles, inputs: Inputs
) -> ModelRef:
    """What practice begins with: the policy after the warm-up, if there is one."""
    count = inputs.options.learn.rloo.warm_up
    if not count:
        return policy
    folder, (more, share) = (
        run.steps(f"warm-{tries + 1}" if tries else "warm"),
        inputs.options.gates.retry_settings(tries),
    )
    shown = folder.once("shown", sample_demonstrations, found.train_pairs, count)
    rows = folder.once("rows", mix_examples, shown, found.replay, more)
    policy = folder.once("policy", train_on_rows, policy, rows, roles.tuner, share)
    return policy


def choose_reward(
    run: Steps, policy: ModelRef, found: PreferenceData, roles: Roles, inputs: Inputs
) -> tuple[ModelRef | Rewarder, Rewarder, str]:
    """What practice is learnt toward: a reward model, measured on the check pairs; or the judge. And why not."""
    learners: PreferenceTrainers | None = roles.learners
    assert learners is not None
    if inputs.options.learn.rloo.reward == "judge":
        judged = build_judge_rewarder(roles, inputs)
        return judged, judged, ""
    policy = run.once("policy", train_on_rows, policy, found.train_pairs, learners.reward_tuner)
    model = run.once("model", without_curve, policy)
    rewarder = learners.load_rewarder(model)
    answers = run.once("answers", pairs_to_exchanges, found.validation_pairs)
    rewards = run.map("rewards", score_rewards, answers, rewarder)
    fit = run.once("fit", measure_reward_fit, found.validation_pairs, rewards)
    decision = run.once("decision", check_reward_model, fit, inputs.options.learn.guard)
    return model, rewarder, decision.reason if decision.action == "stop" else ""


def evaluate_candidate(
    run: Steps, earlier: EarlierPolicies, trained: ModelRef, found: PreferenceData, roles: Roles, inputs: Inputs
) -> tuple[PolicyEval, Decision]:
    """What gate and the guards say of a policy, beside the start's and the last good one's; and whether it stays."""
    start, best, options = earlier.start, earlier.best, inputs.options
    policy_without_curve = run.once("policy_without_curve", without_curve, trained)
    scored = score_on_gate(run, policy_without_curve, roles, inputs)
    now = monitor_policy(run, scored, start, found, roles, inputs)
    last = () if best is start else (best.deciding_measurements,)
    held = (start.deciding_measurements, *last)
    looks = options.learn.policy_count + options.gates.retries
    gates = run.once("gates", check_gates, held, now.deciding_measurements, now.metrics, options.gates, looks)
    decision = run.once(
        "decision",
        decide_policy,
        start.monitored,
        best.gate_answers,
        now.monitored,
        gates,
        options.learn.guard,
        count_retries(options.gates, earlier.tries),
    )
    return now, decision


def monitor_policy(
    run: Steps, now: PolicyEval, start: PolicyEval, found: PreferenceData, roles: Roles, inputs: Inputs
) -> PolicyEval:
    """A policy with what the guards see: divergence from the start, log-probabilities of the check pairs, length,
    refusals, and reward beside what is judged."""
    pairs = found.validation_pairs
    warm = inputs.answers.model_copy(update={"temperature": 1.0})
    asked = [e.prompt for e in now.exchanges]
    sampled = run.once("sampled", sample_prompts, asked, inputs.options.learn.guard.kl_prompts)
    pair_answers = run.once("pair_answers", pairs_to_exchanges, pairs)
    with roles.target(now.policy) as target:
        sample = run.map("sample", probe, sampled, target, warm)
        sample_likelihoods = run.map("sample_likelihoods", score_likelihoods, sample, target)
        pair_likelihoods = run.map("pair_likelihoods", score_likelihoods, pair_answers, target)
    with roles.target(start.policy) as target:
        sample_before = run.map("sample_before", score_likelihoods, sample, target)
    kept = {p.id for p in sampled}
    answered = [e for e in now.exchanges if e.id in kept]
    refusals = run.map("refusals", judge, answered, roles.measuring_judge, *inputs.judge_arguments(REFUSAL))
    gate_rewards = run.map("gate_rewards", score_rewards, now.exchanges, found.rewarder) if found.rewarder else []
    gate_answers = run.once(
        "gate_answers", summarise_gate_answers, now.exchanges, now.measured, gate_rewards, roles.evaluators["gate"]
    )
    policy_stats = run.once(
        "policy_stats",
        compute_policy_stats,
        gate_answers,
        sample_likelihoods,
        sample_before,
        pairs,
        pair_likelihoods,
        refusals,
    )
    return replace(now, gate_answers=gate_answers, stats=policy_stats)


def score_on_gate(run: Steps, policy: ModelRef, roles: Roles, inputs: Inputs) -> PolicyEval:
    """A policy with all that decides on gate."""
    gate = score(run, "gate", policy, roles, inputs.answers)
    measured, metrics = measure_gate_benchmarks(run, policy, gate.measurements, roles, inputs.answers)
    return PolicyEval(policy, gate.exchanges, gate.measurements, measured, metrics)
