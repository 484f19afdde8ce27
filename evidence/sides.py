"""Methods side by side: five methods and three chains on each world; 200 held-out and 80 gate prompts
of each kind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from evidence.cells import RUNS, charter
from evidence.claims import SMALL, organism, target
from evidence.side_tables import SIGN_FLIP

Row = dict[str, Any]
RECIPES = ("iteralign", "iteralign-paper", "self_align", "cai", "rlhf")
CHAINS = ("iteralign-rlhf", "self_align-rlhf", "cai-rlhf")
CHANGES = SMALL | {"options.measure.breadth": "false"}
MINUTES = 30
SEEDS = int(os.environ.get("SIDES_SEEDS", "3"))
"""Run seeds of each method."""


def sides() -> Row:
    """What ``charter compare`` says of five methods, and how long it took from nothing."""
    began = time.monotonic()
    found = compared(RECIPES, "sides", SEEDS)
    minutes = (time.monotonic() - began) / 60
    targets = [target(f"minutes for five methods, seeds each: {SEEDS}", f"<= {MINUTES}", [round(minutes, 1)], _in_time)]
    return {"sides": found["sides"], "differences": found["differences"], "rows": [], "targets": targets}


def chains() -> Row:
    """The chains on the village, beside the methods that they begin with, one seed."""
    found = compared(("iteralign", "self_align", "cai", *CHAINS), "sides", 1)
    return {"sides": found["sides"], "differences": found["differences"], "rows": [], "targets": []}


def sides_city() -> Row:
    """Five methods and the chains on the city, one seed."""
    city = {"world": "city", "target.model": str(organism(0, "city"))}
    found = compared((*RECIPES, *CHAINS), "sides-city", 1, city)
    return {"sides": found["sides"], "differences": found["differences"], "rows": [], "targets": []}


def _in_time(minutes: float) -> bool:
    return minutes <= MINUTES


def compared(recipes: tuple[str, ...], place: str, seeds: int, given: Mapping[str, str] | None = None) -> Row:
    """The comparison as the command prints it. Raises RuntimeError."""
    sets = [word for key, value in {**CHANGES, **(given or {})}.items() for word in ("--set", f"{key}={value}")]
    numbers = ",".join(map(str, range(seeds)))
    ended = charter(
        "compare", *recipes, "--seeds", numbers, "--out", str(RUNS / place), "--json", "--quiet", *sets
    )  # fmt: skip
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr.strip()[-2000:])
    read: Row = json.loads(ended.stdout)
    for difference in read["differences"]:
        difference["test"] = SIGN_FLIP
    for side in read["sides"]:
        side["runs"] = len(side["runs"])
    return read
