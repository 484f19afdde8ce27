"""Methods side by side on the village, in one command; 200 held-out and 80 gate prompts of each kind."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from evidence.cells import RUNS, charter
from evidence.claims import SMALL, target

Row = dict[str, Any]
RECIPES = ("iteralign", "iteralign-paper", "self_align", "cai", "rlhf")
CHANGES = SMALL | {"options.measure.breadth": "false"}
MINUTES = 30
SEEDS = int(os.environ.get("SIDES_SEEDS", "3"))
"""Run seeds of each method."""


def sides() -> Row:
    """What ``charter compare`` says of five methods, and how long it took from nothing."""
    began = time.monotonic()
    found = compared(RECIPES)
    minutes = (time.monotonic() - began) / 60
    targets = [target(f"minutes for five methods, seeds each: {SEEDS}", f"<= {MINUTES}", [round(minutes, 1)], _in_time)]
    return {"sides": found["sides"], "differences": found["differences"], "rows": [], "targets": targets}


def _in_time(minutes: float) -> bool:
    return minutes <= MINUTES


def compared(recipes: tuple[str, ...]) -> Row:
    """The comparison as the command prints it. Raises RuntimeError."""
    sets = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
    seeds = ",".join(map(str, range(SEEDS)))
    ended = charter(
        "compare", *recipes, "--seeds", seeds, "--out", str(RUNS / "sides"), "--json", "--quiet", *sets
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr.strip()[-2000:])
    read: Row = json.loads(ended.stdout)
    for side in read["sides"]:
        side["runs"] = len(side["runs"])
    return read
