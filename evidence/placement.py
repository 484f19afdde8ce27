"""``executor: ray`` against one process, for a pretrained model, for training, and for jobs that do not align.

``CHARTER_MODELS`` has the folder of SmolLM2, ``CHARTER_TEST_DATA`` the published sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evidence.claims import Row, target
from evidence.executor import compare, place
from evidence.kills import CHANGES
from evidence.real_kills import small_run

PRETRAINED_PROMPTS, PRETRAINED_TOKENS = 12, 16
LARGEST = 1e-4
"""A probability that is read from labels may differ by less than this, where batches are others."""
WRITING = {
    "method": "self_instruct",
    "options.instruct.generator": "target",
    "options.instruct.rounds": "1",
    "options.instruct.calls": "12",
    "options.instruct.max_tokens": "32",
    "options.instruct.topics.rounds": "0",
}


def placement() -> Row:
    """Each run twice: its records, and what the second one cost."""
    rows = [
        compare_closely("red_team of SmolLM2-135M", pretrained_run(), "smollm2"),
        compare_closely("iteration trained on the cluster", CHANGES, tuner__on_cluster="true"),
        compare_closely("self_instruct by the target", WRITING),
    ]
    return {
        "rows": rows,
        "targets": [
            target("answers equal", "all", [row["answers equal"] for row in rows], bool),
            target("largest difference of a probability", f"< {LARGEST}", [row["difference"] for row in rows],
                   lambda found: found < LARGEST),
        ],
    }  # fmt: skip


def pretrained_run() -> dict[str, str]:
    """Red teaming of SmolLM2 in float32, with the target's weights as its judge, who is read by its labels."""
    return small_run() | {
        "method": "red_team",
        "target.dtype": "float32",
        "options.draw.batch": str(PRETRAINED_PROMPTS),
        "scale.answer_tokens": str(PRETRAINED_TOKENS),
        "scale.temperature": "0.7",
    }


def compare_closely(name: str, changes: dict[str, str], recipe: str = "iteralign", **more: str) -> Row:
    """A run in one process and on two workers: how many records are equal, and how far the numbers of others differ."""
    found = compare(name, changes, recipe, **more)
    here, there = (place(name, kind) for kind in ("process", "ray"))
    differences, answers = list[float](), True
    for path in sorted(here.glob("*/*.jsonl")):
        twin = there / path.relative_to(here)
        pairs = list(zip(read_lines(path), read_lines(twin), strict=True))
        differences += [measure_difference(*pair) for pair in pairs]
        answers = answers and (not path.name.endswith("exchanges.jsonl") or all(one == other for one, other in pairs))
    return found | {
        "equal": sum(not one for one in differences), "of": len(differences),
        "answers equal": answers, "difference": max(differences),
    }  # fmt: skip


def read_lines(path: Path) -> list[Any]:
    """The records of a step."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measure_difference(one: Any, other: Any) -> float:
    """The largest difference between two values' numbers; infinite where anything else differs. A text that holds JSON
    is read."""
    if isinstance(one, str) and isinstance(other, str) and one != other and one.startswith("{"):
        return measure_difference(json.loads(one), json.loads(other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((measure_difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((measure_difference(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return 0.0 if one == other else float("inf")
