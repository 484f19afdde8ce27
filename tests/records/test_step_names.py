"""Step names: declared once, the same on the left of a step as in its file, and asked for by no other name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from charter.errors import StoreError
from charter.records.decisions import Decision
from charter.records.step_names import ITERATION, STEPS, is_declared
from charter.reports.costs import STEP_USES, TUNING_STEP
from charter.reports.run_summary import VERDICT_STEPS
from charter.runs import Run
from charter.runs.reader import RunReader

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "charter"
METHODS = sorted((SOURCE / "methods").glob("*.py"))
KEEPING = ("map", "once", "record")
ELSEWHERE: dict[str, list[tuple[str, ...]]] = {
    "benchmark_evaluation": [("f'{split}_measurements'", "grade_items", "evaluator")]
}
"""Announced steps that are done under another name of theirs: ``grade_answers`` is given the split's."""


def pattern(node: ast.expr) -> str:
    """A step's name as it is written, with ``*`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr), ast.dump(node)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def kept_steps(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Every call that keeps a step, with the step's name."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr in KEEPING and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
            yield node, node.args[0]


def misnamed(source: str) -> list[str]:
    """Names on the left of a step that are not the step's.

    The rule: the one name on the left is the step's name. Where parts of the name are filled in, it is the last written
    part without the underscores around it: ``pulls = run.once(f"{prefix}pulls", ...)``."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign):
            continue
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        targets = [t for target in node.targets for t in (target.elts if isinstance(target, ast.Tuple) else [target])]
        for target, value in zip(targets, values, strict=False):
            value = value.body if isinstance(value, ast.IfExp) else value
            for call, name in kept_steps(value):
                written = [part for part in pattern(name).split("*") if part.strip("_")]
                expected = written[-1].strip("_") if written else "(nothing)"
                given = target.id if isinstance(target, ast.Name) else ast.unparse(target)
                if call is value and given != expected:
                    wrong.append(f"{given} = {pattern(name)}")
    return wrong


def overlap(one: str, other: str) -> bool:
    """Whether two patterns have a name in common."""
    return fnmatchcase(one.replace("*", "1"), other) or fnmatchcase(other.replace("*", "1"), one)


def announced_steps(source: str) -> list[tuple[str, ...]]:
    """The steps that are announced as the next ones: name, stage and arguments as they are written."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "NextStep":
            found.append(tuple(ast.unparse(argument) for argument in node.args))
    return found


def done_steps(source: str) -> set[tuple[str, ...]]:
    """The map steps in the same form: without their items."""
    calls = [call for call, _ in kept_steps(ast.parse(source)) if ast.unparse(call.func).endswith(".map")]
    return {tuple(ast.unparse(argument) for place, argument in enumerate(c.args) if place != 2) for c in calls}


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_an_announced_step_is_done_with_the_same_arguments(path: Path) -> None:
    """Else its calls would be paid twice, and nothing would say so."""
    source = path.read_text(encoding="utf-8")
    assert [step for step in announced_steps(source) if step not in done_steps(source)] == ELSEWHERE.get(path.stem, [])


def test_an_announced_step_that_is_done_otherwise_is_seen() -> None:
    done = 'verdicts = run.map("verdicts", judge, exchanges, roles.judge, *task.how())'
    assert announced_steps('NextStep("verdicts", judge, roles.judge, *task.how(), to_items=f)')[0] in done_steps(done)
    assert announced_steps('NextStep("verdicts", judge, roles.other, *task.how())')[0] not in done_steps(done)


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_the_name_on_the_left_is_the_files(path: Path) -> None:
    assert misnamed(path.read_text(encoding="utf-8")) == []


def test_another_name_on_the_left_is_seen() -> None:
    assert misnamed('found = run.once("findings", f)') == ["found = findings"]
    assert misnamed('found = run.once(f"{name}_findings", f)') == ["found = *_findings"]
    assert misnamed('kept, policy = 1, run.once("policy", tune) if a else b') == []
    assert misnamed('kept, made = 1, run.once("policy", tune) if a else b') == ["made = policy"]
    assert misnamed('findings = run.once(f"{name}findings", f)\nopened = run.once(f"{name}opened{turn}", f)') == []


def test_iteralign_stands_on_a_page() -> None:
    """At most 200 lines; its iteration at most 45, with at most 20 steps or groups of steps in the main line."""
    source = (SOURCE / "methods" / "iteralign.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 200
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    (iterate,) = (node for node in functions if node.name == "iterate")
    assert iterate.end_lineno is not None
    assert iterate.end_lineno - iterate.lineno < 45
    calls = [node for node in ast.walk(iterate) if isinstance(node, ast.Call)]
    alone = [call for call in calls if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "run"]
    groups = [call for call in calls if call.args and ast.unparse(call.args[0]) == "run"]
    assert 15 < len(alone) + len(groups) <= 20


def test_every_step_of_the_methods_is_declared() -> None:
    undeclared = []
    for path in METHODS:
        for _, name in kept_steps(ast.parse(path.read_text(encoding="utf-8"))):
            if not any(overlap(pattern(name), step) for step in STEPS):
                undeclared.append(f"{path.name}: {pattern(name)}")
    assert undeclared == []


def test_every_declared_step_is_kept_somewhere() -> None:
    places = [*METHODS, *(SOURCE / "jobs").glob("*.py"), *(SOURCE / "wiring").glob("*.py")]
    kept = {pattern(name) for path in places for _, name in kept_steps(ast.parse(path.read_text(encoding="utf-8")))} | {
        "*verdicts",
        "*rechecks",
    }
    assert [step for step in STEPS if not any(overlap(step, one) for one in kept)] == []


def test_reports_ask_for_declared_steps_alone() -> None:
    asked = []
    for room in ("reports", "run", "jobs", "wiring", "cli"):
        for path in sorted((SOURCE / room).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                    continue
                if node.func.attr in ("records", "scores") and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                    asked.append((path.name, pattern(node.args[0]).rpartition("/")[2]))
    assert len(asked) > 60
    assert [one for one in asked if not any(overlap(one[1], step) for step in STEPS)] == []


def test_tables_that_are_keyed_by_steps_name_declared_ones() -> None:
    assert [name for name in (*STEP_USES, *VERDICT_STEPS, TUNING_STEP) if not is_declared(name)] == []


def test_a_reader_refuses_a_name_that_no_step_has(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text="toy: 1\n") as run:
        run.steps("001").record("stop", Decision(id="stop", action="go_on", reason="one of two"))
    reader = RunReader(tmp_path / "run")
    assert [d.reason for d in reader.records("001/stop", Decision)] == ["one of two"]
    assert reader.records("002/stop", Decision) == [], "declared, and not done yet"
    with pytest.raises(StoreError, match="no step is called clean"):
        reader.records("001/clean", Decision)


def test_a_run_of_an_older_version_is_read_by_the_names_that_it_has(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text="toy: 1\n") as run:
        run.steps("001").record("clean", Decision(id="clean", action="go_on", reason="one of two"))
    assert RunReader(tmp_path / "run").records("001/clean", Decision)


def test_the_page_about_an_iteration_names_each_of_its_steps_and_no_other() -> None:
    page = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    table = page.split("## One iteration")[1].split("\n## ")[0]
    files = [line.split("|")[3] for line in table.splitlines() if line.startswith("| ")][1:]
    named = {name for cell in files for name in re.findall(r"`([a-z_0-9*]+)`", cell)}
    assert [name for name in sorted(named) if not any(fnmatchcase(step, name) for step in STEPS)] == []
    missing = [step for step in ITERATION if not any(fnmatchcase(step, name) for name in named)]
    assert missing == []


def test_every_step_says_what_it_holds() -> None:
    assert all(text.strip() for text in STEPS.values())
    assert is_declared("round12_pulls")
    assert not is_declared("clean")
