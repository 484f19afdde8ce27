"""The flat script and the method make the same records, to the last tensor."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import charter
from charter import spec as specs
from charter.jobs import launch_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUILT = Path(charter.__file__).parent / "organism" / "built" / "village"


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Path]:
    """What the flat script made, its checkpoint, and the run of one iteration of the recipe."""
    place = tmp_path_factory.mktemp("twins")
    path = ROOT / "examples" / "iteralign_flat.py"
    found = importlib.util.spec_from_file_location("iteralign_flat", path)
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.loader.exec_module(script)
        flat = script.iterate(BUILT, place / "flat")
        text = specs.list_recipes()["iteralign-paper"].read_text(encoding="utf-8")
        small = {
            "target.model": str(BUILT),
            "target.device": "cpu",
            "options.stop.iterations": "1",
            "prompts.gate": "2",
            "prompts.heldout": "2",
        }
        launch_run(specs.change_spec(text, small), place / "run")
    return flat, place / "flat", place / "run"


def records(run: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "001" / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_exchanges_and_verdicts(twins: tuple[dict[str, Any], Path, Path]) -> None:
    flat, _, run = twins
    exchanges = records(run, "exchanges")
    assert [e["prompt"]["messages"][0]["content"] for e in exchanges] == flat["prompts"]
    assert [e["response"] for e in exchanges] == flat["responses"]
    assert [v["raw"] for v in records(run, "verdicts")] == flat["verdicts"]
    assert 0 < len(records(run, "findings")) < len(exchanges)


def test_constitution_and_revisions(twins: tuple[dict[str, Any], Path, Path]) -> None:
    flat, _, run = twins
    assert [p["text"] for p in records(run, "constitution")[0]["principles"]] == [flat["constitution"]]
    assert [r["exchange"]["response"] for r in records(run, "revisions")] == flat["revisions"]
    assert [v["raw"] for v in records(run, "rechecks")] == flat["rechecks"]


def test_rows_and_tensors(twins: tuple[dict[str, Any], Path, Path]) -> None:
    flat, checkpoint, run = twins
    assert [(r["messages"][0]["content"], r["response"]) for r in records(run, "rows")] == flat["rows"]
    name = "model.safetensors"
    trained = (run / "001" / "policy" / name).read_bytes()
    assert trained == (checkpoint / name).read_bytes()
    assert trained != (BUILT / name).read_bytes()
