"""Six kills at random in one run on a pretrained model, and what they leave: the same records.

Target, proposer, judge and evaluator are SmolLM2-135M-Instruct in one process, float32, so that the run is short. Its
judge is none, and nothing is verified: what is shown is resume, not alignment. ``CHARTER_MODELS`` has the folder."""

from __future__ import annotations

import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

from evidence.cells import Cell, charter, done
from evidence.claims import Row, target
from evidence.kills import contents, killed, wait_since
from evidence.real import DATA, HUB

KILLS, SEED = 6, 17


def real_kills() -> Row:
    """A whole run, and one that is killed six times at random places and goes on each time."""
    whole, cut = Cell("real_kills/whole", "smollm2", small_run()), Cell("real_kills/cut", "smollm2", small_run())
    seconds = done(whole)["seconds"]
    shutil.rmtree(cut.directory, ignore_errors=True)
    chance, rows = random.Random(SEED), list[dict[str, Any]]()
    for number in range(KILLS):
        begun = len(list(cut.directory.rglob("*.seal.json")))
        wait = chance.uniform(0.2, 0.8) * seconds / KILLS
        hit = killed(cut, wait_since(wait, partial(has_more_seals, cut.directory, begun)), signal.SIGKILL)
        rows.append({"kill": number + 1, "killed": hit, "sealed steps": len(list(cut.directory.rglob("*.seal.json")))})
    done(cut)
    same = contents(cut.directory) == contents(whole.directory)
    verified = charter("verify", str(cut.directory)).returncode == 0
    rows.append({"resumed": True, "same records": same, "verified": verified, "records": len(contents(cut.directory))})
    good = sum(row.get("killed", False) for row in rows)
    return {
        "model": HUB["smollm2"],
        "seconds of the whole run": round(seconds),
        "rows": rows,
        "targets": [
            target("kills that hit a running process", f"{KILLS}", [good], lambda v: v == KILLS),
            target("the same files as the run that nobody killed, verified", "yes", [same and verified], bool),
        ],
    }


def has_more_seals(directory: Path, least: int) -> bool:
    """Whether the run has sealed a step since it was started."""
    return len(list(directory.rglob("*.seal.json"))) > least


def small_run() -> dict[str, str]:
    """The recipe made small, with the target itself in every role."""
    folder = os.environ.get("CHARTER_MODELS")
    model = str(Path(folder).resolve() / "smollm2") if folder else HUB["smollm2"]
    oracle = f"{{model: {model}, in_process: true, unproven: true, batch: 8}}"
    return {
        "target.model": model,
        "embedder": model,  # also where a server has the target, so that clusters are the same
        "oracle": oracle,
        "evaluator": oracle,
        "scale": "{answer_tokens: 24, critique_tokens: 24, row_tokens: 512, learning_rate: 0.0002}",
        "prompts.redteam": f"[{{name: advbench, path: {DATA / 'advbench'}, limit: 24}}]",
        "prompts.helpful": f"[{{name: self-instruct, path: {DATA / 'self_instruct'}, limit: 24}}]",
        "prompts.gate": "4",
        "prompts.heldout": "4",
        "options.draw.batch": "8",
        "options.propose.verify": "false",
        "options.keep.verify": "false",
        "options.replay.fresh": "4",
        "options.contrast.count": "0",
    }
