"""The one place that turns a spec into live objects and sets a run going. Plain functions, nothing registered."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter import constitution as articles
from charter import spec as specs
from charter.errors import EngineError, SpecError
from charter.nouns import ModelRef, Prompt, Sampling, Split
from charter.ports import Benchmark, Engine, Roles, Source, Tuner
from charter.similarity import Guard, split_prompts
from charter.spec import FileSpec, OracleSpec, Spec
from charter.templates import Templates

if TYPE_CHECKING:
    from charter.engines.local import LocalEngine
    from charter.methods.iteralign import Progress
    from charter.organism.world import World
    from charter.run import Run

Observer = Callable[[str, int, int], None]
PACKAGES = ("charter", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "scikit-learn")


def launch(spec_text: str, directory: Path, observer: Observer | None = None) -> None:
    """Makes a new run from a spec and runs it to its end. Raises CharterError; what is done is kept."""
    from charter.run import Run

    spec = specs.parse(spec_text)
    assembly = Assembly(spec)
    with Run.create(
        directory,
        spec_text=spec_text,
        seed=spec.seed,
        environment=environment(),
        budget_calls=spec.budget.calls,
        observer=observer,
    ) as run:
        assembly.execute(run)


def resume(directory: Path, observer: Observer | None = None, budget_calls: int | None = None) -> None:
    """Goes on with a run where it stopped, if need be with a larger budget. Raises CharterError."""
    from charter.run import Run

    spec = specs.read(directory / "spec.yaml")[0]
    budget = budget_calls if budget_calls is not None else spec.budget.calls
    with Run.open(directory, budget_calls=budget, observer=observer, environment=environment()) as run:
        Assembly(spec).execute(run)


def environment() -> dict[str, Any]:
    """Versions and machine, for ``environment.json``; no secret, no user name."""
    import os

    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "packages": found,
    }


class Assembly:
    """The live objects of one spec. Models load when they are first asked; everything else is read at once, so that a
    fault shows before a run begins."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.world = _world(spec)
        self.templates = self._templates()
        self.start = self._start()
        self.oracles: dict[str, Engine] = {}
        redteam, helpful = self._sources()
        self.train, self.benchmark_prompts = self._split(redteam, helpful)
        self._local: LocalEngine | None = None

    def execute(self, run: Run) -> None:
        """Runs the method, then publishes its results and finishes the run."""
        from charter.methods.iteralign import iteralign

        progress = iteralign(run, self.roles(run), self.task())
        run.publish(self.results(run, progress))
        from charter.reports.page import page

        run.publish({"report.html": page(run.directory)}, derived=True)
        run.finish()

    def task(self) -> Any:
        """What the method is given."""
        from charter.methods.iteralign import Task

        scale = self.spec.scale
        shared = {"temperature": scale.temperature, "top_p": scale.top_p, "stop": scale.stop}
        shared["frequency_penalty"] = scale.frequency_penalty
        benchmark = self.benchmark(None)
        protected = [p for split in ("gate", "heldout") for p in benchmark.prompts(split)]
        return Task(
            start=self.start,
            redteam=self.train["redteam"],
            helpful=self.train["helpful"],
            guard=Guard(protected, self.spec.prompts.near_duplicate),
            templates=self.templates,
            answers=Sampling.model_validate({**shared, "max_tokens": scale.answer_tokens}),
            critiques=Sampling.model_validate({**shared, "max_tokens": scale.critique_tokens}),
            options=self.spec.options,
        )

    def roles(self, run: Run) -> Roles:
        """Roles bound to engines, each call on the run's ledger."""
        judge = self.oracle("judge")
        return Roles(
            target=lambda policy: self._target(run, policy),
            proposer=run.metered(self.oracle("proposer"), "proposer", "aligning"),
            judge=run.metered(judge, "judge", "aligning"),
            measurer=run.metered(judge, "judge", "measuring"),
            tuner=self.tuner(),
            benchmark=self.benchmark(run),
        )

    @contextmanager
    def _target(self, run: Run, policy: ModelRef) -> Iterator[Engine]:
        """A policy of the run, each call on its ledger."""
        if policy.adapter is not None and policy.adapter != self.start.adapter:
            policy = policy.model_copy(update={"adapter": str(run.directory / policy.adapter)})
        with self.engine(policy) as engine:
            yield run.metered(engine, "target", "target")

    @contextmanager
    def engine(self, policy: ModelRef) -> Iterator[Engine]:
        """A policy's engine. The base stays in memory on a CPU; on an accelerator its memory is freed at the end."""
        from charter.engines.local import LocalEngine, LocalOptions

        if self._local is None:
            target = self.spec.target
            options = LocalOptions.model_validate(
                {
                    "device": target.device,
                    "dtype": target.dtype,
                    "batch_size": target.batch,
                    "plain": target.plain,
                    "remote_code": target.remote_code,
                }
            )
            self._local = LocalEngine(self.start, options)
        yield self._local.use(policy)
        if self._local.device != "cpu":
            self._local.close()

    def tuner(self) -> Tuner:
        """The tuner that the spec asks for."""
        from charter.tuners.sft import SftOptions, SftTuner

        tune, scale, target = self.spec.options.tune, self.spec.scale, self.spec.target
        options = tune.model_dump(exclude={"start", "learning_rate", "rank"}) | {
            "lr": tune.learning_rate,
            "r": tune.rank,
            "max_length": scale.row_tokens,
            "device": target.device,
            "dtype": target.dtype,
            "plain": target.plain,
            "remote_code": target.remote_code,
        }
        return SftTuner(SftOptions.model_validate(options))

    def oracle(self, role: str) -> Engine:
        """The engine of ``judge`` or ``proposer`` (``oracle`` where the role has none of its own)."""
        asked = {"judge": self.spec.judge, "proposer": self.spec.proposer}[role] or self.spec.oracle
        return self._remote_or_world(asked)

    def _remote_or_world(self, asked: OracleSpec) -> Engine:
        if asked.model == "world":
            from charter.organism.oracle import Oracle, OracleErrors

            assert self.world is not None
            return Oracle(self.world, OracleErrors.model_validate(asked.errors.model_dump()))
        from charter.engines.remote import RemoteEngine, RemoteOptions

        return RemoteEngine(
            asked.model, RemoteOptions(base_url=asked.base_url or None, max_connections=asked.connections)
        )

    def benchmark(self, run: Run | None) -> Benchmark:
        """The evaluator: a world's truth, or a model that judges; its calls count as measuring."""
        if self.spec.evaluator == "world":
            from charter.organism.measure import WorldBenchmark

            assert self.world is not None
            return WorldBenchmark(self.world, self.spec.prompts.gate, self.spec.prompts.heldout)
        from charter.benchmarks.judged import JudgedBenchmark

        engine = self._remote_or_world(self.spec.evaluator)
        metered = run.metered(engine, "evaluator", "measuring") if run is not None else engine
        return JudgedBenchmark(*self.benchmark_prompts, metered, self.templates)

    def results(self, run: Run, progress: Progress) -> dict[str, str | bytes | Path]:
        """The files of a finished run: constitution, adapter, and what became of it."""
        spec = self.spec
        outcome = {
            "method": spec.method,
            "world": spec.world or None,
            "stopped": progress.stopped,
            "policy": progress.policy.model_dump(mode="json"),
            "planted": self._planted(progress),
            "independent": self.independent,
        }
        files: dict[str, str | bytes | Path] = {
            "constitution.yaml": articles.to_yaml(progress.constitution),
            "outcome.json": json.dumps(outcome, indent=2, sort_keys=True) + "\n",
        }
        if progress.policy.adapter is not None and progress.policy != self.start:
            files["adapter"] = run.directory / progress.policy.adapter
        return files

    @property
    def independent(self) -> bool:
        """Whether the evaluator is nobody else's model."""
        if self.spec.evaluator == "world":
            return True
        others = [self.spec.judge or self.spec.oracle, self.spec.proposer or self.spec.oracle]
        return all(self.spec.evaluator.model != other.model for other in others)

    def _planted(self, progress: Progress) -> dict[str, Any]:
        if self.world is None:
            return {"flaws": None, "discovered": None, "by": {}}
        from charter.organism.measure import discovered

        texts = {p.id: p.text for p in self.train["redteam"]}
        by = discovered(self.world, progress.constitution.principles, texts)
        return {"flaws": len(self.world.flaws), "discovered": len(by), "by": by}

    def _templates(self) -> Templates:
        if self.spec.templates != "world":
            return self.spec.templates
        assert self.world is not None
        return Templates.model_validate(self.world.target_templates)

    def _start(self) -> ModelRef:
        from charter.weights import resolve

        target = self.spec.target
        base = target.model
        if base == "organism":
            assert self.world is not None
            folder = Path(__file__).parent / "organism" / "built" / self.world.name
            if not (folder / "config.json").is_file():
                raise EngineError(
                    f"the world {self.world.name} is not shipped built",
                    f"charter organism build --world {self.spec.world} --out DIR, then set target.model to DIR",
                )
            base = str(folder)
        return resolve(base, target.revision, remote_code=target.remote_code)

    def _sources(self) -> tuple[list[Source], list[Source]]:
        from charter.organism.prompts import WorldPrompts
        from charter.sources.files import FilePrompts

        def sources(asked: str | Sequence[FileSpec], kind: str) -> list[Source]:
            if isinstance(asked, str):
                assert self.world is not None
                return [WorldPrompts(self.world, "redteam" if kind == "redteam" else "helpful")]
            return [FilePrompts(file) for file in asked]

        asked = self.spec.prompts
        return sources(asked.redteam, "redteam"), sources(asked.helpful, "helpful")

    def _split(
        self, redteam: Sequence[Source], helpful: Sequence[Source]
    ) -> tuple[dict[str, list[Prompt]], tuple[dict[Split, list[Prompt]], dict[Split, list[Prompt]]]]:
        """Training prompts by kind, and the prompts kept for an evaluator by kind and split. A world gives training
        prompts only, and its benchmark has gate and held-out of its own. A text of both kinds is a red-team prompt."""
        read = [_distinct([p for source in side for p in source.prompts()]) for side in (redteam, helpful)]
        attacking = {p.text for p in read[0]}
        read[1] = [p for p in read[1] if p.text not in attacking]
        if self.spec.evaluator == "world":
            return {"redteam": read[0], "helpful": read[1]}, ({}, {})
        parts = split_prompts([*read[0], *read[1]], self.spec.prompts.near_duplicate)
        attacks = {p.id for p in read[0]}
        size: dict[Split, int | None] = {"gate": self.spec.prompts.gate, "heldout": self.spec.prompts.heldout}
        kept: tuple[dict[Split, list[Prompt]], dict[Split, list[Prompt]]] = ({}, {})
        for split, most in size.items():
            kept[0][split] = [p for p in parts[split] if p.id in attacks][:most]
            kept[1][split] = [p for p in parts[split] if p.id not in attacks][:most]
        train = parts["train"]
        if not any(p.id in attacks for p in train) or not kept[0]["gate"] or not kept[0]["heldout"]:
            raise SpecError(
                f"too few red-team prompts to split into train, gate and held-out ({len(read[0])} read)",
                cure="Give more prompts under prompts.redteam.",
            )
        return {
            "redteam": [p for p in train if p.id in attacks],
            "helpful": [p for p in train if p.id not in attacks],
        }, kept


def _distinct(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts of several sources together; an id that comes again takes the next ordinal."""
    out: dict[str, Prompt] = {}
    for prompt in prompts:
        stem, ordinal = prompt.id.rsplit("-", 1)[0], 0
        key = prompt.id
        while key in out:
            ordinal += 1
            key = f"{stem}-{ordinal}"
        out[key] = prompt if key == prompt.id else prompt.model_copy(update={"id": key})
    return list(out.values())


def _world(spec: Spec) -> World | None:
    if not spec.world:
        return None
    from charter.organism.world import World

    return World.load(spec.world)


def dry_run(spec: Spec) -> Mapping[str, Any]:
    """What a run would do at most: prompts, calls by purpose, tokens to generate. Nothing is asked and no model
    loads."""
    assembly = Assembly(spec)
    options = spec.options
    train, benchmark = assembly.train, assembly.benchmark(None)
    sizes: dict[str, int] = {split: len(benchmark.prompts(split)) for split in ("gate", "heldout")}
    batch = min(options.draw.batch, len(train["redteam"]))
    iterations = min(options.stop.iterations, -(-len(train["redteam"]) // options.draw.batch))
    clusters = 1 if options.cluster.by == "batch" else max(1, batch // 10)
    calls = {
        "verdicts": batch,
        "proposals and merging": clusters + 1,
        "look-alikes": clusters if options.contrast.count else 0,
        "rechecks": batch,
        "second rubric": batch if options.keep.verify else 0,
        "replay checks": options.replay.fresh + clusters * options.contrast.count,
    }
    answers = 2 * sizes["heldout"] + sizes["gate"] * (iterations + 1) + iterations * 3 * batch
    return {
        "method": spec.method,
        "start": assembly.start.base,
        "prompts": {"redteam": len(train["redteam"]), "helpful": len(train["helpful"]), **sizes},
        "iterations_at_most": iterations,
        "oracle_calls_at_most_per_iteration": calls,
        "oracle_calls_at_most": iterations * sum(calls.values()),
        "budget_calls": spec.budget.calls,
        "answers_to_generate_at_most": answers,
        "tokens_to_generate_at_most": answers * spec.scale.answer_tokens,
    }
