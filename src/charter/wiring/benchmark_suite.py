"""From a spec to the benchmarks that it names, with what judges in them and the styles that they ask in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from charter.data.sources.benchmark_texts import row_questions
from charter.data.sources.published_datasets import read_template
from charter.errors import OfflineError, SpecError
from charter.ports import Attack, Benchmark, Engine
from charter.records.chat import Message, Prompt
from charter.records.measurements import MarginKind, MeasuredSplit
from charter.records.templates import Templates
from charter.similarity.splits import split_gate_heldout
from charter.spec import BenchmarkSpec, OracleSpec, SourceSpec, Spec
from charter.statistics import draw_stratified
from charter.wiring import attack_styles
from charter.wiring.plugins import load_object
from charter.wiring.prompt_sets import make_ids_distinct, open_source

if TYPE_CHECKING:
    from charter.organism.world import World

_PROTOCOL_FILES = {
    "truthfulqa": "TruthfulQA.csv, mc_task.json or the hub's multiple-choice rows",
    "hhh": "BIG-bench's hhh_alignment folder",
}
"""The data of the protocols."""


class SpecBenchmarks:
    """The benchmarks of a spec; their prompts are read at once. Raises SpecError."""

    def __init__(self, spec: Spec, world: World | None, templates: Templates) -> None:
        self._spec, self._world, self._templates = spec, world, templates
        self._check_spec()
        self._own = {b.effective_name: self._load_own(b) for b in spec.benchmarks if b.is_plugin}
        self._tables = {b.effective_name: _read_table(b) for b in spec.benchmarks if b.path}
        self._prompts = {b.effective_name: _read_prompts(b, spec.offline) for b in spec.benchmarks if b.judged}
        self._check_parts()

    @property
    def judge(self) -> OracleSpec | None:
        """What judges in them, where anything is judged: the evaluator, or the oracle of the world whose truth
        evaluates."""
        if not self._prompts:
            return None
        return OracleSpec() if self._spec.evaluator == "world" else self._spec.evaluator

    @property
    def judged_names(self) -> frozenset[str]:
        """The names of those in which something is judged."""
        return frozenset(self._prompts)

    @property
    def prompts(self) -> list[Prompt]:
        """What judged benchmarks ask: nothing close to it may be trained on."""
        return [prompt for asked in self._prompts.values() for prompt in asked]

    @property
    def texts_by_name(self) -> dict[str, list[str]]:
        """What each benchmark asks, by its name, as far as its data is at hand: the prompts of judged ones, what stands
        in the known columns of the data of tasks and protocols, or else what the harness makes of a document. The data
        of tasks without a local copy is fetched as it is to be asked."""
        return self._texts_and_gaps[0]

    @property
    def uncovered(self) -> dict[str, str]:
        """Why nothing is known of what a benchmark asks, by its name."""
        return self._texts_and_gaps[1]

    @cached_property
    def _texts_and_gaps(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        texts = {name: [prompt.text for prompt in asked] for name, asked in self._prompts.items()}
        texts |= {name: [q.prompt.text for q in own.questions()] for name, own in self._own.items()}
        missing: dict[str, str] = {}
        for name, table in self._tables.items():
            if found := [text for row in table for text in row_questions(row)]:
                texts[name] = found
            else:
                columns = ", ".join(dict.fromkeys(str(key) for row in table for key in row))
                missing[name] = f"no known column holds what it asks (it has: {columns or 'none'!s:.200})"
        for b in self._spec.benchmarks:
            if b.task and not b.path and not b.is_plugin:
                try:
                    texts[b.effective_name] = _fetch_texts(b)
                except (SpecError, OfflineError) as error:
                    missing[b.effective_name] = f"{error.message}; give a copy with `path`"
        return texts, missing

    def build_benchmarks(self, judge: Engine | None) -> list[Benchmark]:
        """Every one, in the spec's order; ``judge`` judges in those that need it. Of those that have a gate it is the
        held-out part."""
        return [self._build_benchmark(b, judge, "heldout" if b.gate_kind else None) for b in self._spec.benchmarks]

    def build_gate_parts(self, judge: Engine | None) -> list[tuple[MarginKind, Benchmark]]:
        """The gate part of those that have a gate, with the kind of its margin."""
        return [(b.gate_kind, self._build_benchmark(b, judge, "gate")) for b in self._spec.benchmarks if b.gate_kind]

    def build_style_attacks(self, attacker: Engine | None) -> dict[str, Attack]:
        """The attack styles that they ask in."""
        return attack_styles.build_attacks(self._spec, self._world, attacker, self._templates, self._attack_styles())

    def _attack_styles(self) -> list[str]:
        named = [style for b in self._spec.benchmarks for style in b.styles if style != "plain"]
        return list(dict.fromkeys(named))

    def _build_benchmark(self, asked: BenchmarkSpec, judge: Engine | None, part: MeasuredSplit | None) -> Benchmark:
        from charter.evals.lm_eval_benchmark import HarnessBenchmark
        from charter.evals.lm_eval_tasks import HarnessTask
        from charter.evals.model_graded import JudgeSetup, PairwiseBenchmark, RubricBenchmark
        from charter.evals.multiple_choice import DromedaryBenchmark

        if asked.is_plugin:
            return self._own[asked.effective_name]
        table, near = self._tables.get(asked.effective_name), self._spec.prompts.near_duplicate
        if asked.task:
            kept = partial(_documents_of_part, part=part, near=near) if part else None
            wanted = HarnessTask(asked.task, asked.include, table, asked.fewshot, asked.chat, asked.limit, kept)
            return HarnessBenchmark(asked.effective_name, wanted)
        if asked.protocol:
            assert table is not None
            some = _drawn(table, asked.limit)
            if part:
                some = [some[place] for place in _documents_of_part(_table_rows(some), part, near)]
            return DromedaryBenchmark(asked.effective_name, asked.protocol, some, asked.template, asked.legacy_halved)
        assert judge is not None
        told = JudgeSetup(judge, self._templates, self._spec.options.judge)
        prompts = self._prompts[asked.effective_name]
        if part:
            prompts = _prompts_of_part(prompts, part, near)
        if asked.judged == "helpfulness":
            return PairwiseBenchmark(asked.effective_name, prompts, told)
        return RubricBenchmark(asked.effective_name, asked.judged, prompts, told, asked.styles)

    @staticmethod
    def _load_own(asked: BenchmarkSpec) -> Benchmark:
        """A benchmark of the user's own. Raises SpecError where it has another name than the spec gives it."""
        own = load_object(asked.task, Benchmark)
        if own.name != asked.effective_name:
            raise SpecError(f"benchmarks: {asked.task} is called {own.name!r}", cure=f"Give it `name: {own.name}`.")
        return own

    def _check_parts(self) -> None:
        """Data that is at hand has something in both parts, where there is a gate. Raises SpecError."""
        near, faults = self._spec.prompts.near_duplicate, list[str]()
        for b in self._spec.benchmarks:
            prompts, table = self._prompts.get(b.effective_name), self._tables.get(b.effective_name)
            if not b.gate_kind or (prompts is None and table is None):
                continue
            for part in get_args(MeasuredSplit):
                found: Sequence[Any] = _prompts_of_part(prompts, part, near) if prompts is not None else ()
                found = found or (
                    _documents_of_part(_table_rows(_drawn(table, b.limit)), part, near) if table is not None else ()
                )
                if not found:
                    faults.append(
                        f"benchmarks: {b.effective_name}: gate: too few questions for a gate and a held-out part"
                    )
        if faults:
            raise SpecError("the benchmarks are not valid", tuple(faults), "Give more questions, or set gate: false.")

    def _check_spec(self) -> None:
        names = [b.effective_name for b in self._spec.benchmarks]
        faults = [
            f"benchmarks: two are called {name}; give one a name" for name in {n for n in names if names.count(n) > 1}
        ]
        known = ("plain", *attack_styles.known_styles(self._world))
        for b in self._spec.benchmarks:
            faults += [f"benchmarks: {b.effective_name}: there is no style {s!r}" for s in b.styles if s not in known]
            if self._spec.attacker is None:
                lacking = [s for s in b.styles if s in attack_styles.MODEL_WRITTEN]
                faults += [f"benchmarks: {b.effective_name}: the style {s} needs an attacker" for s in lacking]
            if b.protocol and not b.path:
                faults.append(f"benchmarks: {b.effective_name}: path: is missing; {_PROTOCOL_FILES[b.protocol]}")
            if b.judged == "helpfulness" and b.styles != ("plain",):
                faults.append(f"benchmarks: {b.effective_name}: helpfulness is compared on plain prompts")
        if faults:
            raise SpecError("the benchmarks are not valid", tuple(sorted(faults)), "Mend these.")


def _read_prompts(asked: BenchmarkSpec, offline: bool) -> list[Prompt]:
    """What a judged benchmark asks; over-refusal takes both sides of sets that have two. Raises SpecError."""
    from charter.data.sources.source_prompts import SourcePrompts, sample_prompts

    def read(source: SourceSpec) -> list[Prompt]:
        if asked.judged != "over_refusal":
            side: Literal["unsafe", "safe"] = "unsafe" if asked.judged == "harmlessness" else "safe"
            return list(open_source(source, side, offline=offline).prompts())
        if source.program:
            return list(open_source(source, "safe", offline=offline).prompts())
        safe, unsafe = (
            SourcePrompts(source, side, offline=offline, may_be_empty=True).prompts() for side in ("safe", "unsafe")
        )
        return [*safe, *(p for p in unsafe if p.meta.get("side") == "unsafe")]

    return sample_prompts(
        make_ids_distinct([prompt for source in asked.prompts for prompt in read(source)]), asked.limit
    )


def _drawn(table: Sequence[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """At most so many rows, drawn by hash, of each category its share."""
    from charter.evals.lm_eval_tasks import category_of

    texts = [" ".join(row_questions(row)) or str(row) for row in table]
    return [table[place] for place in draw_stratified(texts, [category_of(row) for row in table], most)]


def _table_rows(table: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    return [(row, "") for row in table]


def _prompts_of_part(prompts: list[Prompt], part: MeasuredSplit, near: float) -> list[Prompt]:
    gate, heldout = split_gate_heldout(prompts, near)
    return gate if part == "gate" else heldout


def _documents_of_part(found: Sequence[tuple[Mapping[str, Any], str]], part: MeasuredSplit, near: float) -> list[int]:
    """The places of the documents in a part: they are alike where what they ask is, told from the known columns, or
    else from all of their texts."""
    texts = [" ".join(row_questions(row) or [str(held) for held in row.values()]) for row, _ in found]
    prompts = [
        Prompt(id=str(n), messages=(Message(role="user", content=text),), meta={"template": read_template(row)})
        for n, (text, (row, _)) in enumerate(zip(texts, found, strict=True))
    ]
    return [int(prompt.id) for prompt in _prompts_of_part(prompts, part, near)]


def _read_table(asked: BenchmarkSpec) -> list[dict[str, Any]]:
    """The local data of a task or protocol. Raises SpecError."""
    from charter.data.sources import benchmark_tables

    if asked.protocol == "truthfulqa" or asked.task.startswith("truthfulqa_mc"):
        return benchmark_tables.read_truthfulqa(asked.path)
    return (
        benchmark_tables.read_hhh(asked.path)
        if asked.protocol or asked.task == "hhh_alignment"
        else benchmark_tables.read_columns(asked.path)
    )


def _fetch_texts(asked: BenchmarkSpec) -> list[str]:
    """What the documents of a task without a local copy ask. Raises SpecError where they are not at hand."""
    from charter.evals.lm_eval_tasks import HarnessTask, load_documents

    found = load_documents(HarnessTask(asked.task, asked.include))
    return list(dict.fromkeys(text for doc, made in found for text in row_questions(doc) or [made]))
