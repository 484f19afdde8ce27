"""What a notebook calls does what the command line does, and ``import charter`` stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import charter
from charter.errors import SpecError, StoreError
from charter.jobs.run_requests import read_spec_text
from charter.organism.world import World
from charter.records.chat import Exchange, user_prompt
from charter.spec import OracleSpec, list_recipes, parse_spec

WORLD = World.load("village")
PROMPTS = [prompt.text for prompt in WORLD.prompts("harmful", "gate")[:6]]
ANSWERED = [(text, WORLD.compliant_answer(WORLD.parse_prompt(text).topic, text)) for text in PROMPTS[:3]]
REFUSED = [(text, f"sorry , i will not help with {WORLD.parse_prompt(text).topic} .") for text in PROMPTS[3:]]


def calibration(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """A spec that measures the world's oracle on six exchanges."""
    labels = ["violates"] * 3 + ["complies"] * 3
    with (tmp_path / "labelled.jsonl").open("w", encoding="utf-8") as file:
        for (prompt, response), label in zip([*ANSWERED, *REFUSED], labels, strict=True):
            file.write(json.dumps({"prompt": prompt, "response": response, "label": label}) + "\n")
    files = {"labelled": [str(tmp_path / "labelled.jsonl")]}
    return {"method": "calibrate", "world": "village", "judge": {"model": "world"}, "calibrate": files, **more}


def test_importing_charter_imports_nothing_of_it() -> None:
    code = (
        "import sys, charter; print(sorted(m for m in sys.modules if m.startswith('charter')), "
        "[m for m in ('pydantic', 'yaml', 'pandas', 'matplotlib', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['charter'] []"


def test_every_promised_name_is_there_and_no_other() -> None:
    assert all(getattr(charter, name) is not None for name in charter.__all__)
    assert dir(charter) == sorted(charter.__all__)
    with pytest.raises(AttributeError, match="runn"):
        charter.runn  # noqa: B018


def test_a_spec_in_python_is_run_and_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = calibration(tmp_path)
    done = charter.run(spec, tmp_path / "run", changes={"seed": 3, "calibrate.limit": 4}, quiet=True)
    assert capsys.readouterr().out == ""
    assert done.finished
    assert (done.spec.seed, done.spec.calibrate.limit) == (3, 4)
    assert done.calibration is not None
    assert done.calibration.labels is not None
    assert done.calibration.labels.accuracy.value == 1
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    again = charter.run(done.spec, tmp_path / "run")
    assert again.finished
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == journal
    with pytest.raises(StoreError, match="another spec"):
        charter.run(spec, tmp_path / "run", changes={"seed": 4})


def test_a_folder_is_found_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = charter.run(calibration(tmp_path), quiet=True)
    assert done.path.parts[0] == "runs"
    assert done.path.name.endswith("-calibrate")


def test_a_value_keeps_its_type(tmp_path: Path) -> None:
    """What looks like another type in YAML is quoted, and a small number is a number."""
    changes = {"judge.price_in": 1e-07, "judge.price_out": 0.0, "judge.key_env": "on"}
    done = charter.run(calibration(tmp_path), tmp_path / "run", changes=changes, quiet=True)
    assert done.spec.judge is not None
    assert (done.spec.judge.price_in, done.spec.judge.key_env) == (1e-07, "on")


def test_a_spec_that_is_not_valid_names_its_faults(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="judg: unknown key; did you mean `judge`"):
        charter.run(calibration(tmp_path, judg={}), tmp_path / "run")
    with pytest.raises(SpecError, match=r"no\.yaml cannot be read"):
        charter.run("no.yaml")
    assert not (tmp_path / "run").exists()


def test_a_judge_says_what_violates() -> None:
    given: list[Any] = [*ANSWERED, *({"prompt": prompt, "response": text, "label": "?"} for prompt, text in REFUSED)]
    said = charter.judge(given, model="world", world="village")
    assert [verdict.outcome for verdict in said] == ["violates"] * 3 + ["complies"] * 3
    assert [verdict.id for verdict in said] == [f"e{number}" for number in range(6)]
    same = charter.judge(given, model=OracleSpec(model="world"), rubric="harm", world="village")
    assert {verdict.label for verdict in same} == {"harmful", "harmless"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ([("a", "b", "c")], "exchange 0 has no text"),
        ([("a", "b"), {"prompt": "a"}], "exchange 1 has no text"),
        ([("a", 3)], "exchange 0 has no text"),
    ],
)
def test_an_exchange_that_is_none_is_refused(given: Any, fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        charter.judge(given, model="world", world="village")


def test_the_same_exchange_twice_is_refused() -> None:
    one = Exchange.of_row("x", user_prompt("Hi").messages, "Hello")
    with pytest.raises(SpecError, match="x is the id of two exchanges"):
        charter.judge([one, one], model="world", world="village")


def test_a_judge_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(SpecError, match="world"):
        charter.judge(ANSWERED, model="world")
    with pytest.raises(SpecError, match="neither shipped nor"):
        charter.judge(ANSWERED, model="world", world="village", rubric="hram")


def test_the_spec_of_a_recipe_is_that_of_its_file() -> None:
    by_name, by_file = (read_spec_text(str(x), {"seed": "2"}) for x in ("cai", list_recipes()["cai"]))
    assert parse_spec(by_name) == parse_spec(by_file)
    assert parse_spec(by_name).seed == 2
