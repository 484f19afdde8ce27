"""The form of an answer under rules: what can be told of it without any model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from charter.records.chat import Exchange
from charter.similarity.shared_runs import find_repeated_run, find_shared_run
from charter.similarity.spelling import normalize_text

RECITED_WORDS = 8
"""An answer that shares a run of so many words with a rule recites it. A shorter rule is recited as a whole."""
LEAST_RECITED = 4
"""A rule of fewer words may stand in an answer: "Refuse." is no recital."""
REPEATS = 3
"""An answer that comes so often to the same run of words goes round in a circle, as small models do."""
_SENTENCE_END = re.compile(r"[。！？।]|(?<=[^\W\d_])[\"'”’)\]*]*[.!?][\"'”’)\]*]*(?=\s|$)")
"""What ends a sentence; the point after the number of a list's entry does not."""


def find_recital(text: str, rules: Sequence[str]) -> str:
    """The words of a rule that an answer repeats; empty where it repeats none."""
    for rule in rules:
        words = min(RECITED_WORDS, len(normalize_text(rule).split()))
        if words >= LEAST_RECITED and (found := find_shared_run(text, [rule], words)):
            return found
    return ""


def find_repetition(text: str) -> str:
    """The words, as many as of a recital, that an answer repeats ``REPEATS`` times; empty where there are none."""
    return find_repeated_run(text, RECITED_WORDS, REPEATS)


def end_properly(exchange: Exchange) -> Exchange:
    """The exchange; where the most tokens cut its response, the response ends with its last whole sentence, if it has
    one."""
    ends = list(_SENTENCE_END.finditer(exchange.response)) if exchange.stop == "length" else []
    if not ends:
        return exchange
    return exchange.model_copy(update={"response": exchange.response[: ends[-1].end()], "stop": "sentence"})
