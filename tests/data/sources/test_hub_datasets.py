"""Data sets of the hub, read through `datasets` from a cache laid out as the hub's own client lays it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.data.sources.source_prompts import SourcePrompts
from charter.errors import SpecError
from charter.records.chat import Prompt
from charter.spec import SourceSpec, parse_spec
from charter.wiring.prompt_sets import build_sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = """---
license: [cc0-1.0]
configs:
- config_name: small
  default: true
  data_files:
  - {split: train, path: data/train.jsonl}
  - {split: test, path: data/test.jsonl}
- config_name: other
  data_files:
  - {split: test, path: more/*.jsonl}
---
# Placeholders
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"


def lay(cache: Path, name: str, files: dict[str, str]) -> None:
    """A data set in the cache, at one commit that ``main`` names."""
    folder = cache / f"datasets--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for path, text in files.items():
        file = folder / "snapshots" / COMMIT / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def own(cache: Path) -> None:
    lay(
        cache,
        "some/placeholders",
        {
            "README.md": CARD,
            "data/train.jsonl": lines({"q": "how?", "kind": "x"}, {"q": "when?", "kind": "y"}),
            "data/test.jsonl": lines({"q": "why?", "kind": "x"}),
            "more/a.jsonl": lines({"q": "who?", "kind": "z"}),
        },
    )


def read(**asked: Any) -> list[Prompt]:
    return list(SourcePrompts(SourceSpec.model_validate(asked), offline=True).prompts())


def test_a_data_set_of_ones_own_with_its_configurations_and_splits(cache: Path) -> None:
    own(cache)
    columns = {"prompt": "q", "category": "kind"}
    found = read(hub="some/placeholders", columns=columns)
    assert [(p.text, p.meta["category"]) for p in found] == [("how?", "x"), ("when?", "y"), ("why?", "x")]
    assert {p.source for p in found} == {"some/placeholders"}
    assert {p.meta["licence"] for p in found} == {"cc0-1.0"}
    assert [p.text for p in read(hub="some/placeholders", columns=columns, split="test")] == ["why?"]
    assert [p.text for p in read(hub="some/placeholders", columns=columns, config="other", split="test")] == ["who?"]
    assert [p.text for p in read(hub="some/placeholders", columns=columns, revision=COMMIT, split="test")] == ["why?"]


def test_a_published_set_by_its_name_alone(cache: Path) -> None:
    rows = lines({"id": 0, "topic": "Gardens", "subtopic": "Hedges", "question": "How tall is a hedge?"})
    lay(cache, "declare-lab/HarmfulQA", {"data_for_hub.jsonl": rows})
    (prompt,) = read(name="harmfulqa")
    assert (prompt.text, prompt.source, prompt.meta["category"]) == ("How tall is a hedge?", "harmfulqa", "Gardens")
    said = "\n\nHuman: hello\n\nAssistant: "
    files = {f"{part}/{split}.jsonl": lines({"chosen": f"{said}{part} {split}", "rejected": said})
             for part in ("harmless-base", "helpful-base") for split in ("train", "test")}  # fmt: skip
    lay(cache, "Anthropic/hh-rlhf", files)
    assert len(read(name="hh-rlhf")) == 2


def test_a_bad_row_is_named_with_its_data_set_commit_split_and_number(cache: Path) -> None:
    own(cache)
    with pytest.raises(SpecError, match=r"some/placeholders@0123456789ab train:1: has no column `prompt`"):
        read(hub="some/placeholders")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"hub": "some/nothing"}, "not in the local cache"),
        ({"hub": "no/such/thing"}, "no data set id"),
        ({"name": "dangerousqa"}, "No copy of dangerousqa is known on the hub"),
        ({"hub": "some/placeholders", "revision": "other"}, "not in the local cache"),
        ({"hub": "some/placeholders", "split": "dev"}, "cannot be read"),
        ({"hub": "some/placeholders", "config": "big"}, "cannot be read"),
    ],
)
def test_what_cannot_be_had_is_an_error_with_a_cure(cache: Path, asked: dict[str, str], says: str) -> None:
    own(cache)
    with pytest.raises(SpecError, match=says) as caught:
        read(**asked)
    assert caught.value.cure


def test_a_hub_that_cannot_be_reached_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpecError, match="not in the local cache, and the hub cannot be reached"):
        SourcePrompts(SourceSpec(hub="some/nothing")).prompts()


def test_an_offline_spec_asks_no_hub(cache: Path) -> None:
    spec = parse_spec(
        "offline: true\ntarget: {model: nowhere}\n"
        "oracle: {model: openai/some, base_url: 'http://127.0.0.1:1/v1'}\n"
        "evaluator: {model: openai/other, base_url: 'http://127.0.0.1:2/v1'}\n"
        "prompts: {redteam: [{name: harmfulqa}], helpful: [{hub: some/placeholders, columns: {prompt: q}}]}\n"
    )
    own(cache)
    redteam, helpful = build_sources(spec, None)
    with pytest.raises(SpecError, match="may not be asked offline"):
        redteam[0].prompts()
    assert len(helpful[0].prompts()) == 3
