"""Files as people have them: every kind gives the same rows, or is refused by what it is."""

from __future__ import annotations

import gzip
import json
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from charter.data.sources.chat_turns import read_prompt, read_reply
from charter.data.sources.data_files import list_unread, read_files
from charter.data.sources.data_rows import DataRow, read_column, read_usable
from charter.data.sources.source_prompts import SourcePrompts
from charter.errors import RowError, SpecError
from charter.records.chat import Message
from charter.spec import SourceSpec

ROWS = [{"prompt": "how is ink made?", "x": "1"}, {"prompt": "und Öl, bitte?", "x": "2"}]


def values(path: Path) -> list[Any]:
    return [row.value for row in read_files(str(path))]


def prompts(path: Path, **asked: Any) -> SourcePrompts:
    return SourcePrompts(SourceSpec.model_validate({"path": str(path), **asked}))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


TABLE = "prompt{0}x\nhow is ink made?{0}1\n{1}{0}2\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_table_reads_alike_whatever_its_separator_and_encoding(tmp_path: Path, separator: str, encoding: str) -> None:
    """Symptoms: biolab/orange3#7000 and UKGovernmentBEIS/inspect_ai#5353."""
    text = TABLE.format(separator, '"und Öl, bitte?"').replace("\n", "\r\n")
    assert values(write(tmp_path / "a.csv", text.encode(encoding))) == ROWS
    assert values(write(tmp_path / "b.csv", f"sep={separator}\r\n{text}")) == ROWS


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    import openpyxl
    import pyarrow
    from pyarrow import parquet

    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    write(tmp_path / "a.jsonl", lines)
    write(tmp_path / "a.ndjson", lines)
    write(tmp_path / "a.jsonl.gz", gzip.compress(lines.encode()))
    with pyarrow.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as packed:
        packed.write(lines.encode())
    write(tmp_path / "a.tsv", TABLE.format("\t", "und Öl, bitte?"))
    write(tmp_path / "a.json", json.dumps(ROWS))
    write(tmp_path / "b.json", json.dumps({"data": ROWS, "meta": {"n": 2, "tags": ["x"]}}, indent=2))
    write(tmp_path / "c.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}))
    write(tmp_path / "d.json", json.dumps({key: {str(n): row[key] for n, row in enumerate(ROWS)} for key in ROWS[0]}))
    write(
        tmp_path / "e.json",
        json.dumps({"columns": list(ROWS[0]), "index": [0, 1], "data": [[*r.values()] for r in ROWS]}),
    )
    write(tmp_path / "f.json", lines)
    write(tmp_path / "g.jsonl", json.dumps(ROWS))
    write(tmp_path / "h.jsonl", json.dumps(ROWS, indent=1))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    book = openpyxl.Workbook()
    for line in (list(ROWS[0]), *([*row.values()] for row in ROWS), [None, None]):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 15
    for path in files:
        assert values(path) == ROWS, path.name


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0 and more", "CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0 and more", "old kind"),
        ("a.csv", b"PK\x03\x04 and more", "workbook"),
        ("a.jsonl", b"PAR1", "Parquet"),
        ("a.jsonl", "<!DOCTYPE html><p>not here</p>", "web page"),
        ("a.jsonl", "version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.pdf", "%PDF", "JSONL"),
        ("a", "words", "without an ending"),
        ("a.csv.gz", "prompt\n", "not packed"),
        ("a.xlsx", "words", "workbook"),
        ("a.csv", b"prompt\ncaf\xe9\n", "UTF-8"),
        ("a.csv", "prompt, x,prompt \n1,2,3\n", "`prompt` stands twice"),
        ("a.jsonl", '{"prompt": "a", "prompt": "b"}\n', "`prompt` stands twice"),
        ("a.json", "[1, 2,]", "missing after the comma"),
        ("a.json", "[1 2]", "missing"),
        ("a.json", '[1]\n["x"]', "more follows"),
        ("a.csv", 'prompt,x\n"a" b,1\n', "no row of a table"),
        ("a.csv", 'prompt,x\n"a,1\n', "no row of a table"),
        ("a.csv", "prompt;x\na;b;c\n", "more cells"),
    ],
)
def test_what_cannot_be_read_is_refused_by_what_it_is(
    tmp_path: Path, name: str, content: str | bytes, says: str
) -> None:
    with pytest.raises(SpecError) as caught:
        values(write(tmp_path / name, content))
    assert says in str(caught.value)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.cure


def test_a_document_that_is_one_row_stays_one(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a"}], "id": 7}
    assert values(write(tmp_path / "a.json", json.dumps(row, indent=1))) == [row]
    assert values(write(tmp_path / "b.jsonl", json.dumps({"prompt": "a"}, indent=2))) == [{"prompt": "a"}]
    viewer = {"features": [{"name": "prompt"}], "rows": [{"row_idx": 0, "row": {"prompt": "a"}}]}
    assert values(write(tmp_path / "c.json", json.dumps(viewer))) == [{"prompt": "a"}]


def test_columns_are_found_whatever_their_case_and_space() -> None:
    row = DataRow("a.csv", 2, {" Prompt ": "a", "X": None, "Y": 1, "y ": 2})
    assert read_column(row, "prompt") == "a"
    for name, says in (("x", "`X` is empty"), ("z", "no column `z`"), ("Y ", "several columns")):
        with pytest.raises(RowError, match=says):
            read_column(row, name)


TURNS = [
    [{"role": "user", "content": "a", "name": None, "tool_calls": []}],
    [{"from": "human", "value": "a", "weight": None}],
    [{"role": "USER", "content": [{"type": "text", "text": "a"}]}],
    [{"speaker": "prompter", "text": "a"}],
    {"role": ["user"], "content": ["a"]},
]


@pytest.mark.parametrize("cell", TURNS)
def test_turns_are_read_under_the_usual_names(cell: Any) -> None:
    """Symptoms: huggingface/trl#5376, Tencent/AngelSlim#7, axolotl-ai-cloud/axolotl#752."""
    assert read_prompt(cell, "a:1") == (Message(role="user", content="a"),)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ([{"role": "user", "content": "a", "tool_call_id": "7"}], "`tool_call_id`"),
        ([{"role": "assistant", "content": None, "function_call": {"name": "f"}}], "`function_call`"),
        ([{"role": "tool", "content": "a"}], "`tool`"),
        ([{"from": "observation", "value": "a"}], "`observation`"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "`input_audio`"),
        ([{"role": "user", "content": 7}], "neither text nor a list of parts"),
        ([{"role": "user"}], "no words"),
        ([{"content": "a"}], "who speaks"),
        ([{"role": "user", "content": " "}], "empty"),
        ([{"role": "user", "content": "half \ud83d"}], "half a character"),
        (None, "empty"),
        (float("nan"), "empty"),
        ("  ", "empty"),
        (7, "number"),
        (True, "number"),
        ([], "empty"),
        ({"role": "user", "content": "a"}, "one object"),
        (["a"], "neither text nor"),
    ],
)
def test_what_no_turn_can_hold_is_named(cell: Any, says: str) -> None:
    """Symptoms: huggingface/transformers#45422, hiyouga/LLaMA-Factory#6878, openai/tiktoken#541."""
    with pytest.raises(RowError) as caught:
        read_prompt(cell, "a.jsonl:3")
    assert says in str(caught.value)
    assert "a.jsonl:3" in str(caught.value)


def test_a_reply_is_a_text_or_the_last_turn_of_the_assistant() -> None:
    assert read_reply([{"role": "assistant", "content": "a"}], "x:1") == read_reply("a", "x:1") == "a"
    with pytest.raises(RowError, match="assistant"):
        read_reply([{"role": "user", "content": "a"}], "x:1")


MIXED = '{"prompt": "a"}\n{"prompt": null}\n{oops\n{"prompt": ""}\n{"prompt": "b"}\n{"prompt": "\\ud83d"}\n'


def test_skip_lets_so_many_rows_pass_and_each_is_counted_by_reason(tmp_path: Path) -> None:
    """Symptoms: huggingface/datasets#6743 and #7652."""
    path = write(tmp_path / "a.jsonl", MIXED)
    source = prompts(path, skip=4)
    assert [p.text for p in source.prompts()] == ["a", "b"]
    assert source.count.reasons == {"`prompt` is empty": 2, "is not JSON": 1, "holds half a character": 1}
    assert [row.id for row in source.count.left_out] == [f"{path}:{n}" for n in (2, 3, 4, 6)]
    assert "4 left out" in source.count.summary
    for skip in (0, 3):
        with pytest.raises(SpecError) as caught:
            prompts(path, skip=skip).prompts()
        assert f"{path}:2" in caught.value.message
        assert "4 of 6 rows cannot be used" in caught.value.message
        assert "skip: 4" in caught.value.cure


def test_no_way_on_is_offered_where_no_row_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no column `prompt`") as caught:
        prompts(write(tmp_path / "a.csv", "question\na\nb\n")).prompts()
    assert "skip" not in caught.value.cure


def test_what_gives_nothing_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"prompt": "a"}\n')
    write(tmp_path / "b.jsonl", "")
    write(tmp_path / "c.xls", b"\xd0\xcf\x11\xe0")
    count = prompts(tmp_path).count
    assert (count.empty, count.unread) == ((str(tmp_path / "b.jsonl"),), ("c.xls",))
    assert list_unread(str(tmp_path)) == ["c.xls"]
    assert "b.jsonl is empty" in count.summary
    for name, content in (("d.csv", "prompt,x\n"), ("d.jsonl", "\n\n"), ("d.json", "[]"), ("d.txt", " \n")):
        with pytest.raises(SpecError, match=name):
            prompts(write(tmp_path / name, content)).prompts()


def test_one_side_of_a_set_that_has_none_of_it_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,prompt,type,label,focus\n1,how?,x,safe,y\n")
    asked = SourceSpec.model_validate({"name": "xstest", "path": str(path)})
    assert len(SourcePrompts(asked, "safe").prompts()) == 1
    with pytest.raises(SpecError, match="none of its rows is unsafe"):
        SourcePrompts(asked, "unsafe").prompts()


def mixed_rows(path: Path, count: int) -> Path:
    """JSON lines of every shape that is read."""
    shapes: list[Any] = [
        {"prompt": "a question about bread and butter " * 4},
        {"prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "and tea? " * 9}]},
        {"prompt": [{"from": "human", "value": "why is the sky blue? " * 6, "weight": None}]},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "how do bees find home? " * 5}]}]},
        {"prompt": None},
    ]
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            file.write(json.dumps({**shapes[n % len(shapes)], "n": n}) + "\n")
    return path


def peak(path: Path) -> int:
    """Bytes that are held at most while rows are read and let go."""
    tracemalloc.start()
    read = 0
    for row in read_files(str(path)):
        if row.value["prompt"] is not None:
            read += len(read_prompt(row.value["prompt"], row.place))
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read
    return found


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peak(mixed_rows(tmp_path / "few.jsonl", 50))  # what is made once is made
    path = mixed_rows(tmp_path / "many.jsonl", 20_000)
    assert peak(path) < path.stat().st_size / 4


def test_fifty_thousand_rows_take_few_seconds_of_work(tmp_path: Path) -> None:
    path = mixed_rows(tmp_path / "a.jsonl", 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    made, count = read_usable(
        "a",
        read_files(str(path), keep_faults=True),
        lambda row: len(read_prompt(row.value["prompt"], row.place)),
        10_000,
    )
    assert (len(made), count.rows) == (40_000, 50_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 20
