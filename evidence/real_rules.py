"""What becomes of the rules that a model of 1.5 billion parameters proposes for failures of SmolLM2-135M-Instruct.

For each set of red-team prompts, runs of the recipe ``smollm2`` without anybody's rules. Every wording is kept with
what became of it. Those that passed were read by us: does a wording tell the assistant what to do, and does it cover
most of the failures that it was written for (``evidence/rules_by_hand.jsonl``)? ``RULES_CELLS`` names the runs that
are asked for, with commas between; the JSON names those that were not run."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from evidence.cells import ROOT, Cell, charter, records
from evidence.claims import Row, target
from evidence.real import DATA, RUNS_ASKED, RealRun, real_cell, real_changes

SETS, SEEDS = ("advbench", "harmfulqa", "dangerousqa"), 3
PROMPTS, MEASURED = 80, 4
"""Prompts of a set, of which 40 are asked; and those of gate and of held-out, which no rule depends on."""
BY_HAND = ROOT / "evidence" / "rules_by_hand.jsonl"
PAUSED = 10
"""The exit code of a run that waits for people."""


def real_rules() -> Row:
    """Wordings by outcome for each run, and what we make of those that passed."""
    judged = {row["text"]: row for row in map(json.loads, BY_HAND.read_text(encoding="utf-8").splitlines())}
    names = [f"{name}:{seed}" for name in SETS for seed in range(SEEDS)]
    asked = os.environ.get("RULES_CELLS", ",".join(names)).split(",")
    found = {name: list_wordings(rules_cell(name)) for name in names if name in asked}
    rows = [
        {"run": name, "wordings": len(wordings), **Counter(w["reason"] or "passed" for w in wordings)}
        for name, wordings in found.items()
    ]
    passed = [
        {"run": name, **wording, **judged.get(wording["text"], {"addresses": None, "covers": None})}
        for name, wordings in found.items()
        for wording in wordings
        if not wording["reason"]
    ]
    read = [rule for rule in passed if rule["addresses"] is not None]
    good = sum(rule["addresses"] and rule["covers"] for rule in read)
    return {
        "rows": rows,
        "passed": passed,
        "read": len(read),
        "address": sum(rule["addresses"] for rule in read),
        "cover": sum(rule["covers"] for rule in read),
        "not run": [name for name in names if name not in found],
        "targets": [
            target("wordings that passed: read by us", ">= 50", [len(read)], lambda n: n >= 50),
            target("meet both", ">= .90", [good / len(read) if read else None], lambda v: v >= 0.9),
        ],
    }


def rules_cell(name: str) -> Cell:
    """The run of a set and seed, which pauses after its proposals; AdvBench's are whole ones of ``evidence real``."""
    prompts, _, seed = name.partition(":")
    if prompts == "advbench":
        return real_cell(next(run for run in RUNS_ASKED if run.name == f"iteralign-{seed}"))
    changes = real_changes(RealRun(name)) | {
        "seed": seed,
        "prompts.redteam": f"[{{name: {prompts}, path: {DATA / prompts}, limit: {PROMPTS}}}]",
        "prompts.gate": str(MEASURED),
        "prompts.heldout": str(MEASURED),
        "options.ratify": "{by: people}",
    }
    return Cell(f"real_rules/{prompts}-{seed}", "smollm2", changes)


def list_wordings(cell: Cell) -> list[dict[str, Any]]:
    """Every wording of the run, by round: its text, why it was refused, and how many failures it mended.

    Raises:
        RuntimeError: The run failed.
    """
    words = [word for key, value in cell.changes.items() for word in ("--set", f"{key}={value}")]
    ended = charter("run", cell.recipe, "--out", str(cell.directory), "--quiet", *words)
    if ended.returncode not in (0, PAUSED):
        raise RuntimeError(f"{cell.name}: {ended.stderr.strip()[-2000:]}")
    rounds = sorted(path.name for path in (cell.directory / "001").glob("proposal*_checks.jsonl"))
    return [
        {
            "round": number,
            "text": check["principle"]["text"] if check["principle"] else "",
            "reason": check["reason"],
            "mended": len(check["mended"]),
            "tried": check["tried"],
        }
        for number, name in enumerate(rounds, 1)
        for check in records(cell, f"001/{name.removesuffix('.jsonl')}")
    ]
