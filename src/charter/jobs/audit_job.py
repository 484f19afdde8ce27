"""A model under audit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter import spec as specs
from charter.errors import EngineError, SpecError, StoreError
from charter.jobs import battery_builder
from charter.jobs.job import finish_run
from charter.judging.audit_battery import Battery
from charter.models import weights
from charter.ports import Benchmark, BenchmarkSuite, Engine
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.runs import store
from charter.spec import OracleSpec, Spec
from charter.wiring import role_models
from charter.wiring.components import Components
from charter.wiring.judge_proof import check_calibrations
from charter.wiring.targets import SERVER_DIR, Targets

if TYPE_CHECKING:
    from charter.methods.audit import AuditSide
    from charter.runs import Run


class AuditJob:
    """The live objects of a spec whose method is ``audit``. Models load when they are first asked."""

    def __init__(self, spec: Spec, revision: str = "") -> None:
        self.spec = spec.model_copy(update={"benchmarks": spec.audit.merge_benchmarks(spec.benchmarks)})
        self._revision, self.components = revision, Components(self.spec, revision)

    def prepare(self) -> Sequence[str]:
        """Finds the battery and both sides before a run begins. Raises SpecError, StoreError, EngineError."""
        check_calibrations(self.spec, self.components.calibrations)
        self._resolve_sides(battery_builder.load_battery(self.spec.audit))
        return ()

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers. Loads no weights. Raises EngineError."""
        return self.components.describe()

    def forecast(self) -> dict[str, Any]:
        """What would be asked. Raises SpecError, StoreError."""
        battery = battery_builder.load_battery(self.spec.audit)
        sides = 1 if battery_builder.reuse_audit(self.spec.audit.baseline, battery) else 2
        return {
            "method": "audit",
            "battery": battery.digest,
            "principles": len(battery.principles),
            "prompts": len(battery.probes),
            "sides": sides,
            "answers_to_generate": sides * len(battery.probes),
            "verdicts_about_principles": sides * len(battery.principle_probes) * battery.judging.votes,
        }

    def execute(self, run: Run) -> None:
        """Asks both sides, publishes what the comparison says, and finishes the run."""
        from charter.methods.audit import AuditInputs, audit
        from charter.reports.audit_comparison import compare_sides
        from charter.runs.reader import RunReader

        battery = run.steps("000").once("battery", battery_builder.load_battery, self.spec.audit)
        self._match_battery_size(battery)
        self.components.decided = battery.rubric.norms
        with closing(self.components), closing(self._connect_judge(run)) as judge:
            auditors = AuditInputs(
                target=lambda model: self._open_target(run, model),
                judge=judge,
                evaluator=self._load_evaluator(run, battery),
                templates=self.components.templates,
                suite=self._build_benchmark_suite(run, battery, judge),
                start=self.components.start,
            )
            audit(run, auditors, battery, self._resolve_sides(battery))
        outcome = {
            "method": "audit",
            "world": self.spec.world or None,
            "independent": self.components.evaluator_is_independent,
        }
        found = compare_sides(RunReader(run.directory)).model_dump(mode="json")
        finish_run(run, outcome, {"audit.json": json.dumps(found, indent=2) + "\n"})

    def _match_battery_size(self, battery: Battery) -> None:
        """The benchmark asks as many prompts of each kind as it did when the battery was made, whatever the run whose
        spec this is asked for itself."""
        held = specs.parse_spec(battery.spec).prompts.heldout if battery.spec else self.spec.prompts.heldout
        if held != self.spec.prompts.heldout:
            prompts = self.spec.prompts.model_copy(update={"heldout": held})
            self.components = Components(self.spec.model_copy(update={"prompts": prompts}), self._revision)

    def _resolve_sides(self, battery: Battery) -> Mapping[str, AuditSide]:
        from charter.methods.audit import BASELINE, MODEL, AuditSide

        asked = self.spec.audit
        before = battery_builder.reuse_audit(asked.baseline, battery)
        model = None if before else self.resolve_model(asked.baseline)
        return {
            BASELINE: AuditSide(asked.baseline, model, before),
            MODEL: AuditSide(asked.model or self.components.start.base, self.resolve_model(asked.model)),
        }

    def resolve_model(self, name: str) -> ModelRef:
        """What a user calls a model: a run (its policy), a folder of an adapter for the target or of weights, a hub id,
        ``organism`` in a test world; empty: the target. Raises EngineError, StoreError."""
        start, spec = self.components.start, self.spec
        if not name:
            return start
        if spec.target.by_http:
            return ModelRef(base=name, base_digest="", digest=digest({"by_http": name}))
        if name == "organism" and spec.world:
            target = spec.target.model_copy(update={"model": name})
            return role_models.resolve_start(spec.model_copy(update={"target": target}), self.components.world)
        place = Path(name).absolute()
        if (place / store.JOURNAL).exists():
            return read_final_policy(place)
        if weights.is_adapter(place):
            files = weights.file_digests(place, ("adapter_*",))
            whole = digest({"base": start.base_digest, "files": files})
            return start.under(str(place)).model_copy(update={"digest": whole, "files": files})
        return weights.resolve_model(name, offline=spec.offline, remote_code=spec.target.remote_code)

    @contextmanager
    def _open_target(self, run: Run, model: ModelRef) -> Iterator[Engine]:
        """A side's engine, each call on the run's ledger; it is closed at the end."""
        spec = self.spec
        if spec.target.by_http:
            spec = spec.model_copy(update={"target": spec.target.model_copy(update={"model": model.base})})
        with (
            closing(Targets(spec, model, run.directory / SERVER_DIR, self.components.cluster)) as targets,
            targets.open_metered(run, model) as engine,
        ):
            yield engine

    def _connect_judge(self, run: Run) -> Engine:
        """Who judges answers about principles: the evaluator; on a test world its truth."""
        asked, world = self.spec.evaluator, self.components.world
        if asked == "world":
            return run.meter_engine(
                role_models.connect_oracle(OracleSpec(), world), "evaluator", "measuring", role_models.FREE
            )
        engine = role_models.connect_oracle(asked, world, self.spec.offline, cluster=self.components.cluster)
        return run.meter_engine(engine, "evaluator", "measuring", self.components.prices["evaluator"])

    def _build_benchmark_suite(self, run: Run, battery: Battery, judge: Engine) -> BenchmarkSuite:
        """The benchmarks that the spec names. Raises SpecError where they are not the battery's."""
        own = self.components.benchmarks
        made = own.build_benchmarks(judge)
        here, there = {benchmark.name: benchmark.identity for benchmark in made}, battery.benchmarks
        if here != there:
            differ = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
            raise SpecError(
                "the benchmarks are not the battery's",
                tuple(f"{name}: battery: {there.get(name)}; here: {here.get(name)}" for name in differ),
                "Restore their data and their judge, or make a new battery: charter battery RUN --out FILE",
            )
        return BenchmarkSuite(lambda model: self._open_target(run, model), made, own.build_style_attacks(None))

    def _load_evaluator(self, run: Run, battery: Battery) -> Benchmark | None:
        """The battery's evaluator, where it has one. Raises SpecError where that is not the same any more."""
        if not battery.evaluator:
            return None
        found = self.components.build_evaluators(run)["heldout"]
        if battery.evaluator != found.identity:
            raise SpecError(
                "the benchmark is not the battery's",
                (f"battery: {battery.evaluator}; here: {found.identity}",),
                "Restore its data and its evaluator, or make a new battery: charter battery RUN --out FILE",
            )
        return found


def read_final_policy(place: Path) -> ModelRef:
    """The policy that a finished run ended with, on the base that it was made from."""
    from charter.runs.reader import RunReader

    reading = RunReader(place)
    told = reading.outcome.get("policy")
    if reading.head is None or not told:
        raise StoreError(f"{place} is not a finished run with a policy", f"Finish it: charter resume {place}")
    policy = ModelRef.model_validate(told)
    base = role_models.resolve_start(reading.spec, role_models.load_world(reading.spec), policy.revision)
    if base.base_digest != policy.base_digest:
        raise EngineError(f"{base.base} is not the base model that {place} began with.", "Restore its files.")
    if policy.adapter is None:
        return base
    return policy.under(str(place / "adapter")).model_copy(update={"base": base.base})
