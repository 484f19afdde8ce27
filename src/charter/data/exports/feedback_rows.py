"""What users said as rows to learn from: attempts to bring out failures, pairs of which somebody preferred one, and
answers that somebody found good or bad.

Each row names the feedback that it comes from. Rows without consent give nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from charter.records.chat import Message
from charter.records.feedback import Feedback, FeedbackRow
from charter.records.record import canonical

Row = dict[str, Any]
MAX_PAIRS = 8
"""The most pairs that are made of good and bad answers to one prompt."""


def make_attempt_rows(rows: Sequence[FeedbackRow]) -> list[Row]:
    """A row for each prompt whose answer somebody found bad: ``prompt``, ``id`` (the ids of the feedback, with a space
    between them), and ``language``."""
    found: dict[tuple[Message, ...], list[tuple[str, Feedback]]] = {}
    for id, said in _usable(rows):
        if said.is_good is False:
            found.setdefault(said.prompt, []).append((id, said))
    return [
        {
            "prompt": _prompt_cell(prompt),
            "id": " ".join(id for id, _ in told),
            "language": next((said.language for _, said in told if said.language), ""),
        }
        for prompt, told in found.items()
    ]


def make_pair_rows(rows: Sequence[FeedbackRow]) -> list[Row]:
    """A row for each preference, in the columns of a file of pairs: ``prompt``, ``chosen``, ``rejected``, ``rater``,
    and ``id`` (the ids of the feedback). A choice prefers one answer, ``equal`` none. A correction is preferred to the
    answer. Of answers to one prompt a good one is preferred to each bad one."""
    made = [pair for id, said in _usable(rows) for pair in _make_pair(id, said)]
    rated: dict[tuple[Message, ...], list[tuple[str, Feedback]]] = {}
    for id, said in _usable(rows):
        if said.kind in ("thumbs", "rating") and said.is_good is not None:
            rated.setdefault(said.prompt, []).append((id, said))
    for told in rated.values():
        good, bad = ([(id, said) for id, said in told if said.is_good is side] for side in (True, False))
        crossed = ((*better, *worse) for better in good for worse in bad if better[1].answer != worse[1].answer)
        for _, (id, better, other, worse) in zip(range(MAX_PAIRS), crossed, strict=False):
            made.append(_pair(better, better.answer, worse.answer, f"{id} {other}"))
    return made


def make_rated_rows(rows: Sequence[FeedbackRow]) -> list[Row]:
    """A row for each answer that somebody found good or bad by itself: ``prompt``, ``response``, ``good``, ``rater``,
    and ``id`` (that of the feedback). Of a correction the answer is bad and the correction good; of a choice the better
    answer is good and the other one bad."""
    made = []
    for id, said in _usable(rows):
        told = [] if said.is_good is None else [(said.answer, said.is_good)]
        told += [(pair[side], side == "chosen") for pair in _make_pair(id, said) for side in ("chosen", "rejected")]
        shared = {"prompt": _prompt_cell(said.prompt), "rater": said.user or id, "id": id}
        made += [{**shared, "response": text, "good": good} for text, good in dict.fromkeys(told)]
    return made


def _make_pair(id: str, said: Feedback) -> Iterator[Row]:
    if said.kind == "correction" and said.correction.strip() != said.answer.strip():
        yield _pair(said, said.correction, said.answer, id)
    elif said.kind == "choice" and said.answer != said.other_answer and said.choice != "equal":
        texts = (said.answer, said.other_answer)
        yield _pair(said, *(texts if said.choice == "first" else texts[::-1]), id)


def _pair(said: Feedback, chosen: str, rejected: str, id: str) -> Row:
    prompt = _prompt_cell(said.prompt)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "rater": said.user or id, "id": id}


def _usable(rows: Sequence[FeedbackRow]) -> Iterator[tuple[str, Feedback]]:
    for row in rows:
        if row.is_usable and row.said is not None:
            yield row.id, row.said


def _prompt_cell(prompt: tuple[Message, ...]) -> str | list[dict[str, str]]:
    """The one turn of the user as a text, else all turns."""
    return prompt[0].content if len(prompt) == 1 else [turn.model_dump() for turn in prompt]


def rows_to_lines(rows: Sequence[Row | FeedbackRow]) -> str:
    """Rows as JSON lines."""
    return "".join(f"{canonical(row)}\n" for row in rows)
