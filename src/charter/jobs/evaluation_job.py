"""A model under evaluation: it is put to the benchmarks of a spec, and nothing else is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from charter.jobs.benchmark_calls import count_calls
from charter.jobs.job import finish_run
from charter.ports import BenchmarkSuite, Engine
from charter.records.chat import Sampling
from charter.records.model_refs import ModelRef
from charter.runs import store
from charter.spec import OracleSpec, Spec
from charter.wiring import role_models
from charter.wiring.benchmark_suite import SpecBenchmarks
from charter.wiring.targets import SERVER_DIR, Targets

if TYPE_CHECKING:
    from charter.models.engines.ray_cluster import RayCluster
    from charter.runs import Run


def evaluation_spec(model: str, benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """The spec that evaluates a model: a run (its policy, with who plays which part there), a folder of weights or a
    hub id. Without ``benchmarks`` those of the run. Raises SpecError, StoreError."""
    from charter.runs.reader import RunReader

    place = Path(model).expanduser()
    value: dict[str, Any] = {"target": {"model": str(place.resolve()) if place.is_dir() else model}}
    if (place / store.JOURNAL).exists():
        reading = RunReader(place)
        left = {"continue_from", "steps", "calibrate", "method", "audit", "prompts"}
        value = reading.spec.model_dump(mode="json", exclude_defaults=True, exclude=left)
        value["continue_from"] = {"run": str(place.resolve()), "head": reading.head or ""}
    value |= {"version": 1, "method": "evaluate"}
    value |= {"benchmarks": [dict(b) for b in benchmarks]} if benchmarks else {}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


class EvaluationJob:
    """The live objects of a spec whose method is ``evaluate``. Where it goes on from a run, that run's policy is
    measured, and its starting model is what it is compared with. ``revision`` as for ``AlignmentJob``."""

    def __init__(self, spec: Spec, revision: str = "") -> None:
        self.spec = spec
        self.world = role_models.load_world(spec)
        self.start = role_models.resolve_start(spec, self.world, revision)
        self.spec = spec = role_models.fix_date(spec, self.start)
        self.benchmarks = SpecBenchmarks(spec, self.world, role_models.build_templates(spec, self.world))
        asked = {"evaluator": self.benchmarks.judge, "attacker": spec.attacker}
        self.prices = role_models.find_prices(
            {role: model for role, model in asked.items() if model is not None}, spec.budget
        )

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers. Raises EngineError."""
        return role_models.describe_target(self.spec, self.start)

    def prepare(self) -> Sequence[str]:
        """Finds the run that is gone on from before this one begins. Raises StoreError."""
        from charter.runs.reader import RunReader
        from charter.wiring.inheritance import load_final_state

        if self.spec.continue_from is not None and Path(self.spec.continue_from.run).is_absolute():
            load_final_state(RunReader(self.spec.continue_from.run), self.spec.continue_from.head)
        return ()

    def _inherit_policy(self, run: Run) -> ModelRef:
        """The policy of the run that it goes on from, or the target itself. Raises StoreError, SpecError."""
        if self.spec.continue_from is None:
            return self.start
        from charter.wiring.inheritance import inherit_state

        return (
            run.steps("inherited")
            .once("handover", inherit_state, self.spec.continue_from, self.start.base_digest)
            .policy
        )

    def execute(self, run: Run) -> None:
        """Measures the model, publishes what was found, and finishes the run."""
        from charter.methods.benchmark_evaluation import run_benchmarks

        policy = self._inherit_policy(run)
        with closing(Targets(self.spec, self.start, run.directory / SERVER_DIR)) as targets, ExitStack() as opened:
            suite = self._build_benchmark_suite(run, targets, opened)
            run_benchmarks(run.steps("000"), policy, self.start, suite, self.answer_sampling)
        outcome = {"method": "evaluate", "world": self.spec.world or None, "policy": policy.model_dump(mode="json")}
        finish_run(run, outcome, {})

    @property
    def answer_sampling(self) -> Sampling:
        """How the target answers."""
        return role_models.answer_sampling(self.spec)

    def forecast(self) -> dict[str, Any]:
        """What would be asked at most, by benchmark: answers, log-likelihoods and calls of the judge."""
        from charter.stages.benchmark_items import skip_benchmarks

        given = self.benchmarks.judge
        judge = None if given is None else role_models.connect_oracle(given, self.world, self.spec.offline)
        made = self.benchmarks.build_benchmarks(judge)
        skipped = {lack.id: lack.reason for lack in skip_benchmarks(made, (), self.spec.continue_from is None)}
        calls = {
            benchmark.name: count_calls(benchmark, self.spec.options, benchmark.name in self.benchmarks.judged_names)
            for benchmark in made
            if benchmark.name not in skipped
        }
        return {
            "method": "evaluate",
            "start": self.start.base,
            "questions": {name: count.answers for name, count in calls.items() if count.answers},
            "log_likelihoods": {name: count.log_likelihoods for name, count in calls.items() if count.log_likelihoods},
            "judge_calls_at_most": {name: count.verdicts for name, count in calls.items() if count.verdicts},
            "judge_calls_at_most_in_all": sum(count.verdicts for count in calls.values()),
            "left_out": skipped,
            "budget_calls": self.spec.budget.calls,
        }

    def _build_benchmark_suite(self, run: Run, targets: Targets, opened: ExitStack) -> BenchmarkSuite:
        connect = partial(self._connect, run, targets.cluster, opened)
        judge, attacker = connect("evaluator", self.benchmarks.judge), connect("attacker", self.spec.attacker)
        target = partial(targets.open_metered, run)
        return BenchmarkSuite(
            target, self.benchmarks.build_benchmarks(judge), self.benchmarks.build_style_attacks(attacker)
        )

    def _connect(
        self, run: Run, cluster: RayCluster | None, opened: ExitStack, role: str, asked: OracleSpec | None
    ) -> Engine | None:
        if asked is None:
            return None
        engine = role_models.connect_oracle(asked, self.world, self.spec.offline, cluster=cluster)
        opened.callback(engine.close)
        return run.meter_engine(engine, role, "measuring", self.prices[role])
