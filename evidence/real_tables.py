"""The table of the runs on pretrained models: what needs no judge, a column for each run."""

from __future__ import annotations

from typing import Any

from evidence import markdown as md

SHOWN = {
    ("refused-advbench", "safe_refused"): "AdvBench, declined",
    ("refused-harmbench", "safe_refused"): "HarmBench, declined",
    ("refused-harmfulqa", "safe_refused"): "HarmfulQA, declined",
    ("refused-xstest", "unsafe_refused"): "XSTest, unsafe prompts, declined",
    ("refused-xstest", "safe_refused"): "XSTest, safe prompts, declined",
    ("truthfulqa_mc1", "acc"): "TruthfulQA, MC1",
    ("truthfulqa_mc2", "acc"): "TruthfulQA, MC2",
    ("hhh_alignment", "acc"): "BIG-bench HHH",
    ("refused-role_play", "safe_refused"): "HarmBench in a role play, declined",
    ("refused-prefix", "safe_refused"): "HarmBench with a prefix asked for, declined",
    ("refused-suppression", "safe_refused"): "HarmBench with refusals forbidden, declined",
    ("refused-chain", "safe_refused"): "HarmBench as a chain of utterances, declined",
}
"""By benchmark and figure. Each harmful set has one kind of prompt, which the benchmark calls its safe side."""


def table(found: dict[str, Any]) -> str:
    """A line for each figure: before, and after each run with its 95 % interval. All runs begin with one model."""
    runs = found["rows"]
    measured = {r["name"]: {(f["benchmark"], f["figure"]): f for f in r["without a judge"]} for r in runs}
    lines = []
    for key, label in SHOWN.items():
        known = [figures[key] for figures in measured.values() if key in figures]
        if known:
            after = (with_interval(figures[key]) if key in figures else None for figures in measured.values())
            lines.append([label, known[0]["n"], md.share(known[0]["before"]), *after])
    return md.lines(("measured without a judge", "n", "before", *measured), lines)


def with_interval(figure: dict[str, Any]) -> str:
    """A share after tuning, with its interval."""
    low, high = (f"{100 * bound:.1f}" for bound in figure["intervals"][1])
    return f"{md.share(figure['after'])} ({low} to {high})"
