"""Tables about scale: executors, real servers, and what a run would take on a cluster."""

from __future__ import annotations

import re
from typing import Any

from bench.cluster import tabulate

from evidence import markdown as md


def table_executor(found: dict[str, Any]) -> str:
    """A line for each run in a process and on a cluster."""
    rows = [
        (r["name"], r["records"], "yes" if r["same run"] else "no", r["seconds in process"], r["seconds on ray"])
        for r in found["rows"]
    ]
    return md.lines(("run", "records", "same run", "seconds in process", "seconds on two workers"), rows)


def table_placement(found: dict[str, Any]) -> str:
    """A line for each run: what is equal, and how far the probabilities of the rest differ."""
    head = ("run", "records", "equal", "largest difference", "seconds in process", "seconds on two workers")
    rows = [
        (r["name"], r["of"], r["equal"], f"{r['difference']:.0e}" if r["difference"] else "-",
         r["seconds in process"], r["seconds on ray"])
        for r in found["rows"]
    ]  # fmt: skip
    return md.lines(head, rows)


def table_losses(found: dict[str, Any]) -> str:
    """A line for each run that lost something."""
    keys = ("verified", "same run")
    rows = [(r["name"], r["lost"], *("yes" if r[key] else "no" for key in keys)) for r in found["losses"]]
    return md.lines(("what was lost", "how many", "verified", "same run as in one process"), rows)


def table_cluster(found: dict[str, Any]) -> str:
    """What was predicted of a run of the organism, and what was seen."""
    keys = ("what", "predicted", "seen", "ratio")
    return md.lines(keys, [[r[key] for key in keys] for r in found["rows"]])


def table_sizes(found: dict[str, Any]) -> str:
    """A million prompts on four sizes of cluster."""
    return tabulate("8b", 1_000_000, 3.0, found["shares"])


def table_servers(found: dict[str, Any]) -> str:
    """A line for each server, without and with the adapter."""
    rows = []
    for r in found["rows"]:
        first = r.get("first other token")
        place = f"{first[1]:.0f} ({first[0]} to {first[2]})" if first else "-"
        own = f"{r['equal to itself']} of {r['n']}" if "equal to itself" in r else "-"
        rows.append([r["server"], "yes" if r["adapter"] else "no", f"{r['equal']} of {r['n']}", place, own])
    return md.lines(("server", "adapter", "as in process", "first other token", "as itself, asked again"), rows)


def table_many_servers(found: dict[str, Any]) -> str:
    """A line for each run."""
    head = ("servers", "killed", "answers", "tokens a second", "verified", "same records as over one", "it says")
    rows = [
        [
            *(r[key] for key in ("servers", "killed", "answers", "tokens a second")),
            *("yes" if r[key] else "no" for key in ("verified", "same run")),
            "; ".join(md.text(re.sub(r"127.0.0.1:\d+", "a server", note)) for note in r["notes"]) or "-",
        ]
        for r in found["rows"]
    ]
    return md.lines(head, rows)
