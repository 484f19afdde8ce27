"""The target's own size chooses the numbers that depend on it, where the spec names none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.jobs.alignment_job import AlignmentJob
from charter.models.weights import count_parameters, resolve_model
from charter.spec import ScaleSpec, parse_spec
from charter.spec.spec_parser import RECIPE_FOLDER, load_scale
from charter.wiring.role_models import tuner_options
from charter.wiring.scales import choose_scale, name_scale, use_scale
from tests.fakes import tiny_models

SCALES = sorted(path.stem for path in (RECIPE_FOLDER / "scales").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("target"))


def chosen(folder: Path, **changes: Any) -> ScaleSpec:
    spec = parse_spec(json.dumps({"world": "village", "target": {"model": str(folder)}, **changes}))
    return use_scale(spec, choose_scale(spec, resolve_model(str(folder)))).scale


def test_parameters_are_counted_without_the_weights_in_memory(folder: Path, tmp_path: Path) -> None:
    from charter.models.weights import load_model

    loaded = load_model(folder, "cpu")
    assert count_parameters(folder) == sum(p.numel() for p in loaded.parameters())
    assert count_parameters(tmp_path) is None


def test_a_small_target_takes_the_smallest_scale(folder: Path) -> None:
    assert chosen(folder) == ScaleSpec.model_validate(load_scale("135m"))


def test_the_chosen_scale_is_told(folder: Path) -> None:
    spec = parse_spec(json.dumps({"world": "village", "target": {"model": str(folder)}}))
    assert AlignmentJob(spec).prepare()[0] == "scale: 135m, by the target's size"
    assert AlignmentJob(spec).forecast()["scale"] == "135m, by the target's size"
    named = parse_spec(json.dumps({"world": "village", "target": {"model": str(folder)}, "scale": "8b"}))
    assert not any(line.startswith("scale") for line in AlignmentJob(named).prepare())


@pytest.mark.parametrize("scale", ["8b", {"answer_tokens": 7}])
def test_a_scale_that_the_spec_names_stays(folder: Path, scale: object) -> None:
    asked = load_scale(scale) if isinstance(scale, str) else scale
    assert chosen(folder, scale=scale) == ScaleSpec.model_validate(asked)


@pytest.mark.parametrize(
    ("count", "name"), [(135e6, "135m"), (1.5e9, "1b"), (3.2e9, "1b"), (7e9, "8b"), (14e9, "8b"), (70e9, "70b")]
)
def test_known_sizes_take_their_scale(count: float, name: str) -> None:
    assert name_scale(int(count)) == name


@pytest.mark.parametrize("name", SCALES)
def test_each_number_of_a_shipped_scale_says_where_it_comes_from(name: str) -> None:
    text = (RECIPE_FOLDER / "scales" / f"{name}.yaml").read_text(encoding="utf-8")
    ScaleSpec.model_validate(yaml.safe_load(text))
    assert text.startswith("# ")
    if name != "organism":
        (line,) = [line for line in text.splitlines() if line.startswith("learning_rate")]
        assert "arXiv" in line or "alignment-handbook" in line


def test_the_learning_rate_is_the_scales_where_tuning_names_none(folder: Path) -> None:
    asked = {"world": "village", "target": {"model": str(folder)}, "scale": "8b"}
    assert tuner_options(parse_spec(json.dumps(asked)))["lr"] == 0.0002
    named = {**asked, "options": {"tune": {"learning_rate": 0.5}}}
    assert tuner_options(parse_spec(json.dumps(named)))["lr"] == 0.5
