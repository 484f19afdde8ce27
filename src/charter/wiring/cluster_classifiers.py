"""Sequence classifiers whose copies weigh on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from charter.judging.rubrics import Rubric
from charter.models.engines.ray_cluster import RayCluster
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.sequence_classifier import ClassifierOptions, SequenceClassifier
from charter.ports import Engine
from charter.records.chat import LogLikelihood, ScoreRequest
from charter.records.model_refs import ModelRef


@dataclass(frozen=True)
class ClassifierReplica:
    """A classifier in the worker's process, made of what ``SequenceClassifier`` is made of. ``identity``: its own."""

    model: ModelRef
    meanings: Mapping[str, Mapping[str, str]]
    rubrics: Mapping[str, Rubric]
    options: ClassifierOptions
    identity: str

    def open(self, held: Engine | None) -> Engine:
        """The classifier with its weights in memory; one that is held stays. Raises EngineError, SpecError."""
        if held is not None:
            return held
        opened = SequenceClassifier(self.model, self.meanings, self.rubrics, self.options)
        assert opened.model is not None, "asked for, so that it is loaded"
        return opened


class ClusterClassifier(SequenceClassifier):
    """A classifier that knows its labels here, and weighs on ``cluster``. Its weights load on workers alone."""

    def __init__(
        self,
        model: ModelRef,
        meanings: Mapping[str, Mapping[str, str]],
        rubrics: Mapping[str, Rubric],
        options: ClassifierOptions,
        cluster: RayCluster,
    ) -> None:
        super().__init__(model, meanings, rubrics, options)
        self._engine = RayEngine(ClassifierReplica(model, meanings, rubrics, options, self.identity), cluster)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """As in this process. Raises EngineError, UnavailableError."""
        return self._engine.score(requests, done)

    def close(self) -> None:
        """Ends the workers; the next call starts others."""
        self._engine.close()
