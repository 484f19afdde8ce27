"""``charter doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.terminal import AsJson, print_json, print_message, print_table
from charter.errors import CharterError

_KEY_NAMES = re.compile(r".*_API_KEY$|^HF_TOKEN$")
_MIN_DISK_GIB = 1.0

CheckResult = tuple[str, str, str]
"""What was looked at, what was found, and what to do (empty: fine)."""


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model's folder or hub id, whose chat template is shown; or a spec file or recipe: what it takes.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Look at MODEL without its chat template.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine: Python, packages, threads, device, disk, keys (by name only), the shipped organism.

    With a model: what it reads and learns of one made-up row, before anything is paid. No weights are loaded.
    With a spec: memory, time and cost of a run, before anything is spent. A target in this process answers for about
    20 seconds, and so long a judge in this process judges. Oracles elsewhere are not asked.
    Exits with 1 where something has to be mended.
    """
    found = check_machine() if not model else check_spec(model) if _is_spec(model) else _template(model, plain)
    if as_json:
        print_json([dict(zip(("what", "found", "mend"), finding, strict=True)) for finding in found])
    else:
        print_table([("what", "found", "to mend"), *found])
    if any(mend for _, _, mend in found):
        raise typer.Exit(1)


def check_machine() -> list[CheckResult]:
    """What this machine has, and what is missing."""
    return [
        _check_python(),
        _check_threads(),
        _check_device(),
        _check_disk(),
        *_check_packages(),
        _check_keys(),
        _check_organism(),
    ]


def check_spec(spec: str) -> list[CheckResult]:
    """What a run of a spec file or recipe would take. Raises SpecError, EngineError."""
    from charter.jobs.run_requests import read_spec_text
    from charter.jobs.spec_outlook import MEASURED_SECONDS, look_ahead

    seconds = f"about {MEASURED_SECONDS:.0f} seconds"
    print_message(f"Measuring: the target is loaded, and answers for {seconds}; a judge in this process, too.")
    return [(line.what, line.found, line.mend) for line in look_ahead(read_spec_text(spec, {}))]


def _is_spec(name: str) -> bool:
    """A YAML file, or a recipe's name where no folder has it."""
    from charter.spec import list_recipes

    return name.endswith((".yaml", ".yml")) or (name in list_recipes() and not Path(name).is_dir())


def _template(model: str, plain: bool) -> list[CheckResult]:
    """What a model's chat template makes of a made-up row. Raises EngineError."""
    from charter.wiring import role_models

    report = role_models.report_model(model, plain)
    shown = ("prompt", report.prompt), ("training row (loss between the arrows)", report.row)
    told = ("end tokens", ", ".join(report.ends)), ("turns", report.turns), ("thoughts", report.thought or "none")
    return [*((what, text, "") for what, text in (*shown, *told)), *(("to know", note, "") for note in report.notes)]


def _check_python() -> CheckResult:
    mend = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    return "Python", f"{platform.python_version()} ({platform.system()} {platform.machine()})", mend


def _check_threads() -> CheckResult:
    set_to = os.environ.get("OMP_NUM_THREADS")
    cores = os.cpu_count() or 1
    advice = "" if set_to or cores == 1 else "; small models run faster with OMP_NUM_THREADS=1"
    return "threads", f"OMP_NUM_THREADS {set_to or 'not set'}, {cores} cores{advice}", ""


def _check_device() -> CheckResult:
    from charter.models.weights import device_name, pick_device

    try:
        device = pick_device("auto")
        dtype = "float32" if device == "cpu" else "the checkpoint's own precision"
        return "device", f"{device_name(device)}; `auto` takes it, in {dtype}", ""
    except ImportError as error:
        return "device", f"torch cannot be imported: {error}", "install charter again"


def _check_disk() -> CheckResult:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return "disk", f"{free:.1f} GiB free in {Path.cwd()}", "" if free >= _MIN_DISK_GIB else "free some space"


def _check_packages() -> list[CheckResult]:
    """Every requirement that is not met (those for hosted models too), or one line that says all are there."""
    from packaging.requirements import Requirement

    if _installed_version("charter") is None:
        return [("packages", "charter is not installed as a package", "pip install -e .")]
    found: list[CheckResult] = []
    for text in metadata.requires("charter") or ():
        needed = Requirement(text)
        remote = needed.marker is not None and not needed.marker.evaluate({"extra": ""})
        if remote and needed.marker is not None and not needed.marker.evaluate({"extra": "remote"}):
            continue
        version, wanted = _installed_version(needed.name), f"{needed.name}{needed.specifier}"
        if version is None:
            use = ", needed for hosted models and servers only: pip install 'charter[remote]'" if remote else ""
            found.append(
                ("package", f"{needed.name} is not installed{use}", "" if remote else f"pip install '{wanted}'")
            )
        elif not needed.specifier.contains(version, prereleases=True):
            found.append(("package", f"{needed.name} {version}, needs {needed.specifier}", f"pip install '{wanted}'"))
    return found or [("packages", f"charter {_installed_version('charter')}, and everything it needs", "")]


def _installed_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check_keys() -> CheckResult:
    names = sorted(name for name, value in os.environ.items() if value and _KEY_NAMES.match(name))
    return "keys", ", ".join(names) or "none set (hosted models need theirs in the environment)", ""


def _check_organism() -> CheckResult:
    import charter

    mend = "charter organism build --world village --out DIR"
    folder = Path(charter.__file__).parent / "organism" / "built" / "village"
    if not folder.is_dir():
        return "organism", "village is not shipped built", mend
    try:
        from charter.models.weights import load_model, load_tokenizer

        load_tokenizer(folder)
        size = sum(p.numel() for p in load_model(folder, "cpu").parameters())
    except (CharterError, OSError) as error:
        return "organism", str(error).splitlines()[0], mend
    return "organism", f"village loads: {size / 1e6:.2f} M parameters", ""
