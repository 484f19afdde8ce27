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

from charter import spec as specs
from charter.reports.links import is_chain
from charter.reports.reading import Reading
from charter.wiring import chaining
from charter.wiring.assembly import Assembly, Observer
from charter.wiring.auditing import Auditing
from charter.wiring.calibrating import Calibrating
from charter.wiring.evaluating import Evaluating
from charter.wiring.instructing import SelfInstructing
from charter.wiring.offline import offline

if TYPE_CHECKING:
    from charter.run import Run

PACKAGES = ("charter", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "scikit-learn")

Assembled = Assembly | Auditing | Calibrating | Evaluating | SelfInstructing


def launch(
    spec_text: str, directory: Path, observer: Observer | None = None, tell: Callable[[str], None] | None = None
) -> None:
    """Makes a new run from a spec, or a chain of runs, and takes it to its end; ``tell`` is given a line about the
    target. Raises CharterError; what is done is kept."""
    if specs.chained(spec_text):
        chaining.found_chain(spec_text, directory)
        _chain(directory, observer, None, tell)
        return
    with begun(spec_text, directory, observer, tell) as (assembly, run):
        assembly.execute(run)


def _chain(
    directory: Path,
    observer: Observer | None,
    budget: Mapping[str, str] | None,
    tell: Callable[[str], None] | None,
) -> None:
    """Takes a chain to its end: every step that is not finished, in order, within what is left of the budget."""
    text = specs.read(directory / "spec.yaml")[1]
    whole, before = chaining.budget_of(text, budget), list[Path]()
    for name, step in specs.chained(text):
        folder = directory / name
        if not (folder / "journal.jsonl").exists():
            step = chaining.from_the_end(step, before[-1]) if before else step
            with begun(step, folder, observer, tell, chaining.left(whole, before)) as (assembly, run):
                assembly.execute(run)
        elif Reading(folder).head is None:
            rest = chaining.left(whole, before).model_dump(exclude_none=True)
            resume(folder, observer, {key: str(most) for key, most in rest.items()}, tell)
        before.append(folder)


@contextmanager
def begun(
    spec_text: str,
    directory: Path,
    observer: Observer | None = None,
    tell: Callable[[str], None] | None = None,
    budget: specs.Budget | None = None,
) -> Iterator[tuple[Assembled, Run]]:
    """A new run from a spec, opened, with what is to be done in it; ``budget`` in place of the spec's. Raises
    CharterError."""
    from charter.run import Run

    spec = specs.parse(spec_text)
    with offline(spec.offline):
        assembly = assembled(spec)
        if isinstance(assembly, Auditing | Evaluating):
            assembly.ready()
        target = assembly.describe()
        if tell is not None and target:
            tell(in_words(target))
        with Run.create(
            directory,
            spec_text=spec_text,
            seed=spec.seed,
            environment=environment(target),
            budget=budget or spec.budget,
            observer=observer,
        ) as run:
            yield assembly, run


def resume(
    directory: Path,
    observer: Observer | None = None,
    budget: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Goes on with a run, or a chain of runs, where it stopped, if need be with a larger ``budget`` (limits by name),
    from the commit of the target that it began with. Raises CharterError."""
    from charter.run import Run

    if is_chain(directory):
        _chain(directory, observer, budget, tell)
        return
    spec, text = specs.read(directory / "spec.yaml")
    if budget:
        changes = {f"budget.{key}": value for key, value in budget.items()}
        spec = specs.parse(specs.changed(text, changes))
    with offline(spec.offline):
        assembly = assembled(spec, _pinned(directory, spec))
        target = assembly.describe()
        if tell is not None and target:
            tell(in_words(target))
        with Run.open(directory, budget=spec.budget, observer=observer, environment=environment(target)) as run:
            assembly.execute(run)


def assembled(spec: specs.Spec, revision: str = "") -> Assembled:
    """The live objects of a spec, by its method; ``revision`` as for ``Assembly``."""
    if spec.method == "audit":
        return Auditing(spec, revision)
    if spec.method == "calibrate":
        return Calibrating(spec)
    if spec.method == "evaluate":
        return Evaluating(spec, revision)
    return SelfInstructing(spec, revision) if spec.method == "self_instruct" else Assembly(spec, revision)


def in_words(target: Mapping[str, Any]) -> str:
    """The line about a target: what answers, where and how."""
    version = target["revision"] or target["digest"]
    return (
        f"target: {target['model']} ({target['architecture']}, {version[:12]}) on {target['device']} in "
        f"{target['dtype']}; {target['format']}; context {target['context']:,} tokens; batches of {target['batch']}"
    )


def _pinned(directory: Path, spec: specs.Spec) -> str:
    """The commit of the hub model that a run began with; empty where it began with a folder or another model."""
    try:
        target = json.loads((directory / "environment.json").read_text(encoding="utf-8")).get("target", {})
    except (OSError, ValueError):
        return ""  # what is wrong with the file is told when the run is opened
    return str(target.get("revision", "")) if target.get("model") == spec.target.model else ""


def environment(target: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Versions, machine and target, for ``environment.json``; no secret, no user name."""
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
        **({"target": dict(target)} if target else {}),
    }
