"""What every store of feedback keeps, in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from charter.data.feedback.feedback_store import FeedbackStore
from charter.errors import SpecError, StoreError
from charter.records.feedback import FeedbackCount
from tests.fakes.said_feedback import AT, stored


@pytest.fixture
def store(feedback_place: str) -> Iterator[FeedbackStore]:
    with FeedbackStore(feedback_place) as opened:
        yield opened


def test_a_row_is_kept_as_it_came_and_across_processes(store: FeedbackStore, feedback_place: str) -> None:
    text = 'a "quoted" line\nwith \u2028 signs, \x00 and \U0001f600'
    row = stored("1", answer=text, user="u-7", language="en", model="abc").model_copy(update={"masked": {"EMAIL": 2}})
    assert [receipt.state for receipt in store.add_rows([row])] == ["new"]
    with FeedbackStore(feedback_place, create=False) as again:
        assert list(again.read_rows()) == [row]
        assert again.find_row(row.id) == row
        assert again.find_row("f-none") is None


def test_the_same_row_is_one_and_another_under_its_id_is_refused(store: FeedbackStore) -> None:
    first, other = stored("1"), stored("1", comment="other words")
    assert store.add_rows([first])[0].state == "new"
    assert store.add_rows([first])[0].state == "known"
    assert [one.state for one in store.add_rows([stored("2"), other])] == ["new", "changed"]
    assert [row.id for row in store.read_rows()] == [first.id]
    assert store.add_rows([stored("1", sender="else", comment="other words")])[0].state == "new"


def test_rows_come_in_the_order_of_arrival(store: FeedbackStore) -> None:
    rows = [stored(str(number)) for number in range(2_100)]
    store.add_rows(rows)
    assert [row.id for row in store.read_rows()] == [row.id for row in rows]


def test_rows_are_counted(store: FeedbackStore) -> None:
    more = {"kind": "comment", "comment": "no", "consent": "none"}
    store.add_rows([stored("1"), stored("2"), stored("3", **more)])
    store.erase_row(stored("2").id, AT)
    assert store.count_rows() == [
        FeedbackCount(kind="comment", consent="none", rows=1, erased=0),
        FeedbackCount(kind="thumbs", consent="improve", rows=1, erased=0),
        FeedbackCount(kind="thumbs", consent="none", rows=1, erased=1),
    ]


def test_an_erased_row_leaves_a_tombstone_and_does_not_come_back(store: FeedbackStore) -> None:
    row = stored("1", user="u-7")
    store.add_rows([row])
    assert store.erase_row(row.id, AT)
    assert not store.erase_row(row.id, AT)
    assert not store.erase_row("f-none", AT)
    kept = store.find_row(row.id)
    assert kept is not None
    assert (kept.said, kept.sender, kept.masked, kept.erased, kept.is_usable) == (None, "", {}, AT, False)
    assert [one.state for one in store.add_rows([row, stored("2")])] == ["erased", "new"]
    assert store.find_row(row.id) == kept


def test_many_at_once_make_one_row(store: FeedbackStore) -> None:
    states = list[str]()

    def send() -> None:
        states.extend(store.add_rows([stored(str(number))])[0].state for number in range(20))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (states.count("new"), states.count("known")) == (20, 140)
    assert len(list(store.read_rows())) == 20


def test_several_open_a_new_store_at_once(feedback_place: str) -> None:
    faults = list[Exception]()

    def open_store() -> None:
        try:
            FeedbackStore(feedback_place).close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=open_store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_newer_table_is_refused(store: FeedbackStore, feedback_place: str) -> None:
    with store._begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(StoreError, match="does not know"):
        FeedbackStore(feedback_place)


def test_sqlite_writes_ahead_and_waits_for_the_disk(tmp_path: Path) -> None:
    with FeedbackStore(str(tmp_path / "f.db")) as store, store._begin() as connection:
        asked = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert asked == ["wal", 2]


def test_no_word_of_an_erased_row_stays_in_the_files_of_sqlite(tmp_path: Path) -> None:
    with FeedbackStore(str(tmp_path / "f.db")) as store:
        store.add_rows([stored("1", comment="unmistakable", user="pseudonym-77")])
        store.erase_row(stored("1").id, AT)
        held = b"".join(path.read_bytes() for path in tmp_path.glob("f.db*"))
    assert stored("1").id.encode() in held
    assert b"unmistakable" not in held
    assert b"pseudonym-77" not in held


@pytest.mark.parametrize(
    ("place", "kind", "said"),
    [
        ("mysql://host/name", SpecError, "no kind of store"),
        ("two words://x", SpecError, "cannot be read"),
        ("postgresql://ada:geheim@127.0.0.1:1/x", StoreError, "refused"),
        ("none/f.db", StoreError, "no store of feedback at"),
    ],
)
def test_a_place_that_cannot_be_used_is_named_without_its_password(
    place: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as raised:
        FeedbackStore(place, create=False)
    assert "geheim" not in str(raised.value)


def test_another_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("some words that are no database, long enough for a header " * 20)
    with pytest.raises(StoreError, match="not a database"):
        FeedbackStore(str(tmp_path / "notes.db"))
