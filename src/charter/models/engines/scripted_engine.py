"""An engine that answers from a script: for tests, documentation and examples. No model, no network."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from charter.errors import UnsupportedError
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest

Script = Callable[[Request], str] | Mapping[str, str] | Sequence[str]
Grader = Callable[[ScoreRequest], float]


class ScriptedEngine:
    """Answers each request from ``answer``:

    - a function of the request;
    - a mapping from the last message's content to the answer (a prompt that is not in it gets an error completion);
    - a sequence: the n-th request of each ``generate`` gets the n-th text (and starts over after the last).

    ``shuffle`` seeds the order in which completions come (None: as asked). ``fails`` says which requests get an
    error completion. ``score`` answers from ``grader`` (nats). ``calls`` counts the requests answered, scores
    included. Tokens are counted as words.
    """

    def __init__(
        self,
        answer: Script = (),
        identity: str = "scripted",
        *,
        shuffle: int | None = None,
        fails: Callable[[Request], bool] | None = None,
        grader: Grader | None = None,
    ) -> None:
        self._answer, self._identity, self._shuffle = answer, identity, shuffle
        self._fails, self._grader = fails, grader
        self.calls = 0

    @property
    def identity(self) -> str:
        """The name given at the start."""
        return self._identity

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion per request not in ``done``, in the shuffled order."""
        numbered = list(enumerate(requests))
        if self._shuffle is not None:
            random.Random(self._shuffle).shuffle(numbered)
        for place, request in numbered:
            if request.id not in done:
                self.calls += 1
                yield self._complete(place, request)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``. Raises UnsupportedError where there is no grader."""
        if self._grader is None:
            raise UnsupportedError(
                "This scripted engine has no grader.", "Give ScriptedEngine a `grader` to score with."
            )
        for request in requests:
            if request.id not in done:
                self.calls += 1
                words = len(request.completion.split())
                yield LogLikelihood(id=request.id, value=self._grader(request), tokens=words, greedy=False)

    def close(self) -> None:
        """There is nothing to free."""

    def _complete(self, place: int, request: Request) -> Completion:
        asked = sum(len(message.content.split()) for message in request.messages)
        text = None if self._fails is not None and self._fails(request) else self._look_up(place, request)
        if text is None:
            return Completion(id=request.id, text="", stop="error", tokens_in=asked, error="the script gives no answer")
        return Completion(id=request.id, text=text, tokens_in=asked, tokens_out=len(text.split()))

    def _look_up(self, place: int, request: Request) -> str | None:
        if callable(self._answer):
            return self._answer(request)
        if isinstance(self._answer, Mapping):
            return self._answer.get(request.messages[-1].content)
        return self._answer[place % len(self._answer)] if self._answer else None
