"""Feedback on its way in and out: files with their faults, masking, consent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.data.detectors.pii_detector import PiiDetector
from charter.data.feedback.feedback_store import FeedbackStore
from charter.errors import SpecError, StoreError
from charter.jobs.feedback_intake import FeedbackIntake, export_feedback, import_feedback, open_feedback_store
from charter.records.feedback import feedback_id
from tests.fakes.said_feedback import AT, said


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeedbackStore]:
    with open_feedback_store(str(tmp_path / "f.db"), create=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def detector() -> PiiDetector:
    return PiiDetector()


def write_lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def as_row(id: str = "1", **fields: Any) -> dict[str, Any]:
    return said(id, **fields).model_dump(mode="json", exclude_defaults=True)


def test_personal_data_are_masked_in_every_text_and_counted(store: FeedbackStore, detector: PiiDetector) -> None:
    turns = [
        {"role": "user", "content": "i am ann@example.com"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "my card is 4111 1111 1111 1111"},
    ]
    row = said(
        kind="choice", choice="first", prompt=turns, answer="write to bo@example.com", other_answer="call 192.168.3.4",
        correction="cy@example.com", comment="di@example.com",
    )  # fmt: skip
    intake = FeedbackIntake(store, (detector,))
    [receipt] = intake.take_rows("app", [row])
    assert receipt.masked == {"EMAIL": 4, "CARD": 1, "IP": 1}
    kept = store.find_row(receipt.id)
    assert kept is not None
    assert kept.said is not None
    texts = (*(turn.content for turn in kept.said.prompt), kept.said.answer, kept.said.other_answer)
    assert texts == (
        "i am [EMAIL]", "hello", "my card is [CARD]", "write to [EMAIL]", "call [IP]"
    )  # fmt: skip
    assert (kept.said.correction, kept.said.comment, kept.masked) == ("[EMAIL]", "[EMAIL]", receipt.masked)
    assert intake.take_rows("app", [row])[0].state == "known"


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_file_is_taken_in_once(ending: str, store: FeedbackStore, tmp_path: Path) -> None:
    path = tmp_path / f"said.{ending}"
    if ending == "jsonl":
        rows = [as_row("1"), as_row("2", kind="rating", rating=4), as_row("3", consent="none")]
        write_lines(path, *rows)
    else:
        head = "id,kind,prompt,answer,thumbs,rating,consent"
        asked = "how do i pick a lock ?,with a pick ."
        write_lines(
            path, head, f"1,thumbs,{asked},down,,improve", f"2,rating,{asked},,4,improve", f"3,thumbs,{asked},down,,"
        )
    intake = FeedbackIntake(store, ())
    found = import_feedback(intake, path, "shop")
    assert (found.added, found.known, found.without_consent) == (3, 0, 1)
    assert [row.said for row in store.read_rows()] == [
        said("1"), said("2", kind="rating", rating=4), said("3", consent="none")
    ]  # fmt: skip
    store.erase_row(feedback_id("shop", "2"), AT)
    again = import_feedback(intake, path, "shop")
    assert (again.added, again.known, again.erased) == (0, 2, 1)
    assert import_feedback(intake, path, "other").added == 3


def test_every_fault_is_named_with_its_line_and_nothing_is_taken(store: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "said.jsonl",
        as_row("1"),
        as_row("2") | {"thumbs": "sideways"},
        "no json",
        as_row("4") | {"stars": 3},
    )
    with pytest.raises(SpecError) as raised:
        import_feedback(FeedbackIntake(store, ()), path, "shop")
    faults = raised.value.faults
    assert [fault.split(":")[1] for fault in faults] == ["2", "3", "4"]
    assert "thumbs: Input should be 'up' or 'down'" in faults[0]
    assert "stars: Extra inputs" in faults[2]
    assert list(store.read_rows()) == []


def test_only_twenty_faults_are_named(store: FeedbackStore, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "said.jsonl", *(as_row(str(n)) | {"stars": n} for n in range(30)))
    with pytest.raises(SpecError) as raised:
        import_feedback(FeedbackIntake(store, ()), path, "shop")
    assert len(raised.value.faults) == 21
    assert raised.value.faults[-1] == "and 10 more"


def test_other_words_under_a_known_id_are_a_fault_with_its_line(store: FeedbackStore, tmp_path: Path) -> None:
    intake = FeedbackIntake(store, ())
    import_feedback(intake, write_lines(tmp_path / "a.jsonl", as_row("1")), "shop")
    path = write_lines(tmp_path / "b.jsonl", as_row("2"), as_row("1", comment="other words"))
    with pytest.raises(SpecError, match=r"b\.jsonl:2: the row 1 was taken in before with other words"):
        import_feedback(intake, path, "shop")
    assert len(list(store.read_rows())) == 1


def test_an_empty_file_is_said(store: FeedbackStore, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no row"):
        import_feedback(FeedbackIntake(store, ()), write_lines(tmp_path / "a.jsonl"), "shop")


def test_exports_leave_out_what_may_not_be_used(store: FeedbackStore, tmp_path: Path) -> None:
    rows = [said("1"), said("2", consent="none"), said("3", consent="publish", prompt="another ?"), said("4")]
    receipts = FeedbackIntake(store, ()).take_rows("app", rows)
    store.erase_row(receipts[3].id, AT)
    found = export_feedback(store, tmp_path / "rows.jsonl", "rows")
    assert (found.written, found.without_consent, found.erased) == (2, 1, 1)
    found = export_feedback(store, tmp_path / "attempts.jsonl", "attempts", published=True)
    assert (found.written, found.without_consent) == (1, 2)
    [line] = (tmp_path / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"prompt": "another ?", "id": receipts[2].id, "language": ""}
    with pytest.raises(StoreError, match="is there already"):
        export_feedback(store, tmp_path / "rows.jsonl", "rows")


def test_a_store_must_be_named() -> None:
    with pytest.raises(SpecError, match="no store"):
        open_feedback_store("")
