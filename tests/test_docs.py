"""The pages say what is so: commands, keys, errors, links, examples, generated parts."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docs
import pytest
import typer
import yaml
from evidence import tables

from charter import errors, spec
from charter.cli.app import app
from charter.constitution import document
from charter.errors import CharterError
from charter.organism.world_benchmark import METRICS
from charter.spec import Spec

PAGES = docs.pages()
names = [str(page.relative_to(docs.ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=names)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
KEY = re.compile(r"`((?:target|oracle|prompts|options|scale|budget|proposer|judge|evaluator)\.[a-z_.]+)`")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return [code for kind, code in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked to."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@every_page
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.is_file() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


@every_page
def test_commands_in_the_pages_exist(page: Path) -> None:
    wrong = []
    text = page.read_text(encoding="utf-8")
    lines = [line.split(" #")[0] for block in blocks(page, "sh") for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`(charter [^`]+)`", prose(page))]:
        if not re.match(r"(\.venv/bin/)?charter ", line):
            continue
        words = shlex.split(line)[1:]
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in COMMANDS:
            path = (*path, words.pop(0))
        known = {option for parameter in COMMANDS[path].params for option in parameter.opts} | {"--help"}
        unknown = [word for word in words if word.startswith("--") and word not in known]
        if unknown or (not path and words not in (["--help"], ["--version"])):
            wrong.append(line)
    assert wrong == []
    makefile = (docs.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make (\w+)[^`]*`", text)) <= targets
    assert {line.split()[1] for line in lines if line.startswith("make ")} <= targets


def test_every_command_is_on_its_page() -> None:
    page = (docs.ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = [" ".join(path) for path, command in COMMANDS.items() if path and f"charter {' '.join(path)}" not in page]
    assert missing == []
    options = {option for c in COMMANDS.values() for p in c.params for option in p.opts if option.startswith("--")}
    assert [option for option in sorted(options) if option not in page] == []


def test_every_spec_key_is_on_its_page() -> None:
    page = (docs.ROOT / "docs" / "spec.md").read_text(encoding="utf-8").split("### A source of prompts")[0]
    assert [key for key, _ in docs.leaves(Spec()) if page.count(f"\n| `{key}` | ") != 1] == []


@every_page
def test_keys_in_the_pages_exist(page: Path) -> None:
    known = {key for key, _ in docs.leaves(Spec())}
    roles = {f"{role}.{key.removeprefix('oracle.')}" for role in ("proposer", "judge", "evaluator") for key in known}
    parts = {key.rsplit(".", depth)[0] for key in known for depth in (0, 1, 2)}
    assert [key for key in KEY.findall(prose(page)) if key not in known | roles | parts] == []


def test_every_switch_of_the_recipes_stands_among_the_papers_points() -> None:
    page = prose(docs.ROOT / "docs" / "recipes.md").split("## Every switch that differs")[0]
    differ = set(re.findall(r"^\| `([\w.]+)` \| `.*$", docs.generated()["switches"], re.MULTILINE))
    assert len(differ) > 10
    assert [key for key in sorted(differ) if f"`{key}`" not in page] == []
    assert set(spec.list_recipes()) == set(re.findall(r"^\| `([a-z][a-z0-9_-]*)` \|", page, re.MULTILINE))


def test_every_error_is_on_its_page() -> None:
    page = (docs.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    kinds: list[type[CharterError]] = [
        k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, CharterError)
    ]
    rows = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? ?\| (\d+) \|", page, re.MULTILINE)}
    told = {name: (under, int(code)) for name, under, code in rows.values()}
    bases = {kind.__name__: "" if kind is CharterError else kind.__bases__[0].__name__ for kind in kinds}
    assert told == {kind.__name__: (bases[kind.__name__], kind.exit_code) for kind in kinds}


def test_every_score_is_on_its_page() -> None:
    page = (docs.ROOT / "docs" / "organism.md").read_text(encoding="utf-8")
    named = {metric.name.removeprefix("novel_") for metric in METRICS}
    assert set(re.findall(r"^\| `(\w+)` \| (?:higher|lower) \|", page, re.MULTILINE)) == named


@every_page
def test_yaml_in_the_pages_is_valid(page: Path) -> None:
    for block in blocks(page, "yaml"):
        value = yaml.safe_load(block)
        if isinstance(value, list):
            assert document.from_yaml(block).active
        elif page.name == "README.md" or "version" in value:
            spec.parse_spec(block)
        else:
            spec.parse_spec(yaml.safe_dump({"world": "village", **value}))


@every_page
def test_python_in_the_pages_runs(page: Path) -> None:
    """Whole, where it asserts something; else its imports."""
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        if not any(isinstance(node, ast.Assert) for node in tree.body):
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, page.name, "exec"), {})


def test_the_page_on_python_runs_from_top_to_bottom(
    golden_run: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its first run is the golden one, so that it is loaded."""
    shutil.copytree(golden_run("iteralign"), tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(docs.ROOT / "docs" / "python.md", "python"):
        exec(compile(block, "python.md", "exec"), names)
    journals = [folder / "journal.jsonl" for folder in (golden_run("iteralign"), tmp_path / "runs" / "demo")]
    assert journals[0].read_bytes() == journals[1].read_bytes()
    assert names["audit"].outcome == "drift"


@pytest.mark.parametrize("page", [p for p in PAGES if "<!-- generated:" in p.read_text(encoding="utf-8")])
def test_generated_parts_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert docs.filled(text, docs.generated()) == text, "renew them: python -m docs"
    assert text.count("<!-- generated:") == text.count("<!-- /generated -->")


@every_page
def test_tables_of_evidence_are_those_of_their_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.filled(text) == text, "renew them: python -m evidence tables"
    assert text.count("<!-- evidence:") == text.count("<!-- /evidence -->")
    if "<!-- evidence:" in text:
        assert page in tables.pages()


@every_page
def test_pages_are_reached_from_the_index(page: Path) -> None:
    index = docs.ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)\s]+)\)", prose(index))
    }
    if page.parent == index.parent and page != index:
        assert page.resolve() in linked
