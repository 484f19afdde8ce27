"""``executor: ray`` against one process, for a pretrained model, for training, and for jobs that do not align.

``CHARTER_MODELS`` has the folder of SmolLM2, ``CHARTER_TEST_DATA`` the published sets."""

from __future__ import annotations

from evidence.claims import Row, target
from evidence.executor import compare
from evidence.kills import CHANGES
from evidence.real_kills import small_run

PRETRAINED_PROMPTS, PRETRAINED_TOKENS = 12, 16


def placement() -> Row:
    """Each run twice: its records, and what the second one cost."""
    rows = [
        compare("red_team of SmolLM2-135M", pretrained_run(), "smollm2"),
        compare("iteration trained on the cluster", CHANGES, tuner__on_cluster="true"),
        compare("self_instruct by the target", WRITING),
    ]
    return {
        "rows": rows,
        "targets": [
            target("same run as in one process", "all", [row["same run"] for row in rows], bool),
        ],
    }


WRITING = {
    "method": "self_instruct",
    "options.instruct.generator": "target",
    "options.instruct.rounds": "1",
    "options.instruct.calls": "12",
    "options.instruct.max_tokens": "32",
    "options.instruct.topics.rounds": "0",
}


def pretrained_run() -> dict[str, str]:
    """Red teaming of SmolLM2 in float32, with the target's weights as its judge."""
    return small_run() | {
        "method": "red_team",
        "target.dtype": "float32",
        "options.draw.batch": str(PRETRAINED_PROMPTS),
        "scale.answer_tokens": str(PRETRAINED_TOKENS),
        "scale.temperature": "0.7",
    }
