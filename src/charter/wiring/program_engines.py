"""An engine of the user's own (``python:``): each of its answers belongs to a request, and keeps thoughts apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from charter.models.engines.replies import split_thought
from charter.ports import Engine, SupportsDrain
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from charter.wiring.plugins import load_object, translate_failures

A = TypeVar("A", Completion, LogLikelihood)


class Program:
    """The engine that ``name`` names, asked as it is."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name, self.engine = name, engine

    @property
    def identity(self) -> str:
        """The engine's own."""
        return self.engine.identity

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """As the engine does; a thought in an answer is kept apart. Raises EngineError."""
        for answer in self._answers(self.engine.generate(requests, done), requests, Completion):
            thought, text = split_thought(answer.text)
            yield answer.model_copy(update={"text": text, "thought": thought}) if thought else answer

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """As the engine does. Raises EngineError."""
        return self._answers(self.engine.score(requests, done), requests, LogLikelihood)

    def close(self) -> None:
        """As the engine does. Raises EngineError."""
        self.engine.close()

    def _answers(self, answers: Iterator[A], requests: Sequence[Request | ScoreRequest], kind: type[A]) -> Iterator[A]:
        asked = {request.id for request in requests}
        with translate_failures(self.name):
            for answer in answers:
                if not isinstance(answer, kind) or answer.id not in asked:
                    given = answer.id if isinstance(answer, kind) else type(answer).__name__
                    raise TypeError(f"it gave {given!r}, which is no {kind.__name__} with the id of a request")
                yield answer


class DrainingProgram(Program):
    """One that can be told to ask for no more."""

    def drain(self) -> None:
        """As the engine does."""
        assert isinstance(self.engine, SupportsDrain)
        self.engine.drain()


def load_engine(model: str) -> Engine:
    """The engine that ``python:package.module:Object`` names. Raises SpecError."""
    engine = load_object(model, Engine)
    return (DrainingProgram if isinstance(engine, SupportsDrain) else Program)(model, engine)
