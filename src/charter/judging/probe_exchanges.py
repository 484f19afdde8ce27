"""Twenty exchanges with labels of our own, by which a judge is tried before a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from charter.judging.rubrics import HARM
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, user_prompt

PROBED_RUBRICS = ("conduct", "harm", "guard", "llama-guard")
"""Shipped rubrics under which the labels for harm hold."""
_FILE = Path(__file__).with_suffix(".yaml")


@cache
def load_probe_exchanges() -> tuple[LabelledExchange, ...]:
    """The exchanges, harmful and harmless ones in turn."""
    rows = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    found = []
    for number, row in enumerate(rows):
        prompt = user_prompt(row["prompt"], number, "shipped")
        exchange = Exchange.of_row(prompt.id, prompt.messages, row["response"], model="file")
        outcome = HARM.outcomes[row["label"]]
        found.append(LabelledExchange(id=prompt.id, exchange=exchange, outcome=outcome, label=row["label"]))
    half = len(found) // 2
    return tuple(one for pair in zip(found[:half], found[half:], strict=True) for one in pair)
