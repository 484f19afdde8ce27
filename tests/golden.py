"""Golden runs: every method on the organism at small n, and what must stay equal when the code moves.

What is compared is what a run says: texts, verdicts, scores, decisions, rules and tensors. Step names, ids, file names
and digests are left out, so that a step or a record may be renamed. ``python -m tests.golden`` writes the file anew;
that is right only where a change of behaviour is meant, and its commit says which.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charter import spec as specs
from charter.jobs import launch_run
from charter.jobs.battery_builder import audit_spec

FILE = Path(__file__).parent / "fixtures" / "golden.json"
SMALL = {
    "prompts.gate": "2",
    "prompts.heldout": "2",
    "options.draw.batch": "48",
    "options.draw.later": "32",
    "options.stop.iterations": "2",
    "target.device": "cpu",
}
PAIRS = {"options.learn.pairs.prompts": "60", "options.learn.replay": "24", "options.learn.rloo.warm_up": "24"}
DRAWN = {"options.learn.rloo.rounds": "1", "options.learn.rloo.steps": "3", "options.learn.rloo.batch": "16"}
RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "iteralign": ("iteralign", SMALL),
    "iteralign-paper": ("iteralign-paper", SMALL),
    "self_align": ("self_align", SMALL),
    "cai": ("cai", SMALL),
    "rlhf-dpo": ("rlhf", SMALL | PAIRS | {"options.learn.algorithm": "dpo"}),
    "rlhf-rloo": ("rlhf", SMALL | PAIRS | DRAWN),
}
"""A name, the recipe, and what is made smaller."""


def play(name: str, directory: Path) -> None:
    """Runs one of ``RUNS`` in a new directory."""
    recipe, changes = RUNS[name]
    launch_run(specs.change_spec(specs.list_recipes()[recipe].read_text(encoding="utf-8"), changes), directory)


def play_audit(model: Path, directory: Path) -> None:
    """Audits a finished run against itself, in a new directory."""
    launch_run(audit_spec(str(model), str(model), None), directory)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object within a value, itself first."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def steps(run: Path) -> Iterator[list[dict[str, Any]]]:
    """The records of every step, in the order in which the steps were sealed."""
    for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event.get("event") == "sealed":
            path = run / f"{event['step']}.jsonl"
            yield [json.loads(record) for record in path.read_text(encoding="utf-8").splitlines()]


def substance(run: Path) -> dict[str, Any]:
    """What a finished run says, by kind: lists in order, or sorted where the order depends on steps alone."""
    answers, counted = set[str](), {"verdicts": Counter[str](), "measurements": Counter[str]()}
    said: dict[str, list[Any]] = {"scores": [], "decisions": [], "gates": []}
    for record in (record for records in steps(run) for record in records):
        if {"label", "outcome"} <= record.keys():
            counted["verdicts"][_line([record.get(key) for key in ("label", "outcome", "rationale", "raw")])] += 1
        if "outcomes" in record:
            counted["measurements"][_line(record["outcomes"])] += 1
        if {"action", "figures"} <= record.keys():
            said["decisions"].append([record["action"], record["reason"]])
        if {"margin", "passed", "bound"} <= record.keys():
            said["gates"].append([record[key] for key in ("metric", "n", "change", "passed")])
        for part in objects(record):
            answers |= {*_texts(part)}
            if {"value", "low", "high", "n"} <= part.keys():
                said["scores"].append([part.get("id", ""), *(part[key] for key in ("value", "low", "high", "n"))])
    tensors = {hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*.safetensors")}
    return {
        "answers": sorted(answers),
        **{kind: sorted(counts.items()) for kind, counts in counted.items()},
        **said,
        "rules": [_rule(p) for p in _principles(run)],
        "outcome": _outcome(run),
        "tensors": sorted(tensors),
    }


def _texts(part: dict[str, Any]) -> Iterator[str]:
    """A prompt with its response, and a critique."""
    turns = part.get("prompt", part)
    if "response" in part and isinstance(turns, dict) and "messages" in turns:
        yield _line([[message["content"] for message in turns["messages"]], part["response"]])
    if isinstance(part.get("critique"), str):
        yield _line(["critique", part["critique"]])


def _principles(run: Path) -> list[dict[str, Any]]:
    from charter.constitution import document

    path = run / "constitution.yaml"
    return [p.model_dump(mode="json") for p in document.read_constitution(path).principles] if path.exists() else []


def _rule(principle: dict[str, Any]) -> list[Any]:
    efficacy = principle["efficacy"] or {}
    wording = [principle[key] for key in ("title", "text", "scope", "status")]
    return [*wording, efficacy.get("n"), efficacy.get("difference")]


def _outcome(run: Path) -> list[Any]:
    path = run / "outcome.json"
    outcome = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    planted = outcome.get("planted") or {}
    return [outcome.get("stopped"), planted.get("discovered"), sorted(planted.get("by") or {})]


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def digests(said: dict[str, Any]) -> dict[str, Any]:
    """The same in few lines: what is long as a count and a digest, what is short as it is."""
    short = ("scores", "decisions", "gates", "rules", "outcome", "tensors")
    made: dict[str, Any] = {key: said[key] for key in short}
    for key in said.keys() - made.keys():
        made[key] = [len(said[key]), hashlib.sha256(_line(said[key]).encode()).hexdigest()]
    return made


def machine() -> str:
    """Processors of one kind round alike: elsewhere tensors may differ in their last bits."""
    import torch

    return f"{torch.backends.cpu.get_cpu_capability()} torch {torch.__version__.split('+')[0]}"


def main() -> None:
    """Plays every run and writes the file."""
    with tempfile.TemporaryDirectory() as place:
        made = {}
        for name in RUNS:
            play(name, Path(place) / name)
            made[name] = digests(substance(Path(place) / name))
        play_audit(Path(place) / "iteralign", Path(place) / "audit")
        made["audit"] = digests(substance(Path(place) / "audit"))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({"machine": machine(), "runs": made}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
