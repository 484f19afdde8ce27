"""Roles whose verdicts come of sequence classifiers, by some rubrics or by all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from charter.errors import SpecError, UnsupportedError
from charter.judging.rubrics import COMPARE, SHIPPED_RUBRICS, Rubric
from charter.ports import Engine, Noting, Rendering, SupportsDrain
from charter.records.calibration_results import RoleCalibration
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest
from charter.spec import NO_MODEL, ClassifierSpec, OracleSpec, Spec

if TYPE_CHECKING:
    from charter.models.engines.ray_cluster import RayCluster
    from charter.models.engines.sequence_classifier import SequenceClassifier

WORDLESS = ("red_team", "calibrate")
"""Methods whose judge may be asked by a single rubric."""
NAME_MODEL = "Name a model beside the classifiers: judge.model (it is asked for all that they do not judge)."


class Wordless:
    """Stands where a role has classifiers alone: whatever is asked in words is refused."""

    identity = NO_MODEL

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """Nothing. Raises UnsupportedError where anything is asked."""
        if all(request.id in done for request in requests):
            return iter(())
        raise UnsupportedError("a role whose model is `none` was asked in words", NAME_MODEL)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Nothing. Raises UnsupportedError where anything is asked."""
        if all(request.id in done for request in requests):
            return iter(())
        raise UnsupportedError("a role whose model is `none` was asked for probabilities", NAME_MODEL)

    def close(self) -> None:
        """Nothing."""


class DividedJudge:
    """Classifiers, each for its rubrics, and a model that is asked for all else."""

    def __init__(self, classifiers: Sequence[SequenceClassifier], model: Engine) -> None:
        self.classifiers, self.model = classifiers, model
        self._draining = False

    @property
    def identity(self) -> str:
        """All of them."""
        return " + ".join(engine.identity for engine in (*self.classifiers, self.model))

    def list_labels(self, rubric: str) -> Sequence[str]:
        """Those of the classifier that judges by the rubric."""
        return next((found for each in self.classifiers if (found := each.list_labels(rubric))), ())

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """As the model does. Raises EngineError."""
        self._draining = False
        for answer in self.model.generate(requests, done):
            yield answer
            if self._stops_by_itself:
                return

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Each request by what judges by its rubric. Raises EngineError."""
        self._draining = False
        for engine in (*self.classifiers, self.model):
            own = [request for request in requests if self._engine_of(request) is engine]
            for answer in engine.score(own, done) if own else ():
                yield answer
                if self._stops_by_itself or (self._draining and engine is not self.model):
                    return

    def _engine_of(self, request: ScoreRequest) -> Engine:
        return next((each for each in self.classifiers if each.list_labels(request.rubric)), self.model)

    @property
    def _stops_by_itself(self) -> bool:
        return self._draining and not isinstance(self.model, SupportsDrain)

    def drain(self) -> None:
        """Asks for nothing more."""
        self._draining = True
        if isinstance(self.model, SupportsDrain):
            self.model.drain()

    @property
    def notes(self) -> Sequence[str]:
        """The model's."""
        return self.model.notes if isinstance(self.model, Noting) else ()

    @property
    def renders(self) -> bool:
        """Whether the model shows what it reads."""
        return isinstance(self.model, Rendering) and self.model.renders

    def render(self, request: Request | ScoreRequest) -> str:
        """As the model does."""
        return self.model.render(request) if isinstance(self.model, Rendering) else ""

    def close(self) -> None:
        """Frees all of them."""
        for engine in (*self.classifiers, self.model):
            engine.close()


def divide_judge(
    asked: OracleSpec,
    model: Engine,
    rubric: Rubric | None,
    offline: bool = False,
    cluster: RayCluster | None = None,
) -> DividedJudge:
    """The classifiers of a role beside its model. ``rubric``: what a finding is. They weigh on ``cluster``, where there
    is one. No weights load. Raises SpecError, EngineError."""
    known = {**SHIPPED_RUBRICS, COMPARE.name: COMPARE} | ({rubric.name: rubric} if rubric is not None else {})
    unknown = [name for each in asked.classifiers for name in each.rubrics if name not in known]
    if unknown:
        raise SpecError(
            f"classifiers: {', '.join(unknown)}: no such rubric is asked by", cure=f"There are: {', '.join(known)}."
        )
    built = [_build_classifier(each, known, offline, cluster) for each in asked.classifiers]
    cut = {COMPARE.name, rubric.name if rubric is not None else ""}
    for classifier, each in zip(built, asked.classifiers, strict=True):
        if classifier.kind == "score" and (others := sorted(set(each.rubrics) - cut)):
            raise SpecError(
                f"classifiers: {each.model} gives one score, and nothing tells where to cut it by {', '.join(others)}",
                cure="A calibration learns that for options.judge.rubric alone. Name a classifier with classes.",
            )
    return DividedJudge(built, model)


def _build_classifier(
    asked: ClassifierSpec, known: dict[str, Rubric], offline: bool, cluster: RayCluster | None
) -> SequenceClassifier:
    from charter.models.engines.sequence_classifier import ClassifierOptions, SequenceClassifier
    from charter.models.weights import resolve_model
    from charter.wiring.cluster_classifiers import ClusterClassifier

    options = ClassifierOptions.model_validate(
        asked.model_dump(include={"device", "dtype", "batch_tokens", "reads"})
        | {"batch_size": asked.batch, "offline": offline}
    )
    model = resolve_model(asked.model, asked.revision, offline=offline)
    rubrics = {name: known[name] for name in asked.rubrics}
    if cluster is not None:
        return ClusterClassifier(model, asked.rubrics, rubrics, options, cluster)
    return SequenceClassifier(model, asked.rubrics, rubrics, options)


def covers(asked: OracleSpec, rubric: Rubric) -> bool:
    """Whether a classifier of the role judges by the rubric."""
    return any(rubric.name in each.rubrics for each in asked.classifiers)


def check_classifiers(
    spec: Spec, rubric: Rubric, connect: Callable[[OracleSpec], Engine], calibrations: Sequence[RoleCalibration]
) -> None:
    """Nothing, where the judges of a run can judge all that it asks. Raises SpecError, EngineError.

    Args:
        spec: What is asked.
        rubric: What a finding is.
        connect: Gives the engine of a role.
        calibrations: What is known of judge and evaluator.
    """
    fitted = {found.id for found in calibrations if found.calibration.fit is not None}
    roles = {"judge": spec.judge or spec.oracle}
    roles |= {"evaluator": spec.evaluator} if spec.evaluator != "world" else {}
    for role, asked in roles.items():
        engine = connect(asked) if asked.classifiers else None
        if not isinstance(engine, DividedJudge):
            continue
        scores = any(each.kind == "score" and each.list_labels(rubric.name) for each in engine.classifiers)
        if scores and role not in fitted:
            raise SpecError(
                f"{role}.classifiers: a reward model gives a score, and nothing tells where to cut it",
                cure=f"Run `charter judge calibrate SPEC --labelled FILE`, and name that run in {role}.calibration.",
            )
        needed = [rubric.name, *(["replay"] if role == "evaluator" else [])]
        lacking = [name for name in needed if not engine.list_labels(name)]
        if role == "judge" and spec.method not in WORDLESS:
            lacking.append(f"whatever else `{spec.method}` asks a judge")
        if asked.model == NO_MODEL and lacking:
            raise SpecError(
                f"{role}.model is none, and its classifiers do not judge: {', '.join(lacking)}", cure=NAME_MODEL
            )
