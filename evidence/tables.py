"""Tables of the documentation, made from ``docs/evidence/*.json`` between ``<!-- evidence:NAME -->`` marks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evidence import audit_tables, real_tables, scale_tables, side_tables, sifting
from evidence import markdown as md
from evidence.cells import ROOT
from evidence.markdown import SHOWN
from evidence.papers import papers

PAGES = (
    *(
        "README.md",
        "docs/evidence.md",
        "docs/organism.md",
        "docs/recipes.md",
        "docs/attacks.md",
        "docs/oracles.md",
        "docs/engines.md",
        "docs/feedback.md",
        "docs/preferences.md",
    ),
    *(
        "docs/papers.md",
        "docs/methods.md",
        "docs/gates.md",
        "docs/curation.md",
        "docs/self_align.md",
        "docs/cai.md",
        "docs/self_instruct.md",
        "docs/audits.md",
        "docs/benchmarks.md",
        "docs/scale.md",
        "docs/judging.md",
        "docs/real.md",
    ),
)
MARK = re.compile(r"(<!-- evidence:([a-z_-]+) -->\n).*?(<!-- /evidence -->)", re.DOTALL)

WRITTEN = {
    "of the kept, in the form of a prompt of the village": "formed",
    "topics kept, of those named": "topics",
    "topics asked about, smallest type to largest": "balance",
    "questions on their type and topic": "to the point",
    "questions kept, smallest type to largest": "questions balance",
}


def write() -> None:
    """Fills the marks of every page."""
    for page in PAGES:
        path = ROOT / page
        if path.exists():
            path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str) -> str:
    """A page with the tables that its marks name; a mark whose evidence is not there yet says so."""
    return MARK.sub(lambda m: f"{m[1]}{table(m[2])}\n{m[3]}", text)


def table(name: str) -> str:
    """One table as Markdown."""
    if name == "papers":
        return papers()
    claim, _, part = name.partition("-")
    path = ROOT / "docs" / "evidence" / f"{claim}.json"
    if not path.exists():
        return f"(not measured yet: `python -m evidence {claim}`)"
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = {
        "summary": _summary,
        "targets": _targets,
        "flaws": _flaws,
        "kills": _killed,
        "losses": scale_tables.table_losses,
        "sizes": scale_tables.table_sizes,
    }
    if part in parts:
        return parts[part](found)
    if claim == "curation":
        return sifting.table(part, found, md.lines, md.share)
    special = {
        "methods": _methods,
        "kills": _kills,
        "grid": _grid,
        "attacks": _attacks,
        "audit": audit_tables.table,
        "http": _http,
        "feedback": _feedback,
        "gates": _gates,
        "benchmarks": _benchmarks,
        "sides": side_tables.table,
        "chains": side_tables.table,
        "sides_city": side_tables.table,
        "self_align": _ruled,
        "cai": _ruled,
        "instruct": _instruct,
        "meaning": _meaning,
        "nearness": _nearness,
        "judge": _judge,
        "equal_answers": _equal_answers,
        "served_runs": _plain_rows,
        "real": real_tables.table,
        "real_kills": _plain_rows,
        "real_rules": _plain_rows,
        "servers": scale_tables.table_servers,
        "many_servers": scale_tables.table_many_servers,
        "executor": scale_tables.table_executor,
        "placement": scale_tables.table_placement,
        "cluster": scale_tables.table_cluster,
    }.get(claim)
    return special(found) if special is not None else _rows(found)


def _summary(found: dict[str, Any]) -> str:
    """Before and after, over all runs: smallest to largest."""
    rows = found["rows"]
    lines = [
        (
            label,
            md.spread([r[f"{m} before"] for r in rows]),
            md.spread([r[f"{m} after"] for r in rows]),
            rows[0][f"{m} n"],
        )
        for m, label in SHOWN.items()
    ]
    return md.lines(("held-out", "before", "after", "n"), lines)


def _targets(found: dict[str, Any]) -> str:
    rows = [
        (t["what"], t["target"], ", ".join(map(md.text, t["seen"])), "yes" if t["met"] else "**no**")
        for t in found["targets"]
    ]
    return md.lines(("what", "mark", "seen", "met"), rows)


def _rows(found: dict[str, Any]) -> str:
    known = [m for m in SHOWN if any(r.get(f"{m} after") is not None for r in found["rows"])]
    plain = {"name", "iterations", "flaws", "discovered", "unjudged", "calls", "calls_measuring", "seconds", "head"}
    extra = list(dict.fromkeys(k for r in found["rows"] for k in r if k not in plain and k.split(" ")[0] not in SHOWN))
    head = ["run", *(SHOWN[m] for m in known), "discovered", "calls", "measuring", "seconds", *extra]
    rows = [
        [
            r["name"],
            *(f"{md.share(r.get(f'{m} before'))} → {md.share(r.get(f'{m} after'))}" for m in known),
            f"{r['discovered']} of {r['flaws']}" if r.get("flaws") else None,
            *(r.get(k) for k in ("calls", "calls_measuring", "seconds", *extra)),
        ]
        for r in found["rows"]
    ]
    return md.lines(head, rows)


def _flaws(found: dict[str, Any]) -> str:
    """One line per planted flaw, a group of columns for each size of the draws."""
    kinds = list(dict.fromkeys(f["draws"] for f in found["flaws"]))
    parts = ("drawn", "discovered", "good after")
    head = ["flaw", "n", "good before", *(f"{part}, {kind}" for kind in kinds for part in parts)]
    lines = []
    for flaw in dict.fromkeys(f["flaw"] for f in found["flaws"]):
        rows = [next(f for f in found["flaws"] if (f["flaw"], f["draws"]) == (flaw, k)) for k in kinds]
        own = [cell for r in rows for cell in (r["drawn"], r["discovered"], md.share(r["good after"]))]
        lines.append([flaw, rows[0]["n"], md.share(rows[0]["good before"]), *own])
    return md.lines(head, lines)


def _ruled(found: dict[str, Any]) -> str:
    head = ["run", *SHOWN.values(), "lines by people", "kept", "dropped by filters", "rows", "oracle calls", "seconds"]
    rows = [
        [
            r["name"],
            *(f"{md.share(r.get(f'{m} before'))} → {md.share(r.get(f'{m} after'))}" for m in SHOWN),
            *(r[key] for key in ("lines", "kept", "filtered", "mix", "calls", "seconds")),
        ]
        for r in found["rows"]
    ]
    kills = [(k["at"], *("yes" if k[key] else "no" for key in ("killed", "same run"))) for k in found["kills"]]
    return f"{md.lines(head, rows)}\n\n{md.lines(('killed at', 'in time', 'same run after resume'), kills)}"


def _methods(found: dict[str, Any]) -> str:
    names = list(dict.fromkeys(r["name"] for r in found["rows"]))
    head = ["from paper to default, switch by switch", *SHOWN.values(), "calls", "seconds"]
    lines = []
    for name in names:
        rows = [r for r in found["rows"] if r["name"] == name]
        calls, seconds = [r["calls"] for r in rows], [r["seconds"] for r in rows]
        lines.append(
            [
                name,
                *(md.spread([r[f"{m} after"] for r in rows]) for m in SHOWN),
                f"{min(calls)} to {max(calls)}",
                f"{min(seconds):.0f} to {max(seconds):.0f}",
            ]
        )
    return md.lines(head, lines)


def _kills(found: dict[str, Any]) -> str:
    phases = list(dict.fromkeys((r["phase"], r["signal"]) for r in found["rows"]))
    lines = []
    for phase, signal in phases:
        rows = [r for r in found["rows"] if (r["phase"], r["signal"]) == (phase, signal)]
        lines.append((phase, signal, len(rows), sum(r["killed"] for r in rows), sum(r["same run"] for r in rows)))
    return md.lines(("phase", "signal", "runs", "killed in time", "same run after resume"), lines)


def _feedback(found: dict[str, Any]) -> str:
    keys = ("posts", "clients", "acknowledged before the kill", "without an answer", "rows", "lost", "twice", "seconds")
    return md.lines(("database", *keys), [(r["name"], *(r[key] for key in keys)) for r in found["rows"]])


def _killed(found: dict[str, Any]) -> str:
    return _kills({"rows": found["kills"]})


def _plain_rows(found: dict[str, Any]) -> str:
    """The rows as they are, a column for each key."""
    keys = list(dict.fromkeys(key for row in found["rows"] for key in row))
    told = {True: "yes", False: "no"}
    return md.lines(keys, [[told[v] if isinstance(v := r.get(k), bool) else v for k in keys] for r in found["rows"]])


def _http(found: dict[str, Any]) -> str:
    head = ("run", "same run as in process", "verified", "calls as they went", "paid twice")
    rows = []
    for r in found["rows"]:
        went = ", ".join(f"{what} {count}" for what, count in r["calls"].items())
        same = (
            "yes" if r["same run"] else f"no: {r['unjudged']} of {r['verdicts']} unjudged" if "verdicts" in r else "no"
        )
        rows.append((r["name"], same, "yes" if r["verified"] else "no", went, r["paid twice"]))
    kills = []
    for r in found["kills"]:
        twice = f"{r['calls paid twice']['all']} (most in a run {r['calls paid twice']['most in a run']})"
        kills.append((r["name"], r["runs"], r["killed"], r["same run"], r["calls of a run"], twice))
    names = ("kills", "runs", "killed in time", "same run after resume", "calls of a run", "calls paid twice")
    return f"{md.lines(head, rows)}\n\n{md.lines(names, kills)}"


def _gates(found: dict[str, Any]) -> str:
    head = ("run", "seed", "harmlessness", "worst metric against the start", "lost", "beyond its margin")
    lines = [
        (
            *(r["kind"], r["seed"]),
            f"{md.share(r['harmlessness before'])} → {md.share(r['harmlessness after'])}",
            *(r["worst metric"].replace("_", " "), _points(r["its loss"]), _points(max(0.0, r["beyond"]))),
            *(r["rolled back"], r["false alarms"], "yes" if r["finished by giving up"] else "no"),
        )
        for r in found["rows"]
    ]
    return md.lines((*head, "rolled back", "false alarms", "gave up"), lines)


def _points(value: float) -> str:
    return f"{100 * value + 0.0:.1f}"


def _grid(found: dict[str, Any]) -> str:
    head = ["recipe", "learning rate", *(f"{SHOWN[m]} (gate)" for m in SHOWN)]
    keys = list(dict.fromkeys((r["recipe"], r["rate"]) for r in found["rows"]))
    lines = []
    for recipe, rate in keys:
        rows = [r for r in found["rows"] if (r["recipe"], r["rate"]) == (recipe, rate)]
        lines.append([recipe, rate, *(md.spread([r[m] for r in rows]) for m in SHOWN)])
    return md.lines(head, lines)


def _instruct(found: dict[str, Any]) -> str:
    """A line for each generator, smallest to largest over the seeds."""
    names = list(dict.fromkeys(r["generator"] for r in found["rows"]))
    groups = [[r for r in found["rows"] if r["generator"] == name] for name in names]
    drops = sorted({reason for r in found["rows"] for reason in r["dropped"]})
    shares = [
        ("kept", [[r["kept"] / r["written"] for r in rows] for rows in groups]),
        *((f"dropped: {d}", [[r["dropped"].get(d, 0) / r["written"] for r in rows] for rows in groups]) for d in drops),
        *((what, [[r[key] for r in rows] for rows in groups]) for what, key in WRITTEN.items()),
    ]
    lines: list[list[Any]] = [
        ["prompts written, each seed", *(", ".join(str(r["written"]) for r in rows) for rows in groups)],
        *([what, *map(md.spread, values)] for what, values in shares),
    ]
    for n in ("1", "2", "3"):
        told = [_span([r["distinct"][n] for r in rows]) for rows in groups]
        lines.append([f"distinct {n}-grams (seeds: {_span([r['seeds'][n] for r in found['rows']])})", *told])
    return md.lines(("", *names), lines)


def _nearness(found: dict[str, Any]) -> str:
    """A line for each thing that is looked for and each way."""
    keys = ("what", "by", "right", "lowest", "highest")
    return md.lines(keys, [[r[key] for key in keys] for r in found["rows"]])


def _judge(found: dict[str, Any]) -> str:
    """A line for each model that was held out and each reading."""
    keys = ("held out", "reading", "n", "answers caught", "refusals cleared", "balanced accuracy", "auc", "kappa")
    rows = [
        [" of ".join(map(str, v)) if isinstance(v := r.get(k, "-"), list) else v for k in keys] for r in found["rows"]
    ]
    return md.lines(keys, rows)


def _meaning(found: dict[str, Any]) -> str:
    """A line for each set, size and way."""
    keys = ("set", "n", "by", "topics", "clusters", "of one", "V", "adjusted")
    return md.lines(keys, [[r.get(key, "-") for key in keys] for r in found["rows"]])


def _equal_answers(found: dict[str, Any]) -> str:
    """A line for each way in which the answers were made."""
    keys = ("model", "batch", "tokens", "beginning", "greedy equal", "sampled equal", "n", "distinct texts")
    return md.lines(keys, [[r[key] for key in keys] for r in found["rows"]])


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if round(low, 2) == round(high, 2) else f"{low:.2f} to {high:.2f}"


def _attacks(found: dict[str, Any]) -> str:
    lines = []
    for kind, whole in found["summary"].items():
        rows = [r for r in found["rows"] if r["kind"] == kind]
        each = ", ".join(str(r["attempts"] or f"> {found['most']}") for r in rows)
        known = all(r["attempts"] for r in rows)
        spread = f"{whole['mean']:.0f} ({whole['low']:.0f} to {whole['high']:.0f})" if known else f"> {found['most']}"
        lines.append((kind, len(rows), each, spread))
    return md.lines(("chosen by", "seeds", "prompts, each seed", "mean (95 % interval)"), lines)


def pages() -> list[Path]:
    """The pages that hold tables."""
    return [ROOT / page for page in PAGES if (ROOT / page).exists()]


def _benchmarks(found: dict[str, Any]) -> str:
    """Every way against the harness's command, and what guessing gives."""
    ways = [
        (
            r["way"],
            ", ".join(f"{task} {n}" for task, n in r["documents"].items()),
            r["figures"],
            f"{r['largest difference']:.1e}",
        )
        for r in found["rows"]
    ]
    guesses = [
        (
            g["protocol"],
            g["scorers"],
            g["n"],
            md.share(g["share"]),
            f"{md.share(g['low'])} to {md.share(g['high'])}",
            md.share(g["expected"]),
        )
        for g in found["guesses"]
    ]
    return "\n\n".join(
        [
            md.lines(("charter against lm-eval's command", "documents", "figures", "largest difference"), ways),
            md.lines(("guessing", "random scorers", "n", "right", "95 % interval", "expected"), guesses),
        ]
    )
