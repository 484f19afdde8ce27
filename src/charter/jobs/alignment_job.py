"""A model under alignment or red teaming: one function for each method, and what a method leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from charter.constitution import document as articles
from charter.constitution.document import Constitution
from charter.jobs.alignment_forecast import forecast_alignment
from charter.jobs.job import finish_run
from charter.ports import Roles
from charter.records.model_refs import ModelRef
from charter.spec import Spec
from charter.wiring.components import Components
from charter.wiring.inheritance import inherit_prompts, inherit_state
from charter.wiring.judge_proof import check_calibrations, prove_judges
from charter.wiring.principle_methods import (
    PRINCIPLE_METHODS,
    build_preference_inputs,
    build_principle_inputs,
    load_seed,
)
from charter.wiring.prompt_previews import count_rows, find_losses
from charter.wiring.row_files import ROWS_FILE, rows_to_jsonl

if TYPE_CHECKING:
    from pathlib import Path

    from charter.methods.principle_driven import PrincipleState
    from charter.runs import Run


@dataclass(frozen=True, kw_only=True)
class AlignmentResult:
    """What a method leaves.

    Args:
        policy: The model that it ended with.
        stopped: Why it ended.
        constitution: The rules that it ended with; None for a method without rules.
        files: Further results, by name.
    """

    policy: ModelRef
    stopped: str
    constitution: Constitution | None = None
    files: Mapping[str, str] = field(default_factory=dict)


class AlignmentJob:
    """The live objects of a spec whose method aligns or red teams a model.

    Args:
        spec: What is to be done.
        revision: The commit of the target that a run began with; empty for a new run.
        written: Prompts that the step before writes at most, for the forecast.
        folder: The run's, where files of the spec lie in it.
    """

    def __init__(self, spec: Spec, revision: str = "", written: int = 0, folder: Path | None = None) -> None:
        self.components = Components(spec, revision, folder)
        self.written = written

    def describe(self) -> dict[str, Any]:
        """What the target is, where and how it answers. Loads no weights. Raises EngineError."""
        return self.components.describe()

    def forecast(self) -> dict[str, Any]:
        """What a run would do at most. Raises SpecError, UnprovenError."""
        check_calibrations(self.components.spec, self.components.calibrations)
        return forecast_alignment(self.components, self.written)

    def prepare(self) -> Sequence[str]:
        """A line about the scale that the target's size chose, one about the rows of each file, and one about a split
        without ordinary prompts. Raises UnprovenError where a judge's calibration shows that it cannot judge."""
        check_calibrations(self.components.spec, self.components.calibrations)
        counts = self.components.row_counts
        prompts = len(count_rows(self.components.sources))
        kinds = ["prompts"] * prompts + ["rows"] * (len(counts) - prompts)
        scale = [f"scale: {self.components.scale}, by the target's size"] if self.components.scale else []
        rows = [f"{kind}: {count.id}: {count.summary}" for kind, count in zip(kinds, counts, strict=True)]
        unmeasured = self.components.prompts.unmeasured
        return [*scale, *rows, *([f"prompts: {unmeasured}"] if unmeasured else [])]

    def inherit(self, run: Run) -> None:
        """Takes over what the run goes on from, where the spec names one. Raises StoreError, SpecError."""
        components, inherited = self.components, run.steps("inherited")
        asked = components.spec.continue_from
        if asked is None:
            return
        if asked.inherit == "policy":
            components.given = inherited.once("handover", inherit_state, asked, components.start.base_digest)
        else:
            components.add_written(inherited.once("prompts", inherit_prompts, asked))

    def prove_judges(self, run: Run) -> Sequence[str]:
        """Tries the judges before anything else is asked: a line about each. Raises UnsupportedError."""
        return prove_judges(self.components, run)

    def execute(self, run: Run) -> None:
        """Runs the method, then publishes its results and finishes the run."""
        components = self.components
        if components.calibrations:
            run.steps("000").record("calibrations", list(components.calibrations))
        if losses := find_losses(components.row_counts):
            run.steps("000").record("left_out", losses)
        self.inherit(run)
        with components.open_roles(run) as roles:
            result = METHODS[components.spec.method](components, run, roles)
        finish_run(run, self._describe_outcome(result), self._result_files(run, result))

    def _describe_outcome(self, result: AlignmentResult) -> dict[str, Any]:
        """What became of the run."""
        components = self.components
        return {
            "method": components.spec.method,
            "world": components.spec.world or None,
            "stopped": result.stopped,
            "policy": result.policy.model_dump(mode="json"),
            "planted": _find_planted_flaws(components, result.constitution or Constitution()),
            "independent": components.evaluator_is_independent,
        }

    def _result_files(self, run: Run, result: AlignmentResult) -> dict[str, str | bytes | Path]:
        """The files of a finished run: constitution, adapter, and further ones."""
        files: dict[str, str | bytes | Path] = {**result.files}
        if result.constitution is not None:
            files["constitution.yaml"] = articles.to_yaml(result.constitution)
            if result.policy.adapter is not None and result.policy != self.components.start:
                files["adapter"] = run.directory / result.policy.adapter
        return files


def _find_planted_flaws(components: Components, constitution: Constitution) -> dict[str, Any]:
    """How many of a world's flaws the rules name; nothing where the rules are no discoveries."""
    if components.world is None or components.spec.method in PRINCIPLE_METHODS:
        return {"flaws": None, "discovered": None, "by": {}}
    from charter.organism.world_benchmark import find_discovered_flaws

    texts = {p.id: p.text for p in components.train["redteam"]}
    by = find_discovered_flaws(components.world, constitution.principles, texts)
    return {"flaws": len(components.world.flaws), "discovered": len(by), "by": by}


def _run_iteralign(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.iteralign import iteralign

    end = iteralign(run, roles, replace(components.method_inputs(), constitution=load_seed(components)))
    return AlignmentResult(policy=end.policy, stopped=end.stopped, constitution=end.constitution)


def _run_red_team(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.red_team import red_team

    end = red_team(run, roles, components.method_inputs())
    return AlignmentResult(policy=components.start, stopped=end.stopped)


def _run_rlhf(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.rlhf import rlhf

    best, constitution, why = rlhf(run, roles, build_preference_inputs(components))
    return AlignmentResult(policy=best.policy, stopped=why, constitution=constitution)


def _run_cai(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.cai import cai

    return _read_state(cai(run, roles, build_principle_inputs(components)))


def _run_self_align(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.self_align import self_align

    return _read_state(self_align(run, roles, build_principle_inputs(components)))


def _run_think(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.self_align import think_alone

    end = think_alone(run, roles, build_principle_inputs(components))
    return _read_state(end, {ROWS_FILE: rows_to_jsonl((*end.examples, *end.replayed))})


def _run_engrave(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.self_align import engrave_alone

    return _read_state(engrave_alone(run, roles, build_principle_inputs(components)))


def _run_clone(components: Components, run: Run, roles: Roles) -> AlignmentResult:
    from charter.methods.self_align import clone_alone

    return _read_state(clone_alone(run, roles, build_principle_inputs(components)))


def _read_state(end: PrincipleState, files: Mapping[str, str] | None = None) -> AlignmentResult:
    return AlignmentResult(
        policy=end.policy, stopped=end.stopped, constitution=end.constitution, files=dict(files or {})
    )


METHODS: dict[str, Callable[[Components, Run, Roles], AlignmentResult]] = {
    "iteralign": _run_iteralign,
    "red_team": _run_red_team,
    "rlhf": _run_rlhf,
    "cai": _run_cai,
    "self_align": _run_self_align,
    "think": _run_think,
    "engrave": _run_engrave,
    "clone": _run_clone,
}
"""Each method by its name in a spec: what it does with the live objects, in a run and with its roles."""
