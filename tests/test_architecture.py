"""The house from outside: what is imported at start, that every room has its place, what is pinned and set up."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import charter

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "charter"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "huggingface_hub"),
    *("inspect_ai", "openai", "httpx", "fastapi", "uvicorn"),
    *("sklearn", "scipy", "pandas", "numpy", "datasketch"),
}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def rooms() -> set[str]:
    """The top-level modules and packages of charter."""
    return {found.name for found in pkgutil.iter_modules([str(PACKAGE)])} - {"__main__"}


def test_no_module_pulls_in_a_heavy_library_when_it_is_imported() -> None:
    names = [found.name for found in pkgutil.walk_packages([str(PACKAGE)], "charter.")]
    assert {"charter.wiring", "charter.cli", "charter.models.engines.local_engine"} <= set(names)
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1].split():\n"
        "    importlib.import_module(name)\n"
        f"print([name for name in {sorted(HEAVY)!r} if name in sys.modules])"
    )
    asked = [name for name in names if not name.endswith("__main__")]
    child = subprocess.run([sys.executable, "-c", code, " ".join(asked)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == "[]", "import these inside functions"


def test_modules_have_names_that_say_something() -> None:
    assert {path.stem for path in MODULES} & NAMELESS == set()


def test_every_public_thing_says_what_it_is() -> None:
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            silent.append(path.name)
        nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        silent += [f"{path.name}:{n.name}" for n in nodes if not n.name.startswith("_") and not ast.get_docstring(n)]
    assert silent == []


def test_every_room_has_a_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = next(contract for contract in contracts if contract.get("containers") == ["charter"])
    placed = set(re.findall(r"\w+", " ".join(floors["layers"])))
    assert rooms() <= placed
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    described = {name.removesuffix(".py").rstrip("/") for name in re.findall(r"^\| \d+ \| `([^`]+)` \|", page, re.M)}
    assert described == rooms()


def test_nothing_names_a_path_of_a_build_machine() -> None:
    places = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|opt)/\w+")
    ours = [*MODULES, ROOT / "Makefile", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert {p.name: found for p in ours if (found := places.findall(p.read_text(encoding="utf-8")))} == {}


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == importlib.import_module("charter").__version__ == charter.__version__


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    pins = dict(
        line.split("==", 1)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
        if not line.startswith("#")
    )
    known = {re.sub(r"[-_.]+", "-", name) for name in pins}
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!,; ]", name)[0].lower()) for name in asked}
    assert wanted - {"charter"} <= known
    assert all("+" not in pin for pin in pins.values()), "local version marks exist on one kind of machine only"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("exit 1", "needs Python 3.11 or newer"),
        ('case "$2" in *version_info*) exit 0;; *) exit 1;; esac', "python3-venv"),
    ],
)
def test_setup_says_what_is_missing(tmp_path: Path, body: str, says: str) -> None:
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    python.chmod(0o755)
    asked = ["make", "--no-print-directory", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    made = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert made.returncode != 0
    assert says in made.stdout
    assert not (tmp_path / "venv").exists()


def test_setup_says_where_python_is_missing(tmp_path: Path) -> None:
    asked = ["make", "--no-print-directory", "setup", "PYTHON=python-that-is-not-there", f"VENV={tmp_path / 'venv'}"]
    made = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert made.returncode != 0
    assert "was not found" in made.stdout
