"""What papers say and what was measured here, row by row; the figures of ours are read from docs/evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from evidence.cells import ROOT

Found = dict[str, Any]
Row = tuple[str, str, str]
ITERALIGN = "IterAlign, Chen et al., NAACL 2024, arXiv 2403.18341"
SELF_ALIGN = "SELF-ALIGN, Sun et al., NeurIPS 2023, arXiv 2305.03047"
CAI = "Constitutional AI, Bai et al., arXiv 2212.08073"
NO_MODEL = "Not measured: no model of that size and no hub were at hand"


def papers() -> str:
    """The table: source, what it says, what was seen here."""
    lines = ["| source | what it says | here |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {source} | {claim} | {seen} |" for source, claim, seen in rows())])


def rows() -> list[Row]:
    """Every row. A figure whose evidence is not there yet says which command measures it."""
    return [
        (
            ITERALIGN,
            "harmlessness up to +13.5 % (base models of the 7-billion class, BIG-bench HHH)",
            _seen("demo", lambda f: _moved(f, "harmlessness"))
            + f". {NO_MODEL}; BIG-bench HHH itself is there (`docs/benchmarks.md`)",
        ),
        (
            ITERALIGN,
            "better truthfulness (TruthfulQA MC by Dromedary's scorer)",
            _seen("demo", lambda f: _moved(f, "honesty"))
            + " (agreeing with false claims; another task). TruthfulQA by both protocols is there, on tiny models only",
        ),
        (
            ITERALIGN,
            "batches of 20 in file order, no verification, tuning on from the last checkpoint",
            _seen("methods", _paper_way),
        ),
        (ITERALIGN, "helpfulness is kept", _seen("demo", lambda f: _moved(f, "helpfulness"))),
        (
            SELF_ALIGN,
            "fewer than 300 lines that people wrote (195 seeds, 16 principles, 5 exemplars)",
            _seen("sides", lambda f: _cost(f, "self_align", "lines that people wrote")),
        ),
        (
            SELF_ALIGN,
            "366,718 prompts written, 258,878 kept after filtering",
            _seen("instruct", _kept_share),
        ),
        (SELF_ALIGN, "TruthfulQA MC1 of 69 with a model of 65 billion parameters", f"{NO_MODEL}"),
        (
            SELF_ALIGN,
            "principle-driven alignment and engraving make the model safer",
            _seen("sides", lambda f: _side(f, "self_align")),
        ),
        (
            "Dromedary's public scorer",
            "scores the first half of the candidates: uniform guessing gives 41.4 %, not 22.6 %, on 817 questions",
            "Both are reproduced by random scorers on the 817 questions, each within its interval (a test of the "
            "benchmark); the right one is the default",
        ),
        (
            CAI,
            "four rounds of critique and revision, a principle of 16 drawn at random each, make revisions less harmful",
            _seen("sides", lambda f: _side(f, "cai")),
        ),
        (
            CAI,
            "preferences of a model under a drawn principle train a reward for RL",
            _seen("sides", lambda f: _side(f, "rlhf")),
        ),
        (
            CAI,
            "182,831 red-team prompts and 135,296 helpfulness prompts",
            "Not measured: sets of that size were not at hand",
        ),
    ]


def _seen(claim: str, told: Callable[[Found], str]) -> str:
    path = ROOT / "docs" / "evidence" / f"{claim}.json"
    if not path.exists():
        return f"(not measured yet: `python -m evidence {claim}`)"
    return told(json.loads(path.read_text(encoding="utf-8")))


def _percent(values: list[float]) -> str:
    low, high = f"{100 * min(values):.1f}", f"{100 * max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _moved(found: Found, metric: str) -> str:
    kept = [r for r in found["rows"] if r.get(f"{metric} before") is not None and r.get(f"{metric} after") is not None]
    before, after = ([r[f"{metric} {when}"] for r in kept] for when in ("before", "after"))
    return f"On the organism {_percent(before)} % → {_percent(after)} % ({len(kept)} runs)"


def _paper_way(found: Found) -> str:
    first = [r for r in found["rows"] if r["name"] == "paper"]
    parts = [
        f"{m.replace('_', '-')} {_percent([r[f'{m} after'] for r in first])} %"
        for m in ("harmlessness", "helpfulness", "over_refusal")
    ]
    return f"On the organism ends at {', '.join(parts)} ({len(first)} seeds)"


def _side(found: Found, name: str) -> str:
    side = next((s for s in found["sides"] if s["name"] == name), None)
    if side is None:
        return "(not measured yet: `python -m evidence sides`)"
    quality = side["quality"]
    parts = []
    for metric in ("harmlessness", "helpfulness", "over_refusal"):
        if metric in quality:
            one = quality[metric]
            before = f"{100 * one['before']['value']:.1f}" if one["before"] else "-"
            spread = _percent([one["after"]["least"], one["after"]["most"]])
            parts.append(f"{metric.replace('_', '-')} {before} % → {spread} %")
    return f"On the organism {', '.join(parts)} ({side['runs']} seeds)"


def _cost(found: Found, name: str, cost: str) -> str:
    side = next((s for s in found["sides"] if s["name"] == name), None)
    if side is None or cost not in side["costs"]:
        return "(not measured yet: `python -m evidence sides`)"
    return f"{side['costs'][cost]['value']:.0f} lines on the organism"


def _kept_share(found: Found) -> str:
    parts = []
    for name in dict.fromkeys(r["generator"] for r in found["rows"]):
        own = [r for r in found["rows"] if r["generator"] == name]
        parts.append(f"{name}: {sum(r['kept'] for r in own):,} of {sum(r['written'] for r in own):,}")
    return f"Kept of those written, in the test world: {'; '.join(parts)}"
