"""Engines of the user's own, named in a spec."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from charter.errors import SpecError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.spec import OracleSpec
from charter.wiring import role_models

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
    engine = role_models.connect_oracle(OracleSpec(model=f"python:tests.test_programs:{name}"), None)
    assert engine.identity == name.lower()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("python:tests.test_programs:absent", "has no attribute"),
        ("python:tests.no_such_module:x", "No module named"),
        ("python:tests.test_programs", "cannot be had"),
        ("python:", "cannot be had"),
        ("python:tests.test_programs:nothing", "gives no engine"),
        ("python:tests.test_programs:lacking", "gives no engine"),
    ],
)
def test_what_is_no_engine_is_an_error_with_a_cure(model: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        role_models.connect_oracle(OracleSpec(model=model), None)
    assert "python" in caught.value.cure or "identity" in caught.value.cure


def test_offline_reaches_every_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    from charter.errors import CharterError

    asked: dict[str, Any] = {"model": "openai/some"}
    with pytest.raises(CharterError, match="offline"):
        role_models.connect_oracle(OracleSpec(**asked), None, offline=True)
