"""The small run that is killed."""

from __future__ import annotations

from pathlib import Path

from evidence.real_kills import has_more_seals, small_run

from charter import spec as specs


def test_the_small_run_is_valid_and_trains_whatever_its_judge_says() -> None:
    recipe = specs.list_recipes()["smollm2"].read_text(encoding="utf-8")
    spec = specs.parse_spec(specs.change_spec(recipe, small_run(), "small"))
    assert spec.oracle.model == spec.target.model
    assert not spec.options.keep.verify


def test_a_kill_waits_for_a_step_that_was_sealed_since(tmp_path: Path) -> None:
    assert not has_more_seals(tmp_path, 0)
    (tmp_path / "a.seal.json").touch()
    assert has_more_seals(tmp_path, 0)
    assert not has_more_seals(tmp_path, 1)
