"""A reward model whose copies rate answers on the workers of a Ray cluster, behind ``ports.Rewarder``.

A worker is given what this process would rate together, so that the rewards are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from charter.models.engines.ray_cluster import RayCluster
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.ray_workers import MOST_DEATHS
from charter.models.tuners.reward_model import RewardModel
from charter.models.tuners.tuner_options import TuneOptions
from charter.records.chat import Exchange
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward


@dataclass(frozen=True)
class RewardReplica:
    """A reward model in the worker's process, made of what ``RewardModel`` is made of. ``identity``: its own."""

    model: ModelRef
    options: TuneOptions
    identity: str

    def open(self, held: Any) -> Any:
        """The model, which loads when it first rates; one that is held stays."""
        return held if held is not None else RewardModel(self.model, self.options)


@dataclass(frozen=True)
class ExchangeChunk:
    """Answers that are rated together. ``deaths``: workers that ended while they were alone with an answer."""

    exchanges: Sequence[Exchange]
    deaths: int = 0

    def work(self, replica: Any) -> list[Any]:
        """What they are worth. Raises EngineError."""
        return list(replica.rewards(self.exchanges))

    def share_out(self) -> tuple[list[ExchangeChunk], list[Any]]:
        """Each answer by itself, since nobody knows which of them ended the worker; one that was alone is rated again,
        or has no worth, as one that does not fit the context."""
        if len(self.exchanges) > 1:
            return [ExchangeChunk([exchange]) for exchange in self.exchanges], []
        if self.deaths + 1 < MOST_DEATHS:
            return [ExchangeChunk(self.exchanges, self.deaths + 1)], []
        return [], [ExchangeReward(id=exchange.id, value=None) for exchange in self.exchanges]


class RayRewarder:
    """Rates with copies of a reward model, which come and go with each call: between two rounds the memory belongs to
    the policy in training."""

    def __init__(self, model: ModelRef, options: TuneOptions, cluster: RayCluster) -> None:
        self._here = RewardModel(model, options)
        self._engine = RayEngine(RewardReplica(model, options, self._here.identity), cluster)

    @property
    def identity(self) -> str:
        """As in this process."""
        return self._here.identity

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        """What each answer not in ``done`` is worth. Raises EngineError, UnavailableError."""
        batches = self._here.form_batches(exchanges)
        chunks = [ExchangeChunk(batch) for batch in batches if not all(e.id in done for e in batch)]
        try:
            for _, found in self._engine.run_chunks(chunks):
                yield from (reward for reward in found if reward.id not in done)
        finally:
            self._engine.close()
