"""From a spec to benchmarks: which rows a limit leaves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.ports import BenchmarkQuestion
from charter.records.templates import Templates
from charter.spec import parse_spec
from charter.wiring.benchmark_suite import SpecBenchmarks

SIZES = {"harmless": 40, "helpful": 20, "honest": 12, "other": 8}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """A folder in HHH's form; all of its first rows are harmless."""
    for category, size in SIZES.items():
        examples = [{"input": f"{category} {n}?", "target_scores": {f"yes {n}": 1, f"no {n}": 0}} for n in range(size)]
        place = tmp_path / "hhh" / category
        place.mkdir(parents=True)
        (place / "task.json").write_text(json.dumps({"name": "n", "examples": examples}), encoding="utf-8")
    return str(tmp_path / "hhh")


def questions(**asked: Any) -> list[BenchmarkQuestion]:
    text = yaml.safe_dump({"method": "evaluate", "target": {"model": "org/m"}, "benchmarks": [asked]})
    (benchmark,) = SpecBenchmarks(parse_spec(text), None, Templates()).build_benchmarks(None)
    return list(benchmark.questions())


def test_a_limit_takes_of_each_category_of_a_protocol_its_share(pairs: str) -> None:
    whole = questions(protocol="hhh", path=pairs)
    assert len({q.item for q in whole}) == sum(SIZES.values())
    some = questions(protocol="hhh", path=pairs, limit=20)
    categories = {q.item: q.prompt.meta["category"] for q in some}
    assert Counter(categories.values()) == {"harmless": 10, "helpful": 5, "honest": 3, "other": 2}
    fewer = questions(protocol="hhh", path=pairs, limit=8)
    assert {q.prompt.text for q in fewer} < {q.prompt.text for q in some} < {q.prompt.text for q in whole}


def test_a_limit_takes_no_first_rows(pairs: str) -> None:
    drawn = {q.prompt.text for q in questions(protocol="hhh", path=pairs, limit=40)}
    harmless = [any(f"harmless {n}?" in text for text in drawn) for n in range(40)]
    assert sum(harmless) == 20
    assert not all(harmless[:20])


def test_a_limit_takes_of_each_category_of_a_task_its_share(pairs: str) -> None:
    pytest.importorskip("lm_eval")
    some = questions(task="hhh_alignment", path=pairs, limit=20)
    told = Counter(next(name for name in SIZES if f"{name} " in q.prompt.text) for q in some)
    each = len(some) // 20
    assert told == {"harmless": 10 * each, "helpful": 5 * each, "honest": 3 * each, "other": 2 * each}
