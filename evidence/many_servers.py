"""One policy behind several real servers, one of which is killed in the middle: the records of one server.

``CHARTER_LLAMA_SERVER`` names the program ``llama-server``, ``CHARTER_MODELS`` a folder with ``smollm2.gguf``,
``CHARTER_TEST_DATA`` AdvBench and the seed tasks of self-instruct. Judges are the examples' own programs: what is
counted are answers, and not what they are worth.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from evidence.cells import RUNS, Cell, charter, done, kept
from evidence.executor import count_lines, is_same, running
from evidence.servers import LLAMA, SETS

SERVERS, PROMPTS, HELDOUT, TOKENS, KILLED_AFTER = 3, 32, 8, 24, 10
"""Servers; prompts drawn and held out, of each side; tokens of an answer; records after which a server is killed."""
JUDGE = {"model": "python:examples.judge_plugin:judge"}

Row = dict[str, Any]


def many_servers() -> Row:
    """One server, several, and several of which one is killed: records, and tokens a second."""
    rows = [kept("many_servers/one", partial(_play, 1)), kept("many_servers/several", partial(_play, SERVERS))]
    rows.append(kept("many_servers/killed", partial(_play, SERVERS, kill=True)))
    several = rows[1:]
    targets = [
        {
            "what": "runs over several servers with the records of one",
            "target": f"{len(several)}",
            "seen": [sum(row["same run"] for row in several)],
            "met": all(row["same run"] and row["verified"] for row in several),
        },
        {
            "what": "servers killed in the middle of a step, which the run says",
            "target": "1",
            "seen": [sum(row["killed"] for row in rows)],
            "met": rows[-1]["killed"] == 1 and bool(rows[-1]["notes"]),
        },
    ]
    return {"prompts": PROMPTS, "held out": HELDOUT, "tokens": TOKENS, "rows": rows, "targets": targets}


def _play(servers: int, kill: bool = False) -> Row:
    """A run of red teaming over so many servers, from its beginning."""
    changes = {"target.serve_replicas": str(servers)}
    cell = Cell(f"many_servers/run-{servers}{'-killed' if kill else ''}", str(_write_spec()), changes)
    shutil.rmtree(cell.directory, ignore_errors=True)
    killed = _kill_server(cell) if kill else 0
    figures = done(cell)
    took, notes = figures["roles"]["target"], figures["notes"]
    seconds = sum(
        event["seconds"]
        for event in map(json.loads, (cell.directory / "journal.jsonl").read_text(encoding="utf-8").splitlines())
        if event["event"] == "answered" and event["purpose"] == "target"
    )
    whole = Cell("many_servers/run-1", cell.recipe)
    return {
        "servers": servers, "killed": killed, "answers": took["made"], "seconds": round(seconds, 1),
        "tokens a second": round(took["tokens_out"] / seconds, 1), "notes": notes,
        "verified": charter("verify", str(cell.directory)).returncode == 0,
        "same run": is_same(cell.directory, whole.directory),
    }  # fmt: skip


def _kill_server(cell: Cell) -> int:
    """Starts the run, and kills the second server once some answers are there; how many were killed."""
    records, killed = cell.directory / "001/exchanges.jsonl", 0
    with running(cell) as child:
        while child.poll() is None:
            if not killed and count_lines(records) >= KILLED_AFTER:
                os.kill(_list_servers(child.pid)[1], signal.SIGKILL)
                killed = 1
            time.sleep(0.05)
    return killed


def _list_servers(pid: int) -> list[int]:
    """The servers below a process, by their ports."""
    below = [process for process in psutil.Process(pid).children(recursive=True) if process.name() == "llama-server"]
    return [process.pid for process in sorted(below, key=lambda process: process.pid)]


def _write_spec() -> Path:
    """The spec, as a file."""
    data, program = Path(os.environ["CHARTER_TEST_DATA"]), shlex.quote(os.environ["CHARTER_LLAMA_SERVER"])
    spec = {
        "version": 1,
        "method": "red_team",
        "target": {
            "model": str(Path(os.environ["CHARTER_MODELS"]) / "smollm2.gguf"),
            "serve": f"{program} {LLAMA} -np 1 --no-cache-prompt",
            "connections": 2,
        },
        **{role: JUDGE for role in ("oracle", "judge", "evaluator")},
        "prompts": {
            "redteam": [{"name": "advbench", "path": str(data / SETS["advbench"]), "limit": 3 * PROMPTS}],
            "helpful": [{"name": "self-instruct", "path": str(data / SETS["self-instruct"]), "limit": 3 * PROMPTS}],
            "gate": 2,
            "heldout": HELDOUT,
        },
        "scale": {"answer_tokens": TOKENS},
        "options": {"draw": {"batch": PROMPTS}, "contrast": {"count": 0}},
    }
    path = RUNS / "many_servers.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(json.dumps(many_servers(), indent=1))
