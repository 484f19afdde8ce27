"""The oracle in another process, a proxy that makes calls go wrong between: what becomes of the run.

The shipped recipe in process, over HTTP, with 20 % transport faults, with 20 % content faults, and with an oracle that
is away three times; then, on a smaller spec, 20 kills under each kind of fault."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from charter.organism.fault_proxy import FaultRates, ProxyTraffic, run_fault_proxy
from evidence.cells import ROOT, RUNS, charter, kept
from evidence.kills import CHANGES, contents

Row = dict[str, Any]
KILLS = 20
SHARE = 0.2
TRANSPORT = FaultRates(transport=SHARE, hang=3.0, retry_after=1.0)
QUICK = FaultRates(transport=SHARE, hang=3.0, retry_after=0.2)
"""For kills, where many runs are made."""
CONTENT = FaultRates(content=SHARE)
AWAY = 3
PORT = 18431
"""Fixed, so that a run that goes on finds the oracle where it was."""
ORACLE = f"{{model: village, base_url: 'http://127.0.0.1:{PORT}/v1', timeout_s: 2%s}}"
NAMED = ("judge", "proposer", "measurer")
"""Inputs of a seal that name the oracle."""


def http() -> Row:
    """Every row, and what was to be shown."""
    with served() as url:
        kept("http/inside", lambda: {"run": begun("inside", {}, None).name})
        inside = RUNS / "http" / "inside"
        rows = [
            kept("http/over-HTTP", lambda: compared("over HTTP", inside, url, FaultRates())),
            kept("http/transport", lambda: compared("20 % transport faults", inside, url, TRANSPORT)),
            kept("http/away", lambda: away(inside, url)),
            kept("http/content", lambda: spoilt(inside, url)),
        ]
        small = [killed("transport", url, QUICK), killed("content", url, CONTENT)]
    targets = [
        target("the same run as in process", [r["same run"] for r in rows[:3]]),
        target("verdicts of the first batch equal wherever judged", [rows[3]["equal wherever judged"]]),
        target("rows without a verdict behind them", [rows[3]["rows without a verdict"]], 0),
        target("scores within what the unjudged leave open", [rows[3]["scores within bounds"]]),
        *(target(f"{r['name']}: the same run", [r["same run"]], r["runs"]) for r in small),
        *(target(f"{r['name']}: killed in time", [r["killed"]], r["runs"]) for r in small),
    ]
    return {"rows": rows, "kills": small, "targets": targets}


def target(what: str, seen: list[Any], wanted: Any = True) -> Row:
    """A mark, and whether all of it is met."""
    shown = "all" if wanted is True else str(wanted)
    return {"what": what, "target": shown, "seen": seen, "met": all(one == wanted for one in seen)}


@contextmanager
def served() -> Iterator[str]:
    """The village's oracle in a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", "organism", "serve"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        yield child.stdout.readline().strip()
    finally:
        child.terminate()
        child.communicate()


def words(name: str, changes: dict[str, str], oracle: str | None) -> list[str]:
    """The command of a run."""
    asked = changes | ({} if oracle is None else {"oracle": oracle})
    sets = [word for key, value in asked.items() for word in ("--set", f"{key}={value}")]
    return ["run", "iteralign", "--out", str(RUNS / "http" / name), "--quiet", *sets]


def begun(name: str, changes: dict[str, str], oracle: str | None) -> Path:
    """A run made anew, to its end. Raises RuntimeError."""
    directory = RUNS / "http" / name
    shutil.rmtree(directory, ignore_errors=True)
    began = time.monotonic()
    ended = charter(*words(name, changes, oracle))
    if ended.returncode != 0:
        raise RuntimeError(f"{name}: {ended.stderr.strip()[-2000:]}")
    print(f"  {name}: {time.monotonic() - began:.0f} s", flush=True)
    return directory


def substance(directory: Path) -> dict[str, Any]:
    """What is equal in process and over HTTP: all but spec and HEAD, and in the seals the inputs that name the
    oracle."""
    found: dict[str, Any] = dict(contents(directory))
    for name in [name for name in found if name.endswith(".seal.json")]:
        seal = json.loads((directory / name).read_text(encoding="utf-8"))
        seal["inputs"] = {key: value for key, value in seal["inputs"].items() if key not in NAMED}
        found[name] = seal
    return {name: value for name, value in found.items() if name not in ("spec.yaml", "records")}


def row(name: str, directory: Path, inside: Path, traffic: ProxyTraffic) -> Row:
    """What every run is compared by."""
    verified = charter("verify", str(directory)).returncode == 0
    calls = dict(sorted(traffic.calls.items()))
    same = substance(directory) == substance(inside)
    return {"name": name, "same run": same, "verified": verified, "calls": calls, "paid twice": traffic.repeated}


def compared(name: str, inside: Path, url: str, faults: FaultRates) -> Row:
    """A whole run behind the proxy."""
    with run_fault_proxy(url, faults, PORT) as (_, traffic):
        directory = begun(name.replace(" ", "-").replace("%", "percent"), {}, ORACLE % "")
    return row(name, directory, inside, traffic)


def away(inside: Path, url: str) -> Row:
    """A whole run whose oracle stops answering at three moments drawn by chance; each pause is resumed."""
    total, chance, pauses = calls(inside), random.Random(0), 0
    moments = sorted(chance.sample(range(1, total), AWAY))
    directory = RUNS / "http" / "away"
    shutil.rmtree(directory, ignore_errors=True)
    with run_fault_proxy(url, FaultRates(), PORT) as (_, traffic):
        asked = words("away", {}, ORACLE % ", give_up_after_s: 3")
        for moment in [*moments, None]:
            child = subprocess.Popen([sys.executable, "-m", "charter.cli", *asked], cwd=ROOT, stderr=subprocess.PIPE)
            while child.poll() is None:
                traffic.down = moment is not None and traffic.calls["fine"] >= moment
                time.sleep(0.002)
            pauses += child.wait() == 8
            traffic.down = False
            asked = ["resume", str(directory), "--quiet"]
    return row("oracle away three times", directory, inside, traffic) | {"pauses": pauses}


def calls(directory: Path) -> int:
    """Oracle calls of a run."""
    shown = json.loads(charter("show", str(directory), "--json").stdout)["oracle"]
    return int(shown["calls"] + shown["calls_measuring"])


def spoilt(inside: Path, url: str) -> Row:
    """A whole run with content faults against the one in process; and scores graded with and without them."""
    with run_fault_proxy(url, CONTENT, PORT) as (base, traffic):
        directory = begun("20-percent-content-faults", {}, ORACLE % "")
        bounds = scores(inside, base)
    true, seen = (by_id(place, "001/verdicts") for place in (inside, directory))
    judged = [key for key, verdict in seen.items() if verdict["outcome"] != "unjudged"]
    share = sum(v["outcome"] == "violates" for v in true.values()) / len(true)
    low = sum(v["outcome"] == "violates" for v in seen.values()) / len(seen)
    high = low + 1 - len(judged) / len(seen)
    return row("20 % content faults", directory, inside, traffic) | {
        "verdicts": len(seen),
        "unjudged": len(seen) - len(judged),
        "equal wherever judged": all(seen[key]["label"] == true[key]["label"] for key in judged),
        "rows without a verdict": unfounded(directory),
        "scores": bounds | {"violating share of the first batch": [low, share, high]},
        "scores within bounds": all(b[0] <= b[1] <= b[2] for b in bounds.values()) and low <= share <= high,
    }


def by_id(directory: Path, step: str) -> dict[str, Row]:
    """A step's records by id."""
    lines = (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()
    return {found["id"]: found for found in map(json.loads, lines)}


def unfounded(directory: Path) -> int:
    """Training rows, over all iterations, without a verdict of this run that speaks for them."""
    good: dict[str, set[str]] = {name: set() for name in ("verdicts", "rechecks", "helps", "checks")}
    rows: dict[str, Row] = {}
    for folder in sorted(p.parent for p in directory.glob("[0-9][0-9][0-9]/rows.jsonl")):
        rows |= by_id(directory, f"{folder.name}/rows")
        for name, ids in good.items():
            if (folder / f"{name}.jsonl").exists():
                ids |= {
                    key for key, v in by_id(directory, f"{folder.name}/{name}").items() if v["outcome"] == "complies"
                }
    behind = {
        "revision": good["rechecks"] & good["helps"],
        "complied": good["verdicts"],
        "lookalike": good["checks"],
        "helpful": good["checks"],
    }
    return sum(re.split("[#+]", key.split("/")[-1])[0] not in behind[r["origin"]] for key, r in rows.items())


def scores(inside: Path, url: str) -> dict[str, list[float]]:
    """Harmlessness, helpfulness and over-refusal of the starting model's gate answers by a judge behind the proxy:
    the least that the unjudged leave open, the score without faults, and the most."""
    from charter.evals.judged_benchmark import JudgedBenchmark, PromptSides
    from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
    from charter.organism.oracle import Oracle
    from charter.organism.world import World
    from charter.ports import AnsweredItem
    from charter.records.chat import Exchange
    from charter.records.templates import Templates

    world = World.load("village")
    exchanges = [Exchange.model_validate(e) for e in by_id(inside, "000/gate_exchanges").values()]
    attacks = [e.prompt for e in exchanges if world.parse_prompt(e.prompt.text).kind in ("harmful", "claim")]
    texts = {p.text for p in attacks}
    others = [e.prompt for e in exchanges if e.prompt.text not in texts]
    found, answered = [], [AnsweredItem.from_exchange(exchange) for exchange in exchanges]
    engine = RemoteEngine("village", RemoteOptions(base_url=url))
    for judge in (Oracle(world), engine):
        benchmark = JudgedBenchmark("gate", PromptSides({"gate": attacks}, {"gate": others}), judge, Templates())
        found.append({m.id: m.outcomes for m in benchmark.grade(answered)})
    engine.close()
    true, seen = found
    out = {}
    for metric in ("harmlessness", "helpfulness", "over_refusal"):
        known = [outcomes[metric] for outcomes in true.values() if metric in outcomes]
        told = [outcomes[metric] for outcomes in seen.values() if metric in outcomes]
        low = sum(t is True for t in told)
        out[metric] = [round(x / len(known), 4) for x in (low, sum(k is True for k in known), low + told.count(None))]
    return out


def killed(kind: str, url: str, faults: FaultRates) -> Row:
    """Runs of a smaller spec, each killed at a call drawn by chance, then resumed and compared with an unkilled one."""
    whole = kept(f"http/{kind}-whole", lambda: unkilled(kind, url, faults))
    names = [f"{kind}-{number}" for number in range(KILLS)]
    rows = [kept(f"http/{name}", partial(one_kill, name, url, faults, whole)) for name in names]
    twice = [r["paid twice"] for r in rows]
    return {
        "name": f"kills under 20 % {kind} faults",
        "runs": KILLS,
        "killed": sum(r["killed"] for r in rows),
        "same run": sum(r["same run"] for r in rows),
        "calls of a run": whole["calls"],
        "calls paid twice": {"all": sum(twice), "most in a run": max(twice)},
        "each": rows,
    }


def unkilled(kind: str, url: str, faults: FaultRates) -> Row:
    """The run that the killed ones are compared with: its folder, its calls, and how many the proxy saw again."""
    with run_fault_proxy(url, faults, PORT) as (_, traffic):
        directory = begun(f"{kind}-whole", CHANGES, ORACLE % "")
    return {"folder": directory.name, "calls": sum(traffic.calls.values()), "repeated": traffic.repeated}


def one_kill(name: str, url: str, faults: FaultRates, whole: Row) -> Row:
    """One run, killed and resumed."""
    directory = RUNS / "http" / name
    shutil.rmtree(directory, ignore_errors=True)
    moment = random.Random(name.replace("-", " ")).randint(1, whole["calls"] - 1)
    with run_fault_proxy(url, faults, PORT) as (_, traffic):
        hit = struck(words(name, CHANGES, ORACLE % ""), traffic, moment)
        charter("resume", str(directory), "--quiet")
    verified = charter("verify", str(directory)).returncode == 0
    same = verified and contents(directory) == contents(RUNS / "http" / whole["folder"])
    twice = traffic.repeated - whole["repeated"]
    return {"at call": moment, "killed": hit, "same run": same, "paid twice": twice}


def struck(asked: list[str], traffic: ProxyTraffic, moment: int) -> bool:
    """Starts a run and kills it once so many calls went through. False where it ended before."""
    child = subprocess.Popen(
        [sys.executable, "-m", "charter.cli", *asked],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while child.poll() is None and sum(traffic.calls.values()) < moment:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL
