"""Reviewing in a terminal: one item at a time, a key for each label."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charter.cli.keyboard import Keyboard
from charter.cli.terminal import print_out
from charter.errors import SpecError
from charter.reports.printable_text import escape_controls

if TYPE_CHECKING:
    from charter.jobs.review_desk import Rater, ReviewDesk

KEYS = """\
1 to 9      the label of that number
up, down    mark another label
Enter       the label that is marked
u           unsure
s           skip: the item comes again at the end
c           a comment
e           the answer as it should have been: in $EDITOR, or in one line
left        the item before, to change what you said
right       on again
g           the guideline
?           this sheet
q           stop; what you said is kept"""


@dataclass(frozen=True)
class Draft:
    """What is about to be said of an item: the place of the marked label, a comment, a corrected answer."""

    mark: int = 0
    comment: str = ""
    corrected: str = ""


class RatingTask:
    """What a rater goes through."""

    can_say_unsure = True

    def __init__(self, desk: ReviewDesk, rater: Rater) -> None:
        self.desk, self.rater = desk, rater
        self.labels = list(desk.queue.menu)

    def list_before(self) -> list[str]:
        """The items that were labelled, in order."""
        return [label.item for label in self.desk.read_board().list_own(self.rater.name)]

    def next_item(self) -> str | None:
        """What is free for this rater."""
        item = self.desk.take_item(self.rater)
        return item.id if item else None

    def read_draft(self, item: str) -> Draft:
        """What the rater said of an item."""
        own = self.desk.read_board().labels[item].get(self.rater.name)
        if own is None:
            return Draft()
        return Draft(self.labels.index(own.label) if own.label else 0, own.comment, own.corrected)

    def describe(self, item: str) -> list[str]:
        """How far the rater is, and what the rater said of the item: never what others say."""
        board = self.desk.read_board()
        own = board.labels[item].get(self.rater.name)
        done = len(board.list_own(self.rater.name))
        said = [f"you said: {own.label or 'unsure'}"] if own else []
        return [f"--- {item}: {done} of {len(board.items)} labelled by you", *said]

    def submit(self, item: str, label: str | None, draft: Draft) -> str:
        """Takes down the label; says what was taken down. Raises SpecError."""
        from charter.jobs.review_desk import Answer

        said = self.desk.submit_label(self.rater, Answer(item, label, draft.comment, draft.corrected))
        return f"{said.id}: {said.label or 'unsure'}"

    def skip(self, item: str) -> None:
        """Puts an item to the rater's end. Raises SpecError."""
        self.desk.pass_item(self.rater, item)


class SettlingTask(RatingTask):
    """What somebody goes through who settles the items on which raters disagree."""

    can_say_unsure = False

    def __init__(self, desk: ReviewDesk, rater: Rater) -> None:
        super().__init__(desk, rater)
        self._settled, self._skipped = list[str](), list[str]()

    def list_before(self) -> list[str]:
        """The items that were settled just now."""
        return list(self._settled)

    def next_item(self) -> str | None:
        """The first that is to be settled and was not skipped."""
        disputed = self.desk.read_board().list_disputed()
        return next((item for item in disputed if item not in self._skipped), None)

    def read_draft(self, item: str) -> Draft:
        """What was decided."""
        found = self.desk.read_board().settled.get(item)
        return Draft(self.labels.index(found.label), found.note) if found else Draft()

    def describe(self, item: str) -> list[str]:
        """What each rater said."""
        board = self.desk.read_board()
        said = [
            f"{one.rater}{f' ({one.role})' if one.role else ''}: {one.label or 'unsure'}"
            f"{f' - {one.comment}' if one.comment else ''}{f' - better: {one.corrected}' if one.corrected else ''}"
            for one in board.labels[item].values()
        ]
        return [f"--- {item}: {len(board.list_disputed())} to settle", *said]

    def submit(self, item: str, label: str | None, draft: Draft) -> str:
        """Takes down the decision. Raises SpecError."""
        found = self.desk.settle_item(self.rater, item, label or "", draft.comment)
        self._settled = [*(one for one in self._settled if one != item), item]
        return f"{found.id}: settled as {found.label}"

    def skip(self, item: str) -> None:
        """Leaves an item for another time."""
        self._skipped.append(item)


class ReviewSession:
    """A person at a terminal. What was said is on disk when the next item is shown; nothing else is kept."""

    def __init__(self, task: RatingTask, keyboard: Keyboard) -> None:
        self._task, self._keyboard = task, keyboard

    def run(self) -> None:
        """Goes through items until none is left or the person stops."""
        back = 0
        while True:
            before = self._task.list_before()
            back = min(back, len(before))
            item = before[-back] if back else self._task.next_item()
            if item is None:
                print_out("Nothing is left for you here.")
                return
            self._show(item)
            move = self._ask(item)
            if move == "end":
                return
            back = {"left": back + 1, "right": max(0, back - 1)}.get(move, 0)

    def _show(self, item: str) -> None:
        print_out("\n".join(["", *self._task.describe(item)]))
        for part in self._task.desk.show_item(item):
            text = "\n".join(f"  | {line}" for line in part.text.splitlines())  # no text can look like the menu
            print_out(f"\n{' '.join(part.title.split())}\n{text}")
        print_out("")
        for number, (label, meaning) in enumerate(self._task.desk.queue.menu.items(), 1):
            print_out(f"{number if number < 10 else ' '} {label}: {meaning}")

    def _ask(self, item: str) -> str:
        """Keys until something is said of the item or it is left: ``end``, ``left``, ``right`` or ``next``."""
        draft = self._task.read_draft(item)
        while True:
            self._prompt(draft)
            key = self._keyboard.read_key()
            if key in ("end", "q", "left", "right"):
                sys.stdout.write("\n")
                return "end" if key == "q" else key
            try:
                if self._say(item, key, draft):
                    return "next"
                draft = self._change(item, key, draft)
            except SpecError as error:
                print_out(f"\n{error}")

    def _say(self, item: str, key: str, draft: Draft) -> bool:
        """Takes down what a key says of the item; whether it says anything."""
        labels = self._task.labels
        if key == "s":
            self._task.skip(item)
            print_out("\nskipped")
            return True
        chosen = int(key) - 1 if key.isdigit() else draft.mark if key == "enter" else -1
        if not 0 <= chosen < len(labels) and not (key == "u" and self._task.can_say_unsure):
            return False
        print_out(f"\n{self._task.submit(item, labels[chosen] if chosen >= 0 else None, draft)}")
        return True

    def _change(self, item: str, key: str, draft: Draft) -> Draft:
        """The draft after a key that only changes it, or shows something."""
        if key in ("up", "down"):
            return replace(draft, mark=(draft.mark + (1 if key == "down" else -1)) % len(self._task.labels))
        if key == "?":
            print_out(f"\n{KEYS}")
        elif key == "g":
            queue = self._task.desk.queue
            print_out(f"\n{self._task.desk.guideline}\nguideline {queue.guideline[:12]}")
        elif key == "c":
            print_out("\ncomment:")
            return replace(draft, comment=self._keyboard.read_line())
        elif key == "e":
            print_out("\nthe answer as it should have been:")
            texts = [answer.text for answer in self._task.desk.items[item].answers] or [""]
            corrected = self._keyboard.edit_text(draft.corrected or texts[0])
            return replace(draft, corrected="" if corrected in texts else corrected)
        return draft

    def _prompt(self, draft: Draft) -> None:
        """The last line: which label is marked, and what was added."""
        added = [name for name, text in (("comment", draft.comment), ("correction", draft.corrected)) if text]
        words = f"> {self._task.labels[draft.mark]} (Enter){''.join(f' + {name}' for name in added)}   ? keys  q stop "
        sys.stdout.write(f"\r\x1b[K{escape_controls(words)}" if sys.stdout.isatty() else words)
        sys.stdout.flush()
