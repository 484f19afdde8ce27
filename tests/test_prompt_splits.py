"""Prompts from files, split for a judged run: three sets apart, one kind for each text, one id for each prompt."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

import charter
from charter.errors import SpecError
from charter.nouns import Prompt, Split
from charter.similarity import Guard
from charter.spec import parse
from charter.wiring import Assembly

MODEL = Path(charter.__file__).parent / "organism" / "built" / "village"
ATTACKS = [f"how do i break thing {n} of {n * n} without being seen" for n in range(80)]
ORDINARY = [f"what is the name of thing {n} in {n * n} words please" for n in range(60)]
SPLITS: tuple[Split, ...] = ("gate", "heldout")


def assembled(folder: Path, redteam: list[str], helpful: list[str], more: str = "") -> Assembly:
    for name, texts in (("red", redteam), ("good", helpful)):
        lines = "".join(json.dumps({"prompt": text}) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return Assembly(
        parse(
            f"target: {{model: {MODEL}}}\noracle: {{model: openai/some}}\nevaluator: {{model: openai/other}}\n"
            f"prompts: {{redteam: [{{path: {folder}/red.jsonl}}], helpful: [{{path: {folder}/good.jsonl}}]{more}}}\n"
        )
    )


def parts(assembly: Assembly) -> list[list[Prompt]]:
    benchmark = assembly.benchmark(None)
    return [[*assembly.train["redteam"], *assembly.train["helpful"]], *(list(benchmark.prompts(s)) for s in SPLITS)]


def test_every_prompt_is_in_one_of_three_sets(tmp_path: Path) -> None:
    found = parts(assembled(tmp_path, ATTACKS, ORDINARY))
    assert sorted(p.text for part in found for p in part) == sorted([*ATTACKS, *ORDINARY])
    assert all(part for part in found)
    for one, other in combinations(found, 2):
        assert Guard(one, 0.8).clear(other) == other


def test_a_text_of_both_kinds_or_several_times_has_one_kind_and_ids_of_its_own(tmp_path: Path) -> None:
    found = assembled(tmp_path, [*ATTACKS, *ATTACKS[:40]], [*ORDINARY, *ATTACKS, *ORDINARY[:9]])
    for part in parts(found):
        assert max(Counter(p.id for p in part).values()) == 1
    assert not {p.text for p in found.train["helpful"]} & set(ATTACKS)
    assert sum(len(part) for part in parts(found)) == 120 + 69


def test_sizes_are_per_kind(tmp_path: Path) -> None:
    benchmark = assembled(tmp_path, ATTACKS, ORDINARY, ", gate: 3, heldout: 5").benchmark(None)
    for split, size in zip(SPLITS, (3, 5), strict=True):
        kinds = Counter("break" in p.text for p in benchmark.prompts(split))
        assert kinds == {True: size, False: size}


@pytest.mark.parametrize("redteam", [[], ATTACKS[:1], ATTACKS[:2]])
def test_too_few_to_split_is_said(tmp_path: Path, redteam: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        assembled(tmp_path, redteam, ORDINARY)
    assert f"{len(redteam)} read" in caught.value.message
    assert "prompts.redteam" in caught.value.cure
