"""Tuning: from the starting model or on from the last policy; what comes back is named relative to the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from charter.errors import TuningError
from charter.records.model_refs import ModelRef
from charter.records.record import Step, digest
from charter.records.training_rows import TrainingRow
from charter.spec import TrainingSpec
from charter.stages.tune import tune
from tests.fakes.example_records import START, row

ROWS = [row("a"), row("b")]
PREVIOUS = START.model_copy(update={"adapter": "001/policy", "digest": "previous"})


class Recording:
    """A tuner that writes a file and remembers what it was given."""

    identity = "recording"

    def __init__(self) -> None:
        self.given: list[tuple[ModelRef, int]] = []

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        self.given.append((start, seed))
        (directory / "weights").write_text(digest(list(rows)), encoding="utf-8")
        return start.model_copy(update={"adapter": str(directory), "digest": digest([start.digest, list(rows), seed])})


def step(root: Path) -> Step:
    directory = root / "002" / "policy"
    directory.mkdir(parents=True)
    return Step(path="002/policy", run_seed=7, directory=directory)


def test_from_the_start_or_from_the_previous_policy_of_this_run(tmp_path: Path) -> None:
    tuner, place = Recording(), step(tmp_path)
    policy = tune(START, PREVIOUS, ROWS, tuner, TrainingSpec(start="start"), step=place)
    assert policy.adapter == "002/policy"
    assert (tmp_path / "002" / "policy" / "weights").exists()
    tune(START, PREVIOUS, ROWS, tuner, TrainingSpec(start="previous"), step=place)
    assert [ref.adapter for ref, _ in tuner.given] == [None, str(tmp_path / "001" / "policy")]
    assert 0 <= tuner.given[0][1] < 2**31


def test_a_starting_models_own_adapter_is_left_where_it_is(tmp_path: Path) -> None:
    tuner, start = Recording(), START.model_copy(update={"adapter": "/elsewhere/adapter"})
    for how in ("start", "previous"):
        tune(start, start, ROWS, tuner, TrainingSpec.model_validate({"start": how}), step=step(tmp_path / how))
    assert [ref.adapter for ref, _ in tuner.given] == ["/elsewhere/adapter"] * 2


def test_nothing_to_train_on_leaves_the_policy(tmp_path: Path) -> None:
    tuner = Recording()
    assert tune(START, PREVIOUS, [], tuner, TrainingSpec(), step=step(tmp_path)) is PREVIOUS
    assert tuner.given == []


def test_tuning_needs_a_directory() -> None:
    with pytest.raises(TuningError):
        tune(START, START, ROWS, Recording(), TrainingSpec(), step=Step(path="001/policy", run_seed=0))


class Gentle(Recording):
    """One that can take smaller steps."""

    share = 1.0

    def with_lr_scale(self, share: float) -> Gentle:
        other = Gentle()
        other.share, other.given = share, self.given
        return other

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        return super().tune(start.model_copy(update={"notes": (str(self.share),)}), rows, directory, seed)


def test_smaller_steps_are_taken_where_the_tuner_can(tmp_path: Path) -> None:
    for number, (tuner, share, notes) in enumerate(
        ((Gentle(), 0.25, ("0.25",)), (Gentle(), 1.0, ("1.0",)), (Recording(), 0.5, ()))
    ):
        assert tune(START, START, ROWS, tuner, TrainingSpec(), share, step=step(tmp_path / str(number))).notes == notes
