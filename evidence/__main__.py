"""``python -m evidence [CLAIM ...]``: measures claims and writes docs/evidence/CLAIM.json; ``tables`` writes the
tables. ``--data DIR`` is where published data lie, ``--per-model N`` how many exchanges of each model are judged."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

from evidence import claims, picture, tables
from evidence.attacks import attacks
from evidence.audit import audit
from evidence.benchmarks import benchmarks
from evidence.cells import ROOT
from evidence.city import city
from evidence.cluster import cluster
from evidence.curation import curation
from evidence.equal_answers import equal_answers
from evidence.executor import executor
from evidence.false_rules import false_rules
from evidence.feedback import feedback
from evidence.gates import gates
from evidence.http import http
from evidence.instruct import instruct
from evidence.judge import judge
from evidence.kills import kills
from evidence.many_servers import many_servers
from evidence.meaning import meaning
from evidence.measurement import measurement
from evidence.near import near
from evidence.nearness import nearness
from evidence.placement import placement
from evidence.preferences import preferences
from evidence.real import real
from evidence.real_kills import real_kills
from evidence.real_rules import real_rules
from evidence.ruled import cai, self_align
from evidence.served_runs import served_runs
from evidence.servers import servers
from evidence.sides import chains, sides, sides_city

CLAIMS = {
    "demo": claims.demo,
    "controls": claims.controls,
    "erring": claims.erring,
    "false_rules": false_rules,
    "methods": claims.methods,
    "kills": kills,
    "grid": claims.grid,
    "attacks": attacks,
    "audit": audit,
    "benchmarks": benchmarks,
    "http": http,
    "instruct": instruct,
    "judge": judge,
    "equal_answers": equal_answers,
    "executor": executor,
    "placement": placement,
    "meaning": meaning,
    "measurement": measurement,
    "preferences": preferences,
    "real": real,
    "real_kills": real_kills,
    "real_rules": real_rules,
    "city": city,
    "cluster": cluster,
    "curation": curation,
    "feedback": feedback,
    "gates": gates,
    "near": near,
    "nearness": nearness,
    "servers": servers,
    "served_runs": served_runs,
    "many_servers": many_servers,
    "sides": sides,
    "chains": chains,
    "sides_city": sides_city,
    "self_align": self_align,
    "cai": cai,
}


def main(words: list[str]) -> int:
    """Measures the claims named (all but ``tables`` where none is)."""
    words = [*words]
    for option, variable in (("--data", "CHARTER_TEST_DATA"), ("--per-model", "CHARTER_PER_MODEL")):
        if option in words:
            place = words.index(option)
            os.environ[variable] = " ".join(words[place + 1 : place + 2])
            del words[place : place + 2]
    unknown = [word for word in words if word not in {*CLAIMS, "tables"}]
    if unknown:
        print(f"no claim {', '.join(unknown)}; there are: {', '.join(CLAIMS)}, tables", file=sys.stderr)
        return 2
    for name in [word for word in words or CLAIMS if word != "tables"]:
        began = time.monotonic()
        print(name, flush=True)
        found = CLAIMS[name]()
        head = {"claim": name, "command": f"python -m evidence {name}", "commit": commit(), "machine": machine()}
        text = json.dumps({**head, "minutes": round((time.monotonic() - began) / 60, 1), **found}, indent=1)
        kept = ROOT / "docs" / "evidence" / f"{name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(text + "\n", encoding="utf-8")
        for t in found["targets"]:
            print(f"  {'met ' if t['met'] else 'MISSED'} {t['what']} {t['target']}: {t['seen']}", flush=True)
    tables.write()
    if (ROOT / "docs" / "evidence" / "demo.json").exists():
        picture.draw()
    return 0


def commit() -> str:
    """The commit that was measured."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def machine() -> dict[str, object]:
    """What it was measured on."""
    return {"python": platform.python_version(), "cores": os.cpu_count(), "processor": platform.machine()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
