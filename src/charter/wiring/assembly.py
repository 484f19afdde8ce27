"""The live objects of one spec, and what a run does with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter import constitution as articles
from charter.constitution import Constitution
from charter.handover import Handover
from charter.judging.rubrics import Rubric
from charter.nouns import ModelRef, Norm, Prompt
from charter.ports import Benchmark, Engine, Examiners, Roles, Tuner
from charter.similarity import Guard
from charter.spec import Options, OracleSpec, Spec
from charter.wiring import attacks, calibrating, curating, learning, models, prompts, ruling
from charter.wiring.exams import Exams
from charter.wiring.rows import ROWS, as_chat
from charter.wiring.targets import SERVING, RestedTuner, Targets, located

if TYPE_CHECKING:
    from charter.run import Run

Observer = Callable[[str, int, int], None]
CHARACTERS, SHARE = 3, 4
"""Characters that a token holds at least, as a rule; and the part of the context that rules may take: one in four."""


TUNING = ".tuning"
"""The folder of a run for the tuner's checkpoints, while it is at work."""


class Assembly:
    """The live objects of one spec. Models load when they are first asked; everything else is read at once, so that a
    fault shows before a run begins. ``revision`` is the commit of the target that a run began with."""

    def __init__(self, spec: Spec, revision: str = "") -> None:
        self.spec = spec
        self.world = models.world(spec)
        self.templates = models.templates(spec, self.world)
        self.rubric = models.rubric(spec.options.judge)
        self.calibrations = calibrating.named(spec, self.rubric, self.templates, self.world)
        self.start = models.start(spec, self.world, revision)
        attacks.check(spec, self.world)
        read = prompts.split(spec, *prompts.sources(spec, self.world))
        self.prompts = attacks.generalised(spec, self.world, read, self.templates)
        self.train = self.prompts.train
        self.exams = Exams(spec, self.world, self.templates)
        self._targets = Targets(spec, self.start)
        self._oracles = ExitStack()
        self.prices = self._prices()
        self.given: Handover | None = None
        self.written: list[Prompt] = []
        self.decided: tuple[Norm, ...] = ()
        self.pairs = learning.pairs(spec)

    def inherit(self, run: Run) -> None:
        """Takes over what the run goes on from, where the spec names one. Prompts that self-instruct wrote join the
        red-team prompts for training."""
        asked, inherited = self.spec.go_on, run.steps("inherited")
        if asked is None:
            return
        from charter.wiring.continuing import take_over, take_prompts

        if asked.takes == "policy":
            self.given = inherited.once("handover", take_over, asked, self.start.base_digest)
            return
        self.written = inherited.once("prompts", take_prompts, asked)
        known = {p.text for p in self.train["redteam"]}
        new = [p for p in self.written if p.text not in known]
        self.train = {**self.train, "redteam": prompts.distinct([*self.train["redteam"], *new])}

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers. Loads no weights. Raises EngineError."""
        return models.describe(self.spec, self.start)

    def execute(self, run: Run) -> None:
        """Runs the method, then publishes its results and finishes the run."""
        from charter.stages.calibration import named

        if self.calibrations:
            run.steps("000").once("calibrations", named, self.calibrations)
        self._targets = Targets(self.spec, self.start, run.directory / SERVING)
        self.inherit(run)
        with closing(self._targets), self._oracles:
            run.publish(self._played(run))
        from charter.reports.page import page

        run.publish({"report.html": page(run.directory)}, derived=True)
        run.finish()
        for scratch in (SERVING, TUNING):
            shutil.rmtree(run.directory / scratch, ignore_errors=True)

    def _played(self, run: Run) -> dict[str, str | bytes | Path]:
        """Plays the method; its results."""
        if self.spec.method == "red_team":
            from charter.methods.red_team import red_team

            found = red_team(run, self.roles(run), self.battery())
            return {"outcome.json": self._outcome(found.stopped, self.start)}
        if self.spec.method in ruling.METHODS:
            course = ruling.played(self.spec.method)(run, self.roles(run), ruling.brief(self))
            made = {ROWS: as_chat((*course.examples, *course.replayed))} if self.spec.method == "think" else {}
            return made | self.results(run, course.policy, course.constitution, course.stopped)
        if self.spec.method == "rlhf":
            from charter.methods.rlhf import rlhf

            best, constitution, why = rlhf(run, self.roles(run), self.lessons())
            return self.results(run, best.policy, constitution, why)
        from charter.methods.iteralign import iteralign

        progress = iteralign(run, self.roles(run), self.task())
        return self.results(run, progress.policy, progress.constitution, progress.stopped)

    def lessons(self) -> Any:
        """What a method that learns from preferences is given."""
        from charter.methods.preferring import Lessons

        task, shared = self.task(), {field.name for field in fields(Lessons)} - {"near", "pairs", "constitution"}
        given = {name: getattr(task, name) for name in shared}
        near = self.spec.prompts.near_duplicate
        return Lessons(near=near, pairs=self.pairs, constitution=ruling.rules(self), **given)

    def battery(self) -> Any:
        """What red teaming is given."""
        from charter.methods.red_team import Battery

        task = self.task()
        return Battery(**{field.name: getattr(task, field.name) for field in fields(Battery)})

    def task(self) -> Any:
        """What the method is given."""
        from charter.methods.iteralign import Task

        benchmark = self.benchmark(None)
        held = {"gate": list(benchmark.prompts("gate")), "held-out": list(benchmark.prompts("heldout"))}
        protected = [*held["gate"], *held["held-out"], *self.exams.prompts]
        return Task(
            start=self.start,
            redteam=self.train["redteam"],
            helpful=self.train["helpful"],
            guard=Guard(protected, self.spec.prompts.near_duplicate),
            templates=self.templates,
            answers=models.answers(self.spec),
            critiques=models.answers(self.spec, self.spec.scale.critique_tokens),
            options=self.options(),
            rubric=self.ruled,
            given=self.given,
            sifting=curating.sifting(self.spec, held, [*self.train["redteam"], *self.train["helpful"]], self.exams),
        )

    def options(self) -> Options:
        """The method's switches. Where they are not set, the method says how a policy is tried again, and the target's
        context how many rules are shown at once."""
        options = self.spec.options
        again = options.gates.again or ("step" if self.spec.method == "rlhf" else "replay")
        options = options.model_copy(update={"gates": options.gates.model_copy(update={"again": again})})
        context = models.context(self.spec, self.start)
        if options.reflect.rules is not None or context is None:
            return options
        reflecting = options.reflect.model_copy(update={"rules": context * CHARACTERS // SHARE})
        return options.model_copy(update={"reflect": reflecting})

    def roles(self, run: Run) -> Roles:
        """Roles bound to engines, each call on the run's ledger."""
        judge, prices, attacker = self.oracle("judge"), self.prices, self._attacker(run)
        return Roles(
            target=lambda policy: self._target(run, policy),
            proposer=run.metered(self.oracle("proposer"), "proposer", "aligning", prices["proposer"]),
            judge=run.metered(judge, "judge", "aligning", prices["judge"]),
            measurer=run.metered(judge, "judge", "measuring", prices["judge"]),
            tuner=self._rested(models.tuner(self.spec, run.directory / TUNING)),
            benchmark=self.benchmark(run),
            attacks=attacks.attacks(self.spec, self.world, attacker, self.templates),
            examiners=self._examiners(run, attacker),
            learners=learning.learners(self.spec, run.directory / TUNING, run.directory, self._rested),
        )

    def _rested(self, tuner: Tuner) -> Tuner:
        return RestedTuner(tuner, self._targets)

    def _examiners(self, run: Run, attacker: Engine | None) -> Examiners:
        judge = None
        if (asked := self.exams.judge) is not None:
            judge = run.metered(self._reached(asked), "evaluator", "measuring", models.price(asked))
        target = lambda policy: self._target(run, policy)  # noqa: E731
        return Examiners(target, self.exams.made(judge), self.exams.attacks(attacker), self.exams.gates(judge))

    def _attacker(self, run: Run) -> Engine | None:
        asked = self.spec.attacker
        if asked is None:
            return None
        return run.metered(self._reached(asked), "attacker", "aligning", self.prices["attacker"])

    def _reached(self, asked: OracleSpec) -> Engine:
        """An oracle, whose connections are closed when the run ends or stops."""
        engine = models.oracle(asked, self.world, self.spec.offline)
        self._oracles.callback(engine.close)
        return engine

    @contextmanager
    def _target(self, run: Run, policy: ModelRef) -> Iterator[Engine]:
        """A policy of the run, each call on its ledger."""
        with self.engine(located(policy, self.start, run.directory)) as engine:
            yield run.metered(engine, "target", "target", None if self.spec.target.by_http else models.FREE)

    @contextmanager
    def engine(self, policy: ModelRef) -> Iterator[Engine]:
        """A policy's engine, by itself."""
        with self._targets.engine(policy) as engine:
            yield engine

    def oracle(self, role: str) -> Engine:
        """The engine of ``judge`` or ``proposer`` (``oracle`` where the role has none of its own)."""
        asked = {"judge": self.spec.judge, "proposer": self.spec.proposer}[role] or self.spec.oracle
        return self._reached(asked)

    def benchmark(self, run: Run | None) -> Benchmark:
        """The evaluator: a world's truth, or a model that judges; its calls count as measuring."""
        if self.spec.evaluator == "world":
            from charter.organism.measure import WorldBenchmark

            assert self.world is not None
            return WorldBenchmark(self.world, self.spec.prompts.gate, self.spec.prompts.heldout, self.norms)
        from charter.benchmarks.judged import JudgedBenchmark

        engine = self._reached(self.spec.evaluator)
        metered = run.metered(engine, "evaluator", "measuring", self.prices["evaluator"]) if run is not None else engine
        given, judging = self.prompts, (self.ruled, self.spec.options.judge)
        return JudgedBenchmark(given.redteam, given.helpful, metered, self.templates, given.novel, judging)

    def results(
        self, run: Run, policy: ModelRef, constitution: Constitution, why: str
    ) -> dict[str, str | bytes | Path]:
        """The files of a finished run: constitution, adapter, and what became of it."""
        files: dict[str, str | bytes | Path] = {
            "constitution.yaml": articles.to_yaml(constitution),
            "outcome.json": self._outcome(why, policy, constitution),
        }
        if policy.adapter is not None and policy != self.start:
            files["adapter"] = run.directory / policy.adapter
        return files

    @property
    def ruled(self) -> Rubric:
        """The rubric with what people decided."""
        return self.rubric.model_copy(update={"norms": self.norms})

    @property
    def norms(self) -> tuple[Norm, ...]:
        """What people decided: in a run that goes on from another one, or in the run that is audited."""
        return articles.norms(self.given.constitution) if self.given is not None else self.decided

    @property
    def independent(self) -> bool:
        """Whether the evaluator is nobody else's model."""
        if self.spec.evaluator == "world":
            return True
        others = [self.spec.judge or self.spec.oracle, self.spec.proposer or self.spec.oracle]
        others += [self.spec.attacker] if self.spec.attacker is not None else []
        return all(self.spec.evaluator.model != other.model for other in others)

    def _outcome(self, stopped: str, policy: ModelRef, found: Constitution | None = None) -> str:
        """What became of the run, as JSON."""
        outcome = {
            "method": self.spec.method,
            "world": self.spec.world or None,
            "stopped": stopped,
            "policy": policy.model_dump(mode="json"),
            "planted": self._planted(found or Constitution()),
            "independent": self.independent,
        }
        return json.dumps(outcome, indent=2, sort_keys=True) + "\n"

    def _planted(self, constitution: Constitution) -> dict[str, Any]:
        if self.world is None or self.spec.method in ruling.METHODS:
            return {"flaws": None, "discovered": None, "by": {}}
        from charter.organism.measure import discovered

        texts = {p.id: p.text for p in self.train["redteam"]}
        by = discovered(self.world, constitution.principles, texts)
        return {"flaws": len(self.world.flaws), "discovered": len(by), "by": by}

    def _prices(self) -> dict[str, models.Price | None]:
        spec = self.spec
        asked = {"judge": spec.judge or spec.oracle, "proposer": spec.proposer or spec.oracle}
        asked |= {"attacker": spec.attacker} if spec.attacker is not None else {}
        asked |= {"evaluator": spec.evaluator} if spec.evaluator != "world" else {}
        return models.prices(asked, spec.budget)
