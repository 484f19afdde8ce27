"""``charter judge``: measure a judge, and see what it is asked by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from charter.cli.run_commands import ignore, print_plan, run_progress
from charter.cli.show_commands import print_summary
from charter.cli.terminal import AsJson, Changes, Quiet, parse_changes, print_out
from charter.errors import SpecError

app = typer.Typer(no_args_is_help=True, help="Measure how far a judge can be trusted, and print rubrics.")


class JudgeRole(StrEnum):
    """Whose model is measured."""

    judge = "judge"
    evaluator = "evaluator"


class Reading(StrEnum):
    """How the judge is read: in words, by the probabilities of its labels, or both to compare them."""

    rationale = "rationale"
    label = "label"
    both = "both"


@app.command()
def calibrate(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC]", help="A spec or recipe: its judge, rubric and votes.", show_default=False),
    ] = None,
    role: Annotated[
        JudgeRole, typer.Option(metavar="ROLE", help="Whose model of the spec: judge or evaluator.")
    ] = JudgeRole.judge,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model, instead of the spec's.", show_default=False)
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Its server, where it is self-served.", show_default=False)
    ] = None,
    rubric: Annotated[
        str | None, typer.Option(metavar="NAME", help="A rubric, instead of the spec's.", show_default=False)
    ] = None,
    read: Annotated[
        Reading | None,
        typer.Option(metavar="HOW", help="rationale, label (by probabilities) or both, compared.", show_default=False),
    ] = None,
    pairs: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="hh-rlhf, HHH alignment, or prompt, chosen, rejected.")
    ] = None,
    labelled: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Exchanges with labels; NAME of a published set, e.g. rbr-gold."),
    ] = None,
    columns: Annotated[
        str, typer.Option(metavar="KEY=COLUMN,...", help="Columns of --labelled: prompt, response, label, rater.")
    ] = "",
    injections: Annotated[bool, typer.Option("--injections", help="Count verdicts that attacks turn.")] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most of each file.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; runs/DATE-calibrate where none is given."),
    ] = None,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would ask and ask nobody.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a judge: against known labels, against people's preferences, and against attacks.

    Leaves a run of its own. Name it in a spec (judge.calibration) to see judged shares corrected for the judge's error.
    """
    from charter.jobs.run_requests import begin_or_resume, new_run_dir

    exchanges = _labelled_files(labelled or [], columns)
    files: dict[str, object] = {"pairs": pairs, "labelled": exchanges, "injections": injections, "limit": limit}
    asked = {"rubric": rubric, "read": "label" if read is Reading.both else read}
    files["both_readings"] = read is Reading.both
    changed = parse_changes(changes)
    given = _judge_of_spec(spec, role, changed if spec is not None else {})
    wanted = _override_judge(given, {"model": model, "base_url": base_url}, asked)
    text = _calibration_spec(wanted, files, {} if spec is not None else changed)
    if dry_run:
        print_plan(text, as_json)
        return
    directory = out or new_run_dir("calibrate")
    with run_progress(directory, quiet) as observer:
        begin_or_resume(text, directory, observer, ignore)
    print_summary(directory, quiet, as_json)


@app.command("rubric")
def print_rubric(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of a shipped rubric.", show_default=False)
    ] = None,
) -> None:
    """Print a shipped rubric as a file to start from; without a name, list them."""
    from charter.judging.rubrics import SHIPPED_RUBRICS, rubric_to_yaml

    if name is None:
        for rubric in SHIPPED_RUBRICS.values():
            print_out(f"{rubric.name:<12} {', '.join(f'{x}: {rubric.outcomes[x]}' for x in rubric.menu)}")
        return
    if name not in SHIPPED_RUBRICS:
        raise typer.BadParameter(f"{name} is not one of {', '.join(SHIPPED_RUBRICS)}", param_hint="NAME")
    print_out(rubric_to_yaml(SHIPPED_RUBRICS[name]), data=True)


def _labelled_files(files: Sequence[str], columns: str) -> list[dict[str, Any]]:
    """Files of exchanges as a spec has them; a label may be given as several columns. Raises BadParameter."""
    from typing import get_args

    from charter.spec import LabelledColumnsSpec, LabelledName

    named: dict[str, Any] = {}
    for part in filter(None, columns.split(",")):
        key, equals, column = part.partition("=")
        if not equals or not column or key.strip() not in LabelledColumnsSpec.model_fields:
            known = ", ".join(f"{name}=COLUMN" for name in LabelledColumnsSpec.model_fields)
            raise typer.BadParameter(f"{part!r} is not one of {known}", param_hint="--columns")
        named.setdefault(key.strip(), []).append(column.strip())
    said = {key: found[0] if len(found) == 1 else found for key, found in named.items()}
    made: list[dict[str, Any]] = []
    for file in files:
        name, _, path = file.partition("=")
        if path and name in get_args(LabelledName):
            made.append({"name": name, "path": path})
        else:
            made.append({"path": file} | ({"columns": said} if said else {}))
    return made


def _override_judge(
    wanted: dict[str, Any], model: Mapping[str, str | None], asked: Mapping[str, str | None]
) -> dict[str, Any]:
    """The spec with what the command line says of the judge's ``model``, and of how it is ``asked``."""
    if model.get("model") is not None:
        wanted["judge"] = {}
    wanted["judge"] |= {key: str(value) for key, value in model.items() if value is not None}
    wanted["options"]["judge"] |= {key: str(value) for key, value in asked.items() if value is not None}
    return wanted


def _calibration_spec(wanted: dict[str, Any], files: Mapping[str, object], changes: Mapping[str, str]) -> str:
    """The spec of a calibration, with the files that the command line names. Raises SpecError."""
    import yaml

    from charter import spec as specs

    wanted["calibrate"] |= {key: value for key, value in files.items() if value}
    return specs.change_spec(yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), changes, "calibrate")


def _judge_of_spec(spec: str | None, role: JudgeRole, changes: Mapping[str, str]) -> dict[str, Any]:
    """A spec of the method ``calibrate`` with what another spec, changed, says of its judge. Raises SpecError."""
    from charter import spec as specs
    from charter.jobs.run_requests import read_spec_text

    given = specs.parse_spec(read_spec_text(spec, changes), spec) if spec is not None else specs.Spec()
    model = given.judge or given.oracle
    if role is JudgeRole.evaluator:
        if given.evaluator == "world":
            raise SpecError("the evaluator is a world's truth, which needs no measure", cure="Measure the judge.")
        model = given.evaluator
    judge = model.model_dump(mode="json", exclude_defaults=True, exclude={"calibration", "unproven"})
    return {
        "method": "calibrate",
        "seed": given.seed,
        "world": given.world,
        "judge": {"model": model.model, **judge},
        "options": {"judge": given.options.judge.model_dump(mode="json", exclude_defaults=True)},
        "templates": given.templates
        if given.templates == "world"
        else given.templates.model_dump(mode="json", exclude_defaults=True),
        "budget": given.budget.model_dump(mode="json", exclude_defaults=True),
        "calibrate": given.calibrate.model_dump(mode="json", exclude_defaults=True),
    }
