"""The target's engines: one at a time, in process, behind a server that is started for it, or somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from charter.ports import Engine, Rewarder, RLTuner, SupportsLRScale, Tuner
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.training_rows import TrainingRow
from charter.spec import Spec
from charter.wiring import role_models

if TYPE_CHECKING:
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions
    from charter.models.engines.ray_cluster import RayCluster
    from charter.models.engines.ray_engine import RayEngine
    from charter.models.engines.served_engine import ServedEngine
    from charter.runs import Run


SERVER_DIR = ".serving"
"""The folder of a run for what only lasts while it is at work: logs, locks, merged models."""
SERVED = "served"
"""Names the workers that start servers; those that hold weights are named by a digest."""
TUNING_DIR = ".tuning"
"""The folder of a run for the tuner's checkpoints, while it is at work."""


class Targets:
    """Gives each policy its engine. ``folder``: where servers keep log and lock (a run's own); ``cluster``: the spec's,
    where others use it too: they leave it. One of its own is left at the end."""

    def __init__(
        self, spec: Spec, start: ModelRef, folder: Path | None = None, cluster: RayCluster | None = None
    ) -> None:
        self.spec, self.start, self.folder = spec, start, folder
        self._local: dict[str, LocalEngine] = {}
        self._own_cluster = role_models.build_cluster(spec) if cluster is None else None
        self.cluster = cluster or self._own_cluster
        self._on_cluster: dict[str, RayEngine] = {}
        self._served: ServedEngine | None = None
        self._elsewhere: Engine | None = None

    @contextmanager
    def open_engine(self, policy: ModelRef) -> Iterator[Engine]:
        """A policy's engine. In process the base stays in memory on a CPU; on an accelerator its memory is freed at the
        end. A server stays until another policy is wanted, or ``rest``; an error ends it."""
        if self.spec.target.by_http:
            self._elsewhere = self._elsewhere or role_models.connect_target(self.spec)
            yield self._elsewhere
        elif self.spec.target.serve and self.cluster is not None:
            yield self._serve_on_cluster(policy)
        elif self.spec.target.serve:
            try:
                yield self._start_server(policy)
            except BaseException:
                self.release()
                raise
        elif self.cluster is not None:
            engine = self._open_on_cluster(policy)
            yield engine
            if self.spec.executor.gpus:
                engine.close()
        else:
            if policy.base_digest not in self._local:
                self._local[policy.base_digest] = role_models.build_local_engine(self.spec, policy)
            local = self._local[policy.base_digest]
            yield local.use_policy(policy)
            if local.device != "cpu":
                local.close()

    def load_start(self) -> LocalEngine:
        """The engine in process that holds the starting model's weights, under whatever adapter is in use."""
        found = self._local.get(self.start.base_digest)
        if found is None:
            found = self._local[self.start.base_digest] = role_models.build_local_engine(self.spec, self.start)
        return found

    @contextmanager
    def open_metered(self, run: Run, policy: ModelRef) -> Iterator[Engine]:
        """The engine of a policy of the run, each call on its ledger."""
        with self.open_engine(policy.at_root(run.directory)) as engine:
            yield run.meter_engine(engine, "target", "target", None if self.spec.target.by_http else role_models.FREE)

    def release(self) -> None:
        """Ends the server that is at work, if there is one, and takes what an accelerator holds out of its memory."""
        if self._served is not None:
            served, self._served = self._served, None
            served.close()
        for local in self._local.values():
            if local.device != "cpu":
                local.close()
        if self.spec.executor.gpus or self.spec.target.serve:
            self._end_workers()

    def close(self) -> None:
        """Ends the server and the cluster's workers, and closes connections."""
        self.release()
        self._end_workers()
        if self._own_cluster is not None:
            self._own_cluster.close()
        if self._elsewhere is not None:
            self._elsewhere.close()

    def _open_on_cluster(self, policy: ModelRef) -> RayEngine:
        """The policy on the cluster's workers, which keep the base. Its files must lie where they see them."""
        from charter.wiring.cluster_engines import LocalReplica

        options = role_models.local_options(self.spec)
        found = self.find_workers(policy, options)
        assert found is not None
        return found.use_opener(LocalReplica(policy, options))

    def _serve_on_cluster(self, policy: ModelRef) -> RayEngine:
        """The policy behind servers that the cluster's workers start, each its own."""
        from charter.models.engines.ray_engine import RayEngine
        from charter.wiring.cluster_servers import ServedReplica

        assert self.cluster is not None
        opener = ServedReplica(self.spec, policy)
        found = self._on_cluster.setdefault(SERVED, RayEngine(opener, self.cluster))
        return found.use_opener(opener)

    def find_workers(self, model: ModelRef, options: LocalOptions) -> RayEngine | None:
        """The workers that hold a base with such options, under whatever adapter is in use; None where the spec names
        no cluster."""
        from charter.models.engines.local_engine import LocalEngine
        from charter.models.engines.ray_engine import RayEngine
        from charter.wiring.cluster_engines import LocalReplica

        if self.cluster is None:
            return None
        key = f"{model.base_digest} {digest(options)}"
        if key not in self._on_cluster:
            reader = LocalEngine(model, options)
            self._on_cluster[key] = RayEngine(LocalReplica(model, options), self.cluster, reader=reader)
        return self._on_cluster[key]

    def _end_workers(self) -> None:
        for engine in self._on_cluster.values():
            engine.close()

    def _start_server(self, policy: ModelRef) -> Engine:
        if self._served is None or self._served.model != policy:
            assert self.folder is not None
            self.release()
            self._served = role_models.build_served_engine(self.spec, policy, self.folder)
        return self._served


@dataclass(frozen=True)
class MemoryFreeingTuner:
    """A tuner before whose work memory is freed: by ``free``."""

    tuner: Tuner
    free: Callable[[], None]

    @property
    def identity(self) -> str:
        """The tuner's own."""
        return self.tuner.identity

    def with_lr_scale(self, share: float) -> Self:
        """The same with smaller steps, where the tuner can take them."""
        return replace(self, tuner=self.tuner.with_lr_scale(share)) if isinstance(self.tuner, SupportsLRScale) else self

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        """As the tuner does."""
        self.free()
        if reference is None and reward is None:
            return self.tuner.tune(start, rows, directory, seed)
        assert isinstance(self.tuner, RLTuner)
        return self.tuner.tune(start, rows, directory, seed, reference, reward)
