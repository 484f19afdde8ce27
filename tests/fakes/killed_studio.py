"""Kills a real studio while it takes down votes and labels, starts it again, and looks for what was acknowledged.

    python -m tests.fakes.killed_studio FOLDER      prints a JSON object

A moment is a call of the studio's process that changes the disk; the signal comes before, within or after it. Each
studio is forked from one warm process and serves over real HTTP.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from charter.jobs.review_desk import ReviewDesk
from charter.jobs.rule_votes import read_log
from charter.records.rule_decisions import digest_wording
from charter.reports.integrity import verify_run
from charter.runs.reader import RunReader
from charter.runs.stored_queues import read_queue
from charter.studio.serving import ListeningPlace, serve_studio
from tests.fakes.killed_reviews import MODES
from tests.fakes.killed_runs import Trap
from tests.fakes.reviewed_runs import make_queue, record_run

Act = tuple[str, str, str]
"""Person, address and what the form says, as JSON."""
WARM = (
    *("uvicorn.protocols.http.auto", "uvicorn.loops.auto", "fastapi", "charter.studio.application"),
    *("anyio._backends._asyncio", "jinja2", "scipy.special"),
)
"""What a studio imports when it serves: once, and not in every child."""


@dataclass
class Visitor:
    """Somebody's browser, reduced to its cookie and the mark of its session."""

    origin: str
    cookie: str = ""
    mark: str = ""

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and body. Raises OSError or HTTPException where the studio is gone."""
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=30)
        headers = {"Cookie": self.cookie, "Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode({"csrf": self.mark, **fields}) if fields is not None else None
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if given := answer.getheader("set-cookie"):
                self.cookie = given.split(";")[0]
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@dataclass
class Served:
    """A forked studio: its process, and the entrances by person."""

    pid: int
    entrances: dict[str, str] = field(default_factory=dict)

    def enter(self, person: str) -> Visitor:
        """Comes in as somebody."""
        origin, _, token = self.entrances[person].partition("/enter")
        visitor = Visitor(origin)
        visitor.ask("GET", f"/enter{token}")
        found = re.search(r'name="csrf" value="([^"]+)"', visitor.ask("GET", "/")[1])
        visitor.mark = found[1] if found else ""
        return visitor

    def end(self, is_gone: bool) -> None:
        """Waits for its end; one that is not gone is killed first."""
        if not is_gone:
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def serve(root: Path, trap: Trap | None = None) -> Served:
    """Forks a studio that serves."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            with os.fdopen(writing, "w", buffering=1) as told:

                def announce(access: Any, url: str) -> None:
                    told.write(f"{access.person} {url}\n")

                if trap is not None:
                    trap.set()
                serve_studio(root, ("approver:Ada", "reviewer:Rob"), ListeningPlace(), announce)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as lines:
        entrances = dict(lines.readline().split() for _ in range(2))
    return Served(pid, entrances)


def list_acts(root: Path) -> list[Act]:
    """A vote, a label and another vote."""
    reading = RunReader(root / "run")
    items = [item.id for item in read_queue(root / "run", "q1").items]
    acts = list[Act]()
    for rule, item in zip(reading.constitution.principles[:2], items[:2], strict=True):
        said = {"action": "approve", "rule": rule.id, "wording": digest_wording(rule), "note": "as I see it"}
        acts.append(("Ada", "/runs/run/votes", json.dumps(said)))
        acts.append(("Rob", f"/runs/run/reviews/q1/items/{item}", json.dumps({"label": "harmful"})))
    return acts[:3]


def perform(served: Served, acts: list[Act]) -> list[Act]:
    """Does one after the other until the studio is gone; those that it acknowledged."""
    done = list[Act]()
    try:
        visitors = {person: served.enter(person) for person in served.entrances}
        for act in acts:
            person, path, said = act
            status, body = visitors[person].ask("POST", path, json.loads(said))
            if status != 303:
                raise AssertionError(f"{act}: {status} {body[:2000]}")
            done.append(act)
    except (OSError, http.client.HTTPException):
        pass
    return done


def count_acts(root: Path) -> Counter[tuple[str, str]]:
    """How often each vote and each label stands in the journals: by the rule or the item, and the person."""
    votes = [(e.decision.principle, e.decision.person) for e in read_log(RunReader(root / "run"))]
    with ReviewDesk(root / "run", "q1") as desk:
        labels = [(item, rater) for item, said in desk.read_board().labels.items() for rater in said]
    return Counter([*votes, *labels])


def name_act(act: Act) -> tuple[str, str]:
    """What ``count_acts`` calls it."""
    person, path, said = act
    return json.loads(said).get("rule") or path.rpartition("/")[2], person


def find_wrong(root: Path, done: list[Act]) -> list[str]:
    """What is not as it must be after a kill."""
    wrong = [str(fault) for fault in verify_run(root / "run").faults if fault.what != "bytes after the last newline"]
    if wrong:
        return wrong
    kept, told = count_acts(root), {name_act(act) for act in done}
    wrong += [f"{act} was acknowledged and stands {kept[act]} times" for act in told if kept[act] != 1]
    wrong += [f"{act} stands {count} times" for act, count in kept.items() if count > 1]
    return wrong + ([f"{len(kept)} stand, {len(told)} acknowledged"] if len(kept) > len(told) + 1 else [])


def kill_studios(folder: Path) -> dict[str, Any]:
    """A studio is killed at each moment that changes the disk; another one goes on with what is left to do."""
    source = folder / "source"
    record_run(source / "run")
    make_queue(source / "run", count=2)
    acts, wrong, hits = list_acts(source), list[str](), 0
    for module in WARM:
        import_module(module)
    for at in itertools.count(1):
        ended = list[bool]()
        for mode in MODES:
            root = Path(shutil.copytree(source, folder / f"{at}-{mode}"))
            served = serve(root, Trap(at=at, mode=mode))
            done = perform(served, acts)
            ended.append(len(done) < len(acts))
            served.end(is_gone=ended[-1])
            wrong += [f"{at} {mode}: {what}" for what in find_wrong(root, done)]
            again = serve(root)
            left = [act for act in acts if act not in done and not count_acts(root)[name_act(act)]]
            more = perform(again, left)
            again.end(is_gone=more != left)
            wrong += [f"{at} {mode}: it does not go on"] if more != left or not verify_run(root / "run").ok else []
            wrong += [f"{at} {mode}: {what}" for what in find_wrong(root, acts)]
            shutil.rmtree(root)
        hits += sum(ended)
        if not any(ended):
            return {"moments": at - 1, "kills": hits, "wrong": wrong}
    raise AssertionError("unreachable")


if __name__ == "__main__":
    print(json.dumps(kill_studios(Path(sys.argv[1]))))
