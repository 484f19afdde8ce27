"""``charter evaluate``: a model put to benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charter.cli.run_commands import ignore, print_plan, run_progress
from charter.cli.show_commands import print_summary
from charter.cli.terminal import AsJson, Changes, Quiet, parse_changes, print_message
from charter.errors import SpecError


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run (its policy), a folder of weights, or a hub id.")
    ],
    benchmarks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML: a benchmark, a list, or a spec that names some.", show_default=False),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A task or group of lm-eval; repeatable.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; runs/DATE-evaluate where none is given."),
    ] = None,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would ask and ask nobody.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Put a model to benchmarks: lm-eval's tasks, Dromedary's multiple choice, judged prompts.

    Leaves a run of its own, which goes on where it is interrupted. A run's policy is evaluated with that run's own
    evaluator, beside its starting model; other models need one where anything is judged (--set evaluator.model=...).
    """
    from charter import jobs
    from charter import spec as specs
    from charter.jobs.run_requests import begin_or_resume, new_run_dir

    wanted = [*read_benchmarks(benchmarks), *({"task": name} for name in task or ())]
    text = specs.change_spec(jobs.evaluation_spec(model, wanted), parse_changes(changes), "evaluate")
    if dry_run:
        print_plan(text, as_json)
        return
    directory = out or new_run_dir("evaluate")
    with run_progress(directory, quiet) as observer:
        begin_or_resume(text, directory, observer, ignore if quiet else print_message)
    print_summary(directory, quiet, as_json)


def read_benchmarks(file: Path | None) -> list[dict[str, Any]]:
    """The benchmarks of a file: one, a list, or a spec's. Raises SpecError."""
    from charter.spec.yaml_text import load_yaml

    if file is None:
        return []
    try:
        value = load_yaml(file.read_text(encoding="utf-8"), str(file), "Give a YAML file.")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{file} cannot be read: {error}", cure="Give a YAML file.") from error
    if isinstance(value, dict):
        value = [value] if value.keys() & {"task", "protocol", "judged"} else value.get("benchmarks")
    found = value
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SpecError(f"{file} holds no list of benchmarks", cure="See docs/benchmarks.md for examples.")
    return found
