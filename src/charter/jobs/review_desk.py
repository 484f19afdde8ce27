"""Where people review: items are taken, labelled, passed over and settled, by several people and processes at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from charter.errors import DamagedError, SpecError, StaleError, StoreError
from charter.records.reviews import UNSURE, ItemSettlement, QueueProgress, ReviewItem, ReviewLabel
from charter.runs import store
from charter.runs.reader import RunReader
from charter.runs.stored_queues import list_queues, read_queue
from charter.stages.review_board import LEASE, ReviewBoard
from charter.stages.review_sheet import SheetPart, show_item

LONGEST_NAME, LONGEST_TEXT = 80, 100_000
"""Characters of a rater's name or role, and of a comment or a corrected answer."""


@dataclass(frozen=True)
class Rater:
    """Who labels: a name, and a role where one is told."""

    name: str
    role: str = ""


@dataclass(frozen=True)
class Answer:
    """What a rater says of an item; ``label`` None: unsure. ``source``: the file that it was imported from."""

    item: str
    label: str | None
    comment: str = ""
    corrected: str = ""
    source: str = ""


class ReviewDesk:
    """One queue, opened to work on. Every method sees what other processes did meanwhile. ``clock`` gives POSIX
    seconds. Raises StoreError where there is no such queue, DamagedError."""

    def __init__(self, directory: Path | str, queue: str, clock: Callable[[], float] = time.time) -> None:
        self.directory, self._clock = Path(directory), clock
        stored = read_queue(self.directory, queue)
        self.queue, self.guideline = stored.queue, stored.guideline
        self.items = {item.id: item for item in stored.items}
        self._board = ReviewBoard(stored.queue, tuple(self.items))
        self._log = store.ReviewLog(self.directory, queue)

    def __enter__(self) -> ReviewDesk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    def read_board(self) -> ReviewBoard:
        """The state of the queue as it is now. Raises DamagedError."""
        for event in self._log.read_new():
            if fault := self._board.add(event):
                place = f"{self.directory / store.review_log_name(self.queue.id)}, line {event['n']}"
                raise DamagedError(f"{place}: {fault}", store.RESTORE_CURE)
        return self._board

    def show_item(self, item: str) -> list[SheetPart]:
        """The texts of an item as a rater sees them: neither step nor model is named. Raises StoreError."""
        if item not in self.items:
            raise StoreError(f"the queue {self.queue.id} has no item {item!r:.40}", "Take the next item.")
        return show_item(self.items[item])

    def take_item(self, rater: Rater) -> ReviewItem | None:
        """The next item for a rater, who has it for half an hour; None where nothing is left or free."""
        require_name(rater)
        with self._deciding() as board:
            now = self._clock()
            item = board.choose_item(rater.name, now)
            if item is None:
                return None
            if not board.is_reserved(item, rater.name, now):
                self._write("reserved", item=item, rater=rater.name, until=now + LEASE)
        return self.items[item]

    def submit_label(self, rater: Rater, answer: Answer) -> ReviewLabel:
        """Takes down what a rater says of an item, for good. Raises SpecError where the label is not on the menu, or
        the item has its raters or was settled."""
        return self.submit_labels([(rater, answer)])[0]

    def submit_labels(self, given: Sequence[tuple[Rater, Answer]]) -> list[ReviewLabel]:
        """The same for several: all are checked before any is taken down. What a rater said before in the same words is
        not taken down again, so that a call that a kill ended can be made again. Raises SpecError with every fault."""
        with self._deciding() as board:
            faults = self._find_faults(board, given)
            if faults:
                cure = "Mend these; nothing was taken down."
                raise SpecError("not every label can be taken", tuple(faults), cure)
            for rater, answer in given:
                if not _says_again(board.labels[answer.item].get(rater.name), answer):
                    texts = {"comment": answer.comment, "corrected": answer.corrected, "source": answer.source}
                    said = {"item": answer.item, "rater": rater.name, "role": rater.role, "label": answer.label}
                    self._write("labelled", **said, **texts)
            return [board.labels[answer.item][rater.name] for rater, answer in given]

    def check_labels(self, given: Sequence[tuple[Rater, Answer]]) -> list[str]:
        """Why these could not all be taken down now, each reason with its source; none where they could."""
        return self._find_faults(self.read_board(), given)

    def pass_item(self, rater: Rater, item: str) -> None:
        """Passes an item over: it is free for others, and comes last for this rater. Raises SpecError."""
        require_name(rater)
        with self._deciding() as board:
            if fault := board.refuse_label(item, rater.name, self._clock()):
                raise SpecError(fault, cure="Take the next item.")
            self._write("passed", item=item, rater=rater.name)

    def settle_item(self, by: Rater, item: str, label: str, note: str = "", seen: str | None = None) -> ItemSettlement:
        """Decides about an item that has all its raters, by name; the raters' labels stay. ``seen``: the id of the
        settlement that was shown, empty where there was none; None: it is not compared. Raises SpecError, and
        StaleError where somebody settled the item meanwhile."""
        require_name(by)
        with self._deciding() as board:
            last = board.settled.get(item)
            if seen is not None and seen != (last.id if last else ""):
                raise StaleError(f"{item} was settled meanwhile", "Read the decision as it is now, and decide again.")
            fault = find_text_fault(self.queue.menu, label, note) or ("" if label != UNSURE else "settle by a label")
            if item not in self.items:
                fault = f"the queue has no item {item!r:.40}"
            elif not board.is_complete(item):
                fault = f"{item} has {len(board.labels[item])} of its {self.queue.raters} raters"
            if fault:
                raise SpecError(fault, cure="See what is to be settled: charter review agree RUN QUEUE")
            self._write("settled", item=item, by=by.name, role=by.role, label=label, note=note)
            return board.settled[item]

    def measure_progress(self) -> QueueProgress:
        """How far the queue is."""
        board = self.read_board()
        said = [label for labels in board.labels.values() for label in labels.values()]
        return QueueProgress(
            queue=self.queue,
            items=len(self.items),
            complete=sum(board.is_complete(item) for item in self.items),
            labels=dict(Counter(label.rater for label in said)),
            unsure=sum(label.label is None for label in said),
            skipped=len(board.passed),
            to_adjudicate=tuple(board.list_disputed()),
            settled=len(board.settled),
            tip=self._log.tip,
        )

    @contextmanager
    def _deciding(self) -> Iterator[ReviewBoard]:
        """The state of the queue while no other process can change it."""
        with self._log.lock():
            yield self.read_board()

    def _write(self, event: str, **fields: Any) -> None:
        self._board.add(self._log.append(event, **fields))

    def _find_faults(self, board: ReviewBoard, given: Sequence[tuple[Rater, Answer]]) -> list[str]:
        faults, coming = list[str](), Counter[str]()
        twice = Counter((rater.name, answer.item) for rater, answer in given)
        for rater, answer in given:
            word = UNSURE if answer.label is None else answer.label
            fault = find_name_fault(rater) or board.refuse_label(answer.item, rater.name, self._clock())
            fault = fault or find_text_fault(self.queue.menu, word, answer.comment, answer.corrected)
            if twice[rater.name, answer.item] > 1:
                fault = fault or f"{rater.name} says something of {answer.item} twice"
            if not fault and rater.name not in board.labels[answer.item]:
                coming[answer.item] += 1
                if len(board.labels[answer.item]) + coming[answer.item] > self.queue.raters:
                    fault = f"{answer.item} would have more than its {self.queue.raters} raters"
            faults += [f"{answer.source}: {fault}" if answer.source else fault] if fault else []
        return faults


def find_name_fault(rater: Rater) -> str:
    """Why a name or role cannot be taken down; empty where it can."""
    for what, text in (("name", rater.name), ("role", rater.role)):
        if len(text) > LONGEST_NAME or not text.isprintable():
            return f"a {what} has at most {LONGEST_NAME} characters, and none that steer a terminal"
    return "" if rater.name.strip() and rater.name == rater.name.strip() else "a rater needs a name"


def require_name(rater: Rater) -> None:
    """Raises SpecError where a name or role cannot be taken down."""
    if fault := find_name_fault(rater):
        raise SpecError(fault, cure="Say who you are: --rater NAME")


def find_text_fault(menu: Sequence[str] | dict[str, str], label: str, *texts: str) -> str:
    """Why what was said cannot be taken down; empty where it can."""
    if label != UNSURE and label not in menu:
        return f"the label {label!r:.60} is not on the menu: {', '.join(menu)}, {UNSURE}"
    for text in texts:
        if len(text) > LONGEST_TEXT:
            return f"a text has at most {LONGEST_TEXT:,} characters"
        if text.encode("utf-8", "replace").decode() != text:
            return "a text holds half a character"
    return ""


def list_progress(directory: Path) -> list[QueueProgress]:
    """How far each queue of a run is. Raises StoreError, DamagedError."""
    found = []
    for name in list_queues(RunReader(directory)):
        with ReviewDesk(directory, name) as desk:
            found.append(desk.measure_progress())
    return found


def find_queue(directory: Path, name: str = "") -> str:
    """The queue of that name, or the only one. Raises SpecError where that is not clear."""
    names = list_queues(RunReader(directory))
    if name:
        return name
    if len(names) == 1:
        return names[0]
    cure = f"Name one: {', '.join(names)}" if names else f"Make one: charter review create {directory} --kind exchanges"
    raise SpecError(f"{directory} has {len(names)} review queues", cure=cure)


def _says_again(before: ReviewLabel | None, answer: Answer) -> bool:
    """Whether a rater said just this before."""
    return before is not None and (before.label, before.comment, before.corrected) == (
        answer.label,
        answer.comment,
        answer.corrected,
    )
