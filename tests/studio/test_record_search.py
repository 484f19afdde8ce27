"""Lines found by their place, and searched by their bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.errors import DamagedError, StoreError
from charter.records.record import canonical
from charter.runs.store import indexed_lines
from charter.studio.record_search import LineSearch, RecordFiles, SearchableFile, read_id

ROWS: list[dict[str, object]] = [
    {"id": "a", "label": "harmful", "n": 1, "deep": {"label": "other", "ok": True}, "text": "Größe"},
    {
        "id": "b",
        "label": "harm",
        "n": 12,
        "deep": {"label": "harmful", "ok": None},
        "text": 'he said "label":"harmful"',
    },
    {"id": "c", "label": None, "n": 1.5, "deep": {}, "text": "line one\nline two"},
    {"id": "d", "label": "1", "n": -1, "list": [{"label": "inner"}], "text": ""},
]


def write(path: Path, rows: list[dict[str, object]], rest: bytes = b"") -> SearchableFile:
    path.write_bytes(b"".join(canonical(row).encode() + b"\n" for row in rows) + rest)
    return SearchableFile(path, path.parent)


@pytest.fixture
def file(tmp_path: Path) -> SearchableFile:
    return write(tmp_path / "rows.jsonl", ROWS, b'{"id":"torn"')


def test_whole_lines_are_found_by_their_place(file: SearchableFile) -> None:
    assert len(file) == 4
    assert [json.loads(line) for line in file.read_lines([3, 0])] == [ROWS[3], ROWS[0]]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (LineSearch(), [0, 1, 2, 3]),
        (LineSearch(text="HARMFUL"), [0, 1]),
        (LineSearch(text="größe"), [0]),
        (LineSearch(text="one\nline"), [2]),
        (LineSearch(text='"label":"harmful"'), [1]),
        (LineSearch(text="torn"), []),
        (LineSearch(field="label", value="harmful"), [0, 1]),
        (LineSearch(field="label", value="Harmful"), []),
        (LineSearch(field="label", value="inner"), [3]),
        (LineSearch(field="label", value="null"), [2]),
        (LineSearch(field="label", value="1"), [3]),
        (LineSearch(field="n", value="1"), [0]),
        (LineSearch(field="n", value="1.5"), [2]),
        (LineSearch(field="n", value="-1"), [3]),
        (LineSearch(field="ok", value="true"), [0]),
        (LineSearch(field="label", value=""), [0, 1, 2, 3]),
        (LineSearch(text="said", field="label", value="harmful"), [1]),
        (LineSearch(text="Größe", field="label", value="harm"), []),
    ],
)
def test_lines_are_found_by_what_they_hold(file: SearchableFile, wanted: LineSearch, found: list[int]) -> None:
    assert list(file.search_lines(wanted)) == found
    assert list(file.search_lines(wanted)) == found, "kept"


def test_a_record_is_found_by_its_own_id(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "a", "of": {"id": "b"}}, {"id": "b"}, {"name": "b"}]
    file = write(tmp_path / "rows.jsonl", rows)
    assert [file.find_record("b"), file.find_record("b", near=1), file.find_record("b", near=0)] == [1, 1, 1]
    assert file.find_record("c", near=9) is None
    assert [read_id(line) for line in (b"[]", b"{", b'{"id":1}')] == [None, None, None]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=12),
    word=st.text(st.characters(codec="utf-8"), min_size=1, max_size=3),
    piece=st.integers(1, 80),
)
def test_a_search_finds_what_reading_every_line_finds(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], word: str, piece: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    kept, indexed_lines._PIECE = indexed_lines._PIECE, piece
    try:
        file = write(path, [{"t": text} for text in texts])
        exact = list(file.search_lines(LineSearch(field="t", value=word)))
        assert exact == [n for n, text in enumerate(texts) if text == word]
        form = canonical(word)[1:-1].encode().lower()
        lines = [canonical({"t": text}).encode().lower() for text in texts]
        assert list(file.search_lines(LineSearch(text=word))) == [n for n, line in enumerate(lines) if form in line]
        assert file.read_lines(range(len(file))) == [canonical({"t": text}).encode() for text in texts]
    finally:
        indexed_lines._PIECE = kept


def test_a_file_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    files, path = RecordFiles(), tmp_path / "001" / "rows.jsonl"
    assert files.open_step(tmp_path, "001/rows") is None
    write(path, ROWS[:1])
    first = files.open_step(tmp_path, "001/rows")
    assert files.open_step(tmp_path, "001/rows") is first
    write(path, ROWS)
    second = files.open_step(tmp_path, "001/rows")
    assert second is not None
    assert len(second) == 4


def test_no_link_is_followed_and_no_name_leads_out(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "secret.jsonl", ROWS)
    (tmp_path / "run" / "001").symlink_to(tmp_path)
    with pytest.raises(DamagedError):
        RecordFiles().open_step(tmp_path / "run", "001/secret")
    with pytest.raises(StoreError):
        RecordFiles().open_step(tmp_path / "run", "../secret")
