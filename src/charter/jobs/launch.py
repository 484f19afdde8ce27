"""Sets a run going, or goes on with one."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from charter import spec as specs
from charter.constitution import document as articles
from charter.errors import StoreError
from charter.jobs import chain_job
from charter.jobs.audit_job import AuditJob
from charter.jobs.calibration_job import CalibrationJob
from charter.jobs.evaluation_job import EvaluationJob
from charter.jobs.self_instruct_job import SelfInstructJob
from charter.reports.chain import is_chain
from charter.run.reader import RunReader
from charter.spec import chain_spec
from charter.wiring.components import Components, Observer
from charter.wiring.offline import block_network

if TYPE_CHECKING:
    from charter.run import Run


RECORDED_PACKAGES = ("charter", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "scikit-learn")


RunJob = Components | AuditJob | CalibrationJob | EvaluationJob | SelfInstructJob


def launch_run(
    spec_text: str, directory: Path, observer: Observer | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Makes a new run from a spec, or a chain of runs, and takes it to its end; ``tell`` is given a line about the
    target. Raises CharterError; what is done is kept."""
    if specs.split_chain(spec_text):
        chain_job.create_chain(spec_text, directory)
        _run_chain(directory, observer, None, tell)
        return
    with open_run(spec_text, directory, observer, tell) as (assembly, run):
        assembly.execute(run)


def _run_chain(
    directory: Path,
    observer: Observer | None,
    budget: Mapping[str, str] | None,
    tell: Callable[[str], None] | None,
) -> None:
    """Takes a chain to its end: every step that is not finished, in order, within what is left of the budget."""
    text = specs.read_spec(directory / "spec.yaml")[1]
    whole, before = chain_job.chain_budget(text, budget), list[Path]()
    for name, step in specs.split_chain(text):
        folder = directory / name
        if not (folder / "journal.jsonl").exists():
            step = chain_job.continuation_spec(step, before[-1]) if before else step
            with open_run(step, folder, observer, tell, chain_job.remaining_budget(whole, before)) as (assembly, run):
                assembly.execute(run)
        elif RunReader(folder).head is None:
            rest = chain_job.remaining_budget(whole, before).model_dump(exclude_none=True)
            resume_run(folder, observer, {key: str(most) for key, most in rest.items()}, tell)
        before.append(folder)


@contextmanager
def open_run(
    spec_text: str,
    directory: Path,
    observer: Observer | None = None,
    tell: Callable[[str], None] | None = None,
    budget: specs.Budget | None = None,
) -> Iterator[tuple[RunJob, Run]]:
    """A new run from a spec, opened, with what is to be done in it; ``budget`` in place of the spec's. Raises
    CharterError."""
    from charter.run import Run

    spec = specs.parse_spec(spec_text)
    with block_network(spec.offline):
        assembly = build_job(spec)
        if isinstance(assembly, AuditJob | EvaluationJob):
            assembly.prepare()
        target = assembly.describe()
        if tell is not None and target:
            tell(target_line(target))
        with Run.create(
            directory,
            spec_text=spec_text,
            seed=spec.seed,
            environment=collect_environment(target),
            budget=budget or spec.budget,
            observer=observer,
        ) as run:
            yield assembly, run


def resume_run(
    directory: Path,
    observer: Observer | None = None,
    budget: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Goes on with a run, or a chain of runs, where it stopped, if need be with a larger ``budget`` (limits by name),
    from the commit of the target that it began with. Raises CharterError."""
    from charter.run import Run

    if is_chain(directory):
        _run_chain(directory, observer, budget, tell)
        return
    spec, text = specs.read_spec(directory / "spec.yaml")
    if budget:
        changes = {f"budget.{key}": value for key, value in budget.items()}
        spec = specs.parse_spec(specs.change_spec(text, changes))
    with block_network(spec.offline):
        assembly = build_job(spec, _pinned_revision(directory, spec))
        target = assembly.describe()
        if tell is not None and target:
            tell(target_line(target))
        with Run.open(directory, budget=spec.budget, observer=observer, environment=collect_environment(target)) as run:
            assembly.execute(run)


def build_job(spec: specs.Spec, revision: str = "") -> RunJob:
    """The live objects of a spec, by its method; ``revision`` as for ``Assembly``."""
    if spec.method == "audit":
        return AuditJob(spec, revision)
    if spec.method == "calibrate":
        return CalibrationJob(spec)
    if spec.method == "evaluate":
        return EvaluationJob(spec, revision)
    return SelfInstructJob(spec, revision) if spec.method == "self_instruct" else Components(spec, revision)


def target_line(target: Mapping[str, Any]) -> str:
    """The line about a target: what answers, where and how."""
    version = target["revision"] or target["digest"]
    return (
        f"target: {target['model']} ({target['architecture']}, {version[:12]}) on {target['device']} in "
        f"{target['dtype']}; {target['format']}; context {target['context']:,} tokens; batches of {target['batch']}"
    )


def _pinned_revision(directory: Path, spec: specs.Spec) -> str:
    """The commit of the hub model that a run began with; empty where it began with a folder or another model."""
    try:
        target = json.loads((directory / "environment.json").read_text(encoding="utf-8")).get("target", {})
    except (OSError, ValueError):
        return ""  # what is wrong with the file is told when the run is opened
    return str(target.get("revision", "")) if target.get("model") == spec.target.model else ""


def collect_environment(target: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Versions, machine and target, for ``environment.json``; no secret, no user name."""
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "packages": found,
        **({"target": dict(target)} if target else {}),
    }


if TYPE_CHECKING:
    from charter.run.reader import RunReader


def continue_run(old: Path, new: Path, spec_text: str, constitution: Path | None = None) -> None:
    """Makes the run ``new``, which goes on from the finished run ``old``; it needs ``old`` no more. `resume` does the
    work. Raises StoreError, SpecError."""
    from charter.run.reader import RunReader

    head = RunReader(old).head
    if head is None:
        raise StoreError(f"{old} is not finished", "Finish it: charter resume; or fork from a step: --at")
    if constitution is not None:
        articles.read_constitution(constitution)
    value = yaml.safe_load(spec_text)
    amended = str(constitution.resolve()) if constitution is not None else ""
    found = {"run": str(old.resolve()), "head": head, "constitution": amended}
    value["continue_from"] = found | chain_spec.inherited_part(RunReader(old).spec.method)
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    specs.parse_spec(text)
    with open_run(text, new) as (assembly, run):
        assert isinstance(assembly, Components)
        assembly.inherit(run)
