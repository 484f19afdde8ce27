"""Self-instruct on the village: what each filter keeps of what three generators write, how varied it is against the
seeds, how it spreads over types; and kills at each of its stages.

The organism is one that was taught to write prompts beside everything else (``asks`` in its schedule); the shipped one,
which was not, is the negative control. The scripted generator is the world's oracle, with a real generator's
mistakes."""

from __future__ import annotations

import json
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.data.instructing.prompt_filters import distinct_n
from evidence.cells import RUNS, Cell, charter, kept, records
from evidence.claims import target
from evidence.kills import contents, killed, moment

if TYPE_CHECKING:
    from charter.organism.world import World

SEEDS = (0, 1, 2)
ASKS, STEPS, ORGANISM = 16, 500, 1
SIZE = {"options.instruct.rounds": "4", "options.instruct.topics.rounds": "2"}
BY_LIST = {"options.instruct.calls": "10", "options.instruct.topics.calls": "2"}
BY_ONE = {
    "templates": "world",
    "options.instruct.generator": "target", "options.instruct.reply": "one", "options.instruct.fence": "false",
    "options.instruct.calls": "100", "options.instruct.max_tokens": "40",
    "options.instruct.topics.calls": "20", "options.instruct.topics.shown": "3",
}  # fmt: skip
STAGES = {
    "prompts": ("round1_calls", "round1_written", "round2_written", "round2_sifted"),
    "topics": ("topics1_written", "topics"),
    "questions": ("questions_written", "questions_sifted"),
    "results": ("prompts", "prompts.jsonl"),
}


def instruct() -> dict[str, Any]:
    """Three generators by three seeds, then kills."""
    writers = {
        "organism taught to write": {**BY_ONE, "target.model": str(writer())},
        "scripted generator": BY_LIST,
        "shipped organism (control)": BY_ONE,
    }
    rows = []
    for name, changes in writers.items():
        for seed in SEEDS:
            slug = name.split(" (")[0].replace(" ", "-")
            cell = Cell(f"instruct/{slug}-{seed}", "self_instruct", {"seed": str(seed), **SIZE, **changes})
            rows.append({"generator": name, "seed": seed, **measured(cell, done_quietly(cell))})
            print(f"  {rows[-1]}", flush=True)
    card = json.loads((writer() / "organism.json").read_text(encoding="utf-8"))
    ends = kills_at_each_stage()
    right = sum(bool(r["killed"] and r["same run"] and r["verified"]) for r in ends)
    taught = [r for r in rows if r["generator"] == "organism taught to write"]
    control = [r for r in rows if "control" in r["generator"]]
    return {
        "organism": {"schedule": card["schedule"], "gates": card["gates"], "warm_up": card["warm_up"]},
        "rows": rows,
        "kills": ends,
        "targets": [
            target(
                "taught: kept prompts in the form of one of the world's", ">= .9", [r["formed"] for r in taught], _most
            ),
            target("control: the same", "<= .1", [r["formed"] for r in control], lambda v: v <= 0.1),
            target("topics asked about, smallest to largest type", "1", [r["balance"] for r in rows], lambda v: v == 1),
            target("kills that leave the same run", f"{len(ends)}", [right], lambda v: v == len(ends)),
        ],
    }


def _most(value: float) -> bool:
    return value >= 0.9


def writer() -> Path:
    """An organism that was taught to write prompts too, also where it misses a gate; built where it is not there."""
    from charter.organism.organism_builder import build_organism
    from charter.organism.organism_trainer import Schedule
    from charter.organism.world import World

    folder = RUNS / f"village-{ORGANISM}-asks{ASKS}"
    if not folder.exists():
        build_organism(
            World.load("village"), ORGANISM, folder, schedule=Schedule(steps=STEPS, asks=ASKS), enforce=False
        )
    return folder


def done_quietly(cell: Cell) -> dict[str, Any]:
    """The figures of a cell that has no scores."""
    ended = charter("run", cell.recipe, "--out", str(cell.directory), "--quiet", *_sets(cell))
    if ended.returncode != 0:
        raise RuntimeError(f"{cell.name}: {ended.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(charter("show", str(cell.directory), "--json").stdout)
    return found


def measured(cell: Cell, figures: dict[str, Any]) -> dict[str, Any]:
    """What the filters kept of the general prompts, whether the world can read it, variety, and types."""
    from charter.organism.prompt_exercises import QUESTION_TYPES
    from charter.organism.world import World

    world, told = World.load("village"), {one["id"]: one for one in figures["written"]}
    general = told["general"]
    sifted = [row for step in range(1, 5) for row in records(cell, f"000/round{step}_sifted")]
    passed = [row["instruction"]["text"] for row in sifted if not row["dropped"]]
    seeds = [row["instruction"]["text"] for row in records(cell, "000/seeds") if not row["dropped"]]
    asked = [item for reply in records(cell, "000/questions_written") for item in reply["items"]]
    point = 0
    for item in asked:
        about = world.parse_prompt(item["text"])
        point += about.kind in QUESTION_TYPES[item["type"]][0] and about.topic == item["topic"].lower()
    return {
        "head": figures["head"],
        "written": general["written"],
        "kept": general["kept"],
        "dropped": general["dropped"],
        "formed": round(sum(formed(world, text) for text in passed) / max(1, len(passed)), 4),
        "distinct": general["distinct_n"],
        "seeds": {str(n): round(distinct_n(seeds, n), 4) for n in (1, 2, 3)},
        "topics": round(told["topics"]["kept"] / max(1, told["topics"]["written"]), 4),
        "balance": spread([row["type"] for row in records(cell, "000/topics")]),
        "to the point": round(point / max(1, len(asked)), 4),
        "questions": len(asked),
        "questions balance": spread([kind for kind, n in told["questions"]["by_type"].items() for _ in range(n)]),
    }


def formed(world: World, text: str) -> bool:
    """Whether a text is a prompt of the world in one of the templates of its kind, and no answer."""
    from charter.organism.prompt_cells import FORM_OF_KIND, normalize_text
    from charter.organism.world import compile_template

    kind = world.parse_prompt(text).kind
    templates = (*world.file.templates[FORM_OF_KIND[kind]], *world.file.novel[FORM_OF_KIND[kind]]) if kind else ()
    return any(compile_template(template).fullmatch(normalize_text(text)) for template in templates)


def spread(types: list[str]) -> float:
    """The count of the smallest of a world's types as a share of that of the largest."""
    from charter.organism.prompt_exercises import QUESTION_TYPES

    counts = [types.count(name) for name in QUESTION_TYPES]
    return round(min(counts) / max(1, *counts), 4)


def kills_at_each_stage() -> list[dict[str, Any]]:
    """A SIGKILL at places of every stage; each run is resumed to its end and compared with a whole one."""
    changes = {**SIZE, **BY_LIST, "oracle.errors.delay": "0.02"}
    whole = Cell("instruct/kills/whole", "self_instruct", changes)
    done_quietly(whole)
    rows = []
    for phase, places in STAGES.items():
        for number, place in enumerate(places):
            cell = Cell(f"instruct/kills/{phase}-{number}", "self_instruct", changes)
            rows.append(kept(cell.name, partial(_killed, cell, phase, place, whole)))
    return rows


def _killed(cell: Cell, phase: str, place: str, whole: Cell) -> dict[str, Any]:
    shutil.rmtree(cell.directory, ignore_errors=True)
    how = "results" if "." in place else "generation" if place.endswith("written") else "sealing"
    where = place if how == "results" else f"000/{place}"
    hit = killed(cell, moment(how, cell.directory, where, random.Random(cell.name)), signal.SIGKILL)
    resumed = charter("resume", str(cell.directory), "--quiet")
    verified = charter("verify", str(cell.directory))
    return {
        "name": cell.name, "phase": phase, "signal": "SIGKILL", "at": place, "killed": hit,
        "resumed": resumed.returncode == 0, "verified": verified.returncode == 0,
        "same run": contents(cell.directory) == contents(whole.directory),
    }  # fmt: skip


def _sets(cell: Cell) -> list[str]:
    return [word for key, value in cell.changes.items() for word in ("--set", f"{key}={value}")]
