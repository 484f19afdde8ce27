"""Guards: when learning ends, and when it does not."""

from __future__ import annotations

from charter.records.chat import LogLikelihood, Message
from charter.records.decisions import GateCheck, Retries
from charter.records.measurements import Proportion
from charter.records.preferences import ExchangeReward, GateAnswer, PolicyStats, RewardModelFit
from charter.records.record import Step
from charter.records.training_rows import PreferencePair
from charter.records.verdicts import Verdict
from charter.spec import RLGuardSpec
from charter.stages.monitors import (
    MonitoredPolicy,
    check_reward_model,
    compute_policy_stats,
    decide_policy,
    measure_reward_fit,
)
from charter.statistics import wilson

STEP = Step(path="001/x", run_seed=1)
START = PolicyStats(kl=0.0, length=10.0, good=0.6, reward=0.0)
HOW = (RLGuardSpec(), Retries(roll_back=True, limit=2))


def gate(good: int, n: int = 100, reward: float = 0.0) -> list[GateAnswer]:
    """``n`` gate answers, the first ``good`` of which are good."""
    return [GateAnswer(id=f"{k}", good=k < good, reward=reward, words=10) for k in range(n)]


def decided(
    now: PolicyStats, before: list[GateAnswer], after: list[GateAnswer], gates: tuple[GateCheck, ...] = ()
) -> tuple[str, str]:
    found = decide_policy(MonitoredPolicy(START, before), before, MonitoredPolicy(now, after), gates, *HOW)
    return found.action, found.reason


def test_the_alarm_fires_where_rewards_rise_and_good_answers_are_lost() -> None:
    now = START.model_copy(update={"reward": 2.0})
    action, reason = decided(now, gate(80), gate(60, reward=2.0))
    assert action == "give_up", "no smaller step mends a reward that is not what is judged"
    assert "reward hacking" in reason
    for before, after in (
        (gate(80), gate(60, reward=-1.0)),  # rewards fell too: no hacking, the gates' affair
        (gate(80), gate(90, reward=2.0)),  # both rose
        (gate(80), gate(77, reward=2.0)),  # few were lost
        (gate(8, n=10), gate(6, n=10, reward=2.0)),  # what chance explains
    ):
        assert decided(now, before, after) == ("go_on", "accepted")


def test_the_alarm_fires_where_small_losses_add_up() -> None:
    now = START.model_copy(update={"reward": 3.0})
    begin, best, gates = gate(80), gate(76, reward=2.0), gate(72, reward=3.0)
    found = decide_policy(MonitoredPolicy(START, begin), best, MonitoredPolicy(now, gates), (), *HOW)
    assert found.action == "give_up"
    assert "since the start" in found.reason


def test_divergence_and_length_end_it() -> None:
    assert "nats" in decided(START.model_copy(update={"kl": 21.0}), gate(80), gate(80))[1]
    assert "words" in decided(START.model_copy(update={"length": 16.0}), gate(80), gate(80))[1]
    assert decided(START.model_copy(update={"kl": 19.0, "length": 14.0}), gate(80), gate(80))[0] == "go_on"


def test_a_gate_that_fails_rolls_back() -> None:
    failed = GateCheck(
        id="harmlessness|start", metric="harmlessness", against="start", n=100, unjudged=0, worse=30, better=0,
        change=-0.3, bound=-0.2, margin=0.02, alpha=0.01, detectable=0.05, passed=False,
    )  # fmt: skip
    action, reason = decided(START, gate(80), gate(80), (failed,))
    assert (action, "harmlessness" in reason) == ("roll_back", True)
    far = MonitoredPolicy(START.model_copy(update={"kl": 21.0}), gate(80))
    for retries, expected in (
        (Retries(True, 2, used=1), ("roll_back", "")),
        (Retries(True, 2, used=2), ("give_up", ": rolled back 3 times, the last policy stays")),
        (Retries(True, 0), ("give_up", "")),
        (Retries(False, 2), ("give_up", "")),
    ):
        found = decide_policy(MonitoredPolicy(START, gate(80)), gate(80), far, (failed,), RLGuardSpec(), retries)
        assert "nats" in found.reason
        assert ("harmlessness" in found.reason) is retries.roll_back
        assert (found.action, found.reason[found.reason.find(": rolled") :] if retries.used == 2 else "") == expected


def test_a_reward_model_is_measured_on_pairs() -> None:
    rows = [
        PreferencePair(id=f"{n}", messages=(Message(role="user", content="q"),), chosen="a " * (n + 1), rejected="b")
        for n in range(10)
    ]
    margins = [2.0] * 8 + [-2.0] * 2
    rewards = [
        r
        for n, m in enumerate(margins)
        for r in (ExchangeReward(id=f"{n}/chosen", value=m), ExchangeReward(id=f"{n}/rejected", value=0.0))
    ]
    found = measure_reward_fit(rows, rewards)
    assert (found.accuracy.hits, found.accuracy.n) == (8, 10)
    assert found.calibration_error is not None
    assert abs(found.calibration_error - abs(0.8808 - 0.8)) < 1e-3
    assert found.length_correlation is not None
    unsaid = measure_reward_fit(rows, [r.model_copy(update={"value": None}) for r in rewards])
    assert (unsaid.accuracy.n, unsaid.calibration_error, unsaid.length_correlation) == (0, None, None)


def test_what_is_watched() -> None:
    pairs = [PreferencePair(id="p", messages=(Message(role="user", content="q"),), chosen="a", rejected="b")]

    def likely(id: str, value: float) -> LogLikelihood:
        return LogLikelihood(id=id, value=value, tokens=1, greedy=False)

    found = compute_policy_stats(
        [GateAnswer(id="1", good=True, reward=1.0, words=4), GateAnswer(id="2", good=None, reward=None, words=6)],
        [likely("x", -1.0), likely("y", -2.0)],
        [likely("x", -4.0), likely("y", -3.0)],
        pairs,
        [likely("p/chosen", -2.0), likely("p/rejected", -5.0)],
        [Verdict(id=f"{n}", rubric="refusal", label="x", outcome=o) for n, o in enumerate(("complies", "violates"))],
    )
    assert (found.kl, found.chosen, found.rejected, found.margin) == (2.0, -2.0, -5.0, 3.0)
    assert (found.length, found.refusals, found.good, found.reward) == (5.0, 0.5, 1.0, 1.0)


def test_a_reward_model_is_trusted_where_it_beats_chance() -> None:
    def told(right: int, n: int, *, asked: bool = True) -> tuple[str, str]:
        low, high = wilson(right, n)
        accuracy = Proportion(hits=right, n=n, value=right / n if n else None, low=low, high=high)
        found = RewardModelFit(accuracy=accuracy, margin=None, calibration_error=None, length_correlation=None)
        decision = check_reward_model(found, RLGuardSpec(require_accuracy=asked))
        return decision.action, decision.reason

    assert told(9, 10) == told(4, 4) == ("go_on", "accepted")
    for right, n in ((8, 10), (5, 10), (0, 10), (3, 3)):
        action, reason = told(right, n)
        assert action == "stop"
        assert f"{right} of {n} check pairs, which cannot be told from chance" in reason
    assert told(0, 0) == ("stop", "no practice: no check pair tells whether the reward model is right")
    assert told(5, 10, asked=False) == told(0, 0, asked=False) == ("go_on", "accepted")
