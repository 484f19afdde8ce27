"""Engines of the user's own, named in a spec."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from charter.errors import EngineError, SpecError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import SupportsDrain
from charter.records.chat import Completion, Request
from charter.spec import OracleSpec
from charter.wiring import program_engines, role_models
from tests.fakes.tiny_models import ask

ready = ScriptedEngine(["yes"], "ready")
lacking = SimpleNamespace(identity="half an engine")


def made() -> ScriptedEngine:
    """An engine."""
    return ScriptedEngine(["yes"], "made")


def nothing() -> None:
    """No engine."""


class Own(ScriptedEngine):
    """An engine of one's own."""

    def __init__(self) -> None:
        super().__init__(["yes"], "own")


@pytest.mark.parametrize("name", ["ready", "made", "Own"])
def test_an_engine_or_what_gives_one(name: str) -> None:
    engine = role_models.connect_oracle(OracleSpec(model=f"python:tests.wiring.test_python_engines:{name}"), None)
    assert engine.identity == name.lower()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("python:tests.wiring.test_python_engines:absent", "has no attribute"),
        ("python:tests.no_such_module:x", "No module named"),
        ("python:tests.wiring.test_python_engines", "cannot be had"),
        ("python:", "cannot be had"),
        ("python:tests.wiring.test_python_engines:nothing", "gives no engine"),
        ("python:tests.wiring.test_python_engines:lacking", "gives no engine"),
    ],
)
def test_what_is_no_engine_is_an_error_with_a_cure(model: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        role_models.connect_oracle(OracleSpec(model=model), None)
    assert "python" in caught.value.cure or "identity" in caught.value.cure


class Faulty:
    """Goes wrong in one way or another."""

    identity = "faulty"

    def __init__(self, how: str = "") -> None:
        self.how = how

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Any]:
        yield Completion(id=requests[0].id, text="<think>hm</think>first")
        if self.how == "raises":
            raise KeyError("a slip of its own")
        yield "text" if self.how == "text" else Completion(id="nobody asked", text="x")

    def score(self, requests: Sequence[Any], done: Collection[str] = ()) -> Iterator[Any]:
        raise NotImplementedError

    def close(self) -> None:
        raise OSError("cannot close")

    def drain(self) -> None:
        """Nothing."""


raising, texting, inventing = Faulty("raises"), Faulty("text"), Faulty("invents")


def unbuilt() -> Faulty:
    """Fails while it is made."""
    raise RuntimeError("no weights here")


@pytest.mark.parametrize(
    ("name", "says"),
    [("raising", "KeyError: 'a slip of its own'"), ("texting", "'str'"), ("inventing", "'nobody asked'")],
)
def test_whatever_a_program_raises_is_an_engine_error_that_names_it(name: str, says: str) -> None:
    model, kept = f"python:tests.wiring.test_python_engines:{name}", list[Completion]()
    engine = program_engines.load_engine(model)
    with pytest.raises(EngineError, match=says) as caught:
        kept.extend(engine.generate([ask("a", "x"), ask("b", "y")]))
    assert model in str(caught.value)
    assert [(c.text, c.thought) for c in kept] == [("first", "hm")]
    with pytest.raises(EngineError, match="NotImplementedError"):
        list(engine.score([]))
    with pytest.raises(EngineError, match="cannot close"):
        engine.close()
    assert isinstance(engine, SupportsDrain)
    assert not isinstance(program_engines.load_engine("python:tests.wiring.test_python_engines:ready"), SupportsDrain)


def test_a_program_that_cannot_be_made_is_named() -> None:
    with pytest.raises(EngineError, match="unbuilt failed: RuntimeError: no weights here"):
        program_engines.load_engine("python:tests.wiring.test_python_engines:unbuilt")


def test_offline_reaches_every_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    from charter.errors import CharterError

    asked: dict[str, Any] = {"model": "openai/some"}
    with pytest.raises(CharterError, match="offline"):
        role_models.connect_oracle(OracleSpec(**asked), None, offline=True)
