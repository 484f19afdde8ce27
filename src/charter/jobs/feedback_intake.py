"""Feedback of users comes in: checked, masked, and kept in a store; and goes out as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from charter.data.curation.masking import mask_text
from charter.data.exports import feedback_rows
from charter.data.sources.feedback_files import read_feedback
from charter.errors import SpecError, StoreError
from charter.records.feedback import USABLE, Feedback, FeedbackReceipt, FeedbackRow, feedback_id
from charter.runs import store as files
from charter.spec import CurationSpec
from charter.wiring.curation_setup import build_tools

if TYPE_CHECKING:
    from charter.data.curation.curation_records import Detector
    from charter.data.feedback.feedback_store import FeedbackStore

MAX_NAMED_FAULTS = 20
"""Faults of a file that are named one by one."""
_TEXTS = ("answer", "other_answer", "correction", "comment")

FeedbackForm = Literal["rows", "attempts", "preferences", "ratings"]
"""What feedback is written as: the rows of the store, prompts for red teaming, pairs, or answers found good or bad."""
FEEDBACK_FORMS: tuple[str, ...] = get_args(FeedbackForm)


def open_feedback_store(place: str, create: bool = False) -> FeedbackStore:
    """A store by its file or URL; ``create``: a file that is not there is made. Raises SpecError, StoreError."""
    try:
        from charter.data.feedback.feedback_store import FeedbackStore
    except ModuleNotFoundError as error:
        what = f"A store of feedback needs a package that is not installed: {error.name}."
        raise SpecError(what, cure="pip install 'charter[feedback]'") from error
    if not place:
        raise SpecError(
            "no store of feedback is named", cure="Give --store FILE or URL, or set CHARTER_FEEDBACK_STORE."
        )
    return FeedbackStore(place, create)


class FeedbackIntake:
    """What every row passes on its way into a store: personal data and secrets are masked.

    Args:
        store: Where rows are kept.
        detectors: What recognises personal data; None: those of ``charter curate``.

    Raises:
        EngineError: The detectors are not installed.
    """

    def __init__(self, store: FeedbackStore, detectors: Sequence[Detector] | None = None) -> None:
        self.store = store
        self._detectors = build_tools(CurationSpec(mask=True)).detectors if detectors is None else tuple(detectors)
        mask_text("", self._detectors)  # loads them, so that the first row need not wait

    def take_rows(self, sender: str, said: Sequence[Feedback]) -> list[FeedbackReceipt]:
        """Masks rows and takes them in; they are on the disk when this returns. Where one is ``changed``, none is
        taken. Raises StoreError."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return self.store.add_rows([self._make_row(sender, one, now) for one in said])

    def _make_row(self, sender: str, said: Feedback, now: str) -> FeedbackRow:
        counts = Counter[str]()

        def mask(text: str) -> str:
            masked, found = mask_text(text, self._detectors)
            counts.update(found)
            return masked

        texts = {name: mask(getattr(said, name)) for name in _TEXTS}
        turns = tuple(turn.model_copy(update={"content": mask(turn.content)}) for turn in said.prompt)
        kept = said.model_copy(update={**texts, "prompt": turns})
        return FeedbackRow(id=feedback_id(sender, said.id), sender=sender, said=kept, masked=dict(counts), received=now)


@dataclass(frozen=True)
class FeedbackImport:
    """What became of a file: rows that were new, that were there already, that had been erased and stay so; how many
    places were masked, by kind; and how many of the new rows may not be used, for want of consent."""

    added: int
    known: int
    erased: int
    masked: Counter[str]
    without_consent: int


def import_feedback(intake: FeedbackIntake, path: Path, sender: str) -> FeedbackImport:
    """Takes a file's rows into a store: all of them, or none where one is wrong.

    Args:
        intake: The way into the store.
        path: JSONL, CSV or another table.
        sender: Whose row ids these are: the same file under the same name can be given again.

    Raises:
        SpecError: Every fault with its line.
    """
    found, faults = read_feedback(path)
    if not faults and not found:
        raise SpecError(f"{path.name} holds no row", cure="Give a file with rows.")
    receipts = intake.take_rows(sender, [said for _, said in found]) if not faults else []
    faults += [
        f"{place}: the row {said.id} was taken in before with other words"
        for (place, said), receipt in zip(found, receipts, strict=False)
        if receipt.state == "changed"
    ]
    if faults:
        more = [f"and {len(faults) - MAX_NAMED_FAULTS} more"] if len(faults) > MAX_NAMED_FAULTS else []
        cure = "Mend these; nothing was taken into the store. Other words need another id, or another --sender."
        raise SpecError(f"{path.name}: not every row can be taken", (*faults[:MAX_NAMED_FAULTS], *more), cure)
    new = [(said, receipt) for (_, said), receipt in zip(found, receipts, strict=True) if receipt.state == "new"]
    return FeedbackImport(
        added=len(new),
        known=sum(receipt.state == "known" for receipt in receipts),
        erased=sum(receipt.state == "erased" for receipt in receipts),
        masked=sum((Counter(receipt.masked) for _, receipt in new), Counter[str]()),
        without_consent=sum(said.consent == "none" for said, _ in new),
    )


@dataclass(frozen=True)
class FeedbackExport:
    """How many rows were written, and how many rows of the store were left out for want of consent, or erased."""

    written: int
    without_consent: int
    erased: int


def export_feedback(store: FeedbackStore, out: Path, form: FeedbackForm, published: bool = False) -> FeedbackExport:
    """Writes what may be used of a store into a new file.

    Args:
        store: The store.
        out: The file.
        form: What is written.
        published: Only rows that their users let be published.

    Raises:
        StoreError: The file is there already, or cannot be written.
    """
    if out.exists():
        raise StoreError(f"{out} is there already", "Name a new file.")
    rows = list(store.read_rows())
    wanted = ("publish",) if published else USABLE
    usable = [row for row in rows if row.said is not None and row.said.consent in wanted]
    made: Sequence[feedback_rows.Row | FeedbackRow] = usable
    if form != "rows":
        make = {
            "attempts": feedback_rows.make_attempt_rows,
            "preferences": feedback_rows.make_pair_rows,
            "ratings": feedback_rows.make_rated_rows,
        }
        made = make[form](usable)
    files.write_atomic(out, feedback_rows.rows_to_lines(made).encode())
    erased = sum(bool(row.erased) for row in rows)
    return FeedbackExport(len(made), len(rows) - len(usable) - erased, erased)
