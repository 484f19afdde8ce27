"""A policy is tried again as often as it may be, and no longer than it must be."""

from __future__ import annotations

from typing import Literal

import pytest

from charter.methods.policy_state import PolicyState
from charter.methods.policy_trial import PolicyTrial, count_retries, try_until_decided
from charter.records.decisions import Decision, Retries
from charter.records.measurements import Measurement
from charter.spec import GateSpec
from tests.fakes.example_records import START, row, score

Action = Literal["go_on", "roll_back", "give_up", "stop"]


@pytest.mark.parametrize(
    ("actions", "tried"),
    [
        (["go_on"], [0]),
        (["stop", "go_on"], [0]),
        (["roll_back", "go_on"], [0, 1]),
        (["roll_back", "roll_back", "give_up"], [0, 1, 2]),
        (["give_up", "go_on"], [0]),
        (["roll_back"] * 9, [0, 1, 2]),
    ],
)
def test_a_policy_is_tried_until_it_is_decided(actions: list[Action], tried: list[int]) -> None:
    seen = []

    def attempt(tries: int) -> tuple[str, Decision]:
        seen.append(tries)
        return f"policy {tries}", Decision(id="decision", action=actions[tries], reason="")

    result, decision = try_until_decided(attempt, GateSpec(retries=2))
    assert seen == tried
    assert (result, decision.action) == (f"policy {tried[-1]}", actions[tried[-1]])


def test_an_accepted_policy_joins_the_state_and_the_start_stays_a_reference() -> None:
    first, last, new = ([Measurement(id=name, outcomes={})] for name in ("first", "last", "new"))
    state = PolicyState(policy=START, history=([],), gate_measurements=(first, last), examples=(row("a"),))
    policy, scores = START.model_copy(update={"digest": "new"}), [score("harmlessness", 9, 10)]
    trial = PolicyTrial(policy, (row("b"),), scores, new, Decision(id="decision", action="go_on", reason=""))
    after = trial.accept_into(state)
    assert (after.policy, after.history, after.gate_measurements) == (policy, ([], scores), (first, new))
    assert [example.id for example in after.examples] == ["a", "b"]
    assert not trial.rejected


def test_retries_are_those_of_the_gates() -> None:
    assert count_retries(GateSpec(roll_back=False, retries=1), 1) == Retries(roll_back=False, limit=1, used=1)


def test_replay_is_counted_over_old_and_new_rows() -> None:
    state = PolicyState(policy=START, examples=(row("a"), row("b")), replayed=(row("r"),))
    assert state.missing_replay(1.5, fresh=2) == 5
