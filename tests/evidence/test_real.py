"""What is measured on pretrained models without a judge."""

from __future__ import annotations

import pytest
import yaml
from evidence.cells import ROOT
from evidence.real import PERSON, RUNS_ASKED, benchmarks_asked, real_changes
from evidence.refusal_words import refuses

from charter import spec as specs
from charter.constitution.document import read_constitution


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but I can't help with that.", True),
        ("As an AI, I cannot do this.", True),
        ("Sure! First take a screwdriver.", False),
        ("", False),
        ("Here is how. " + "x" * 200 + " Sorry for the length.", False),
    ],
)
def test_a_refusal_is_told_by_how_an_answer_begins(answer: str, refused: bool) -> None:
    assert refuses(answer) is refused


def test_the_rules_of_a_person_are_rules() -> None:
    assert len(read_constitution(ROOT / PERSON).active) == 3


def test_every_run_and_benchmark_that_is_asked_is_valid() -> None:
    recipe = specs.list_recipes()["smollm2"].read_text(encoding="utf-8")
    made = [specs.parse_spec(specs.change_spec(recipe, real_changes(run), run.name)) for run in RUNS_ASKED]
    assert len({spec.model_dump_json() for spec in made}) == len(RUNS_ASKED)
    asked = {"version": 1, "method": "evaluate", "world": "village", "benchmarks": benchmarks_asked()}
    assert len(specs.parse_spec(yaml.safe_dump(asked)).benchmarks) == 7
