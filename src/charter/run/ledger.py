"""An engine as a run lends it: every call is journaled before it is made and after it was answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from charter.errors import BudgetError
from charter.ports import Classifying, Engine, Noting, Rendering, Reporting, SupportsDrain
from charter.records.chat import CallProgress, Completion, LogLikelihood, Request, ScoreRequest
from charter.records.record import digest
from charter.run.spending import Price, Spending, Usage
from charter.run.store import Event, Journal, Seal
from charter.spec import Budget

Purpose = Literal["aligning", "measuring", "target"]
RequestT = TypeVar("RequestT", Request, ScoreRequest)
AnswerT = TypeVar("AnswerT", Completion, LogLikelihood)
CallPlan = dict[tuple[str, str], dict[str, None]]

_CHUNK = 256


@dataclass
class Ledger:
    """The calls of a run. ``plan`` holds the keys of the calls planned in the step at work, by purpose and role; what
    was planned before a kill is in it too, so that planned calls do not depend on kills. ``budget.calls`` bounds
    planned oracle calls, aligning and measuring together; its other limits bound what was spent. ``watch_call`` is told
    how far a call is; nothing of it is kept."""

    journal: Journal
    budget: Budget
    spending: Spending
    step: str = ""
    plan: CallPlan = field(default_factory=dict)
    passed_seals: dict[str, Seal] = field(default_factory=dict)
    watch_call: Callable[[CallProgress], None] | None = None

    def count_planned(self) -> dict[str, dict[str, int]]:
        """Calls planned in the step at work, by purpose and role."""
        counts: dict[str, dict[str, int]] = {}
        for (purpose, role), keys in sorted(self.plan.items()):
            counts.setdefault(purpose, {})[role] = len(keys)
        return counts

    def count_calls(self, purpose: Purpose) -> int:
        """Planned calls of the steps that this process has passed."""
        return sum(sum(seal.calls.get(purpose, {}).values()) for seal in self.passed_seals.values())

    def log_request(self, role: str, purpose: Purpose, keys: Sequence[str], now: int) -> None:
        """Takes down planned calls, of which ``now`` are about to be made. Raises BudgetError where they do not fit."""
        plan = self.plan.setdefault((purpose, role), {})
        new = [key for key in dict.fromkeys(keys) if key not in plan]
        if now and (reached := self.spending.find_reached_limit(purpose != "target")) is not None:
            raise reached
        most = self.budget.calls
        if purpose != "target" and most is not None and new:
            here = sum(len(kept) for (kind, _), kept in self.plan.items() if kind != "target")
            spent = self.count_calls("aligning") + self.count_calls("measuring") + here
            if spent + len(new) > most:
                raise BudgetError(
                    f"{self.step} needs {len(new)} calls, but {spent} of {most} are spent",
                    "Everything so far is kept. Go on with more: charter resume RUN --set budget.calls=N",
                )
        if new or now:
            self.journal.append("asked", step=self.step, role=role, purpose=purpose, calls=now, ids=new)
        plan.update(dict.fromkeys(new))

    def log_response(self, role: str, purpose: Purpose, usage: Usage) -> None:
        """Takes down calls that came back."""
        fields = {**vars(usage), "seconds": round(usage.seconds, 3)}
        fields["money"] = None if usage.money is None else round(usage.money, 9)
        self.journal.append("answered", durable=False, step=self.step, role=role, purpose=purpose, **fields)

    def log_note(self, role: str, note: str) -> None:
        """Takes down, once for a role, how its server is asked otherwise."""
        if not any(e["event"] == "noted" and (e["role"], e["note"]) == (role, note) for e in self.journal.events):
            self.journal.append("noted", durable=False, step=self.step, role=role, note=note)

    def last_opening(self, step: str) -> tuple[Event | None, CallPlan]:
        """The event in which a step was opened last, and the calls planned in it since."""
        opening: Event | None = None
        plan: CallPlan = {}
        for event in self.journal.events:
            if event["event"] == "opened" and event["step"] == step:
                opening, plan = event, {}
            elif event["event"] == "asked" and event["step"] == step:
                plan.setdefault((event["purpose"], event["role"]), {}).update(dict.fromkeys(event["ids"]))
        return opening, plan


@dataclass(frozen=True)
class MeteredEngine:
    """An Engine that keeps its ledger. It does not touch the engine where nothing is left to ask. ``price``: of a
    million tokens read and written; None where it is not known."""

    engine: Engine
    ledger: Ledger
    role: str
    purpose: Purpose
    price: Price | None = None

    @property
    def identity(self) -> str:
        """The engine's own."""
        return self.engine.identity

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """As the engine does."""
        return self._ask(requests, done, self.engine.generate)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """As the engine does."""
        return self._ask(requests, done, self.engine.score)

    @property
    def renders(self) -> bool:
        """Whether the engine shows what its model reads."""
        return isinstance(self.engine, Rendering) and self.engine.renders

    def render(self, request: Request | ScoreRequest) -> str:
        """As the engine does; nothing is asked, so that it is no call."""
        return self.engine.render(request) if isinstance(self.engine, Rendering) else ""

    def list_labels(self, rubric: str) -> Sequence[str]:
        """As the engine does; none where it is no classifier."""
        return self.engine.list_labels(rubric) if isinstance(self.engine, Classifying) else ()

    def close(self) -> None:
        """As the engine does."""
        self.engine.close()

    def _ask(
        self,
        requests: Sequence[RequestT],
        done: Collection[str],
        ask: Callable[[Sequence[RequestT], Collection[str]], Iterator[AnswerT]],
    ) -> Iterator[AnswerT]:
        kept = frozenset(done)
        keys = {request.id: _call_key(request) for request in requests}
        left = {request.id for request in requests} - kept
        now = len({keys[id] for id in left})
        self.ledger.log_request(self.role, self.purpose, list(keys.values()), now)
        if not now:
            return
        usage, reached, counted = Usage(), None, set[str]()
        if isinstance(self.engine, Reporting):
            self.engine.report_progress(self.ledger.watch_call)
        try:
            clock = time.monotonic()
            for answer in ask(requests, kept):
                usage.seconds += time.monotonic() - clock
                usage.add(answer, self.price, first=keys.get(answer.id) not in counted)
                counted.add(keys.get(answer.id, answer.id))
                left.discard(answer.id)
                yield answer
                reached = reached or self._count_answer(answer)
                if reached is not None and left and not isinstance(self.engine, SupportsDrain):
                    break
                if usage.calls >= _CHUNK:
                    usage, full = Usage(), usage
                    self.ledger.log_response(self.role, self.purpose, full)
                clock = time.monotonic()
        finally:
            if usage.calls:
                self.ledger.log_response(self.role, self.purpose, usage)
            for note in self.engine.notes if isinstance(self.engine, Noting) else ():
                self.ledger.log_note(self.role, note)
        if reached is not None and left:
            raise reached

    def _count_answer(self, answer: Completion | LogLikelihood) -> BudgetError | None:
        """Takes down what an answer took; the limit that is reached with it. What is under way then still comes."""
        if self.purpose != "target":
            self.ledger.spending.add(answer, self.price)
        reached = self.ledger.spending.find_reached_limit(self.purpose != "target")
        if reached is not None and isinstance(self.engine, SupportsDrain):
            self.engine.drain()
        return reached


def _call_key(request: Request | ScoreRequest) -> str:
    """The same for all labels that one call weighs; of any other request its own."""
    if isinstance(request, ScoreRequest) and request.label:
        return f"{request.call_id}#{digest(request.messages)[:8]}"
    return f"{request.id}#{digest(request)[:8]}"
