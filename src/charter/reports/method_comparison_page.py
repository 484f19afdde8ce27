"""Methods side by side as tables and as a page."""

from __future__ import annotations

from charter.reports.method_comparison import MethodComparison, MethodSummary, ScoreOverSeeds, SeedSpread
from charter.reports.run_comparison import METRIC_NAMES, metric_name
from charter.reports.run_summary import SHOWN_METRICS


def figure_rows(found: MethodComparison) -> list[tuple[str, ...]]:
    """Header, then a row for each figure and a column for each side."""
    rows: list[tuple[str, ...]] = [("", *(side.name for side in found.sides))]
    rows.append(("runs, finished", *(f"{len(s.runs)}, {s.finished}" for s in found.sides)))
    for metric in SHOWN_METRICS:
        told = [s.quality.get(metric) for s in found.sides]
        if any(told):
            arrow = " ↓" if metric.startswith("over_refusal") else ""
            rows.append(
                (f"{metric_name(metric)}{arrow}, before", *(_share_text(q.before if q else None) for q in told))
            )
            rows.append((f"{metric_name(metric)}{arrow}, after", *(_share_text(q.after if q else None) for q in told)))
            rows.append((f"{metric_name(metric)}{arrow}, change", *(_points_text(q) for q in told)))
    for cost in cost_names(found):
        rows.append((cost, *(_count_text(s.costs.get(cost)) for s in found.sides)))
    for name in dict.fromkeys(name for s in found.sides for name in s.monitored):
        told_of = (_before_after_text(s, name) for s in found.sides)
        rows.append((f"{METRIC_NAMES.get(name, name)}, from the start", *told_of))
    return rows


def cost_names(found: MethodComparison) -> list[str]:
    """What a method takes, by name."""
    return list(dict.fromkeys(name for side in found.sides for name in side.costs))


def difference_rows(found: MethodComparison) -> list[tuple[str, ...]]:
    """Header, then a row for each two sides and metric."""
    head = ("second less first", "metric", "points (95 %)", "n", "seeds", "p", "p, Holm")
    rows: list[tuple[str, ...]] = [head]
    for d in found.differences:
        points = f"{100 * d.value:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"
        pair, chances = f"{d.second} - {d.first}", (f"{d.p:.3g}", f"{d.p_holm:.3g}")
        rows.append((pair, metric_name(d.metric), points, str(d.n), str(d.seeds), *chances))
    return rows


def render_comparison_page(found: MethodComparison) -> str:
    """The comparison as one HTML file that needs no network and runs no script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("charter.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    jinja.filters["spoken"] = metric_name
    drawn = [m for m in SHOWN_METRICS if any(m in s.quality for s in found.sides)]
    told = {"found": found, "table": figure_rows(found), "differences": difference_rows(found), "metrics": drawn}
    told["costs"] = [
        (cost, max(s.costs[cost].most for s in found.sides if cost in s.costs)) for cost in cost_names(found)
    ]
    return jinja.get_template("sides.html.j2").render(told)


def _share_text(found: SeedSpread | None) -> str:
    if found is None:
        return "-"
    if found.seeds == 1 or found.least == found.most:
        return f"{found.value:.1%}"
    return f"{found.value:.1%} ({found.least:.1%} to {found.most:.1%})"


def _points_text(found: ScoreOverSeeds | None) -> str:
    if found is None or found.change is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.change:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _count_text(found: SeedSpread | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:,.0f}" + ("" if found.least == found.most else f" ({found.least:,.0f} to {found.most:,.0f})")


def _before_after_text(side: MethodSummary, name: str) -> str:
    found = side.monitored.get(name)
    if found is None:
        return "-"
    spread = "" if found.least == found.most else f" ({found.least:+.2f} to {found.most:+.2f})"
    fell = f", fell in {side.likelihood_falls} of {found.seeds}" if name == "chosen" and side.likelihood_falls else ""
    return f"{found.value:+.2f}{spread}{fell}"
