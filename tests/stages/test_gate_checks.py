"""Gates: a loss beyond the margin is caught, what chance does is not, and what cannot be judged does not pass."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.records.chat import user_prompt
from charter.records.decisions import GateCheck
from charter.records.measurements import Measurement, Metric
from charter.reports.paired_tests import count_pairs
from charter.spec import GateSpec
from charter.stages.gate_checks import check_gates, detect_collapse
from charter.statistics import describe_copies, drop_copies, read_text_mark

METRICS = [
    Metric(name="harmlessness", margin="harmlessness"),
    Metric(name="over_refusal_borderline", better="lower", margin="over_refusal"),
    Metric(name="facts"),
]
LOOKS = 8


def measured(events: Mapping[str, Sequence[bool | None]]) -> list[Measurement]:
    """``events``: for each metric what was seen on its own prompts."""
    return [
        Measurement(id=f"{metric}-{k}", outcomes={metric: event})
        for metric, seen in events.items()
        for k, event in enumerate(seen)
    ]


def share(hits: int, n: int = 200) -> list[bool | None]:
    return [k < hits for k in range(n)]


def held(
    before: Sequence[Measurement], now: Sequence[Measurement], gating: GateSpec | None = None
) -> dict[str, GateCheck]:
    return {g.id: g for g in check_gates([before], now, METRICS, gating or GateSpec(), LOOKS)}


def test_a_loss_beyond_the_margin_fails_and_a_gain_or_a_small_loss_does_not() -> None:
    before = measured({"harmlessness": share(100), "over_refusal_borderline": share(10), "facts": share(180)})
    now = measured({"harmlessness": share(160), "over_refusal_borderline": share(60), "facts": share(177)})
    found = held(before, now)
    assert {key: gate.passed for key, gate in found.items()} == {
        "harmlessness|start": True,
        "over_refusal_borderline|start": False,
        "facts|start": True,
    }
    over = found["over_refusal_borderline|start"]
    assert (over.worse, over.better, over.change, over.margin) == (50, 0, -0.25, 0.03)
    assert -0.25 < over.bound < -0.03
    assert "over_refusal_borderline is worse by 25.0% than the start" in over.description
    assert found["harmlessness|start"].margin == 0.02
    assert found["facts|start"].change == -0.015


def test_a_margin_hangs_on_the_kind_of_a_metric_and_not_on_its_name() -> None:
    sides = measured({"harmlessness_of_jokes": share(100), "anything": share(100)})
    metrics = [Metric(name="harmlessness_of_jokes"), Metric(name="anything", margin="honesty")]
    gating = GateSpec(harmlessness=0.2, capability=0.1, honesty=0.4)
    found = {g.metric: g.margin for g in check_gates([sides], sides, metrics, gating, LOOKS)}
    assert found == {"harmlessness_of_jokes": 0.1, "anything": 0.4}


def test_all_bounds_of_a_run_share_one_alpha() -> None:
    sides = measured({"harmlessness": share(100), "facts": share(100)})
    found = held(sides, sides)
    assert {g.alpha for g in found.values()} == {0.05 / (2 * LOOKS * 2)}
    assert set(found) == {"harmlessness|start", "facts|start"}


def test_the_last_accepted_policy_counts_as_well_as_the_start() -> None:
    start, last, now = (measured({"harmlessness": share(n)}) for n in (80, 190, 120))
    found = check_gates([start, last], now, METRICS, GateSpec(), LOOKS)
    assert [(g.against, g.passed) for g in found] == [("start", True), ("last", False)]
    assert "than the last accepted policy" in found[1].description


@pytest.mark.parametrize(
    ("judged", "passed"), [(200, True), (150, True), (149, True), (120, False), (99, False), (0, False)]
)
def test_a_policy_whose_answers_cannot_be_judged_does_not_pass(judged: int, passed: bool) -> None:
    now = [event if k < judged else None for k, event in enumerate(share(150))]
    gate = held(measured({"harmlessness": share(150)}), measured({"harmlessness": now}))["harmlessness|start"]
    assert (gate.passed, gate.n, gate.unjudged) == (passed, judged, 200 - judged)
    if not passed:
        assert "cannot be judged" in gate.description


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_what_cannot_be_judged_any_more_may_hide_a_loss(better: Literal["higher", "lower"]) -> None:
    """160 clean before; 79 unjudged and 81 clean after is no pass. Where all was bad before, nothing can be hidden."""
    metric, good = [Metric(name="facts", better=better)], better == "higher"
    before = measured({"facts": [good] * 160})
    now = measured({"facts": [good] * 81 + [None] * 79})
    (gate,) = check_gates([before], now, metric, GateSpec(), LOOKS)
    assert (gate.passed, gate.n, gate.unjudged, gate.change) == (False, 81, 79, 0.0)
    assert gate.bound >= -gate.margin
    assert gate.worst is not None
    assert gate.worst < -gate.margin
    assert "could not tell" in gate.description
    few = measured({"facts": [good] * 157 + [None] * 3})
    (gate,) = check_gates([before], few, metric, GateSpec(), LOOKS)
    assert gate.passed
    bad = measured({"facts": [not good] * 160}), measured({"facts": [not good] * 81 + [None] * 79})
    (gate,) = check_gates(bad[:1], bad[1], metric, GateSpec(), LOOKS)
    assert gate.passed


def test_a_gate_says_what_it_can_catch_with_the_churn_that_it_has_seen() -> None:
    draw, before = random.Random(8), measured({"facts": share(80, 160)})
    now = measured({"facts": [k < 72 or 80 <= k < 88 for k in range(160)]})  # 5 % change each way
    gate = held(before, now)["facts|start"]
    calm = held(before, before)["facts|start"]
    assert gate.detectable is not None
    assert calm.detectable is not None
    assert gate.detectable > calm.detectable + 0.03
    caught = {gate.detectable: 0, calm.detectable: 0}
    for loss in caught:
        for _ in range(100):
            drawn = [draw.random() for _ in range(160)]
            falls = sum(x < loss + 0.05 for x in drawn)
            rises = sum(x > 0.95 for x in drawn)
            events = [k >= falls for k in range(80 + falls)] + [k < rises for k in range(80 - falls)]
            was = measured({"facts": [True] * (80 + falls) + [False] * (80 - falls)})
            caught[loss] += not held(was, measured({"facts": events}))["facts|start"].passed
    assert 0.67 < caught[gate.detectable] / 100 < 0.93
    assert caught[calm.detectable] / 100 < 0.6


def copied(text: str, times: int, event: bool) -> list[Measurement]:
    return [Measurement(id=user_prompt(text, k).id, outcomes={"facts": event}) for k in range(times)]


def test_a_text_that_was_asked_ten_times_counts_once() -> None:
    """Sixty copies of six texts are six texts: in a gate, in a share and in what changed."""
    before = [m for k in range(6) for m in copied(f"text {k}", 10, True)]
    now = [m for k in range(6) for m in copied(f"text {k}", 10, k > 0)]
    (gate,) = check_gates([before], now, [Metric(name="facts")], GateSpec(), LOOKS)
    assert (gate.n, gate.worse, gate.unjudged) == (6, 1, 0)
    pair = count_pairs(before, now)["facts"]
    assert (pair.n, pair.gained, pair.lost) == (6, 0, 1)
    assert [m.id for m in drop_copies(now[::-1])] == [m.id for m in now[::10]][::-1]
    assert describe_copies(now) == "54 of 60 prompts are copies of others: a text counts once"
    assert describe_copies(now[::10]) == ""
    assert (read_text_mark("style/0123456789ab-3"), read_text_mark("mmlu/12-3")) == ("style/0123456789ab", "mmlu/12-3")


def test_prompts_that_are_no_longer_asked_count_as_unjudged() -> None:
    before = measured({"harmlessness": share(150)})
    assert not held(before, before[:60])["harmlessness|start"].passed


def test_what_is_said_to_be_detectable_is_detected_four_times_in_five() -> None:
    draw, before = random.Random(3), measured({"harmlessness": share(200)})
    smallest = held(before, before)["harmlessness|start"].detectable
    assert smallest is not None
    assert 0.05 < smallest < 0.2
    caught = 0
    for _ in range(120):
        now = measured({"harmlessness": [draw.random() > smallest for _ in range(200)]})
        caught += not held(before, now)["harmlessness|start"].passed
    assert 0.69 < caught / 120 < 0.91


@pytest.mark.slow
def test_a_policy_that_loses_no_more_than_its_margins_hardly_ever_fails() -> None:
    """Whole runs of eight policies, each at the very edge of each margin, with as many changes the other way."""
    draw, failed = random.Random(5), 0
    before = measured({"harmlessness": share(80, 120), "facts": share(110, 120)})
    margins = {"harmlessness": 0.02, "facts": 0.03}

    def noisy(m: Measurement) -> Measurement:
        ((name, event),) = m.outcomes.items()
        hits = 80 / 120 if name == "harmlessness" else 110 / 120
        chance = 0.05 / hits if event else (0.05 - margins[name]) / (1 - hits)
        return m.model_copy(update={"outcomes": {name: bool(event) != (draw.random() < chance)}})

    for _ in range(30):
        runs = [[noisy(m) for m in before] for _ in range(LOOKS)]
        failed += any(not gate.passed for now in runs for gate in held(before, now).values())
    assert failed <= 30 * 0.05 + 3 * (30 * 0.05 * 0.95) ** 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_a_gate_looks_at_change_alone_and_either_way_round(one: int, other: int) -> None:
    """Over-refusal that rises is the mirror of compliance that falls."""
    up = [Metric(name="facts")]
    down = [Metric(name="facts", better="lower")]
    sides = measured({"facts": share(one, 60)}), measured({"facts": share(other, 60)})
    mirrored = tuple([m.model_copy(update={"outcomes": {"facts": not m.outcomes["facts"]}}) for m in s] for s in sides)
    first = check_gates(sides[:1], sides[1], up, GateSpec(), LOOKS)
    second = check_gates(mirrored[:1], mirrored[1], down, GateSpec(), LOOKS)
    assert first == second


@pytest.mark.parametrize(
    ("passing", "alarms"),
    [
        ([(60, 80)], 0),
        ([(0, 80)], 1),
        ([(0, 10)], 0),
        ([(60, 80), (20, 80)], 1),
        ([(60, 80), (30, 80)], 0),
        ([(60, 80), (1, 4)], 0),
        ([(0, 0)], 0),
        ([(60, 80), (0, 0)], 0),
    ],
)
def test_an_alarm_when_revisions_no_longer_pass(passing: list[tuple[int, int]], alarms: int) -> None:
    found = detect_collapse(passing, GateSpec())
    assert len(found) == alarms
    if found:
        passed, n = passing[-1]
        assert f"{passed} of {n} revisions pass" in found[0].reason


def test_the_bounds_of_the_alarm_are_those_of_the_spec() -> None:
    low, fallen = [(20, 80)], [(60, 80), (30, 80)]
    assert detect_collapse(low, GateSpec()) == detect_collapse(fallen, GateSpec()) == []
    assert len(detect_collapse(low, GateSpec(min_pass_rate=0.5))) == 1
    assert len(detect_collapse(fallen, GateSpec(min_pass_ratio=0.9))) == 1


def test_a_smaller_step_more_replay_or_both() -> None:
    found = {
        again: GateSpec.model_validate({"retry_with": again}).retry_settings(2) for again in ("replay", "step", "both")
    }
    assert found == {"replay": (4, 1.0), "step": (0, 0.25), "both": (4, 0.25)}
    assert all(
        GateSpec.model_validate({"retry_with": again}).retry_settings(0) == (0, 1.0) for again in ("replay", "both")
    )
