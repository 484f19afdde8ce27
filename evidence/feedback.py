"""Feedback under a kill: 10,000 rows from 50 clients, and SIGKILL of the service in the middle, on both databases."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from typing import Any

from tests.fakes.killed_feedback import kill_in_the_middle
from tests.fakes.postgres_server import is_installed, serve_postgres

from evidence.cells import RUNS, kept

POSTS, CLIENTS = 10_000, 50


def feedback() -> dict[str, Any]:
    """Every acknowledged row must be there once; PostgreSQL is left out where it is not installed."""
    kinds = ["SQLite", *(["PostgreSQL"] if is_installed() else [])]
    rows = [kept(f"feedback/{kind.lower()}", partial(_measure, kind)) for kind in kinds]
    good = sum(_is_whole(row) for row in rows)
    targets = [
        {"what": "databases with each acknowledged row once", "target": "2", "seen": [good], "met": good == 2},
        {
            "what": "kills while half of the rows were out",
            "target": "2",
            "seen": [sum(row["killed"] for row in rows)],
            "met": sum(row["killed"] for row in rows) == 2,
        },
    ]
    return {"rows": rows, "targets": targets}


def _measure(kind: str) -> dict[str, Any]:
    with ExitStack() as opened:
        if kind == "PostgreSQL":
            place = opened.enter_context(serve_postgres())
        else:
            folder = RUNS / "feedback" / "store"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            place = str(folder / "feedback.db")
        return {"name": kind, **kill_in_the_middle(place, POSTS, CLIENTS)}


def _is_whole(row: dict[str, Any]) -> bool:
    return bool(row["acknowledged"] == row["rows"] == POSTS and row["lost"] == row["twice"] == row["foreign"] == 0)
