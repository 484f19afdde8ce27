"""YAML from strangers: depth and size are bounded wherever it is read, and the file is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.constitution.document import read_constitution
from charter.constitution.exemplars import read_exemplars
from charter.errors import SpecError
from charter.judging.rubrics import parse_rubric
from charter.spec import read_spec
from charter.spec.yaml_text import MAX_YAML_DEPTH, load_yaml

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
_ITSELF = "- &a\n  - *a\n"
HOSTILE = {
    "deep lists": "[" * 5_000,
    "deep, closed lists": "- " + "[" * 300 + "]" * 300,
    "deep mappings": "{a: " * 5_000,
    "deep by indentation": "\n".join(f"{' ' * n}a{n}:" for n in range(300)),
    "aliases of aliases": _BOMB,
    "merged aliases": _BOMB + "z: {<<: [*h]}\n",
    "an alias of itself": _ITSELF,
    "a date that is none": "a: 2024-99-99\n",
    "half a quotation": "a: 'b\n",
}


def _read_rubric(path: Path) -> object:
    return parse_rubric(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("read", [read_spec, read_constitution, read_exemplars, _read_rubric])
def test_hostile_yaml_is_an_error_that_names_the_file(read: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read(path)
    assert "theirs.yaml" in str(caught.value)
    assert len(str(caught.value)) < 3_000


def test_aliases_and_depth_within_the_bounds_are_read() -> None:
    deep = "[" * MAX_YAML_DEPTH + "]" * MAX_YAML_DEPTH
    assert load_yaml(deep, "x", "") is not None
    assert load_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", "x", "") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    with pytest.raises(SpecError, match="x: line 1: it is nested more than 40 levels deep"):
        load_yaml(f"[{deep}]", "x", "")
