"""A whole run of ``iteralign`` and an audit of its policy over each real server, beside the same in this process.

The target is SmolLM2-135M-Instruct; the other roles are in this process (``evidence.real_kills.small_run``). What is
shown is that servers are started, asked and ended, and how many answers differ. ``CHARTER_VLLM`` and
``CHARTER_LLAMA_SERVER`` name the programs; what is not named is left out."""

from __future__ import annotations

import os
from pathlib import Path

from evidence.cells import RUNS, Cell, charter, done, records
from evidence.claims import Row, target
from evidence.real_kills import small_run
from evidence.servers import list_servers, write_plain

ANSWERED = ("001/exchanges", "001/gate_exchanges", "final/heldout_exchanges")
"""Answers of the starting model, and of the policy, which the server has as an adapter."""
FOUND, UNTOLD = 1, 2
"""Exit codes of an audit that ended and does not say that everything is kept."""


def served_runs() -> Row:
    """A run and an audit in this process and over each server."""
    here = Cell("real_kills/whole", "smollm2", small_run())
    rows = [run_and_audit("in process", here, here)]
    for name, base, serving in list_servers():
        if base == "smollm2.gguf":  # of 4 bits, which its server computes otherwise: nothing to compare
            continue
        weights = Path(os.environ["CHARTER_MODELS"]).resolve() / base if base else plain_weights()
        served = {"model": str(weights), "serve": serving.command, "serve_start": serving.start_command}
        changes = small_run() | {f"target.{key}": value for key, value in served.items()}
        rows.append(run_and_audit(name, Cell(f"served_runs/{name.split(',')[0]}", "smollm2", changes), here))
    return {
        "rows": rows,
        "targets": [
            target("runs over servers: verified", "yes", [row["verified"] for row in rows[1:]], bool),
            target("audits over servers: ended", "yes", [row["audited"] for row in rows[1:]], bool),
            target("answers as in process", "1", [row["share"] for row in rows[1:]], lambda share: share == 1),
        ],
    }


def run_and_audit(name: str, cell: Cell, here: Cell) -> Row:
    """A run, whether its records hold, an audit of its policy against the starting model, and its answers beside those
    of the run in this process."""
    seconds = done(cell)["seconds"]
    place = RUNS / "served_runs" / f"{cell.directory.name}-audit"
    words = ["audit", str(cell.directory), "--baseline", str(cell.directory), "--out", str(place), "--quiet"]
    audited = charter(*words)
    if audited.returncode not in (0, FOUND, UNTOLD):
        raise RuntimeError(f"{name}: {audited.stderr.strip()[-2000:]}")
    equal = {step: compare_answers(cell, here, step) for step in ANSWERED}
    right, asked = (sum(counts) for counts in zip(*equal.values(), strict=True))
    return {
        "server": name,
        "seconds": round(seconds),
        "verified": charter("verify", str(cell.directory)).returncode == 0,
        "audited": charter("verify", str(place)).returncode == 0,
        "audit's exit": audited.returncode,
        **{f"equal in {step}": f"{same} of {n}" for step, (same, n) in equal.items()},
        "share": round(right / asked, 3),
    }


def compare_answers(cell: Cell, here: Cell, step: str) -> tuple[int, int]:
    """Answers that both runs gave alike, and all answers of the step."""
    told = {record["id"]: record["response"] for record in records(here, step)}
    found = {record["id"]: record["response"] for record in records(cell, step)}
    return sum(found.get(id_) == response for id_, response in told.items()), len(told)


def plain_weights() -> Path:
    """SmolLM2 as a GGUF file of float32 numbers."""
    folder = RUNS / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    return write_plain(Path(os.environ["CHARTER_MODELS"]).resolve() / "smollm2.gguf", folder / "plain.gguf")
