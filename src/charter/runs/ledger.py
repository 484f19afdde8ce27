"""An engine as a run lends it: every call is journaled before it is made and after it was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from charter.errors import BudgetError
from charter.ports import Classifying, Engine, Noting, Rendering, Reporting, SupportsDrain
from charter.records.chat import CallProgress, Completion, LogLikelihood, Request, ScoreRequest
from charter.records.record import digest
from charter.runs.ahead_answers import AheadAnswers, AheadWriter
from charter.runs.spending import Price, Spending, Usage
from charter.runs.store import Event, Journal, Seal
from charter.spec import Budget

Purpose = Literal["aligning", "measuring", "target"]
RequestT = TypeVar("RequestT", Request, ScoreRequest)
AnswerT = TypeVar("AnswerT", Completion, LogLikelihood)
CallPlan = dict[tuple[str, str], dict[str, None]]
CallCounts = dict[str, dict[str, int]]
"""Calls by purpose and role."""

_CHUNK = 256
_CHUNK_SHARE = 4
"""Answers are taken down in lines of 256, or of a quarter of what is asked where that is more."""


@dataclass
class StepPlan:
    """What the journal knows of a step that is not sealed.

    Args:
        opening: The event in which it was opened last; None where it was not.
        keys: The calls planned in the part at work, by purpose and role.
        passed: The calls of the parts that are finished.
        parts: How many are finished.
    """

    opening: Event | None = None
    keys: CallPlan = field(default_factory=dict)
    passed: CallCounts = field(default_factory=dict)
    parts: int = 0

    @property
    def part_size(self) -> int | None:
        """How many items its stage is handed at once; None: all of them."""
        return self.opening.get("part") if self.opening else None

    def count_calls(self) -> CallCounts:
        """Calls planned so far."""
        counts = {purpose: dict(roles) for purpose, roles in self.passed.items()}
        for (purpose, role), keys in sorted(self.keys.items()):
            roles = counts.setdefault(purpose, {})
            roles[role] = roles.get(role, 0) + len(keys)
        return counts


class StepHere(threading.local):
    """The step at work in this thread. ``plan`` holds its calls so far; what was planned before a kill is in it too, so
    that planned calls do not depend on kills. ``answers``: those that came before it began."""

    def __init__(self) -> None:
        self.path, self.plan = "", StepPlan()
        self.answers: AheadAnswers | None = None

    def begin(self, path: str, plan: StepPlan, answers: AheadAnswers) -> None:
        """A step begins."""
        self.path, self.plan, self.answers = path, plan, answers

    def end(self) -> None:
        """No step is at work."""
        self.path, self.plan, self.answers = "", StepPlan(), None

    @property
    def ahead(self) -> AheadWriter | None:
        """Where answers are kept in a thread that asks ahead; None in any other."""
        return self.answers if isinstance(self.answers, AheadWriter) else None


@dataclass
class Ledger:
    """The calls of a run. ``budget.calls`` bounds planned oracle calls, aligning and measuring together; its other
    limits bound what was spent. ``watch_call`` is told how far a call is; nothing of it is kept."""

    journal: Journal
    budget: Budget
    spending: Spending
    here: StepHere = field(default_factory=StepHere)
    passed_seals: dict[str, Seal] = field(default_factory=dict)
    watch_call: Callable[[CallProgress], None] | None = None

    def count_planned(self) -> CallCounts:
        """Calls planned in the step at work, by purpose and role."""
        return self.here.plan.count_calls()

    def pass_part(self, part: int) -> None:
        """Takes down that a part of the step at work is finished: the keys of its calls are needed no more."""
        plan = self.here.plan
        plan.passed, plan.keys, plan.parts = self.count_planned(), {}, part + 1
        self.journal.append("passed", durable=False, step=self.here.path, part=part, calls=plan.passed)

    def count_calls(self, purpose: Purpose) -> int:
        """Planned calls of the steps that this process has passed."""
        return sum(sum(seal.calls.get(purpose, {}).values()) for seal in self.passed_seals.values())

    def log_request(self, role: str, purpose: Purpose, keys: Sequence[str], now: int) -> None:
        """Takes down planned calls, of which ``now`` are about to be made. Raises BudgetError where they do not fit."""
        plan = self.here.plan.keys.setdefault((purpose, role), {})
        new = [key for key in dict.fromkeys(keys) if key not in plan]
        if now and (reached := self.spending.find_reached_limit(purpose != "target")) is not None:
            raise reached
        most = self.budget.calls
        if purpose != "target" and most is not None and new:
            here = sum(sum(roles.values()) for kind, roles in self.count_planned().items() if kind != "target")
            spent = self.count_calls("aligning") + self.count_calls("measuring") + here
            if spent + len(new) > most:
                raise BudgetError(
                    f"{self.here.path} needs {len(new)} calls, but {spent} of {most} are spent",
                    "Everything so far is kept. Go on with more: charter resume RUN --set budget.calls=N",
                )
        if new or now:
            self.journal.append("asked", role=role, purpose=purpose, calls=now, ids=new, **self._name_step())
        plan.update(dict.fromkeys(new))

    def log_response(self, role: str, purpose: Purpose, usage: Usage) -> None:
        """Takes down calls that came back."""
        fields = {**vars(usage), "seconds": round(usage.seconds, 3)}
        fields["money"] = None if usage.money is None else round(usage.money, 9)
        self.journal.append("answered", durable=False, role=role, purpose=purpose, **fields, **self._name_step())

    def _name_step(self) -> dict[str, Any]:
        """The step that a line is about; ``ahead``: it has not begun."""
        return {"step": self.here.path} | ({"ahead": True} if self.here.ahead is not None else {})

    def log_note(self, role: str, note: str) -> None:
        """Takes down, once for a role, how its server is asked otherwise."""
        if not any(e["event"] == "noted" and (e["role"], e["note"]) == (role, note) for e in self.journal.events):
            self.journal.append("noted", durable=False, step=self.here.path, role=role, note=note)

    def read_plan(self, step: str) -> StepPlan:
        """What the journal knows of a step since it was opened last."""
        plan = StepPlan()
        for event in self.journal.events:
            if event.get("step") != step:
                continue
            if event["event"] == "opened":
                plan = StepPlan(event)
            elif event["event"] == "asked":
                plan.keys.setdefault((event["purpose"], event["role"]), {}).update(dict.fromkeys(event["ids"]))
            elif event["event"] == "passed":
                plan.passed, plan.keys, plan.parts = event["calls"], {}, event["part"] + 1
        return plan


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
        """What was answered before the step began, then what the engine answers."""
        here, kept = self.ledger.here, frozenset(done)
        by_id = {request.id: request for request in requests}
        left = [request for request in requests if request.id not in kept]
        found = here.answers.find(self.engine, left) if here.answers is not None else {}
        if found:
            self.ledger.log_request(self.role, self.purpose, [_call_key(by_id[id]) for id in found], 0)
            yield from found.values()
            kept |= found.keys()
        if here.ahead is None:
            yield from self._call_engine(requests, kept, ask)
        elif not here.ahead.is_ended:
            here.ahead.watch_engine(self.engine)
            for answer in self._call_engine(requests, kept, ask):
                here.ahead.keep(self.engine, by_id[answer.id], _call_key(by_id[answer.id]), answer)
                yield answer

    def _call_engine(
        self,
        requests: Sequence[RequestT],
        kept: Collection[str],
        ask: Callable[[Sequence[RequestT], Collection[str]], Iterator[AnswerT]],
    ) -> Iterator[AnswerT]:
        keys = {request.id: _call_key(request) for request in requests}
        left = {request.id for request in requests} - frozenset(kept)
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
                if usage.calls >= max(_CHUNK, now // _CHUNK_SHARE):
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
