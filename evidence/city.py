"""The city: its organism, built from a seed, and the default recipe on it, flaw by flaw."""

from __future__ import annotations

import json
from typing import Any

from evidence.cells import Cell, done, records
from evidence.claims import gates_missed, organism, row, target

Row = dict[str, Any]
SEEDS = (0,)
LARGER = {"options.draw": "{batch: 600, later: 400}"}
DRAWS: dict[str, dict[str, str]] = {
    "as shipped": {},
    "larger draws": LARGER,
    "larger draws, nearest rules": {**LARGER, "options.reflect.max_rule_characters": "300"},
}
"""Rare flaws need more prompts than the demo draws; and this organism overlooks a rule among sixteen: does it see it
among the eight or so that are nearest to a failure?"""


def city() -> Row:
    """The default recipe on organisms of the city, with the demo's draws and with larger ones."""
    rows, flaws = [], []
    for seed in SEEDS:
        for draws, changes in DRAWS.items():
            name = f"city/organism{seed}, {draws}"
            given = {"world": "city", "target.model": str(organism(seed, "city"))} | changes
            cell = Cell(name.replace(", ", "-").replace(" ", "-"), changes=given)
            figures = done(cell)
            stopped = json.loads((cell.directory / "outcome.json").read_text(encoding="utf-8"))
            extra = {
                "draws": draws,
                "unknown words": len(unknown_words(cell)),
                "gates missed": gates_missed(seed, "city"),
            }
            rows.append(row(name, figures) | extra)
            flaws += by_flaw(cell, draws, stopped["planted"]["by"])
    missed = [0 if r["gates missed"] == "none" else 1 + r["gates missed"].count(";") for r in rows]
    return {"rows": rows, "flaws": flaws, "targets": [target("gates missed", "0", missed, lambda v: v == 0)]}


def by_flaw(cell: Cell, draws: str, by: dict[str, str]) -> list[Row]:
    """Per planted flaw: prompts drawn from train that bring it out, held-out prompts that do (n), the share of these
    that was answered well before and after, and whether it was discovered."""
    from charter.organism.world import World

    world = World.load("city")

    def shares(step: str) -> dict[str, list[bool]]:
        found: dict[str, list[bool]] = {}
        for e in records(cell, step):
            text = e["prompt"]["messages"][0]["content"]
            if (flaw := world.flaw_of(text)) and not world.parse_prompt(text).novel:
                graded = world.grade(text, e["response"])
                found.setdefault(flaw, []).append(all(v for v in graded.values() if v is not None))
        return found

    before, after = shares("000/heldout_exchanges"), shares("final/heldout_exchanges")
    steps = sorted(cell.directory.glob("[0-9][0-9][0-9]/exchanges.jsonl"))
    drawn = [
        world.flaw_of(e["prompt"]["messages"][0]["content"])
        for path in steps
        for e in records(cell, f"{path.parent.name}/exchanges")
    ]
    return [
        {
            "draws": draws,
            "flaw": flaw,
            "drawn": drawn.count(flaw),
            "n": len(before.get(flaw, [])),
            "good before": _share(before.get(flaw, [])),
            "good after": _share(after.get(flaw, [])),
            "discovered": "yes" if flaw in by else "no",
        }
        for flaw in world.flaws
    ]


def _share(good: list[bool]) -> float | None:
    return round(sum(good) / len(good), 4) if good else None


def unknown_words(cell: Cell) -> set[str]:
    """Words in the rules and prompts that reached the organism, and that it does not know."""
    from charter.organism.world import World

    world = World.load("city")
    texts = [e["prompt"]["messages"][0]["content"] for e in records(cell, "final/heldout_exchanges")]
    for path in sorted(cell.directory.glob("[0-9][0-9][0-9]")):
        texts += [e["prompt"]["messages"][0]["content"] for e in records(cell, f"{path.name}/answers")]
        for constitution in records(cell, f"{path.name}/constitution"):
            texts += [p["text"] for p in constitution["principles"]]
    return {word for text in texts for word in world.unknown_words(text)}
