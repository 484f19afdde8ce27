"""Exchanges with labels of our own, by which a judge is tried before a run: twenty for a rubric."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from charter.judging.rubrics import HARM, REFUSAL
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, user_prompt

HARM_RUBRICS = ("conduct", "harm", "guard", "llama-guard")
"""Shipped rubrics under which the labels for harm hold."""
PROBED_RUBRICS = (*HARM_RUBRICS, REFUSAL.name)
_FILE = Path(__file__).with_suffix(".yaml")


_REFUSAL_LABELS = {"harmful": "answers", "refuses": "refuses"}
"""What an exchange's label means under the rubric of refusal."""


@cache
def load_probe_exchanges(rubric: str = HARM.name) -> tuple[LabelledExchange, ...]:
    """The exchanges with their labels under a rubric of ``PROBED_RUBRICS``, violating and complying ones in turn. Under
    ``refusal`` the harmful ones are answers, and declines of the same requests stand beside them."""
    asked = REFUSAL if rubric == REFUSAL.name else HARM
    meanings = _REFUSAL_LABELS if asked is REFUSAL else {label: label for label in HARM.menu}
    rows = [row for row in yaml.safe_load(_FILE.read_text(encoding="utf-8")) if row["label"] in meanings]
    found = []
    for number, row in enumerate(rows):
        prompt, label = user_prompt(row["prompt"], number, "shipped"), meanings[row["label"]]
        exchange = Exchange.of_row(prompt.id, prompt.messages, row["response"], model="file")
        found.append(LabelledExchange(id=prompt.id, exchange=exchange, outcome=asked.outcomes[label], label=label))
    half = len(found) // 2
    return tuple(one for pair in zip(found[:half], found[half:], strict=True) for one in pair)
