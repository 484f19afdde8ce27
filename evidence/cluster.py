"""The arithmetic of ``bench.cluster`` against runs of the organism: two small ones set it, a larger one is predicted.

Seconds are those of the processor, so that other work on the machine counts less."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

from bench.__main__ import measured
from bench.cluster import FAILURE_BYTES, PROMPT_BYTES, UnitSeconds, Work, count_work, predict, use_shares

from charter.spec import change_spec, list_recipes, parse_spec, read_spec
from evidence.cells import RUNS, charter, kept

SMALL, MIDDLE, LARGE, DRAWN = 1, 2, 4, 60
"""Times that each size is multiplied by; prompts that the smallest run draws."""
WITHIN = 1.25
"""The prediction may be off by this factor."""
COUNTED = {
    "answers": "answers of the target",
    "calls": "calls of the oracle",
    "rows": "training rows",
    "records": "records",
}
SPENT = {"answer": "target model, s", "call": "oracle, s", "row": "tuning, s"}

Row = dict[str, Any]


def cluster() -> Row:
    """Counts, seconds and memory of a run that is predicted, and of the same run played."""
    small, middle, large = (
        {**kept(f"cluster/{times}", partial(_play, times)), "planned": _plan(times)} for times in (SMALL, MIDDLE, LARGE)
    )
    shares = _find_shares(middle)
    work = use_shares(Work(**large["planned"]), shares)
    seconds = find_seconds(small, middle)
    failing = shares["failing"] * (large["drawn"] - middle["drawn"])
    more = PROMPT_BYTES * (large["planned"]["prompts"] - middle["planned"]["prompts"]) + FAILURE_BYTES * failing
    found = predict(work, seconds, middle["peak memory, MiB"] + more / 2**20)
    rows = [_compare(what, asdict(work)[key], large[what]) for key, what in COUNTED.items()]
    rows.append(_compare("whole run, processor seconds", found.seconds, large["whole run, s"]))
    rows.append(_compare("peak memory, MiB", found.memory, large["peak memory, MiB"]))
    worst = max(max(row["ratio"], 1 / row["ratio"]) for row in rows)
    target = {"what": "largest factor between predicted and seen", "target": f"<= {WITHIN}", "seen": [round(worst, 2)],
              "met": worst <= WITHIN}  # fmt: skip
    return {"sizes": [SMALL, MIDDLE, LARGE], "rows": rows, "shares": shares, "targets": [target]}


def _play(times: int) -> Row:
    """A run of so many times the smallest size: what it asked, and what it took."""
    found = measured(RUNS / "cluster" / f"run-{times}", *_list_words(_change(times)))
    return {**found, "drawn": DRAWN * times}


def _plan(times: int) -> dict[str, float]:
    """What it might ask."""
    changes = _change(times)
    planned = charter("run", "iteralign", "--dry-run", "--json", *_list_words(changes))
    spec = parse_spec(change_spec(read_spec(list_recipes()["iteralign"])[1], changes))
    return asdict(count_work(spec, json.loads(planned.stdout)))


def _list_words(changes: dict[str, str]) -> list[str]:
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


def _change(times: int) -> dict[str, str]:
    return {
        "prompts.heldout": str(20 * times),
        "prompts.gate": str(20 * times),
        "options.draw.batch": str(DRAWN * times),
        "options.replay.fresh": str(24 * times),
        "options.measure.efficacy": "false",
        "options.stop.iterations": "1",
    }


def _find_shares(played: Row) -> dict[str, float]:
    """What was asked of what might have been, by kind; and the share of the drawn prompts that failed."""
    shares = {key: round(played[what] / played["planned"][key], 3) for key, what in COUNTED.items()}
    return shares | {"failing": round(played["failures"] / played["drawn"], 3)}


def find_seconds(small: Row, middle: Row) -> UnitSeconds:
    """Seconds for one more of each, and the rest, which a run takes whatever its size."""
    spent = {"record": "own, s", **SPENT}
    counted = {"answer": "answers", "call": "calls", "row": "rows", "record": "records"}
    units, fixed = {}, 0.0
    for unit, seconds in spent.items():
        what = COUNTED[counted[unit]]
        first, second = (_read_seconds(played, seconds) for played in (small, middle))
        units[unit] = max(0.0, (second - first) / (middle[what] - small[what]))
        fixed += second - units[unit] * middle[what]
    return UnitSeconds(**units, fixed=fixed)


def _read_seconds(played: Row, what: str) -> float:
    own = played["whole run, s"] - sum(played[name] for name in SPENT.values())
    return float(own if what == "own, s" else played[what])


def _compare(what: str, predicted: float, seen: float) -> Row:
    return {"what": what, "predicted": round(predicted, 1), "seen": round(seen, 1), "ratio": round(predicted / seen, 2)}
