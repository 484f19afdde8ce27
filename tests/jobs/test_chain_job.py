"""Methods after one another: each step goes on from the one before, killed or not. Real training on the organism."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import cli, jobs
from charter import spec as specs
from charter.constitution.run_state import RunState
from charter.errors import BudgetError, SpecError, StoreError
from charter.jobs.chain_job import remaining_budget
from charter.records.model_refs import ModelRef
from charter.records.training_rows import PreferencePair
from charter.reports import run_comparison as comparing
from charter.reports.chain import chain_runs, is_complete, verify_chain
from charter.reports.costs import read_costs
from charter.reports.method_comparison import compare_methods
from charter.reports.method_comparison_page import figure_rows
from charter.reports.preference_report import read_preference_report
from charter.runs.reader import RunReader
from charter.runs.store import expected_head
from charter.spec import Budget

pytestmark = pytest.mark.slow

TEXT = """\
version: 1
method: iteralign
world: village
templates: world
scale: organism
prompts: {gate: 2, heldout: 2}
options:
  draw: {batch: 12, later: 8}
  contrast: {count: 0}
  measure: {efficacy: false, breadth: false}
  replay: {ratio: 0, fresh: 0, lookalikes: false}
  keep: {exempt_openings: ["sorry , i will not help"]}
  tune: {learning_rate: 0.003, epochs: 1}
  stop: {iterations: 1}
  gates: {roll_back: false}
steps:
  - {method: iteralign}
  - {method: iteralign, options: {draw: {batch: 9}, tune: {start: previous}}}
"""


LEARNING = """
- {method: iteralign}
- method: rlhf
  options: {learn: {algorithm: dpo, replay: 4, pairs: {prompts: 8, draws: 1}, dpo: {epochs: 1}, guard: {kl_prompts: 8}}}
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished chain of two short runs."""
    folder = tmp_path_factory.mktemp("chains") / "whole"
    jobs.launch_run(TEXT, folder)
    return folder


def made(directory: Path) -> dict[str, str]:
    """The hash of the records of each step."""
    heads = {step.name: expected_head(RunReader(step).events) for step in chain_runs(directory)}
    return {name: head.records for name, head in heads.items() if head is not None}


def test_each_step_begins_with_model_constitution_and_rows_of_the_one_before(chain: Path) -> None:
    first, second = chain_runs(chain)
    assert [first.name, second.name] == ["1-iteralign", "2-iteralign"]
    (left,) = RunReader(first).records("final/handover", RunState)
    (given,) = RunReader(second).records("inherited/handover", RunState)
    assert left.policy.adapter is not None
    assert left.examples
    assert given.policy.digest == left.policy.digest
    assert (given.constitution, given.examples, given.probed_prompt_ids) == (
        left.constitution,
        left.examples,
        left.probed_prompt_ids,
    )
    probed = {r["id"] for r in map(json.loads, (second / "001/exchanges.jsonl").read_text().splitlines())}
    assert probed
    assert not probed & set(left.probed_prompt_ids)
    assert RunReader(second).spec.options.draw.batch == 9
    assert RunReader(second).spec.options.draw.later == 8
    assert is_complete(chain)


def test_a_step_names_the_records_that_it_goes_on_from(chain: Path, tmp_path: Path) -> None:
    asked = RunReader(chain / "2-iteralign").spec.continue_from
    assert asked is not None
    assert asked.head == made(chain)["1-iteralign"]
    assert all(found.ok for found in verify_chain(chain).values())
    assert not verify_chain(chain, "0" * 64)["2-iteralign"].ok


def test_a_chain_that_was_interrupted_comes_to_the_same_end(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    shutil.rmtree(folder / "2-iteralign")
    for stop in ("inherited/handover", "001/verdicts"):

        def interrupt(path: str, done: int, total: int, stop: str = stop) -> None:
            if path == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            jobs.resume_run(folder, interrupt)
        assert not is_complete(folder)
    jobs.resume_run(folder)
    assert made(folder) == made(chain)


def test_the_budget_is_that_of_the_whole_chain(chain: Path, tmp_path: Path) -> None:
    first, second = (sum(c.calls for c in read_costs(RunReader(s)) if c.purpose != "target") for s in chain_runs(chain))
    assert remaining_budget(Budget(calls=first + 3), [chain / "1-iteralign"]).calls == 3
    with pytest.raises(BudgetError, match="by the steps before"):
        remaining_budget(Budget(calls=first), [chain / "1-iteralign"])
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    shutil.rmtree(folder / "2-iteralign")
    (folder / "spec.yaml").write_text(specs.change_spec(TEXT, {"budget.calls": str(first + 3)}), encoding="utf-8")
    with pytest.raises(BudgetError, match="of 3 are spent"):
        jobs.resume_run(folder)
    assert not is_complete(folder)
    jobs.resume_run(folder, budget={"calls": str(first + second)})
    assert is_complete(folder)


def test_the_command_line_knows_a_chain(chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(TEXT, encoding="utf-8")

    def said(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        out = capsys.readouterr()
        assert ended.value.code == code, out.err
        return out.out + out.err

    assert "Each step is a run of its own" in said("run", str(spec), "--out", str(chain))
    assert len(json.loads(said("show", str(chain), "--json"))["runs"]) == 2
    assert said("verify", str(chain)).count("consistent, not anchored") == 2
    assert set(json.loads(said("verify", str(chain), "--json"))) == {str(step) for step in chain_runs(chain)}
    assert "1-iteralign" in said("report", str(chain), code=StoreError.exit_code)
    assert set(json.loads(said("run", str(spec), "--dry-run", "--json"))) == {"1-iteralign", "2-iteralign"}
    other = specs.change_spec(TEXT, {"seed": "3"})
    spec.write_text(other, encoding="utf-8")
    assert "another spec" in said("run", str(spec), "--out", str(chain), code=StoreError.exit_code)
    assert "holds no run" in said("show", str(tmp_path), code=StoreError.exit_code)


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ("[{method: iteralign}]", "steps: a chain has two steps or more"),
        ("[{method: iteralign}, 7]", "steps.1: "),
        ("[{method: iteralign}, {}]", "steps.1.method: is missing"),
        ("[{method: iteralign}, {method: red_team}]", "steps.1.method: red_team leaves no model"),
        ("[{method: iteralign}, {method: iteralign, seed: 3}]", "steps.1.seed: holds for the whole chain"),
        ("[{method: iteralign}, {method: iteralign, options: {drew: 3}}]", "steps.1.options.drew: unknown key; did"),
        ("[{method: iteralign}, {method: alchemy}]", "steps.1.method: "),
    ],
)
def test_a_fault_of_a_chain_names_its_step(steps: str, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        specs.parse_spec(f"world: village\ntemplates: world\nsteps: {steps}\n")
    assert any(fault.startswith(line) for fault in caught.value.faults), caught.value.faults


@pytest.mark.parametrize("first", ["iteralign", "self_align", "cai"])
def test_the_steps_of_a_chain_recipe_are_the_recipes_of_its_methods(first: str) -> None:
    """But for what a chain needs otherwise: rules are handed on, and a policy that is aligned needs no warm-up and
    smaller steps."""
    whole = recipe(f"{first}-rlhf")
    steps = [{**{key: value for key, value in whole.items() if key != "steps"}, **step} for step in whole["steps"]]
    alone = recipe("rlhf")
    del alone["constitution"], alone["options"]["learn"]["rloo"]["warm_up"]
    alone["options"]["learn"]["rloo"]["learning_rate"] = 0.0003
    assert steps == [recipe(first), alone]


def test_a_chain_goes_on_by_preferences(chain: Path, tmp_path: Path) -> None:
    text = specs.change_spec(TEXT, {"steps": LEARNING})
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    shutil.move(folder / "1-iteralign", tmp_path / "kept")
    shutil.rmtree(folder / "2-iteralign")
    shutil.move(tmp_path / "kept", folder / "1-iteralign")
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    jobs.resume_run(folder)
    first, second = (RunReader(step) for step in chain_runs(folder))
    (left,), (given) = first.records("final/handover", RunState), second.records("inherited/handover", RunState)
    assert given[0].policy.digest == left.policy.digest
    rules = {p.id for p in left.constitution.principles}
    rows = second.records("000/preferred", PreferencePair)
    assert rows
    assert {row.principle for row in rows} <= rules | {""}
    assert second.records("001/policy", ModelRef)[0].digest != left.policy.digest
    assert is_complete(folder)
    found = read_preference_report(second)
    assert found is not None
    compared = {row[0]: row[1] for row in comparing.comparison_rows(comparing.compare_runs([second.directory]))}
    said = compared["log-probability of chosen answers, start to end"]
    tried = next(at for at in found.policies if at != "000")
    assert said.startswith(f"{found.before.chosen:.2f} to {found.policies[tried].chosen:.2f}")
    assert said.endswith("rolled back") is (found.used == "000")
    (side,) = compare_methods([("chain", [folder])]).sides
    assert ("chosen" in side.monitored) is (found.used != "000")
    assert all(row[1] for row in figure_rows(compare_methods([("chain", [folder])])))


def recipe(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(specs.list_recipes()[name].read_text(encoding="utf-8"))
    return found


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not an empty folder"):
        jobs.launch_run(TEXT, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
