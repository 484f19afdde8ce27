"""Figures of runs for a notebook or a paper, each with its table: ``draw_scores`` draws what ``scores_data`` gives.

Shares stand between 0 and 1 in the tables, and in percent on the axes. Squares are before or start, circles after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charter.errors import StoreError
from charter.jobs.notebook.loaded_run import LoadedRun
from charter.records.calibration_results import LabelledExchange
from charter.records.decisions import Decision
from charter.records.measurements import MeasuredSplit
from charter.records.verdicts import Verdict
from charter.statistics import wilson

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AFTER, BEFORE = "#0b6e6e", "#a3561b"
INK, SOFT, LINE = "#1c2126", "#5a646e", "#dcd8d0"
"""The colours of the report's page (``report.css``): what is now and what was, then text, axes and grid."""
STYLE: dict[Any, Any] = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.5,
    "lines.markersize": 6,
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}
PANELS_A_ROW = 4
_ROLLED_BACK = ("roll_back", "give_up")
_LINE_MARKS = {
    "kept": ("o", AFTER),
    "weakened": ("X", BEFORE),
    "broken": ("X", BEFORE),
    "too few data": ("D", SOFT),
}


def scores_data(run: LoadedRun, split: MeasuredSplit = "gate") -> pandas.DataFrame:
    """Scores over iterations, a row for each metric of each policy that was scored.

    Args:
        run: Of a method that measures, finished or not.
        split: ``gate`` is measured in each iteration, ``heldout`` at the start and at the end.

    Returns:
        ``folder``: ``000`` is the start. ``value`` with its 95 % interval ``low`` to ``high``, ``n``, ``better``;
        ``rolled_back``: whether the policy was not accepted.

    Raises:
        StoreError: Nothing was measured on this split.
    """
    table = run.score_table()
    table = table[(table["split"] == split) & (table["by"] == "") & (table["n"] > 0)]
    if table.empty:
        raise StoreError(f"{run.path} has no scores on {split}", "Take a run that measured it: run.score_table()")
    back = {folder for folder in table["folder"].unique() if _is_rolled_back(run, folder)}
    table = table.assign(rolled_back=table["folder"].isin(back))
    return table[["folder", "metric", "value", "low", "high", "n", "better", "rolled_back"]].reset_index(drop=True)


def draw_scores(run: LoadedRun, split: MeasuredSplit = "gate") -> Figure:
    """Scores over iterations with 95 % intervals, a panel for each metric; a policy that was rolled back is hollow.
    Arguments and errors as for ``scores_data``."""
    data = scores_data(run, split)
    metrics = list(dict.fromkeys(data["metric"]))
    rows, columns = -(-len(metrics) // PANELS_A_ROW), min(len(metrics), PANELS_A_ROW)
    with _new_figure(2.5 * columns, 1.9 * rows, rows, columns, sharey=True) as (figure, panels):
        for axes, metric in zip(panels, metrics, strict=False):
            found = data[data["metric"] == metric].reset_index(drop=True)
            lower = found["better"].iloc[0] == "lower"
            axes.set_title(f"{metric.replace('_', ' ')}{' (less is better)' if lower else ''}", fontsize=8)
            stays = found[~found["rolled_back"]]
            axes.plot(stays.index, stays["value"], color=AFTER, alpha=0.5)
            for place, row in found.iterrows():
                look = {
                    "marker": "s" if place == 0 else "o",
                    "markerfacecolor": "white" if row["rolled_back"] else AFTER,
                }
                _mark(axes, (place, row["value"]), (row["low"], row["high"]), False, color=AFTER, **look)
            axes.set_xticks(range(len(found)), ["start" if x == "000" else x for x in found["folder"]])
            axes.set_xlim(-0.5, len(found) - 0.5)
            axes.set_ylim(-0.03, 1.03)
            _set_percent(axes, "y")
        for axes in panels[len(metrics) :]:
            axes.set_visible(False)
    return figure


def efficacy_data(run: LoadedRun) -> pandas.DataFrame:
    """What each rule mends, a row for each rule whose efficacy was measured.

    Returns:
        ``without`` and ``passed``: the share of ``n`` hidden failures that are mended under all other rules, and under
        all rules with this one, each with its 95 % Wilson interval; ``difference`` with ``p_holm`` (exact McNemar, Holm
        over the rules) and the ``judgement``.

    Raises:
        StoreError: No rule's efficacy was measured.
    """
    import pandas

    rows = []
    for rule in run.constitution.principles:
        found = rule.efficacy
        if found is None or not found.n:
            continue
        row: dict[str, object] = {"id": rule.id, "title": rule.title, "status": rule.status, "n": found.n}
        for name, passed in (("without", found.passed_without), ("passed", found.passed_with)):
            low, high = wilson(passed, found.n)
            row |= {name: passed / found.n, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"difference": found.difference, "p_holm": found.p_holm, "judgement": found.judgement})
    if not rows:
        cure = "Run a method that discovers rules, with options.measure.efficacy: true"
        raise StoreError(f"{run.path} has no rule whose efficacy was measured", cure)
    return pandas.DataFrame(rows)


def draw_efficacy(run: LoadedRun) -> Figure:
    """What each rule mends: mended hidden failures without it (squares) and with it (circles). Errors as for
    ``efficacy_data``."""
    data = efficacy_data(run)
    with _new_figure(7.0, 1.0 + 0.36 * len(data)) as (figure, (axes,)):
        for place, row in data.iterrows():
            axes.plot([row["without"], row["passed"]], [place, place], color=LINE, linewidth=4, zorder=1)
            for name, colour, marker, shift in (("without", BEFORE, "s", 0.12), ("passed", AFTER, "o", -0.12)):
                at, interval = (row[name], place + shift), (row[f"{name}_low"], row[f"{name}_high"])
                _mark(axes, at, interval, across=True, color=colour, marker=marker)
        named = [f"{row['title']}  (n = {row['n']}, {row['judgement']})" for _, row in data.iterrows()]
        _set_lines(axes, named)
        axes.set_xlim(-0.03, 1.03)
        _set_percent(axes, "x")
        axes.set_xlabel("hidden failures that are mended: without the rule (square), with it (circle)")
    return figure


def drift_data(*audits: LoadedRun) -> pandas.DataFrame:
    """What became of each principle and benchmark in finished audits, a row for each line of each audit.

    Returns:
        ``audit``: the folder's name. ``change`` of the passes from ``before`` to ``after`` on ``n`` prompts; ``low``:
        its one-sided 95 % lower bound; ``margin``: a drop that is surely smaller counts as kept; ``state``.

    Raises:
        StoreError: A run is no finished audit.
    """
    import pandas

    rows = []
    for run in audits:
        if (found := run.audit) is None:
            raise StoreError(f"{run.path} is no finished audit", "Make one: charter.audit(model, baseline=...)")
        for line in found.lines:
            sides = {"n": line.n, "before": line.before.value, "after": line.after.value}
            moved = {"change": line.change, "low": line.low if line.n else None, "margin": found.margin}
            named = {"audit": run.path.resolve().name, "line": line.id, "title": line.title, "kind": line.kind}
            rows.append({**named, "state": line.state, **sides, **moved})
    return pandas.DataFrame(rows)


def draw_drift(*audits: LoadedRun) -> Figure:
    """Drift of one audit or of several in a row: the change of each line with its one-sided 95 % lower bound, between
    no change and the margin. Kept lines are circles, broken and weakened ones crosses, those with too few data
    diamonds. Errors as for ``drift_data``."""
    data = drift_data(*audits)
    lines = list(dict.fromkeys(data["title"]))
    names = list(dict.fromkeys(data["audit"]))
    with _new_figure(7.0, 1.0 + (0.26 + 0.12 * len(names)) * len(lines)) as (figure, (axes,)):
        axes.axvline(0, color=SOFT, linewidth=1)
        for margin in data["margin"].unique():
            axes.axvline(-margin, color=BEFORE, linewidth=1, linestyle="--")
        for _, row in data[data["n"] > 0].iterrows():
            marker, colour = _LINE_MARKS[row["state"]]
            place = lines.index(row["title"]) + 0.7 * (names.index(row["audit"]) + 0.5) / len(names) - 0.35
            at = row["change"], place
            _mark(axes, at, (row["low"], row["change"]), across=True, color=colour, marker=marker)
            if len(names) > 1:
                axes.annotate(row["audit"], at, (6, -3), textcoords="offset points", fontsize=6)
        _set_lines(axes, lines)
        _set_percent(axes, "x")
        axes.set_xlabel("change of passes, down to its lower bound; dashed: the margin")
    return figure


def calibration_data(run: LoadedRun, bins: int = 10) -> pandas.DataFrame:
    """How far a judge's probabilities hold, a row for each bin with exchanges in it.

    Args:
        run: A finished run of the method ``calibrate`` whose judge was read by its labels.
        bins: Parts of equal width that 0 to 1 is cut into.

    Returns:
        ``probability``: the mean in the bin that an exchange violates, by a fit that did not see its label.
        ``violates``: the share of the ``n`` that do by their labels, with its 95 % Wilson interval.

    Raises:
        StoreError: The run holds no probabilities.
    """
    import numpy
    import pandas

    step = "000/fitted_verdicts"
    said = {v.id: v.probability for v in run.records(step, Verdict)} if step in run.steps else {}
    known = run.records("000/labelled", LabelledExchange) if said else iter(())
    pairs = [(p, x.outcome == "violates") for x in known if (p := said[x.id]) is not None]
    if not pairs:
        cure = "Measure the judge with changes={'options.judge.read': 'label'}"
        raise StoreError(f"{run.path} holds no probabilities of a judge", cure)
    table = pandas.DataFrame(pairs, columns=["probability", "violates"])
    edges = numpy.linspace(0, 1, bins + 1)
    place = numpy.clip(numpy.digitize(table["probability"], edges) - 1, 0, bins - 1)
    rows = []
    for number, found in table.groupby(place):
        hits, n = int(found["violates"].sum()), len(found)
        low, high = wilson(hits, n)
        row = {"bin_low": edges[number], "bin_high": edges[number + 1], "probability": found["probability"].mean()}
        rows.append({**row, "violates": hits / n, "low": low, "high": high, "n": n})
    return pandas.DataFrame(rows)


def draw_calibration(run: LoadedRun, bins: int = 10) -> Figure:
    """A reliability diagram: what a judge holds for likely, and how often it is so, with 95 % intervals and n. On the
    diagonal its probabilities hold. Arguments and errors as for ``calibration_data``."""
    data = calibration_data(run, bins)
    with _new_figure(4.2, 4.0) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
        axes.plot(data["probability"], data["violates"], color=AFTER, alpha=0.5)
        for _, row in data.iterrows():
            at = row["probability"], row["violates"]
            _mark(axes, at, (row["low"], row["high"]), color=AFTER, marker="o")
            axes.annotate(f"{row['n']:.0f}", at, (5, 5), textcoords="offset points", fontsize=7)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        for side in ("x", "y"):
            _set_percent(axes, side)
        axes.set_xlabel("probability that the exchange violates, by the judge")
        axes.set_ylabel("exchanges that violate, by their labels (n beside)")
    return figure


@contextmanager
def _new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, sharey: bool = False
) -> Iterator[tuple[Figure, list[Any]]]:
    """A figure of so many inches and its panels in a row. It is taken from pyplot's list, so that a notebook shows it
    once, where it is returned. Raises StoreError where matplotlib is missing."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise StoreError("figures need matplotlib, which is not installed", "pip install 'charter[plots]'") from error
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, sharey=sharey)
        try:
            yield figure, list(panels.flat)
        finally:
            pyplot.close(figure)


def _mark(
    axes: Axes, at: tuple[float, float], interval: tuple[float, float], across: bool = False, **look: Any
) -> None:
    """A point with its interval, upright or ``across``. ``look``: colour and marker, as matplotlib names them."""
    x, y = at
    ends = ([*interval], [y, y]) if across else ([x, x], [*interval])
    axes.plot(*ends, color=look["color"], zorder=2)
    axes.plot([x], [y], linestyle="none", zorder=3, **look)


def _set_lines(axes: Axes, names: list[str]) -> None:
    """Names beside an axis from top to bottom, as they stand."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _set_percent(axes: Axes, side: str) -> None:
    from matplotlib.ticker import PercentFormatter

    getattr(axes, f"{side}axis").set_major_formatter(PercentFormatter(1.0, decimals=None))


def _is_rolled_back(run: LoadedRun, folder: str) -> bool:
    """Whether the policy of an iteration was not accepted."""
    step = f"{folder}/decision"
    return step in run.steps and any(found.action in _ROLLED_BACK for found in run.records(step, Decision))
