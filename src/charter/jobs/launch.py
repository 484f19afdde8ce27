"""Sets a run going, or goes on with one."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from charter import spec as specs
from charter.constitution import document as articles
from charter.errors import SpecError, StoreError
from charter.jobs import chain_job
from charter.jobs.alignment_job import METHODS, AlignmentJob
from charter.jobs.job import Job, ProvesJudges
from charter.jobs.job_builder import build_job
from charter.jobs.notices import notify_of_run
from charter.models.spared_libraries import spare_libraries
from charter.reports.chain import is_chain, read_chain_spec
from charter.runs import store
from charter.runs.reader import RunReader
from charter.spec import chain_spec
from charter.wiring.offline import block_network

if TYPE_CHECKING:
    from charter.runs import Observer, Run


RECORDED_PACKAGES = ("charter", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "scikit-learn")


def launch_run(
    spec_text: str, directory: Path, observer: Observer | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Makes a new run from a spec, or a chain of runs, and takes it to its end; ``tell`` is given a line about the
    target. Raises CharterError; what is done is kept."""
    if specs.split_chain(spec_text):
        chain_job.create_chain(spec_text, directory)
        _run_chain(directory, observer, None, tell)
        return
    with open_run(spec_text, directory, observer, tell) as (job, run):
        _execute(job, run, specs.parse_spec(spec_text).notify, tell)


def _run_chain(
    directory: Path,
    observer: Observer | None,
    budget: Mapping[str, str] | None,
    tell: Callable[[str], None] | None,
) -> None:
    """Takes a chain to its end: every step that is not finished, in order, within what is left of the budget."""
    text = read_chain_spec(directory)
    whole, before = chain_job.chain_budget(text, budget), list[Path]()
    for name, step in specs.split_chain(text):
        folder = directory / name
        if not (folder / store.JOURNAL).exists():
            step = chain_job.continuation_spec(step, before[-1]) if before else step
            with open_run(step, folder, observer, tell, chain_job.remaining_budget(whole, before)) as (job, run):
                _execute(job, run, specs.parse_spec(step).notify, tell)
        elif RunReader(folder).head is None:
            rest = chain_job.remaining_budget(whole, before).model_dump(exclude_none=True)
            resume_run(folder, observer, {key: str(most) for key, most in rest.items()}, tell)
        before.append(folder)


def _execute(job: Job, run: Run, notify: specs.NotifySpec, tell: Callable[[str], None] | None) -> None:
    """Does the work, after its judges were tried and what was seen of them is told. Whoever is to be notified is."""
    with notify_of_run(notify, run.directory, tell), spare_libraries():
        for line in job.prove_judges(run) if isinstance(job, ProvesJudges) else ():
            if tell is not None:
                tell(line)
        job.execute(run)


@contextmanager
def open_run(
    spec_text: str,
    directory: Path,
    observer: Observer | None = None,
    tell: Callable[[str], None] | None = None,
    budget: specs.Budget | None = None,
    files: Mapping[str, str] | None = None,
) -> Iterator[tuple[Job, Run]]:
    """A new run from a spec, opened, with what is to be done in it; ``budget`` in place of the spec's; ``files``: texts
    that it begins with, by their names in its folder. Raises CharterError."""
    from charter.runs import Run

    spec = specs.parse_spec(spec_text)
    with block_network(spec.offline):
        job = _build_new_job(spec, files or {})
        lines = job.prepare()
        target = job.describe()
        _introduce(target, tell)
        if tell is not None:
            for line in lines:
                tell(line)
        with Run.create(
            directory,
            spec_text=spec_text,
            seed=spec.seed,
            environment=collect_environment(target),
            budget=budget or spec.budget,
            observer=observer,
            parquet_above_mb=spec.parquet_above_mb,
        ) as run:
            if files:
                run.publish(files)
            yield job, run


def _build_new_job(spec: specs.Spec, files: Mapping[str, str]) -> Job:
    """The job of a run that is not there yet: it reads the files that the run will begin with from another place."""
    with TemporaryDirectory() as beside:
        for name, text in files.items():
            store.write_atomic(Path(beside) / name, text.encode())
        return build_job(spec, folder=Path(beside))


def resume_run(
    directory: Path,
    observer: Observer | None = None,
    budget: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Goes on with a run, or a chain of runs, where it stopped, if need be with a larger ``budget`` (limits by name),
    from the commit of the target that it began with. Raises CharterError."""
    from charter.runs import Run

    if is_chain(directory):
        _run_chain(directory, observer, budget, tell)
        return
    reading = RunReader(directory)
    spec, text = reading.spec, reading.read_text("spec.yaml")
    if budget:
        changes = {f"budget.{key}": value for key, value in budget.items()}
        spec = specs.parse_spec(specs.change_spec(text, changes))
    with block_network(spec.offline):
        known = _known(directory, spec)
        if date := known.get("date"):
            spec = spec.model_copy(update={"target": spec.target.model_copy(update={"today": str(date)})})
        job = build_job(spec, str(known.get("revision", "")), folder=directory)
        target = job.describe()
        _introduce(target, tell)
        with Run.open(
            directory,
            budget=spec.budget,
            observer=observer,
            environment=collect_environment(target),
            parquet_above_mb=spec.parquet_above_mb,
        ) as run:
            _execute(job, run, spec.notify, tell)


def target_line(target: Mapping[str, Any]) -> str:
    """The line about a target: what answers, where and how."""
    version = target["revision"] or target["digest"]
    if not version and not target["context"]:
        return (
            f"target: {target['model']}, reached over HTTP: its identity cannot be verified; {target['batch']} at once"
        )
    return (
        f"target: {target['model']} ({target['architecture']}, {version[:12]}) on {target['device']} in "
        f"{target['dtype']}; {target['format']}; context {target['context']:,} tokens; batches of {target['batch']}"
    )


def _introduce(target: Mapping[str, Any], tell: Callable[[str], None] | None) -> None:
    """Tells the line about a target, and what is to be known of its chat template."""
    if tell is not None and target:
        tell(target_line(target))
        for note in target.get("notes", ()):
            tell(f"target: {note}")


def _known(directory: Path, spec: specs.Spec) -> Mapping[str, Any]:
    """What a run's first day said of its target: commit and date among it; empty where it was another model."""
    try:
        value = store.parse_json(store.read_bytes(directory / store.ENVIRONMENT, directory))
    except (StoreError, ValueError):
        return {}  # what is wrong with the file is told when the run is opened
    target = value.get("target") if isinstance(value, dict) else None
    if not isinstance(target, dict):
        return {}
    named = {target.get("model"), Path(str(target.get("model"))).name}
    own = {spec.target.model, Path(spec.target.model).name} if Path(spec.target.model).is_dir() else {spec.target.model}
    return target if named & own else {}


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


def continue_run(
    old: Path, new: Path, spec_text: str, constitution: Path | None = None, files: Mapping[str, str] | None = None
) -> None:
    """Makes the run ``new``, which goes on from the finished run ``old``; it needs ``old`` no more. `resume` does the
    work. ``files``: texts that it begins with, by their names in its folder. Raises StoreError, SpecError."""
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
    if (method := specs.parse_spec(text).method) not in METHODS:
        raise SpecError(f"{method} does not go on from the end of a run", cure="Fork a step of it: charter fork --at")
    with open_run(text, new, files=files) as (job, run):
        assert isinstance(job, AlignmentJob)
        job.inherit(run)
