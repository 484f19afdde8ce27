"""A review queue is drawn from a run: which records become items, what raters go by, and how many label each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.records.chat import Exchange
from charter.records.preferences import ResponsePair
from charter.records.reviews import QUEUE_NAME, UNSURE, ReviewItem, ReviewKind, ReviewQueue
from charter.records.revisions import Revision
from charter.records.verdicts import Finding
from charter.reports.provenance import RunGraph
from charter.runs import store
from charter.runs.reader import RunReader
from charter.runs.stored_queues import list_queues, write_queue
from charter.stages import review_draw
from charter.stages.review_sheet import build_menu, write_guideline

if TYPE_CHECKING:
    from charter.judging.rubrics import Rubric

_HELDOUT = "heldout_exchanges"


@dataclass(frozen=True)
class QueueRequest:
    """What a queue is to be. ``count``: at most so many items (None: all); ``rubric``: a name or a file, empty: the
    run's own; ``steps``: where the records come from, empty: as ``create_queue`` says; ``guideline``: another text for
    raters than the one that the rubric gives; ``seed``: None is the run's."""

    kind: ReviewKind
    count: int | None = None
    rubric: str = ""
    raters: int = 1
    steps: tuple[str, ...] = ()
    name: str = ""
    guideline: str = ""
    seed: int | None = None


def create_queue(directory: Path, request: QueueRequest) -> tuple[ReviewQueue, int]:
    """Draws a queue and seals it in the run; the queue, and how many items it holds.

    Without ``steps`` these are drawn from: of exchanges the last held-out answers, else the last ones; of pairs those
    that the run compared, else the first and the last held-out answers; of revisions all of them; of rules the latest
    constitution.

    Raises SpecError where the run has nothing of the kind, StoreError where the name is taken, LockedError while a
    process is at work in the run, DamagedError."""
    reading = RunReader(directory)
    name = request.name or f"q{len(list_queues(reading)) + 1}"
    if not re.fullmatch(QUEUE_NAME, name):
        raise SpecError(f"{name!r:.60} is no name of a queue", cure="Use a-z, 0-9, - and _, at most 40 of them.")
    if request.raters < 1 or (request.count is not None and request.count < 1):
        raise SpecError("a queue needs one item and one rater at least", cure="Give --n and --raters of 1 or more.")
    rubric = _load_rubric(reading, request.rubric) if request.kind == "exchanges" else None
    menu = build_menu(request.kind, rubric)
    if UNSURE in menu:
        raise SpecError(f"the rubric has a label {UNSURE!r}, which is kept for raters", cure="Call it otherwise.")
    graph = RunGraph(reading)
    items, steps = _collect_items(graph, request)
    if not items:
        steps_said = ", ".join(request.steps) or "this run"
        raise SpecError(
            f"{steps_said} holds no {request.kind} to review",
            cure=f"Name other steps with --step; the run has: {', '.join(graph.step_types)}",
        )
    seed = int(reading.events[0]["seed"]) if request.seed is None else request.seed
    drawn = review_draw.draw_items(items, request.count, seed)
    guideline = request.guideline or write_guideline(request.kind, rubric)
    queue = ReviewQueue(
        id=name,
        kind=request.kind,
        rubric=rubric.identity if rubric else "",
        menu=menu,
        outcomes=dict(rubric.outcomes) if rubric else {},
        raters=request.raters,
        seed=seed,
        population=len(items),
        guideline=store.sha256(guideline.encode()),
    )
    seals = {step: reading.seals[step] for step in steps if step in reading.seals}
    write_queue(directory, queue, drawn, guideline, seals)
    return queue, len(drawn)


def read_guideline(path: Path) -> str:
    """A guideline's text from a file. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", cure="Give the path of a UTF-8 file.") from error
    if not text.strip():
        raise SpecError(f"{path} is empty", cure="Write the guideline into it.")
    return text


def _load_rubric(reading: RunReader, name: str) -> Rubric:
    from charter.wiring.role_models import load_rubric

    judging = reading.spec.options.judge
    given = {"rubric": name, "policy": ""} if name else {}
    return load_rubric(judging.model_copy(update={**given, "read": "rationale"}))


def _collect_items(graph: RunGraph, request: QueueRequest) -> tuple[list[ReviewItem], list[str]]:
    """Every item that may be drawn, and the steps that they come from. Raises SpecError where a step holds other
    records."""
    steps = list(request.steps)
    if missing := [step for step in steps if step not in graph.step_types]:
        cure = f"The run has: {', '.join(graph.step_types) or 'no finished step'}"
        raise SpecError(f"no finished step is called {missing[0]!r:.60}", cure=cure)
    if request.kind == "rules":
        rules = [ballot.asked for ballot in graph.reading.settlement.ballots.values()]
        return review_draw.make_rule_items("constitution", rules), []
    if request.kind == "exchanges":
        return _collect_exchanges(graph, steps)
    if request.kind == "revisions":
        return _collect_revisions(graph, steps)
    return _collect_pairs(graph, steps)


def _collect_exchanges(graph: RunGraph, steps: list[str]) -> tuple[list[ReviewItem], list[str]]:
    if not steps:
        answered = _steps_of_type(graph, "Exchange")
        steps = ([step for step in answered if step.endswith(_HELDOUT)] or answered)[-1:]
    items = [item for step in steps for item in review_draw.make_exchange_items(step, _read_answers(graph, step))]
    return items, steps


def _collect_pairs(graph: RunGraph, steps: list[str]) -> tuple[list[ReviewItem], list[str]]:
    compared = [s for s in steps or _steps_of_type(graph, "ResponsePair")[-1:] if graph.step_types[s] == "ResponsePair"]
    if compared:
        read = {step: graph.reading.records(step, ResponsePair) for step in compared}
        return [i for step, pairs in read.items() for i in review_draw.make_response_pair_items(step, pairs)], compared
    if not steps:
        heldout = [step for step in _steps_of_type(graph, "Exchange") if step.endswith(_HELDOUT)]
        steps = [heldout[0], heldout[-1]] if len(heldout) > 1 else []
    if len(steps) != 2:
        raise SpecError(
            "pairs need two steps that answered the same prompts",
            cure="Give --step twice, e.g. --step 000/heldout_exchanges --step final/heldout_exchanges",
        )
    first, second = steps
    return review_draw.make_pair_items(first, _read_answers(graph, first), second, _read_answers(graph, second)), steps


def _collect_revisions(graph: RunGraph, steps: list[str]) -> tuple[list[ReviewItem], list[str]]:
    items, used = list[ReviewItem](), list[str]()
    for step in steps or [s for s in _steps_of_type(graph, "Revision") if s.endswith("/revisions")]:
        before = f"{step.split('/')[0]}/findings"
        if graph.step_types[step] != "Revision" or graph.step_types.get(before) != "Finding":
            raise SpecError(f"{step} holds no revisions of findings", cure="Name a step such as 001/revisions.")
        findings, revisions = graph.reading.records(before, Finding), graph.reading.records(step, Revision)
        items += review_draw.make_revision_items(before, findings, step, revisions)
        used += [before, step]
    return items, used


def _read_answers(graph: RunGraph, step: str) -> Sequence[Exchange]:
    """The answers of a step. Raises SpecError where it holds none."""
    kind = graph.step_types[step]
    if kind == "Exchange":
        return graph.reading.records(step, Exchange)
    if kind == "Revision":
        return [revision.exchange for revision in graph.reading.records(step, Revision)]
    if kind == "Finding":
        return [finding.exchange for finding in graph.reading.records(step, Finding)]
    known = ", ".join(_steps_of_type(graph, "Exchange")) or "none"
    raise SpecError(f"{step} holds {kind} records, and no answers", cure=f"Steps with answers are: {known}")


def _steps_of_type(graph: RunGraph, kind: str) -> list[str]:
    return [step for step, held in graph.step_types.items() if held == kind]
