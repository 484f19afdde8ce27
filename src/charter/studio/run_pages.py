"""The list of runs, a run, its report, and two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from charter.records.measurements import Score
from charter.reports.audit_comparison import read_audit
from charter.reports.audit_tables import line_rows, outcome_sentence, part_rows
from charter.reports.costs import bill_text, read_costs, read_times, sum_by_role
from charter.reports.failures import summarise_iteration
from charter.reports.page import list_metric_rows, read_gate_series, render_page
from charter.reports.paired_tests import compare_before_after
from charter.reports.run_comparison import compare_runs, comparison_rows, contest_rows
from charter.runs.reader import RunReader
from charter.studio.page_rendering import read_page_number, render, session_of, studio_of
from charter.studio.run_shelf import HEADLINES, read_standing

if TYPE_CHECKING:
    from starlette.requests import Request

RUNS_A_PAGE = 50
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""A report is one file with its style in it. In a sandbox it has no origin, no script and no form."""


def find_directory(request: Request) -> Path:
    """The folder of the run that the address names. Raises HTTPException where none of this name is listed."""
    directory = studio_of(request).shelf.find_run(request.path_params["run"])
    if directory is None:
        raise HTTPException(404, "No run of this name is here.")
    return directory


def find_run(request: Request) -> tuple[str, RunReader]:
    """The run that the address names. Raises HTTPException where none of this name is listed, StoreError,
    DamagedError."""
    return request.path_params["run"], studio_of(request).shelf.open_run(find_directory(request))


def run_contents(name: str, reading: RunReader) -> dict[str, Any]:
    """What every page of a run shows around its own part: its standing, and its straight line by folder."""
    folders: dict[str, list[tuple[str, bool]]] = {}
    for step in reading.steps:
        folder, _, step_name = step.partition("/")
        folders.setdefault(folder, []).append((step_name, step in reading.seals))
    return {"run": name, "standing": read_standing(reading), "folders": folders, "here": ("", "")}


def show_runs(request: Request) -> Response:
    """The runs of the folder, a page at a time, newest names first."""
    session_of(request)
    shelf = studio_of(request).shelf
    names = list(shelf.list_runs().items())[::-1]
    page = read_page_number(request.query_params.get("page", "1"))
    shown = names[(page - 1) * RUNS_A_PAGE : page * RUNS_A_PAGE]
    return render(
        request,
        "runs.html.j2",
        cards=[shelf.read_card(name, directory) for name, directory in shown],
        headlines=HEADLINES,
        count=len(names),
        page=page,
        pages=-(-len(names) // RUNS_A_PAGE),
        names=[name for name, _ in names],
        started=studio_of(request).processes.started,
    )


def show_run(request: Request) -> Response:
    """What became of a run."""
    session_of(request)
    name, reading = find_run(request)
    figures = studio_of(request).shelf.keep_figures(reading, _read_figures)
    return render(request, "run.html.j2", **run_contents(name, reading), reading=reading, **figures)


def show_report(request: Request) -> Response:
    """The run's report, as ``charter report`` writes it."""
    session_of(request)
    _, reading = find_run(request)
    return HTMLResponse(render_page(reading.directory), headers={"Content-Security-Policy": REPORT_POLICY})


def compare_two(request: Request) -> Response:
    """Two runs side by side."""
    session_of(request)
    shelf = studio_of(request).shelf
    names = shelf.list_runs()
    chosen, found = request.query_params.getlist("run")[:2], None
    if len(chosen) == 2:
        if not set(chosen) <= names.keys():
            raise HTTPException(404, "No run of this name is here.")
        found = compare_runs([names[name] for name in chosen])
    return render(
        request,
        "compare.html.j2",
        names=list(names),
        chosen=chosen,
        rows=comparison_rows(found) if found else [],
        contests=contest_rows(found) if found and found.contests else [],
    )


def show_audits(request: Request) -> Response:
    """Every audit of the folder with what it found, by the time at which it ended."""
    session_of(request)
    shelf, rows = studio_of(request).shelf, []
    for name, directory in shelf.list_runs().items():
        if shelf.read_card(name, directory).method == "audit":
            reading = shelf.open_run(directory)
            found = shelf.keep_figures(reading, read_audit)
            rows.append((str(reading.events[-1]["at"]), name, found, outcome_sentence(found) if found else ""))
    rows.sort(key=lambda row: row[0])
    lines = list(dict.fromkeys(line.id for _, _, found, _ in rows if found for line in found.lines))
    titles = {line.id: line.title for _, _, found, _ in rows if found for line in found.lines}
    table = [
        (titles[key], [next((x for x in found.lines if x.id == key), None) if found else None for *_, found, _ in rows])
        for key in lines
    ]
    return render(request, "audits.html.j2", audits=rows, table=table)


def _read_figures(reading: RunReader) -> dict[str, Any]:
    """What the page of a run shows: scores, iterations with their gates, and what it took."""
    series, audit, roles = read_gate_series(reading), read_audit(reading), sum_by_role(read_costs(reading))
    return {
        "metrics": list_metric_rows(reading, compare_before_after(reading)),
        "series": series,
        "series_rows": _tabulate_series(series),
        "iterations": [summarise_iteration(reading, folder) for folder in reading.iterations],
        "roles": roles,
        "bill": bill_text(roles),
        "times": read_times(reading),
        "audit": audit and (outcome_sentence(audit), line_rows(audit), part_rows(audit)),
    }


def _tabulate_series(series: dict[str, list[tuple[str, Score]]]) -> list[tuple[str, dict[str, Score]]]:
    """Gate: a row for each metric, its scores by label."""
    return [(metric, dict(points)) for metric, points in series.items()]
