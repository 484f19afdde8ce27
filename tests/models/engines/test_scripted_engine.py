"""The scripted engine: the public stand-in for a model."""

from __future__ import annotations

import pytest

from charter.errors import EngineError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Message, ScoreRequest
from tests.fakes.tiny_models import ask

ASKED = [ask("a", "one"), ask("b", "two"), ask("c", "three")]


def texts(engine: ScriptedEngine) -> dict[str, str]:
    return {completion.id: completion.text for completion in engine.generate(ASKED)}


def test_answers_from_a_function_a_mapping_or_a_sequence() -> None:
    assert texts(ScriptedEngine(lambda request: request.id * 2)) == {"a": "aa", "b": "bb", "c": "cc"}
    assert texts(ScriptedEngine({"one": "1", "two": "2", "three": "3"})) == {"a": "1", "b": "2", "c": "3"}
    assert texts(ScriptedEngine(["x", "y"])) == {"a": "x", "b": "y", "c": "x"}


def test_what_the_script_lacks_is_an_error_completion() -> None:
    found = {completion.id: completion for completion in ScriptedEngine({"one": "1"}).generate(ASKED)}
    assert found["a"].text == "1"
    assert (found["b"].text, found["b"].stop) == ("", "error")
    assert found["b"].error


def test_shuffling_changes_the_order_alone() -> None:
    plain, mixed = ScriptedEngine(["x", "y", "z"]), ScriptedEngine(["x", "y", "z"], shuffle=1)
    assert texts(plain) == texts(mixed)
    orders = {tuple(c.id for c in ScriptedEngine("xyz", shuffle=seed).generate(ASKED)) for seed in range(20)}
    assert len(orders) > 1


def test_errs_when_told_and_counts_calls() -> None:
    engine = ScriptedEngine(["x"], fails=lambda request: request.id == "b")
    errors = [completion.id for completion in engine.generate(ASKED, done={"c"}) if completion.error]
    assert errors == ["b"]
    assert engine.calls == 2


def test_scores_with_a_grader_only() -> None:
    asked = [ScoreRequest(id="s", messages=(Message(role="user", content="q"),), completion="two words")]
    (found,) = ScriptedEngine(grader=lambda request: -len(request.completion)).score(asked)
    assert (found.value, found.tokens) == (-9.0, 2)
    with pytest.raises(EngineError, match="grader"):
        list(ScriptedEngine().score(asked))
