"""Prompts from files, split for a judged run: three sets apart, one kind for each text, one id for each prompt."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, permutations
from pathlib import Path

import pytest

import charter
from charter import jobs
from charter.errors import SpecError
from charter.jobs.alignment_job import AlignmentJob
from charter.records.chat import Message, Prompt, user_prompt
from charter.records.measurements import MeasuredSplit
from charter.similarity.splits import LeakageFilter
from charter.spec import parse_spec
from charter.statistics import describe_copies, drop_copies
from charter.wiring.components import Components
from charter.wiring.prompt_sets import make_ids_distinct
from tests.fakes.published_files import DATA, needs_data

MODEL = Path(charter.__file__).parent / "organism" / "built" / "village"
ATTACKS = [f"how do i break thing {n} of {n * n} without being seen" for n in range(80)]
ORDINARY = [f"what is the name of thing {n} in {n * n} words please" for n in range(60)]
SPLITS: tuple[MeasuredSplit, ...] = ("gate", "heldout")


def assembled(folder: Path, redteam: list[str], helpful: list[str], more: str = "") -> Components:
    for name, texts in (("red", redteam), ("good", helpful)):
        lines = "".join(json.dumps({"prompt": text}) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return Components(
        parse_spec(
            f"target: {{model: {MODEL}}}\noracle: {{model: openai/some}}\nevaluator: {{model: openai/other}}\n"
            f"prompts: {{redteam: [{{path: {folder}/red.jsonl}}], helpful: [{{path: {folder}/good.jsonl}}]{more}}}\n"
        )
    )


def parts(assembly: Components) -> list[list[Prompt]]:
    return [[*assembly.train["redteam"], *assembly.train["helpful"]], *assembly.measured_prompts.values()]


def test_every_prompt_is_in_one_of_three_sets(tmp_path: Path) -> None:
    found = parts(assembled(tmp_path, ATTACKS, ORDINARY))
    assert sorted(p.text for part in found for p in part) == sorted([*ATTACKS, *ORDINARY])
    assert all(part for part in found)
    for one, other in combinations(found, 2):
        assert LeakageFilter(one, 0.8).remove_leaked(other) == other


def test_a_split_without_ordinary_prompts_is_named(tmp_path: Path) -> None:
    assert assembled(tmp_path, ATTACKS, ORDINARY).prompts.unmeasured == ""
    few = assembled(tmp_path, ATTACKS, ORDINARY[:1])
    empty = [split for split, prompts in few.prompts.helpful.items() if not prompts]
    assert few.prompts.unmeasured.startswith(f"no ordinary prompt fell into {empty[0]}")
    assert jobs.forecast_run(few.spec)["prompts_missing"] == few.prompts.unmeasured
    assert AlignmentJob(few.spec).prepare()[-1] == f"prompts: {few.prompts.unmeasured}"


def test_a_text_of_both_kinds_or_several_times_has_one_kind_and_ids_of_its_own(tmp_path: Path) -> None:
    found = assembled(tmp_path, [*ATTACKS, *ATTACKS[:40]], [*ORDINARY, *ATTACKS, *ORDINARY[:9]])
    for part in parts(found):
        assert max(Counter(p.id for p in part).values()) == 1
    assert not {p.text for p in found.train["helpful"]} & set(ATTACKS)
    assert sum(len(part) for part in parts(found)) == 80 + 60
    assert found.prompts.repeated == 40 + 9


def test_a_text_in_other_case_and_with_other_marks_counts_once(tmp_path: Path) -> None:
    again = [f"{text.upper()}?!" for text in ATTACKS]
    found = parts(assembled(tmp_path, [*ATTACKS, *again], [*ORDINARY, f"{ATTACKS[0]}."]))
    assert sorted(p.text for part in found for p in part) == sorted([*ATTACKS, *again, *ORDINARY])
    for part in found:
        attacks = [p for p in part if p.text not in ORDINARY]
        assert len(drop_copies(attacks)) == len(attacks) / 2


def test_prompts_of_the_same_words_have_the_ids_of_copies() -> None:
    texts = ["Is it late?", "is it late", "Is it late now?", "is it late now", "IS IT LATE"]
    prompts = make_ids_distinct([user_prompt(text) for text in texts])
    assert [p.text for p in prompts] == texts
    assert len({p.id for p in prompts}) == 5
    assert [p.text for p in drop_copies(prompts)] == ["Is it late?", "Is it late now?"]
    assert describe_copies(prompts) == "3 of 5 prompts are copies of others: a text counts once"
    turns = (Message(role="system", content="x"), Message(role="user", content="Is it late?"))
    apart = Prompt(id=user_prompt("other").id, messages=turns)
    assert drop_copies(make_ids_distinct([prompts[0], apart])) == [prompts[0], apart]
    own = [Prompt(id=id, messages=prompts[0].messages) for id in ("a-1", "b-1")]
    assert make_ids_distinct(own) == own


def test_sizes_are_per_kind(tmp_path: Path) -> None:
    measured = assembled(tmp_path, ATTACKS, ORDINARY, ", gate: 3, heldout: 5").measured_prompts
    for split, size in zip(SPLITS, (3, 5), strict=True):
        kinds = Counter("break" in p.text for p in measured[split])
        assert kinds == {True: size, False: size}


def test_a_source_without_a_row_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"red\.jsonl gives no row"):
        assembled(tmp_path, [], ORDINARY)
    with pytest.raises(SpecError, match=r"good\.jsonl gives no row"):
        assembled(tmp_path, ATTACKS, [])


@pytest.mark.parametrize("redteam", [ATTACKS[:1], ATTACKS[:2]])
def test_too_few_to_split_is_said(tmp_path: Path, redteam: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        assembled(tmp_path, redteam, ORDINARY)
    assert f"{len(redteam)} read" in caught.value.message
    assert "prompts.redteam" in caught.value.cure


def several(folder: Path, more: str = "") -> Components:
    """Three red-team sources and an ordinary one; the sources share near-duplicates, and rows have categories."""
    rows: dict[str, list[dict[str, object]]] = {
        "one": [{"prompt": f"{text} please", "kind": f"k{n % 5}"} for n, text in enumerate(ATTACKS)],
        "two": [{"prompt": f"{text.upper()} PLEASE!", "kind": "loud"} for text in ATTACKS[:30]],
        "three": [{"prompt": turns(text), "kind": "talk"} for text in ATTACKS[20:60]],
        "good": [{"prompt": text, "kind": "k1"} for text in ORDINARY],
    }
    for name, found in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    given = {n: f"{{path: {folder}/{n}.jsonl, columns: {{category: kind}}}}" for n in rows}
    return Components(
        parse_spec(
            f"target: {{model: {MODEL}}}\noracle: {{model: openai/some}}\nevaluator: {{model: openai/other}}\n"
            f"prompts: {{redteam: [{given['one']}, {given['two']}, {given['three']}], "
            f"helpful: [{given['good']}]{more}}}\n"
        )
    )


def turns(text: str) -> list[dict[str, str]]:
    said = [f"{text} please", "no i will not", "and why would that be"]
    return [{"role": role, "content": words} for role, words in zip(("user", "assistant", "user"), said, strict=True)]


def test_near_duplicates_of_other_sources_fall_into_the_same_split(tmp_path: Path) -> None:
    found = parts(several(tmp_path))
    assert sum(map(len, found)) == 80 + 30 + 40 + 60
    for part in found:
        assert {"one.jsonl", "two.jsonl", "three.jsonl", "good.jsonl"} == {p.source for p in part}
    for one, other in permutations(found, 2):
        assert LeakageFilter(one, 0.8).remove_leaked(other) == other


def test_a_limit_takes_from_every_source(tmp_path: Path) -> None:
    for split in SPLITS:
        drawn = several(tmp_path, f", {split}: 12").measured_prompts[split]
        counts = Counter(p.source for p in drawn)
        assert set(counts) == {"one.jsonl", "two.jsonl", "three.jsonl", "good.jsonl"}
        assert counts.total() <= 24


def test_a_category_that_is_kept_out_is_on_heldout_alone_and_measured_apart(tmp_path: Path) -> None:
    assembly = several(tmp_path, ", keep_out: {category: k1}")
    train, gate, heldout = parts(assembly)
    novel = [p for p in heldout if p.id in assembly.prompts.novel]
    assert {p.meta["category"] for p in novel} == {"k1"}
    assert sum(p.source == "one.jsonl" for p in novel) == 16
    assert sum(p.source == "good.jsonl" for p in novel) == 60
    assert "k1" not in {p.meta["category"] for p in (*train, *gate)}
    for part in (train, gate):
        assert LeakageFilter(novel, 0.8).remove_leaked(part) == part
    assert "k1" not in {p.meta["category"] for p in heldout if p not in novel}
    names = [metric.name for metric in assembly.build_evaluators(None)["heldout"].metrics]
    assert names[3:] == [f"novel_{name}" for name in names[:3]]


def test_what_is_kept_out_changes_no_other_prompts_split(tmp_path: Path) -> None:
    before, after = (parts(several(tmp_path, more)) for more in ("", ", keep_out: {category: k1}"))
    for old, new in zip(before[:2], after[:2], strict=True):
        assert {p.id for p in new} < {p.id for p in old}
    usual = {p.id for p in before[2]}
    assert {p.id for p in after[2] if p.meta["category"] != "k1"} <= usual


def test_a_category_that_no_prompt_has_is_an_error_that_lists_them(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no prompt has the category 'k9' \(there are: k0, k1, k2, k3, k4, loud, talk"):
        several(tmp_path, ", keep_out: {category: k9}")


@needs_data
@pytest.mark.slow
def test_published_files_are_split_apart(tmp_path: Path) -> None:
    named = {"harmfulqa": "harmfulqa", "dangerousqa": "dangerousqa", "hh-rlhf": "hh_rlhf", "xstest": "xstest"}
    red = ", ".join(f"{{name: {name}, path: {DATA / folder}, limit: 600}}" for name, folder in named.items())
    good = f"{{name: xstest, path: {DATA / 'xstest'}}}"
    assembly = Components(
        parse_spec(
            f"target: {{model: {MODEL}}}\noracle: {{model: openai/some}}\nevaluator: {{model: openai/other}}\n"
            f"prompts: {{redteam: [{red}], helpful: [{good}]}}\n"
        )
    )
    found = parts(assembly)
    assert assembly.prompts.repeated == 7
    assert sum(map(len, found)) == 600 + 200 + 600 + 200 + 250 - 7
    for part in found:
        assert {p.source for p in part} == set(named)
    for one, other in combinations(found, 2):
        assert LeakageFilter(one, 0.8).remove_leaked(other) == other
    sides = {p.meta["side"] for p in assembly.train["redteam"] if p.source == "xstest"}
    assert sides == {"unsafe"}
