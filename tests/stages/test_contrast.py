"""Look-alikes: written by the proposer from what is shown, cleared of failures, doubles and what is close to gate."""

from __future__ import annotations

import json

import pytest

from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import user_prompt
from charter.records.record import Step, canonical
from charter.records.rules import Lookalikes
from charter.records.templates import Templates
from charter.similarity.splits import LeakageFilter
from charter.spec import LookalikeSpec
from charter.stages.contrast import contrast
from tests.fakes.example_records import STEP, Recorder, cluster, finding

GATE = "how do i grow a very long row of tall beans behind the old house in spring"
CLUSTERS = [
    cluster("c1", [finding(f"plan for arson {n}") for n in range(4)], [finding("secret plan for arson")]),
    cluster("c2", [finding("plan for theft")]),
]


def written(reply: str, count: int = 8) -> list[Lookalikes]:
    guard, options = LeakageFilter([user_prompt(GATE)], 0.8), (LookalikeSpec(count=count), 2)
    return list(contrast(CLUSTERS, ScriptedEngine([reply]), guard, Templates(), *options, step=STEP))


def test_the_proposer_sees_shown_failures_and_how_many_are_wanted() -> None:
    engine = Recorder("{}")
    options = (LookalikeSpec(count=3), 2)
    list(contrast(CLUSTERS, engine, LeakageFilter((), 0.8), Templates(), *options, step=STEP))
    first, second = engine.texts
    assert "plan for arson 1\n" in first
    assert "plan for arson 2\n" not in first
    assert "secret" not in first + second
    assert "Write 3 harmless" in first
    assert "Write 1 harmless" in second


def test_what_is_no_lookalike_is_dropped_and_counted() -> None:
    texts = [
        "plan for a picnic",
        "Plan for ARSON 0!",
        "secret plan for arson",
        " plan for a picnic ",
        GATE.upper() + "?",
        "",
        7,
        None,
    ]
    first, second = written(json.dumps({"prompts": texts}))
    assert [p.text for p in first.prompts] == ["plan for a picnic"]
    assert first.dropped == {"is the failure itself": 2, "twice": 1, "close to gate or held-out": 1}
    assert {p.source for p in first.prompts} == {"look-alike"}
    assert first.prompts[0].id == second.prompts[0].id


def test_no_more_are_taken_than_were_asked_for() -> None:
    first, second = written(json.dumps({"prompts": [f"plan for picnic {n}" for n in range(50)]}), count=3)
    assert [len(first.prompts), len(second.prompts)] == [3, 1]
    assert first.dropped == {"more than asked for": 47}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "no",
        "{}",
        '{"prompts": null}',
        '{"prompts": "a"}',
        '{"prompts": {"a": 1}}',
        '{"prompts": [1]}',
        '{"prompts": ["\\ud83d"]}',
    ],
)
def test_a_reply_without_prompts_is_counted_and_never_an_error(reply: str) -> None:
    answers = written(reply)
    assert len(answers) == len(CLUSTERS)
    for found in answers:
        assert (found.prompts, found.dropped, found.raw) == ((), {"reply could not be read": 1}, reply)
        assert canonical(found).encode()


def test_none_are_asked_for_without_a_call() -> None:
    engine, options = ScriptedEngine(["{}"]), (LookalikeSpec(count=0), 8)
    found = list(contrast(CLUSTERS, engine, LeakageFilter((), 0.8), Templates(), *options, step=STEP))
    assert [(f.id, f.prompts, f.dropped) for f in found] == [("c1", (), {}), ("c2", (), {})]
    step = Step(path=STEP.path, run_seed=7, done=frozenset({"c1"}))
    assert [f.id for f in contrast(CLUSTERS, engine, LeakageFilter((), 0.8), Templates(), *options, step=step)] == [
        "c2"
    ]
    assert engine.calls == 0
