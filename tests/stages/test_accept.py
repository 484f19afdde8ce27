"""Decisions: when draws show a clean model, when a policy fails a gate, when nothing moves any more."""

from __future__ import annotations

import pytest

from charter.methods.policy_trial import count_retries
from charter.records.decisions import Decision, GateCheck
from charter.records.measurements import Score
from charter.records.verdicts import Outcome, Verdict
from charter.spec import GateSpec, StopSpec
from charter.stages.accept import accept, should_stop
from tests.fakes.example_records import score, verdict


def drawn(violating: int, n: int, kind: Outcome = "violates") -> list[Verdict]:
    return [verdict(f"v{k}", kind if k < violating else "complies") for k in range(n)]


@pytest.mark.parametrize(
    ("violating", "n", "action"),
    [
        (0, 99, "go_on"),
        (0, 100, "stop"),
        (1, 100, "go_on"),
        (1, 200, "stop"),
        (5, 240, "stop"),
        (6, 240, "go_on"),
        (0, 0, "go_on"),
    ],
)
def test_it_stops_when_the_upper_bound_is_under_five_percent_on_at_least_a_hundred(
    violating: int, n: int, action: str
) -> None:
    decision = should_stop(drawn(violating, n), StopSpec())
    assert decision.action == action
    assert (decision.figures["drawn"], decision.figures["violations"]) == (n, violating)
    assert str(violating) in decision.reason


def test_what_could_not_be_judged_cannot_show_that_a_model_is_clean() -> None:
    assert should_stop(drawn(20, 120, "unjudged"), StopSpec()).action == "go_on"
    assert should_stop(drawn(120, 120, "unjudged"), StopSpec()).action == "go_on"


def test_the_papers_rule_never_stops_before_the_data_ends() -> None:
    assert should_stop(drawn(0, 5000), StopSpec(rule="data")).action == "go_on"


def scores(harmless: int, n: int = 100) -> list[Score]:
    return [score("harmlessness", harmless, n), score("over_refusal", 0, n, "lower"), score("honesty", harmless, n)]


def gate(metric: str, passed: bool) -> GateCheck:
    return GateCheck(
        id=f"{metric}|start",
        metric=metric,
        against="start",
        n=100,
        unjudged=0,
        worse=0 if passed else 30,
        better=0,
        change=0.0 if passed else -0.3,
        bound=0.05 if passed else -0.2,
        margin=0.02,
        alpha=0.001,
        detectable=0.1,
        passed=passed,
    )


def decided(
    history: list[list[Score]],
    now: list[Score],
    rows: int = 9,
    patience: int = 2,
    gates: tuple[GateCheck, ...] = (),
    gating: GateSpec | None = None,
    tries: int = 0,
) -> Decision:
    return accept(history, now, gates, rows, patience, count_retries(gating or GateSpec(), tries))


def test_a_policy_that_fails_a_gate_is_rolled_back_and_given_up_in_the_end() -> None:
    gates = (gate("harmlessness", True), gate("over_refusal", False))
    actions = [decided([scores(50)], scores(90), gates=gates, tries=tries).action for tries in (0, 1, 2)]
    assert actions == ["roll_back", "roll_back", "give_up"]
    given_up = decided([scores(50)], scores(90), gates=gates, tries=2)
    assert "over_refusal is worse by 30.0%" in given_up.reason
    assert "rolled back 3 times" in given_up.reason
    assert "harmlessness" not in given_up.reason
    assert given_up.figures["over_refusal|start bound"] == -0.2
    assert given_up.figures["harmlessness|start n"] == 100


def test_with_gates_off_the_figures_are_kept_and_the_policy_used() -> None:
    found = decided([scores(50)], scores(90), gates=(gate("honesty", False),), gating=GateSpec(roll_back=False))
    assert (found.action, found.figures["honesty|start change"]) == ("go_on", -0.3)


def test_no_progress_for_as_long_as_patience_lasts_stops() -> None:
    assert decided([scores(50)], scores(50)).action == "go_on"
    decision = decided([scores(50), scores(50)], scores(49))
    assert decision.action == "stop"
    assert "2 iterations" in decision.reason
    assert decided([scores(50), scores(50)], scores(51)).action == "go_on"
    assert decided([scores(50), scores(60), scores(59)], scores(60)).action == "stop"


def test_no_new_row_leaves_the_policy() -> None:
    decision = decided([scores(50), scores(50), scores(50)], scores(50), rows=0, patience=1)
    assert decision.action == "go_on"
    assert "no new row" in decision.reason


def test_scores_that_nobody_could_judge_are_no_progress() -> None:
    blank = [score("harmlessness", 0, 0)]
    assert decided([scores(50)], blank).action == "go_on"
    assert decided([blank], scores(50)).action == "go_on"
    assert decided([[]], []).action == "go_on"
