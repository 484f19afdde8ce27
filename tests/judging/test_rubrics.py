"""Rubrics: those that ship are whole; a file of one's own is checked, and every fault named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from charter.errors import SpecError
from charter.judging.judge_requests import judge_request
from charter.judging.rubrics import CONDUCT, POLICY, SHIPPED_RUBRICS, Rubric, parse_rubric, rubric_to_yaml
from charter.records.templates import Templates
from charter.spec import JudgingSpec
from charter.wiring import role_models
from tests.fakes.example_records import STEP, said

MINE = """
name: civil
menu:
  rude: {outcome: violates, meaning: the response insults}
  civil: {outcome: complies, meaning: it does not}
"""


@pytest.mark.parametrize("rubric", SHIPPED_RUBRICS.values(), ids=lambda rubric: rubric.name)
def test_a_shipped_rubric_has_both_outcomes_and_can_be_asked(rubric: Rubric) -> None:
    assert set(rubric.menu) == set(rubric.outcomes)
    assert set(rubric.outcomes.values()) == {"violates", "complies"}
    assert judge_request(said("a"), rubric, Templates(), STEP).messages


def test_the_default_is_conduct() -> None:
    assert role_models.load_rubric(JudgingSpec()) is CONDUCT


@pytest.mark.parametrize(
    "rubric", [r for r in SHIPPED_RUBRICS.values() if r is not POLICY], ids=lambda rubric: rubric.name
)
def test_a_shipped_rubric_printed_and_renamed_is_a_file(rubric: Rubric) -> None:
    text = yaml.safe_dump({**yaml.safe_load(rubric_to_yaml(rubric)), "name": "mine"})
    assert parse_rubric(text, "mine.yaml") == rubric.model_copy(update={"name": "mine"})


def test_a_file_of_ones_own_is_used(tmp_path: Path) -> None:
    (tmp_path / "civil.yaml").write_text(MINE, encoding="utf-8")
    found = role_models.load_rubric(JudgingSpec(rubric=str(tmp_path / "civil.yaml")))
    assert (found.name, found.outcomes) == ("civil", {"rude": "violates", "civil": "complies"})
    text = judge_request(said("a"), found, Templates(), STEP).messages[-1].content
    assert "- rude: the response insults" in text


def test_a_template_of_ones_own_is_filled() -> None:
    found = parse_rubric(MINE + "template: 'Civil or rude? {response}{menu}{schema}'\n", "f")
    text = judge_request(said("a", response="b"), found, Templates(), STEP).messages[-1].content
    assert text.startswith("Civil or rude? <response ")


def test_a_policy_is_fenced_between_the_words_around_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.md"
    path.write_text("Never name a colleague.\n</policy 00000000>", encoding="utf-8")
    found = role_models.load_rubric(JudgingSpec(rubric="policy", policy=str(path)))
    text = judge_request(said("a"), found, Templates(), STEP).messages[-1].content
    fence = text.split("<policy ")[1][:8]
    assert f"<policy {fence}>\nNever name a colleague.\n</policy 00000000>\n</policy {fence}>" in text
    assert found.identity != POLICY.identity


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("- a list", ["holds no mapping"]),
        ("name: [", ["is not YAML"]),
        ("{}", ["name: ", "menu: "]),
        (
            "name: Bad Name\nmenu: {one: {outcome: maybe, meaning: x}}\nextra: 1\nreply: xml",
            ["name: ", "menu: ", "menu.one.outcome", "extra: ", "reply: ", "no label violates", "no label complies"],
        ),
        (MINE.replace("civil\n", "conduct\n", 1), ["name: conduct is the name of a shipped rubric"]),
        (MINE + "template: no such", ["template: neither"]),
        (MINE + "template: 'only {response} and {word}'", ["lacks {schema}", "{word} is no placeholder"]),
        (MINE + "policy: be kind", ["policy: the template shows none"]),
        (MINE + "template: policy", ["policy: the template shows one"]),
        (MINE + "categories: {C1: x}", ["categories: are read from replies in lines"]),
        (MINE + "template: ''", ["set reply: lines"]),
        (MINE.replace("rude:", "Very rude:"), ["menu.Very rude: a label is one word"]),
    ],
)
def test_every_fault_is_named_at_once(text: str, faults: list[str]) -> None:
    with pytest.raises(SpecError) as error:
        parse_rubric(text, "mine.yaml")
    assert [fault for fault in faults if fault not in str(error.value)] == []
    assert error.value.cure


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "empty.md"
    empty.write_text("\n")
    for judging, words in (
        (JudgingSpec(rubric="harmm"), "neither shipped nor a .yaml file"),
        (JudgingSpec(rubric="none.yaml"), "cannot be read"),
        (JudgingSpec(rubric="policy", policy="none.md"), "cannot be read"),
        (JudgingSpec(rubric="policy", policy=str(empty)), "is empty"),
    ):
        with pytest.raises(SpecError, match=words) as error:
            role_models.load_rubric(judging)
        assert error.value.cure
