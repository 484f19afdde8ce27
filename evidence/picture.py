"""The README's picture: held-out scores before and after, every run of the demo's claim a point."""

from __future__ import annotations

import json

from evidence.cells import ROOT
from evidence.markdown import SHOWN

BEFORE, AFTER, INK = "#c2410c", "#0f766e", "#57534e"


def draw() -> None:
    """Writes docs/demo.svg from docs/evidence/demo.json, the same bytes for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "charter", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    found = json.loads((ROOT / "docs" / "evidence" / "demo.json").read_text(encoding="utf-8"))
    figure, axes = pyplot.subplots(figsize=(7.6, 3.0))
    for place, metric in enumerate(reversed(SHOWN)):
        before = [100 * row[f"{metric} before"] for row in found["rows"]]
        after = [100 * row[f"{metric} after"] for row in found["rows"]]
        first, last = sum(before) / len(before), sum(after) / len(after)
        axes.plot([first, last], [place, place], color="#d6d3d1", linewidth=5, solid_capstyle="round", zorder=1)
        axes.scatter(before, [place] * len(before), color=BEFORE, s=34, alpha=0.75, linewidth=0, zorder=2)
        axes.scatter(after, [place] * len(after), color=AFTER, s=34, alpha=0.75, linewidth=0, zorder=3)
        axes.annotate(f"{first:.0f} → {last:.0f}", (104, place), va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(SHOWN)), list(reversed(SHOWN.values())), fontsize=9)
    axes.set_xlim(-3, 117)
    axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)], fontsize=8)
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="x", color="#f5f5f4")
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    title = f"The demo on held-out prompts, {len(found['rows'])} runs: before"
    axes.set_title(title, loc="left", fontsize=10, color=BEFORE)
    axes.set_title("after", loc="right", fontsize=10, color=AFTER)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "demo.svg", metadata={"Date": None, "Creator": None}, transparent=False)
    pyplot.close(figure)
