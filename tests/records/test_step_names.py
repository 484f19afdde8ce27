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
KEEPING, NEXT = ("map", "once", "record"), "map_next"
ELSEWHERE = {"benchmark_evaluation": ["grading"]}
"""Announced steps that another function does: ``grade_answers``, which is given the split's name."""


def pattern(node: ast.expr) -> str:
    """A step's name as it is written, with ``*`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr), ast.dump(node)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def kept_steps(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Every call that keeps a step or announces one, with the step's name."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr)):
            continue
        if (isinstance(node.func, ast.Attribute) and node.func.attr in KEEPING) or ast.unparse(node.func) == "NextStep":
            yield node, node.args[0]


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def announced_steps(function: ast.AST) -> dict[str, ast.expr]:
    """The names of the steps that are announced as the next ones, by the variables that hold them."""
    return {
        ast.unparse(node.targets[0]): node.value.args[0]
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func) == "NextStep"
    }


def done_steps(function: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls that do an announced step, with the variable that holds it."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == NEXT:
            yield node, ast.unparse(node.args[0])


def left_undone(source: str) -> list[str]:
    """The names of announced steps that their function does not do."""
    undone = []
    for function in functions(ast.parse(source)):
        done = [variable for _, variable in done_steps(function)]
        undone += [variable for variable in announced_steps(function) if variable not in done]
    return undone


def misnamed(source: str) -> list[str]:
    """Names on the left of a step that are not the step's.

    The rule: the one name on the left is the step's name. Where parts of the name are filled in, it is the last written
    part without the underscores around it: ``pulls = run.once(f"{prefix}pulls", ...)``."""
    tree, wrong = ast.parse(source), []
    for scope in [*functions(tree), *([] if functions(tree) else [tree])]:
        announced = announced_steps(scope)
        done = [(call, announced[variable]) for call, variable in done_steps(scope)]
        kept = [(call, name) for call, name in kept_steps(scope) if ast.unparse(call.func) != "NextStep"]
        names = {id(call): name for call, name in [*kept, *done]}
        for target, value in assignments(scope):
            if id(value) in names:
                written = [part for part in pattern(names[id(value)]).split("*") if part.strip("_")]
                expected = written[-1].strip("_") if written else "(nothing)"
                given = target.id if isinstance(target, ast.Name) else ast.unparse(target)
                if given != expected:
                    wrong.append(f"{given} = {pattern(names[id(value)])}")
    return wrong


def assignments(scope: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is assigned to what, one by one."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            targets = [t for goal in node.targets for t in (goal.elts if isinstance(goal, ast.Tuple) else [goal])]
            for target, value in zip(targets, values, strict=False):
                yield target, value.body if isinstance(value, ast.IfExp) else value


def overlap(one: str, other: str) -> bool:
    """Whether two patterns have a name in common."""
    return fnmatchcase(one.replace("*", "1"), other) or fnmatchcase(other.replace("*", "1"), one)


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_an_announced_step_is_done(path: Path) -> None:
    """Else its calls would be paid, and nothing would say so."""
    assert left_undone(path.read_text(encoding="utf-8")) == ELSEWHERE.get(path.stem, [])


def test_an_announced_step_that_is_not_done_is_seen() -> None:
    announced = (
        'def f():\n judging = NextStep("verdicts", judge)\n exchanges = run.map("exchanges", probe, then=judging)'
    )
    assert left_undone(announced) == ["judging"]
    assert left_undone(f"{announced}\n verdicts = run.map_next(judging, exchanges)") == []


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_the_name_on_the_left_is_the_files(path: Path) -> None:
    assert misnamed(path.read_text(encoding="utf-8")) == []


def test_another_name_on_the_left_is_seen() -> None:
    assert misnamed('found = run.once("findings", f)') == ["found = findings"]
    assert misnamed('found = run.once(f"{name}_findings", f)') == ["found = *_findings"]
    assert misnamed('kept, policy = 1, run.once("policy", tune) if a else b') == []
    assert misnamed('kept, made = 1, run.once("policy", tune) if a else b') == ["made = policy"]
    announced = 'def f():\n judging = NextStep(f"{{name}}_verdicts", judge)\n {} = run.map_next(judging, exchanges)'
    assert misnamed(announced.format("verdicts")) == []
    assert misnamed(announced.format("found")) == ["found = *_verdicts"]
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
