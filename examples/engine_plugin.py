"""An engine of your own: it asks whatever you have, here a function.

oracle: {model: "python:examples.engine_plugin:EchoEngine"}
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from charter.errors import UnsupportedError
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest


class EchoEngine:
    """Answers with the last words that it was told."""

    identity = "echo 1"

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion for each request that is not answered yet."""
        for request in requests:
            if request.id not in done:
                words = request.messages[-1].content.split()
                yield Completion(id=request.id, text=" ".join(words[-20:]), tokens_in=len(words), tokens_out=20)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """An engine that gives no log-likelihoods says so."""
        raise UnsupportedError("The echo engine gives no log-likelihoods.", "Name another model.")

    def close(self) -> None:
        """There is nothing to free."""
