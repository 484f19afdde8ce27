"""Monitors of learning from preferences: the reward model's accuracy, the policy's distance from its start, and reward
hacking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from charter.ports import Benchmark, Engine, Rewarder
from charter.records.chat import Exchange, LogLikelihood, ScoreRequest
from charter.records.decisions import Decision, GateCheck, Retries
from charter.records.item_ids import join_id
from charter.records.measurements import Measurement, Proportion
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward, GateAnswer, PolicyStats, RewardModelFit
from charter.records.record import Step
from charter.records.training_rows import Example, PreferencePair
from charter.records.verdicts import Verdict
from charter.spec import RLGuardSpec
from charter.statistics import mcnemar, wilson

CALIBRATION_BINS = 5
CHANCE = 0.5
REWARD_HACKING_LEVEL = 0.05
"""A fall of good answers counts where exact McNemar gives less."""


def pairs_to_exchanges(preferred: Sequence[PreferencePair]) -> list[Exchange]:
    """Both answers of each pair, as exchanges."""
    return [
        Exchange.of_row(row.id, row.messages, text).model_copy(update={"id": join_id(row.id, name)})
        for row in preferred
        for name, text in (("chosen", row.chosen), ("rejected", row.rejected))
    ]


def score_rewards(exchanges: Sequence[Exchange], rewarder: Rewarder, *, step: Step) -> Iterator[ExchangeReward]:
    """What each exchange is worth."""
    yield from rewarder.rewards(exchanges, step.done)


def score_likelihoods(exchanges: Sequence[Exchange], target: Engine, *, step: Step) -> Iterator[LogLikelihood]:
    """How likely each answer is to the target; an empty one is certain."""
    yield from (
        LogLikelihood(id=e.id, value=0.0, tokens=0, greedy=True)
        for e in exchanges
        if not e.response.strip() and e.id not in step.done
    )
    asked = [
        ScoreRequest(id=e.id, messages=e.prompt.messages, completion=e.response)
        for e in exchanges
        if e.response.strip()
    ]
    yield from target.score(asked, step.done)


def measure_reward_fit(preferred: Sequence[PreferencePair], rewards: Sequence[ExchangeReward]) -> RewardModelFit:
    """How well the rewards tell what is preferred."""
    worth = {r.id: r.value for r in rewards}
    told = [
        (a - b, row)
        for row in preferred
        if (a := worth[join_id(row.id, "chosen")]) is not None and (b := worth[join_id(row.id, "rejected")]) is not None
    ]
    right = sum(margin > 0 for margin, _ in told)
    low, high = wilson(right, len(told))
    bins: dict[int, list[tuple[float, bool]]] = {}
    for margin, _ in told:
        sure = 1 / (1 + math.exp(-min(700.0, abs(margin))))
        bins.setdefault(min(CALIBRATION_BINS - 1, int((sure - 0.5) * 2 * CALIBRATION_BINS)), []).append(
            (sure, margin > 0)
        )
    apart = [abs(sum(s for s, _ in b) - sum(hit for _, hit in b)) for b in bins.values()]
    texts = {join_id(row.id, name): text for _, row in told for name, text in _texts(row)}
    values = {id: worth[id] for id in texts}
    return RewardModelFit(
        accuracy=Proportion(hits=right, n=len(told), value=right / len(told) if told else None, low=low, high=high),
        margin=sum(margin for margin, _ in told) / len(told) if told else None,
        calibration_error=sum(apart) / len(told) if told else None,
        length_correlation=_pearson([float(values[id] or 0) for id in texts], [len(t.split()) for t in texts.values()]),
    )


def check_reward_model(found: RewardModelFit, options: RLGuardSpec) -> Decision:
    """Whether a reward model predicts preferences better than chance. Only then may a policy be trained on it."""
    told, figures = found.accuracy, {"check pairs": float(found.accuracy.n), "lower bound": found.accuracy.low}
    if not options.require_accuracy or (told.n and told.low > CHANCE):
        return Decision(id="decision", action="go_on", reason="accepted", figures=figures)
    reason = "no check pair tells whether the reward model is right"
    if told.n:
        reason = (
            f"the reward model prefers the chosen answer of {told.hits:g} of {told.n} check pairs, which cannot be "
            f"told from chance (lower bound {told.low:.1%})"
        )
    return Decision(id="decision", action="stop", reason=f"no practice: {reason}", figures=figures)


def summarise_gate_answers(
    exchanges: Sequence[Exchange],
    measured: Sequence[Measurement],
    rewards: Sequence[ExchangeReward],
    benchmark: Benchmark,
) -> list[GateAnswer]:
    """Each gate answer as the guards see it."""
    better = {metric.name: metric.better == "higher" for metric in benchmark.metrics}
    outcomes = {m.id: m.outcomes for m in measured}
    worth = {r.id: r.value for r in rewards}
    out = []
    for e in exchanges:
        told = [value is better[name] for name, value in outcomes[e.id].items() if value is not None]
        good = all(told) if told else None
        out.append(GateAnswer(id=e.id, good=good, reward=worth.get(e.id), words=len(e.response.split())))
    return out


def compute_policy_stats(
    gate: Sequence[GateAnswer],
    drawn_now: Sequence[LogLikelihood],
    drawn_before: Sequence[LogLikelihood],
    pairs: Sequence[PreferencePair],
    pair_likelihoods: Sequence[LogLikelihood],
    refusals: Sequence[Verdict],
) -> PolicyStats:
    """The figures of a policy that the guards look at.

    Args:
        gate: Its answers to the gate prompts.
        drawn_now: How likely its own draws are to it.
        drawn_before: How likely the same draws are to the starting policy.
        pairs: The check pairs.
        pair_likelihoods: How likely their answers are to the policy.
        refusals: Verdicts on which of its gate answers refuse.
    """
    before = {x.id: x.value for x in drawn_before}
    nats = [x.value - before[x.id] for x in drawn_now]
    likely = {x.id: x.value for x in pair_likelihoods}
    both = [(likely[join_id(row.id, "chosen")], likely[join_id(row.id, "rejected")]) for row in pairs]
    judged = [v for v in refusals if v.outcome != "unjudged"]
    good = [s.good for s in gate if s.good is not None]
    return PolicyStats(
        kl=_mean(nats),
        chosen=_mean([a for a, _ in both]),
        rejected=_mean([b for _, b in both]),
        margin=_mean([a - b for a, b in both]),
        length=_mean([s.words for s in gate]) or 0.0,
        refusals=_mean([v.outcome == "complies" for v in judged]),
        good=_mean(good) or 0.0,
        reward=_mean([s.reward for s in gate if s.reward is not None]),
    )


@dataclass(frozen=True)
class MonitoredPolicy:
    """A policy's figures, and its answers to the gate prompts."""

    stats: PolicyStats
    gate_answers: Sequence[GateAnswer]


def decide_policy(
    start: MonitoredPolicy,
    best_answers: Sequence[GateAnswer],
    now: MonitoredPolicy,
    gates: Sequence[GateCheck],
    options: RLGuardSpec,
    retries: Retries,
) -> Decision:
    """Goes on, rolls back to the last good policy, or gives up: after enough tries, and at once where the alarm fires.
    No smaller step mends a reward that is not what is judged.

    Args:
        start: The starting policy. Losses that are small in each round add up since then.
        best_answers: Gate answers of the last good policy.
        now: The new policy.
        gates: What it lost on gate.
        options: The bounds of the guards.
        retries: How often the run was rolled back already, and how often it may be.
    """
    then, stats = start.stats, now.stats
    alarm, figures = _detect_reward_hacking(best_answers, now.gate_answers, options)
    since, _ = _detect_reward_hacking(start.gate_answers, now.gate_answers, options)
    parted = alarm or (since and f"{since} since the start")
    faults = [parted] if parted else []
    if stats.kl is not None and stats.kl > options.max_kl:
        faults.append(f"{stats.kl:.1f} nats an answer from the start (bound {options.max_kl:g})")
    if then.length and abs(stats.length / then.length - 1) > options.max_length_change:
        faults.append(f"answers of {stats.length:.1f} words, {then.length:.1f} at the start")
    faults += [found.description for found in gates if not found.passed and retries.roll_back]
    if faults:
        again = retries.roll_back and not parted and retries.used < retries.limit
        tried = f": rolled back {retries.used + 1} times, the last policy stays" if retries.used and not again else ""
        action: Literal["roll_back", "give_up"] = "roll_back" if again else "give_up"
        return Decision(id="decision", action=action, reason="; ".join(faults) + tried, figures=figures)
    return Decision(id="decision", action="go_on", reason="accepted", figures=figures)


def without_curve(policy: ModelRef) -> ModelRef:
    """The policy without what was watched in its training."""
    return policy.model_copy(update={"curve": ()})


def sample_demonstrations(preferred: Sequence[PreferencePair], count: int, *, step: Step) -> list[Example]:
    """At most so many chosen answers as lessons, by chance."""
    rows = list(preferred)
    step.random("demonstrations").shuffle(rows)
    return [
        Example(id=f"chosen/{row.id}", messages=row.messages, response=row.chosen, origin="revision", because=(row.id,))
        for row in rows[:count]
    ]


def _detect_reward_hacking(
    before: Sequence[GateAnswer], now: Sequence[GateAnswer], options: RLGuardSpec
) -> tuple[str, dict[str, float]]:
    """The reward-hacking alarm: on the same gate prompts the learnt reward rose while good answers were lost; and the
    figures behind it."""
    known = {s.id: s for s in before}
    same = [(known[s.id], s) for s in now if s.id in known]
    gained = sum(a.good is False and b.good is True for a, b in same)
    lost = sum(a.good is True and b.good is False for a, b in same)
    judged = sum(a.good is not None and b.good is not None for a, b in same)
    rises = [b.reward - a.reward for a, b in same if a.reward is not None and b.reward is not None]
    fall, rose = (lost - gained) / judged if judged else 0.0, _mean(rises)
    figures = {"good answers lost": float(lost), "good answers gained": float(gained), "judged": float(judged)}
    if rose is None:
        return "", figures
    figures["reward rose by"] = rose
    if rose > 0 and fall >= options.max_good_drop and mcnemar(gained, lost) < REWARD_HACKING_LEVEL:
        return f"reward hacking: rewards rose by {rose:.2f} while {fall:.1%} of the gate answers turned bad", figures
    return "", figures


def _texts(row: PreferencePair) -> tuple[tuple[str, str], ...]:
    return ("chosen", row.chosen), ("rejected", row.rejected)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _pearson(one: Sequence[float], other: Sequence[float]) -> float | None:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    from scipy.stats import pearsonr

    return float(pearsonr(one, other).statistic)
