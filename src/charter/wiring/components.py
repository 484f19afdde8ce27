"""The live objects of one spec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from charter.constitution import document as articles
from charter.constitution.run_state import RunState
from charter.judging.rubrics import Rubric
from charter.ports import Benchmark, BenchmarkSuite, Embedder, Engine, Roles, Tuner
from charter.records.chat import Prompt
from charter.records.measurements import MeasuredSplit
from charter.records.model_refs import ModelRef
from charter.records.rules import Norm
from charter.runs.spending import Price
from charter.similarity.splits import LeakageFilter
from charter.spec import MethodOptions, OracleSpec, Spec, place_files
from charter.wiring import (
    attack_styles,
    calibrations,
    curation_setup,
    learners,
    prompt_sets,
    role_models,
    row_files,
)
from charter.wiring.benchmark_suite import SpecBenchmarks
from charter.wiring.classifier_roles import check_classifiers, divide_judge
from charter.wiring.embedder import build_embedder
from charter.wiring.prompt_previews import count_rows, distinguish_counts
from charter.wiring.scales import choose_scale, use_scale
from charter.wiring.targets import SERVER_DIR, TUNING_DIR, MemoryFreeingTuner, Targets

if TYPE_CHECKING:
    from charter.methods.inputs import Inputs
    from charter.runs import Run

CHARS_PER_TOKEN, RULES_SHARE = 3, 4
"""Characters that a token holds at least, as a rule; and the part of the context that rules may take: one in four."""


class Components:
    """The live objects of one spec. Models load when they are first asked; everything else is read at once, so that a
    fault shows before a run begins. ``revision`` is the commit of the target that a run began with; ``folder``: the
    run's, where files of the spec lie in it."""

    def __init__(self, spec: Spec, revision: str = "", folder: Path | None = None) -> None:
        self.spec = spec
        self.world = role_models.load_world(spec)
        self.templates = role_models.build_templates(spec, self.world)
        self.rubric = role_models.load_rubric(spec.options.judge)
        self.calibrations = calibrations.load_calibrations(spec, self.rubric, self.templates, self.world)
        self.start = role_models.resolve_start(spec, self.world, revision)
        self.scale = choose_scale(spec, self.start)
        self.spec = spec = use_scale(role_models.fix_date(spec, self.start), self.scale)
        attack_styles.check_styles(spec, self.world)
        placed = spec if folder is None else place_files(spec, folder)
        redteam, helpful = prompt_sets.build_sources(placed, self.world)
        self.sources = [*redteam, *helpful]
        read = prompt_sets.build_prompt_sets(spec, redteam, helpful)
        self.prompts = attack_styles.add_heldout_style(spec, self.world, read, self.templates)
        self.train = self.prompts.train
        self.benchmarks = SpecBenchmarks(spec, self.world, self.templates)
        self.cluster = role_models.build_cluster(spec)
        self._targets = Targets(spec, self.start, cluster=self.cluster)
        self._oracles = ExitStack()
        self._weights: dict[str, Engine] = {}
        self._folder: Path | None = None
        self.prices = self._prices()
        self.given: RunState | None = None
        self.written: list[Prompt] = []
        self.decided: tuple[Norm, ...] = ()
        self.pairs, compared = learners.load_pairs(placed)
        self.ratings, rated = learners.load_ratings(placed)
        self.rows, given = row_files.load_rows(spec)
        self.row_counts = distinguish_counts([*count_rows(self.sources), *compared, *rated, *given])
        check_classifiers(spec, self.rubric, self._connect, self.calibrations)

    def add_written(self, prompts: Sequence[Prompt]) -> None:
        """Prompts that self-instruct wrote in an earlier step join the red-team prompts for training."""
        self.written = list(prompts)
        known = {p.text for p in self.train["redteam"]}
        new = [p for p in self.written if p.text not in known]
        self.train = {**self.train, "redteam": prompt_sets.make_ids_distinct([*self.train["redteam"], *new])}

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers, and how it reads the prompts. Loads no weights. Raises
        EngineError, SpecError."""
        held = [prompt for prompts in self.measured_prompts.values() for prompt in prompts]
        return role_models.describe_target(
            self.spec, self.start, [*self.train["redteam"], *self.train["helpful"], *held]
        )

    @contextmanager
    def open_roles(self, run: Run) -> Iterator[Roles]:
        """The roles of a run; at the end servers and connections are closed."""
        self._folder = run.directory / SERVER_DIR
        self._targets = Targets(self.spec, self.start, self._folder, self.cluster)
        with closing(self):
            yield self._bind_roles(run)

    def close(self) -> None:
        """Closes servers and connections, and leaves the cluster."""
        with ExitStack() as left:
            if self.cluster is not None:
                left.callback(self.cluster.close)
            left.callback(self._targets.close)
            self._oracles.close()

    def method_inputs(self) -> Inputs:
        """What the method is given."""
        from charter.methods.inputs import Inputs

        held = {"gate": self.measured_prompts["gate"], "held-out": self.measured_prompts["heldout"]}
        protected = [*held["gate"], *held["held-out"], *self.benchmarks.prompts]
        return Inputs(
            start=self.start,
            redteam=self.train["redteam"],
            helpful=self.train["helpful"],
            guard=LeakageFilter(protected, self.spec.prompts.near_duplicate),
            templates=self.templates,
            answers=role_models.answer_sampling(self.spec),
            critiques=role_models.answer_sampling(self.spec, self.spec.scale.critique_tokens),
            options=self.resolve_options(),
            rubric=self.rubric_of("judge"),
            given=self.given,
            near_duplicate=self.spec.prompts.near_duplicate,
            curation=curation_setup.build_curation_setup(
                self.spec, held, [*self.train["redteam"], *self.train["helpful"]], self.benchmarks
            ),
        )

    def resolve_options(self) -> MethodOptions:
        """The method's switches. Where they are not set, the method says how a policy is tried again, and the target's
        context how many rules are shown at once."""
        options = self.spec.options
        again = options.gates.retry_with or ("step" if self.spec.method == "rlhf" else "replay")
        options = options.model_copy(update={"gates": options.gates.model_copy(update={"retry_with": again})})
        context = None if self.spec.target.by_http else role_models.context_length(self.spec, self.start)
        if options.reflect.max_rule_characters is not None or context is None:
            return options
        reflecting = options.reflect.model_copy(
            update={"max_rule_characters": context * CHARS_PER_TOKEN // RULES_SHARE}
        )
        return options.model_copy(update={"reflect": reflecting})

    def _bind_roles(self, run: Run) -> Roles:
        """Roles bound to engines, each call on the run's ledger."""
        judge, prices, attacker = self.connect_oracle("judge"), self.prices, self._connect_attacker(run)
        return Roles(
            target=partial(self._targets.open_metered, run),
            proposer=run.meter_engine(self.connect_oracle("proposer"), "proposer", "aligning", prices["proposer"]),
            judge=run.meter_engine(judge, "judge", "aligning", prices["judge"]),
            measuring_judge=run.meter_engine(judge, "judge", "measuring", prices["judge"]),
            tuner=self._free_memory_first(role_models.build_tuner(self.spec, run.directory / TUNING_DIR, self.cluster)),
            evaluators=self.build_evaluators(run),
            attacks=attack_styles.build_train_attacks(self.spec, self.world, attacker, self.templates),
            suite=self._build_benchmark_suite(run, attacker),
            embedder=self.embedder,
            learners=learners.build_learners(
                self.spec, run.directory / TUNING_DIR, run.directory, self._free_memory_first, self.cluster
            ),
        )

    @property
    def embedder(self) -> Embedder | None:
        """What places texts by their meaning; None where words do. Its weights load when it is first asked."""
        return build_embedder(self.spec, self.start, self._targets.load_start, self._targets.find_workers)

    def _free_memory_first(self, tuner: Tuner) -> MemoryFreeingTuner:
        return MemoryFreeingTuner(tuner, self.free_memory)

    def _build_benchmark_suite(self, run: Run, attacker: Engine | None) -> BenchmarkSuite:
        judge = None
        if (asked := self.benchmarks.judge) is not None:
            judge = run.meter_engine(self._connect(asked), "evaluator", "measuring", role_models.find_price(asked))
        return BenchmarkSuite(
            partial(self._targets.open_metered, run),
            self.benchmarks.build_benchmarks(judge),
            self.benchmarks.build_style_attacks(attacker),
            self.benchmarks.build_gate_parts(judge),
        )

    def _connect_attacker(self, run: Run) -> Engine | None:
        asked = self.spec.attacker
        if asked is None:
            return None
        return run.meter_engine(self._connect(asked), "attacker", "aligning", self.prices["attacker"])

    def _connect(self, asked: OracleSpec) -> Engine:
        """An oracle, whose connections are closed when the run ends or stops. Roles that name the same weights share
        them."""
        key = asked.weights_digest if asked.is_shared else ""
        if key in self._weights:
            return self._weights[key]
        if asked.classifiers:
            in_words = self._connect(asked.in_words)
            engine: Engine = divide_judge(asked, in_words, self.rubric, self.spec.offline, self.cluster)
        else:
            folder = self._folder / f"oracle-{key}" if self._folder is not None else None
            engine = role_models.connect_oracle(asked, self.world, self.spec.offline, folder, cluster=self.cluster)
        self._oracles.callback(engine.close)
        if key:
            self._weights[key] = engine
        return engine

    @contextmanager
    def lend_oracle(self, run: Run, asked: OracleSpec) -> Iterator[Engine]:
        """An oracle before the roles are bound. Weights stay in memory for these, where all went well."""
        self._folder, well = run.directory / SERVER_DIR, False
        engine = self._connect(asked)
        try:
            yield engine
            well = True
        finally:
            if not (well and asked.is_shared):
                engine.close()

    def free_memory(self) -> None:
        """Ends the target's server, and takes the oracles' weights out of memory: they are loaded again when asked."""
        self._targets.release()
        for engine in self._weights.values():
            engine.close()

    @contextmanager
    def open_engine(self, policy: ModelRef) -> Iterator[Engine]:
        """A policy's engine, by itself."""
        with self._targets.open_engine(policy) as engine:
            yield engine

    def connect_oracle(self, role: str) -> Engine:
        """The engine of ``judge`` or ``proposer`` (``oracle`` where the role has none of its own)."""
        asked = {"judge": self.spec.judge, "proposer": self.spec.proposer}[role] or self.spec.oracle
        return self._connect(asked)

    @cached_property
    def measured_prompts(self) -> dict[MeasuredSplit, list[Prompt]]:
        """What the evaluator asks on each split."""
        evaluators = self.build_evaluators(None).items()
        return {split: [q.prompt for q in evaluator.questions()] for split, evaluator in evaluators}

    def build_evaluators(self, run: Run | None) -> dict[MeasuredSplit, Benchmark]:
        """The evaluator of each split: a world's truth, or a model that judges; its calls count as measuring."""
        splits: tuple[MeasuredSplit, ...] = get_args(MeasuredSplit)
        asked = self.spec.prompts
        if self.spec.evaluator == "world":
            from charter.organism.world_benchmark import WorldBenchmark

            assert self.world is not None
            build = partial(WorldBenchmark, self.world, gate=asked.gate, heldout=asked.heldout, norms=self.norms)
            return {split: build(split) for split in splits}
        from charter.evals.judged_benchmark import JudgedBenchmark, PromptSides

        engine = self._connect(self.spec.evaluator)
        metered = (
            run.meter_engine(engine, "evaluator", "measuring", self.prices["evaluator"]) if run is not None else engine
        )
        sides = PromptSides(self.prompts.redteam, self.prompts.helpful, self.prompts.novel)
        rubric, judging = self.rubric_of("evaluator"), self.spec.options.judge
        return {
            split: JudgedBenchmark(split, sides, metered, self.templates, rubric=rubric, judging=judging)
            for split in splits
        }

    def rubric_of(self, role: str) -> Rubric:
        """The rubric with what people decided, and with what the calibration of a role's judge learnt."""
        fit = next((found.calibration.fit for found in self.calibrations if found.id == role), None)
        return self.rubric.model_copy(update={"norms": self.norms, "fit": fit})

    @property
    def norms(self) -> tuple[Norm, ...]:
        """What people decided: in a run that goes on from another one, or in the run that is audited."""
        return articles.extract_norms(self.given.constitution) if self.given is not None else self.decided

    @property
    def evaluator_is_independent(self) -> bool:
        """Whether the evaluator is nobody else's model."""
        if self.spec.evaluator == "world":
            return True
        others = [self.spec.judge or self.spec.oracle, self.spec.proposer or self.spec.oracle]
        others += [self.spec.attacker] if self.spec.attacker is not None else []
        return not any(self.spec.evaluator.model_names & other.model_names for other in others)

    @property
    def roles(self) -> dict[str, OracleSpec]:
        """The model of each role beside the target; a world that measures is none."""
        spec = self.spec
        asked = {"judge": spec.judge or spec.oracle, "proposer": spec.proposer or spec.oracle}
        asked |= {"attacker": spec.attacker} if spec.attacker is not None else {}
        return asked | ({"evaluator": spec.evaluator} if spec.evaluator != "world" else {})

    def _prices(self) -> dict[str, Price | None]:
        return role_models.find_prices(self.roles, self.spec.budget)
