"""Training on a node of a Ray cluster: the same tuner, which works there as it would here.

The worker that trains takes processors and GPUs of one node, and what a launcher starts shares them. The run's folder
and the weights lie where the node sees them under the same path. A lost node costs what was trained since the last
checkpoint of a launched tuner, or the whole training of one in process.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from charter.errors import TuningError
from charter.models.engines.ray_cluster import RayCluster, RayOptions
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.ray_workers import MOST_DEATHS
from charter.models.tuners.launched_tuner import LaunchedTuner
from charter.models.tuners.local_tuner import LocalTuner
from charter.ports import Rewarder
from charter.records.model_refs import ModelRef
from charter.records.training_rows import TrainingRow

SentTuner = LocalTuner | LaunchedTuner


@dataclass(frozen=True)
class NothingHeld:
    """Opens nothing: a worker that trains holds no model between two trainings."""

    identity: str = ""

    def open(self, held: Any) -> Any:
        """What is held."""
        return held


@dataclass(frozen=True)
class TrainingChunk:
    """One training, as ``Tuner.tune`` takes it. ``deaths``: workers that ended while they trained."""

    tuner: SentTuner
    start: ModelRef
    rows: Sequence[TrainingRow]
    directory: Path
    seed: int
    reference: ModelRef | None
    reward: ModelRef | None
    deaths: int = 0

    def work(self, replica: Any) -> list[Any]:
        """The policy. Raises CharterError."""
        del replica
        return [self.tuner.tune(self.start, self.rows, self.directory, self.seed, self.reference, self.reward)]

    def share_out(self) -> tuple[list[TrainingChunk], list[Any]]:
        """The same training again, in an empty folder. Raises TuningError where it ends its workers."""
        if self.deaths + 1 >= MOST_DEATHS:
            raise TuningError(
                f"Training ended {MOST_DEATHS} workers of the cluster one after the other.",
                "Look at Ray's logs. Where memory ran out, ask for more with tuner.cpus or tuner.gpus.",
            )
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        return [replace(self, deaths=self.deaths + 1)], []


class RayTuner:
    """Has ``tuner`` work on a node of ``cluster`` with so many free ``cpus`` and ``gpus``."""

    def __init__(self, tuner: SentTuner, cluster: RayCluster, cpus: float, gpus: float) -> None:
        wanted = cluster.options.model_dump() | {"workers": 1, "cpus": cpus, "gpus": gpus}
        self._tuner, self._engine = tuner, RayEngine(NothingHeld(), cluster, RayOptions.model_validate(wanted))

    @property
    def identity(self) -> str:
        """The tuner's own: where it works changes no policy."""
        return self._tuner.identity

    def with_lr_scale(self, share: float) -> Self:
        """The same with this share of the learning rate."""
        other = copy(self)
        other._tuner = self._tuner.with_lr_scale(share)
        return other

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        """As the tuner does. Raises TuningError where ``reward`` is a judge: its engine stays in this process;
        UnavailableError where no node is free in time."""
        if reward is not None and not isinstance(reward, ModelRef):
            raise TuningError(
                "A judge cannot reward answers that are drawn on another node.",
                "Set options.learn.rloo.reward: model, or leave tuner.on_cluster false.",
            )
        chunk = TrainingChunk(self._tuner, start, rows, directory.resolve(), seed, reference, reward)
        try:
            ((_, (policy,)),) = self._engine.run_chunks([chunk])
        finally:
            self._engine.close()
        assert isinstance(policy, ModelRef)
        return policy
