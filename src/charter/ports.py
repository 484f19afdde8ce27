"""The seams to the outside: engines, tuners (and what rewards a policy that practises), benchmarks, sources, attacks.

Each protocol has one contract test suite (tests/contracts), run over every adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

from charter.records.chat import (
    CallProgress,
    Completion,
    Exchange,
    LogLikelihood,
    Message,
    Prompt,
    Request,
    Sampling,
    ScoreRequest,
)
from charter.records.measurements import MarginKind, MeasuredSplit, Measurement, Metric, Score
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward
from charter.records.record import Record, Step
from charter.records.training_rows import TrainingRow
from charter.records.verdicts import Finding


@runtime_checkable
class Engine(Protocol):
    """Text in, text out.

    Answers may come in any order. Sampled tokens depend only on ``Request.seed`` and the request itself. ``done`` names
    requests whose answers are on record already: an engine plans its batches from *all* requests, so that what
    is left to do cannot change an answer, and yields only those not in ``done``.

    Raises EngineError when the model cannot be loaded or reached; one request that fails for good is a Completion
    with ``error`` set, never an exception.
    """

    @property
    def identity(self) -> str:
        """What answers: a name with a digest or version; never a secret."""
        ...

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One Completion per request whose id is not in ``done``."""
        ...

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One LogLikelihood per request whose id is not in ``done``. Raises UnsupportedError where it gives none."""
        ...

    def close(self) -> None:
        """Frees memory and connections; the engine may be used again (it reloads)."""
        ...


@runtime_checkable
class SupportsDrain(Protocol):
    """An engine with several answers under way at once can be told to ask for no more."""

    def drain(self) -> None:
        """``generate`` yields what is under way, and ends: what is paid for is not lost."""
        ...


@runtime_checkable
class SupportsOverlap(SupportsDrain, Protocol):
    """An engine whose model is not in this process may be asked, and told to end, in another thread than others."""

    @property
    def may_overlap(self) -> bool:
        """Whether it is meant to be."""

    def abort(self) -> None:
        """``generate`` gives up what is under way, and ends at once."""


@runtime_checkable
class Reporting(Protocol):
    """An engine that answers in batches tells, while one is at work, how far its call is."""

    def report_progress(self, tell: Callable[[CallProgress], None] | None) -> None:
        """Tells ``tell`` from now on; None: nobody."""
        ...


@runtime_checkable
class Noting(Protocol):
    """An engine that learns how its server wants to be asked says what it changed for all calls, a line each."""

    @property
    def notes(self) -> Sequence[str]:
        """In order, so far."""
        ...


@runtime_checkable
class Rendering(Protocol):
    """An engine that may show what its model reads."""

    @property
    def renders(self) -> bool:
        """Whether it can: a model in this process can."""
        ...

    def render(self, request: Request | ScoreRequest) -> str:
        """What the model reads before it answers, special tokens and all; empty where it cannot read the request."""
        ...


@runtime_checkable
class Classifying(Protocol):
    """An engine that sorts exchanges into labels of some rubrics without being asked in words: ``score`` weighs a label
    after an exchange, where the request names the rubric."""

    def list_labels(self, rubric: str) -> Sequence[str]:
        """The labels of a rubric that it tells apart by itself; none where that rubric is asked in words."""
        ...


@runtime_checkable
class Rewarder(Protocol):
    """Says what exchanges are worth: a model that learnt it from preferences, or a judge."""

    @property
    def identity(self) -> str:
        """What rewards: a name with a digest."""
        ...

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        """One Reward per exchange whose id is not in ``done``, under the exchange's id. Raises EngineError."""
        ...


@runtime_checkable
class Tuner(Protocol):
    """Makes a model from a starting one and rows: a policy from lessons, preferences or rated answers; a reward model
    from preferences."""

    @property
    def identity(self) -> str:
        """Kind and hyperparameters, as canonical JSON."""
        ...

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        """Trains on ``rows`` (loss on the responses only) and writes the model under ``directory``.

        Returns a reference whose ``adapter`` is the absolute path of what was written. The same arguments on the same
        CPU and thread count give byte-equal tensors. Raises TuningError, also where rows are of a kind it does not
        learn from.
        """
        ...


@runtime_checkable
class RLTuner(Protocol):
    """A tuner whose rows may be prompts: the policy draws answers to them, and learns from what these are worth."""

    @property
    def identity(self) -> str:
        """Kind and hyperparameters, as canonical JSON."""
        ...

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        """As a tuner does. The policy is held to ``reference`` (None: its start); ``reward`` is a reward model, or what
        gives rewards."""
        ...


@runtime_checkable
class SupportsLRScale(Protocol):
    """A tuner that can take smaller steps."""

    def with_lr_scale(self, share: float) -> Self:
        """The same tuner with this share of its learning rate."""
        ...


class BenchmarkQuestion(Record):
    """What a benchmark asks of the target: an answer to ``prompt`` or, where there is a ``completion``, how likely that
    is after it. ``item``: what it belongs to. ``raw`` as for a request; ``sampling``: None for the run's own."""

    id: str
    item: str
    prompt: Prompt
    completion: str | None = None
    raw: bool = False
    sampling: Sampling | None = None

    @classmethod
    def from_prompt(cls, prompt: Prompt) -> Self:
        """The question that a prompt is by itself."""
        return cls(id=prompt.id, item=prompt.id, prompt=prompt)


class AnsweredItem(Record):
    """An item of a benchmark with all that was answered, in the order of its questions; ``baseline``: the starting
    model's answers, where it is compared with."""

    id: str
    exchanges: tuple[Exchange, ...] = ()
    likelihoods: tuple[LogLikelihood, ...] = ()
    baseline: tuple[Exchange, ...] = ()

    @classmethod
    def from_exchange(cls, exchange: Exchange) -> Self:
        """The item that an answered prompt is by itself."""
        return cls(id=exchange.id, exchanges=(exchange,))


Need = Literal["answers", "raw answers", "log-likelihoods", "chat log-likelihoods", "baseline"]
"""What a benchmark needs of the target: answers in its chat format, texts gone on with, log-likelihoods of given texts
(plain, or in its chat format); the starting model's answers beside its own."""


@runtime_checkable
class Benchmark(Protocol):
    """Measures a model: asks questions, then grades item by item. What judges in it, if anything does, is nobody
    else's role. The run's evaluator is one for each split; a benchmark that the spec names is another."""

    @property
    def name(self) -> str:
        """The spec's name for it: letters, digits, ``_`` and ``-``."""
        ...

    @property
    def identity(self) -> str:
        """Name or protocol with its version, the digest of the data, and the model that judges."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What the target must be able to give."""
        ...

    @property
    def styles(self) -> Sequence[str]:
        """The attack styles that each question is asked in; ``plain`` is as it stands."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """Every figure that it gives."""
        ...

    @property
    def gate_metrics(self) -> Collection[str]:
        """The figures that a gate may be held on, as far as they turn out to be shares of items: better the higher, or
        the lower, and none of them of what another one counts."""
        ...

    def questions(self) -> Sequence[BenchmarkQuestion]:
        """Every question, in a fixed order; those of one item stand together."""
        ...

    def grade(self, answered: Sequence[AnsweredItem], done: Collection[str] = ()) -> Iterator[Measurement]:
        """One Measurement per item that is not in ``done``, under the item's id."""
        ...

    def scores(self, answered: Sequence[AnsweredItem], measured: Sequence[Measurement]) -> Sequence[Score]:
        """The figures, each with n and a 95 % interval."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Places texts by their meaning."""

    @property
    def identity(self) -> str:
        """What places them, with a digest."""
        ...

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order, all of one length. The same text has the same vector in every call. Raises
        EngineError."""
        ...


@runtime_checkable
class Source(Protocol):
    """Gives prompts: red-team attempts, or ordinary helpful questions."""

    @property
    def identity(self) -> str:
        """Name with the digest of the data."""
        ...

    def prompts(self) -> Sequence[Prompt]:
        """Every prompt, in a fixed order; equal texts carry different ids. Raises SpecError where the file has a bad
        row."""
        ...


class AttackTarget(Record):
    """A prompt to be attacked in a style, and why: ``floor`` (drawn uniformly) or the arm that was chosen, with the
    ``value`` at which it won. ``said``: the conversation so far, where an attack takes several turns."""

    id: str
    style: str
    region: str
    prompt: Prompt
    why: Literal["floor", "arm"] = "floor"
    value: float | None = None
    history: tuple[Message, ...] = ()


class Attempt(Record):
    """What an attack made of a choice: the conversation that the target is to answer; empty where the attacker's reply
    could not be used. ``raw`` is that reply, where a model was asked; ``language`` what it translated into."""

    id: str
    messages: tuple[Message, ...]
    language: str = ""
    raw: str = ""


@runtime_checkable
class Attack(Protocol):
    """Turns a red-team prompt into an attempt in one style. One that asks a model holds its engine."""

    @property
    def identity(self) -> str:
        """Style with a digest of its wording, and the model that it asks."""
        ...

    @property
    def turns(self) -> int:
        """How many user turns it makes; after each but the last it sees the target's answer."""
        ...

    def attack(self, choices: Sequence[AttackTarget], worked: Sequence[Finding], step: Step) -> Iterator[Attempt]:
        """One Attempt per choice that is not in ``step.done``, under its id: the conversation so far (``said``) with
        one further user turn. ``worked``: findings so far, oldest first. Whatever is drawn comes from ``step``; a
        model's reply that cannot be used is an Attempt without messages."""
        ...


@dataclass(frozen=True)
class PreferenceTrainers:
    """What learns from preferences.

    Args:
        preference_tuner: Makes a policy from given answers, at once.
        reward_tuner: Makes a reward model.
        rl_tuner: Makes a policy from prompts, by what its answers are worth.
        load_rewarder: Gives the rewards of a reward model.
    """

    preference_tuner: Tuner
    reward_tuner: Tuner
    rl_tuner: RLTuner
    load_rewarder: Callable[[ModelRef], Rewarder]


@dataclass(frozen=True)
class BenchmarkSuite:
    """The benchmarks that a spec names, the attack styles that they ask in, and the engines of policies.
    ``benchmarks`` are measured before and after, and decide nothing; ``gate_benchmarks`` decide, each under the margin
    of its kind (``honesty`` ...)."""

    open_target: Callable[[ModelRef], AbstractContextManager[Engine]]
    benchmarks: Sequence[Benchmark]
    styles: Mapping[str, Attack]
    gate_benchmarks: Sequence[tuple[MarginKind, Benchmark]] = ()


@dataclass(frozen=True)
class Roles:
    """Roles bound to engines. ``measurer`` is the judge when it measures efficacy, counted apart from aligning;
    ``evaluators``: what measures on gate and on held-out; ``suite``: what the spec names to be measured beside.
    ``attacks``: the attack styles to train on, by name; ``embedder``: what tells failures apart by their meaning,
    where words alone are not to do it.

    ``target`` gives the engine of a policy for the length of a ``with`` block, loading nothing until it is asked."""

    target: Callable[[ModelRef], AbstractContextManager[Engine]]
    proposer: Engine
    judge: Engine
    measuring_judge: Engine
    tuner: Tuner
    evaluators: Mapping[MeasuredSplit, Benchmark]
    attacks: Mapping[str, Attack] = field(default_factory=dict)
    learners: PreferenceTrainers | None = None
    suite: BenchmarkSuite | None = None
    embedder: Embedder | None = None
