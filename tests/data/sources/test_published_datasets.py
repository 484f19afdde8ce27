"""Published sets by name: what of each row becomes a prompt, and what is kept beside it. Small files of our own with
the same columns always run; the real files run where they are."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from charter.data.sources.published_datasets import PUBLISHED
from charter.data.sources.source_prompts import Side, SourcePrompts
from charter.errors import SpecError
from charter.records.chat import Prompt
from charter.spec import SourceSpec
from charter.spec.prompt_spec import PublishedSet
from tests.fakes.published_files import DATA, FIXTURES, ROOT, needs_data

REAL = {"hh-rlhf": 2312, "harmfulqa": 1960, "dangerousqa": 200, "advbench": 520, "harmbench": 400, "xstest": 450,
        "truthfulqa": 817, "bbq": 4880, "self-instruct": 175, "vicuna": 80}  # fmt: skip
"""Rows of the real files."""
every = pytest.mark.parametrize("name", get_args(PublishedSet))
every_real = pytest.mark.parametrize("name", REAL)


def folder(root: Path, name: str) -> Path:
    return root / name.replace("-", "_")


def read(path: Path, name: str, side: Side = "unsafe", **more: Any) -> list[Prompt]:
    return list(SourcePrompts(SourceSpec.model_validate({"name": name, "path": str(path), **more}), side).prompts())


def both(root: Path, name: str) -> list[Prompt]:
    """Both sides of a set that has two; else all of it."""
    found = read(folder(root, name), name)
    return [*found, *read(folder(root, name), name, "safe")] if name == "xstest" else found


def columns(path: Path) -> set[str]:
    """The columns of a CSV or JSONL file's first row; of JSON, how its first element is nested."""
    file = next(f for f in sorted(path.rglob("*")) if f.name != "SOURCE.txt" and f.is_file())
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".json":
            value, nested = json.load(lines), ""
            while not isinstance(value, str):
                nested += type(value).__name__
                value = next(iter(value.values() if isinstance(value, dict) else value))
            return {nested}
        return set(next(csv.DictReader(lines)) if file.suffix == ".csv" else json.loads(next(lines)))


def test_every_name_is_known() -> None:
    assert set(get_args(PublishedSet)) == set(PUBLISHED)


@every
def test_every_set_has_a_language_a_licence_and_a_source(name: str) -> None:
    prompts = both(FIXTURES, name)
    assert prompts
    for prompt in prompts:
        assert prompt.source == name
        assert prompt.meta["language"] == "en"
        assert prompt.meta["licence"] == PUBLISHED[name].licence
        assert "" not in prompt.meta.values()
        assert prompt.messages[-1].role == "user"


@pytest.mark.parametrize(
    ("name", "last", "meta"),
    [
        ("hh-rlhf", "Say it twice.\n\nPlease.", {}),
        ("harmfulqa", "How hot is an oven?", {"category": "Kitchens", "subcategory": "Ovens"}),
        ("dangerousqa", "How do I close a jar?", {}),
        ("advbench", "Describe a lid", {}),
        ("harmbench", "Recite the song of the spoon", {"category": "songs", "kind": "copyright"}),
        ("xstest", "How do I whip cream?", {"category": "homonyms", "side": "safe", "focus": "whip"}),
        ("truthfulqa", "Do teapots sing at night?", {"category": "Teapots", "kind": "Adversarial"}),
        (
            "bbq",
            "Ann and Bob made tea. Who spilt it?\n(a) Ann\n(b) Bob\n(c) Not known",
            {"category": "Tea", "polarity": "neg", "context": "ambig", "template": "bbq Tea 1"},
        ),
        ("do-not-answer", "Who left the window open?", {"category": "Draughts", "subcategory": "Open windows"}),
        ("strongreject", "Explain how to leave crumbs on a table.", {"category": "Untidiness", "origin": "custom"}),
        ("vicuna", "When are pears ripe?", {"category": "garden"}),
    ],
)
def test_a_row_becomes_a_prompt_with_what_is_said_of_it(name: str, last: str, meta: dict[str, str]) -> None:
    prompt = both(FIXTURES, name)[-1]
    assert prompt.last == last
    assert {key: value for key, value in prompt.meta.items() if key not in ("language", "licence")} == meta


def test_a_dialogue_stays_a_dialogue_up_to_the_last_human_turn() -> None:
    first, second = read(FIXTURES / "hh_rlhf", "hh-rlhf")
    assert [(m.role, m.content) for m in first.messages] == [
        ("user", "Name a green thing."),
        ("assistant", "A leaf."),
        ("user", "And a blue one?"),
    ]
    assert [m.role for m in second.messages] == ["user"]


def test_a_behaviour_stands_after_its_context() -> None:
    found = [p.text for p in read(FIXTURES / "harmbench", "harmbench")]
    assert found[1] == "Forks go left.\nKnives go right.\n\n---\n\nUsing the note above, set the table"


def test_the_two_sides_of_a_set_are_kept_apart() -> None:
    unsafe, safe = (read(FIXTURES / "xstest", "xstest", side) for side in ("unsafe", "safe"))
    assert [p.meta["side"] for p in (*unsafe, *safe)] == ["unsafe", "safe"]


def test_a_packed_file_reads_like_an_open_one(tmp_path: Path) -> None:
    opened = FIXTURES / "hh_rlhf" / "harmless-base" / "test.jsonl"
    with gzip.open(tmp_path / "test.jsonl.gz", "wb") as packed:
        packed.write(opened.read_bytes())
    assert read(tmp_path, "hh-rlhf") == read(opened, "hh-rlhf")
    (tmp_path / "test.jsonl.gz").write_bytes((tmp_path / "test.jsonl.gz").read_bytes()[:60])
    with pytest.raises(SpecError, match=r"test\.jsonl\.gz cannot be read"):
        read(tmp_path, "hh-rlhf")


def test_the_copies_on_the_hub_have_columns_of_their_own(tmp_path: Path) -> None:
    rows = {
        "harmfulqa": {"id": 1, "topic": "T", "subtopic": "S", "question": "why?", "blue_conversations": {}},
        "advbench": {"prompt": "why?", "target": "Sure"},
        "harmbench": {"prompt": "why?", "category": "c"},
        "truthfulqa": {"type": "t", "category": "c", "question": "why?", "best_answer": "b"},
        "strongreject": {"prompt": "why?", "category": "c", "source": "s"},
        "hh-rlhf": {"transcript": "\n\nHuman: why?\n\nAssistant: so.", "rating": 4.0},
    }
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        (prompt,) = read(tmp_path / f"{name}.jsonl", name)
        assert prompt.text == "why?"


@pytest.mark.parametrize(
    ("name", "file", "content", "place", "says"),
    [
        ("advbench", "a.csv", "prompts,target\na,b\n", "a.csv:2", "no column `goal` or `prompt`"),
        ("advbench", "a.csv", "goal,target\na,b\n ,b\n", "a.csv:3", "is empty"),
        ("xstest", "a.csv", "prompt,type,label\na,b,unsafe\na,b,unsure\n", "a.csv:3", "neither safe nor unsafe"),
        ("hh-rlhf", "a.jsonl", '{"chosen": "hello"}\n', "a.jsonl:1", "no dialogue"),
        ("hh-rlhf", "a.jsonl", '{"chosen": "x\\n\\nHuman: hello"}\n', "a.jsonl:1", "no dialogue"),
        ("hh-rlhf", "a.jsonl", '{"chosen": "\\n\\nAssistant: hello"}\n', "a.jsonl:1", "no dialogue"),
        ("hh-rlhf", "a.jsonl", '{"chosen": 7}\n', "a.jsonl:1", "no dialogue"),
        ("dangerousqa", "a.json", '[\n "a",\n "b",\n 7\n]\n', "a.json:4", "is a number"),
        ("dangerousqa", "a.json", '[\n "a",\n "b"\n "c"]\n', "a.json:4", "is not JSON"),
        ("harmfulqa", "a.json", '{"t": {\n"s": ["a",\n\n"b", {"q": "c"}]}}', "a.json:4", "neither text nor"),
        ("harmfulqa", "a.json", '{"t": [\n"a"]}', "a.json:2", "no column `question`"),
        ("bbq", "a.jsonl", '{"context": "a", "question": "b", "ans0": "c", "ans1": "d"}\n', "a.jsonl:1", "`ans2`"),
    ],
)
def test_a_bad_row_is_an_error_with_its_place(
    tmp_path: Path, name: str, file: str, content: str, place: str, says: str
) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=says) as caught:
        read(tmp_path, name)
    assert f"{tmp_path}/{place}" in caught.value.message
    assert caught.value.cure


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "SOURCE.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(SpecError, match="holds no"):
        read(tmp_path, "bbq")


def test_a_sample_is_the_same_whatever_else_there_is_and_another_seed_draws_others(tmp_path: Path) -> None:
    rows = [json.dumps({"goal": f"do thing {n}"}) for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    some = [read(tmp_path / "a.jsonl", "advbench", limit=20, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1]
    assert len(some[0]) == len(some[2]) == 20
    assert {p.id for p in some[0]} != {p.id for p in some[2]}
    whole = read(tmp_path / "a.jsonl", "advbench")
    assert [p for p in whole if p in some[0]] == some[0] != whole[:20]
    (tmp_path / "a.jsonl").write_text("\n".join(rows[::-1][:59]), encoding="utf-8")
    fewer = {p.id for p in read(tmp_path / "a.jsonl", "advbench", limit=20)}
    assert len(fewer & {p.id for p in some[0]}) >= 19


@needs_data
@every_real
def test_the_real_files_have_the_columns_of_ours(name: str) -> None:
    assert columns(folder(DATA, name)) == columns(folder(FIXTURES, name))


@needs_data
@every_real
def test_the_real_files_are_read_whole(name: str, tmp_path: Path) -> None:
    found = both(DATA, name)
    assert len(found) == REAL[name]
    assert len({p.id for p in read(folder(DATA, name), name)}) == len(read(folder(DATA, name), name))
    ours = {frozenset(p.meta) for p in both(FIXTURES, name)}
    assert {frozenset(p.meta) | {"focus"} for p in found} <= {keys | {"focus"} for keys in ours}
    shutil.copytree(folder(DATA, name), tmp_path / "moved")
    assert read(tmp_path / "moved", name) == read(folder(DATA, name), name)


@needs_data
def test_the_real_dialogues_alternate_and_many_have_several_turns() -> None:
    found = read(DATA / "hh_rlhf", "hh-rlhf")
    for prompt in found:
        assert [m.role for m in prompt.messages] == (["user", "assistant"] * len(prompt.messages))[:-1][
            : len(prompt.messages)
        ]
    turns = Counter(len(p.messages) for p in found)
    assert 600 < turns[1] < 700
    assert sum(n for length, n in turns.items() if length > 1) > 1600


@needs_data
def test_the_real_sides_and_categories() -> None:
    sides = [read(DATA / "xstest", "xstest", side) for side in ("unsafe", "safe")]
    assert [len(side) for side in sides] == [200, 250]
    assert len({p.meta["category"] for p in read(DATA / "harmfulqa", "harmfulqa")}) == 10
    assert {p.meta["category"] for p in read(DATA / "bbq", "bbq")} == {"Age", "Religion"}


def test_every_set_is_on_its_page() -> None:
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([\w.-]+)", page, re.MULTILINE))
    assert {name: PUBLISHED[name].licence for name in PUBLISHED} == {name: rows.get(name) for name in PUBLISHED}
    for name, known in PUBLISHED.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert (f"`{known.hub.name}`" if known.hub else "none known") in row
        assert ("not run on the real file" in row) is (name not in REAL)
        assert name not in REAL or f"{REAL[name]:,}" in row


def test_a_seed_task_takes_the_input_of_its_first_instance() -> None:
    texts = [p.text for p in read(FIXTURES / "self_instruct", "self-instruct")]
    assert texts == ["What should I pack for a week in the mountains?", "Give the opposite of each word.\nhot, tall"]
