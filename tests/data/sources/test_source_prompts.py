"""Prompts from files: every row a prompt with an id of its own, or an error that names file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.data.sources.json_documents import read_document
from charter.data.sources.source_prompts import SourcePrompts
from charter.errors import SpecError
from charter.records.chat import Prompt
from charter.records.record import canonical
from charter.spec import Columns, SourceSpec


def source(path: Path, content: str | bytes, column: str = "prompt") -> SourcePrompts:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return SourcePrompts(SourceSpec(path=str(path), columns=Columns(prompt=column)))


def lines(*cells: object) -> str:
    return "".join(json.dumps({"prompt": cell}) + "\n" for cell in cells)


def test_jsonl_and_csv_give_the_same_prompts(tmp_path: Path) -> None:
    texts = ['how, "exactly"?', "two\nlines", "日本語 🎉", "plain"]
    table = "id,prompt\n" + "".join('{},"{}"\n'.format(n, t.replace('"', '""')) for n, t in enumerate(texts))
    first = source(tmp_path / "a.jsonl", lines(*texts)).prompts()
    second = source(tmp_path / "a.CSV", table).prompts()
    assert [p.text for p in first] == [p.text for p in second] == texts
    assert [p.id for p in first] == [p.id for p in second]
    assert {p.source for p in first} == {"a.jsonl"}


def test_equal_texts_take_different_ids_whatever_the_space_around_them(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "same"}]
    prompts = source(tmp_path / "a.jsonl", lines("same", "other", " same", "same\n", "same", turns)).prompts()
    assert len({p.id for p in prompts}) == 6
    assert [p.last for p in prompts].count("same") == 5


def test_ids_do_not_depend_on_the_other_rows(tmp_path: Path) -> None:
    one = source(tmp_path / "a.jsonl", lines("a", "b")).prompts()
    other = source(tmp_path / "b.jsonl", lines("c", "b", "a")).prompts()
    assert {p.id for p in one} < {p.id for p in other}


def test_conversations_keep_their_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    (prompt, twin) = source(tmp_path / "a.jsonl", lines(turns, turns)).prompts()
    assert [m.model_dump() for m in prompt.messages] == turns
    assert prompt.id != twin.id


def test_another_column_may_be_named_and_the_rest_is_not_read(tmp_path: Path) -> None:
    file = source(tmp_path / "a.csv", "question,label,prompt\nwhy?,harmful,no\n", "question")
    (prompt,) = file.prompts()
    assert prompt.text == "why?"
    assert prompt.meta == {}


def test_identity_names_the_content_and_no_folder(tmp_path: Path) -> None:
    first = source(tmp_path / "a.jsonl", lines("x", "y")).identity
    second = source(tmp_path / "a.jsonl", lines("x", "z")).identity
    assert first != second
    assert first.startswith("a.jsonl@")
    assert str(tmp_path) not in first


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    text = "\ufeff" + lines("a").replace("\n", "\r\n") + "\r\n   \n" + lines("b")
    assert [p.text for p in source(tmp_path / "a.jsonl", text).prompts()] == ["a", "b"]
    assert [p.text for p in source(tmp_path / "a.csv", "\ufeffprompt\r\na\r\n\r\nb\r\n").prompts()] == ["a", "b"]
    long = "x" * 140_000
    assert [p.text for p in source(tmp_path / "long.csv", f"prompt\n{long}\n").prompts()] == [long]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", lines("a", "b") + "{oops\n", "a.jsonl:3"),
        ("a.jsonl", '{"text": "a"}\n', "a.jsonl:1"),
        ("a.jsonl", '["a"]\n["b"]\n', "a.jsonl:1"),
        ("a.jsonl", "null\n", "a.jsonl:1"),
        ("a.jsonl", lines("a", ""), "a.jsonl:2"),
        ("a.jsonl", lines("a", "  \n"), "a.jsonl:2"),
        ("a.jsonl", lines(None), "a.jsonl:1"),
        ("a.jsonl", lines(7), "a.jsonl:1"),
        ("a.jsonl", lines([]), "a.jsonl:1"),
        ("a.jsonl", lines(["a"]), "a.jsonl:1"),
        ("a.jsonl", lines({"role": "user", "content": "a"}), "a.jsonl:1"),
        ("a.jsonl", lines([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]), "a.jsonl:1"),
        ("a.jsonl", lines([{"role": "king", "content": "a"}]), "a.jsonl:1"),
        ("a.jsonl", lines([{"role": "user", "content": " "}]), "a.jsonl:1"),
        ("a.jsonl", '{"prompt": "half a pair \\ud800"}\n', "a.jsonl:1"),
        ("a.jsonl", '{"prompt": [{"role": "user", "content": "\\ud800"}]}\n', "a.jsonl:1"),
        ("a.jsonl", '{"prompt": ' + "[" * 100_000 + "\n", "a.jsonl:1"),
        ("a.jsonl", '{"prompt": ' + "1" * 5000 + "}\n", "a.jsonl:1"),
        ("a.csv", "prompt,b\none,1\n,2\n", "a.csv:3"),
        ("a.csv", "question\none\n", "a.csv:2"),
        ("a.csv", 'b,prompt\n1,"two\nlines"\n2\n', "a.csv:4"),
        ("a.csv", "prompt,b\none,1\ntwo,2,3\n", "a.csv:3"),
        ("a.csv", "prompt,b\none\n", "a.csv:2"),
        ("a.csv", b"prompt\ncaf\xe9\n", "a.csv"),
        ("a.jsonl", b"\xff\xfe", "a.jsonl"),
    ],
)
def test_a_bad_row_is_an_error_with_its_place_and_cure(
    tmp_path: Path, name: str, content: str | bytes, place: str
) -> None:
    with pytest.raises(SpecError) as caught:
        source(tmp_path / name, content).prompts()
    assert f"{tmp_path}/{place}" in caught.value.message
    assert caught.value.cure
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("name", ["none.jsonl", ".", "none.csv"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        SourcePrompts(SourceSpec(path=str(tmp_path / name))).prompts()
    assert str(tmp_path) in caught.value.message


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(str.strip), min_size=1, max_size=8)
)
def test_any_texts_come_back_in_order_with_ids_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    prompts = source(tmp_path_factory.mktemp("any") / "a.jsonl", lines(*texts)).prompts()
    assert [p.text for p in prompts] == [t.strip() for t in texts]
    assert len({p.id for p in prompts}) == len(texts)
    assert all(canonical(p).encode() for p in prompts)


def read(path: Path, **asked: Any) -> list[Prompt]:
    return list(SourcePrompts(SourceSpec.model_validate({"path": str(path), **asked})).prompts())


def test_columns_say_what_is_kept_beside_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,kind,tongue,style,no\nwhy?,maths,,rhyme,7\nhow?,,da,,8\n", encoding="utf-8")
    named = {"prompt": "q", "category": "kind", "language": "tongue", "attack": "style", "id": "no"}
    first, second = read(tmp_path / "a.csv", columns=named, language="en", licence="CC0")
    assert first.meta == {"language": "en", "licence": "CC0", "category": "maths", "attack": "rhyme", "id": "7"}
    assert second.meta == {"language": "da", "licence": "CC0", "id": "8"}
    assert read(tmp_path / "a.csv", column="q")[0].id == first.id
    with pytest.raises(SpecError, match=r"a\.csv:2: has no column `lang`"):
        read(tmp_path / "a.csv", columns={"prompt": "q", "language": "lang"})


def test_parquet_and_json_give_the_same_prompts_as_jsonl(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    rows = [{"prompt": turns, "kind": "x"}, {"prompt": turns[:1], "kind": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    asked = {"columns": {"category": "kind"}}
    expected = [(p.id, p.messages, p.meta) for p in read(tmp_path / "a.jsonl", **asked)]
    for name in ("a.json", "a.parquet"):
        found = read(tmp_path / name, **asked)
        assert [(p.id, p.messages, p.meta) for p in found] == expected
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "a"}, {"prompt": ""}]), tmp_path / "b.parquet")
    with pytest.raises(SpecError, match=r"b\.parquet:2"):
        read(tmp_path / "b.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SpecError, match=r"b\.parquet cannot be read"):
        read(tmp_path / "b.parquet")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, text in (("b.jsonl", "two"), ("a.csv", "one"), ("in/c.jsonl", "three")):
        body = f"prompt\n{text}\n" if name.endswith("csv") else lines(text)
        (tmp_path / name).write_text(body, encoding="utf-8")
    (tmp_path / "README.md").write_text("not data", encoding="utf-8")
    assert [p.text for p in read(tmp_path)] == ["one", "two", "three"]


@given(st.recursive(st.lists(st.text(max_size=3) | st.integers(), max_size=3), lambda inner: st.dictionaries(
    st.text("abc", max_size=3), inner, max_size=3), max_leaves=6), st.sampled_from([None, 1]))  # fmt: skip
def test_elements_of_nested_json_come_with_the_line_they_begin_on(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert [row.value for row in read_document("x", text)] == elements(value)
    if indent and has_list(value):
        for row in read_document("x", text):
            line = text.split("\n")[int(row.place.removeprefix("x:")) - 1]
            assert json.dumps(row.value, ensure_ascii=False) in line


def elements(value: Any) -> list[Any]:
    """The elements of every list within objects; an object without a list is a row itself."""
    found = list(inner_elements(value))
    return found if found or isinstance(value, list) or has_list(value) or not value else [value]


def has_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and any(map(has_list, value.values())))


def inner_elements(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
        return
    for inner in value.values():
        yield from inner_elements(inner)
