"""Pairs of which people preferred one, and answers that they found good or bad: what a judge is measured on, and what a
model learns from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from charter.data.sources.chat_turns import is_conversation, read_prompt, read_reply, read_turns
from charter.data.sources.data_files import list_files, read_files
from charter.data.sources.data_rows import (
    DataRow,
    check_characters,
    has_column,
    read_column,
    read_usable,
    read_word,
    require_rows,
)
from charter.data.sources.published_datasets import parse_hh_dialogue
from charter.errors import RowError, SpecError
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Message, Prompt, user_prompt
from charter.records.preferences import ResponsePair
from charter.records.record import digest
from charter.records.row_counts import RowCount
from charter.records.training_rows import RatedAnswer

R = TypeVar("R", ResponsePair, LabelledExchange)
_SPEAKER = re.compile(r"(?:^|\n\n)(?:Human|Assistant):")
_ANSWER = "\n\nAssistant:"
_GOOD = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class RawChoice:
    """A pair as it is read: the turns before, and the two answers."""

    turns: tuple[Message, ...]
    chosen: str
    rejected: str
    category: str


def read_pairs(
    paths: Sequence[str], limit: int | None = None, skip: int = 0
) -> tuple[list[ResponsePair], list[RowCount]]:
    """The pairs of files or folders, and what the reading of each gave.

    Known are hh-rlhf (``chosen``, ``rejected``: two dialogues, as texts or as turns), HHH alignment (``input``,
    ``target_scores``), and columns ``prompt``, ``chosen``, ``rejected``. Pairs of equal responses are left out. Of each
    file at most ``limit`` are taken, by hash; at most ``skip`` rows that cannot be used are left out. Raises SpecError
    naming file and line."""
    seen: Counter[str] = Counter()
    out: list[ResponsePair] = []
    counts: list[RowCount] = []
    for path in paths:
        name, files = Path(path).name, [str(file) for file in list_files(path)]

        def read(row: DataRow) -> list[tuple[RawChoice, str]]:
            return [(choice, read_word(row, "rater")) for choice in _choices(row)]

        rows, count = read_usable(name, read_files(path, keep_faults=True), read, skip, files)
        counts.append(require_rows(count))
        found = [
            ResponsePair(
                id=(prompt := _make_prompt(choice.turns, name, seen)).id,
                prompt=prompt,
                chosen=choice.chosen,
                rejected=choice.rejected,
                category=choice.category,
                rater=rater,
            )
            for choices in rows
            for choice, rater in choices
            if choice.chosen != choice.rejected
        ]
        out += sample(found, limit, path)
    return out, counts


def read_ratings(paths: Sequence[str]) -> tuple[list[RatedAnswer], list[RowCount]]:
    """The answers of files or folders that people found good or bad, and what the reading of each gave.

    Columns: ``prompt``, ``response`` (or ``completion``), ``good`` (or ``label``): true or false; and, where it is
    known, ``rater``. Raises SpecError naming file and line."""
    seen: Counter[str] = Counter()
    out: list[RatedAnswer] = []
    counts: list[RowCount] = []
    for path in paths:
        name, files = Path(path).name, [str(file) for file in list_files(path)]
        rows, count = read_usable(name, read_files(path, keep_faults=True), _read_rating, 0, files)
        counts.append(require_rows(count))
        out += [one.model_copy(update={"id": _make_prompt(one.messages, name, seen).id}) for one in rows]
    return out, counts


def _read_rating(row: DataRow) -> RatedAnswer:
    """A row of one answer, without an id. Raises RowError."""
    said = read_column(row, "good", "label")
    good = _GOOD.get(str(said).strip().casefold())
    if good is None:
        raise RowError(row.place, "says neither true nor false", str(said)[:60], cure="Mend the column `good`.")
    response = read_reply(read_column(row, "response", "completion"), row.place)
    messages = read_prompt(read_column(row, "prompt"), row.place)
    return RatedAnswer(id="", messages=messages, response=response, good=good, rater=read_word(row, "rater"))


def sample(found: Sequence[R], limit: int | None, path: str) -> list[R]:
    """At most ``limit``, drawn by hash, in the file's order. Raises SpecError where there is nothing."""
    if not found:
        raise SpecError(f"{path} holds nothing to judge", cure="Give another file.")
    drawn = {record.id for record in sorted(found, key=lambda record: digest([record.id]))[:limit]}
    return [record for record in found if record.id in drawn]


def _choices(row: DataRow) -> Iterator[RawChoice]:
    """Each pair in a row. Raises RowError."""
    value = row.value
    if not isinstance(value, Mapping):
        if row.above and row.above[-1] != "examples":
            return
        raise RowError(row.place, "is no pair")
    if isinstance(value.get("target_scores"), Mapping):
        scores = value["target_scores"]
        best = max(scores, key=lambda text: scores[text], default="")
        turns = _parse_input(row, read_column(row, "input"))
        category = Path(row.file).parent.name
        yield from (RawChoice(turns, best, text, category) for text in scores if scores[text] < scores[best])
        return
    chosen, rejected = (read_column(row, name) for name in ("chosen", "rejected"))
    category = read_word(row, "category")
    if is_conversation(chosen) and is_conversation(rejected):
        yield _of_turns(row, chosen, rejected, category)
        return
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        raise RowError(row.place, "chosen and rejected are neither both texts nor both lists of turns")
    check_characters(chosen + rejected, row.place)
    if has_column(row, "prompt"):
        yield RawChoice(read_prompt(read_column(row, "prompt"), row.place), chosen, rejected, category)
        return
    ends = [found.end() for found in re.finditer(_ANSWER, chosen) if rejected.startswith(chosen[: found.end()])]
    if not ends:
        raise RowError(row.place, "has no answer after the same words")
    turns = _messages(parse_hh_dialogue(chosen[: ends[-1] - len(_ANSWER)], row.place))
    yield RawChoice(turns, chosen[ends[-1] :].strip(), rejected[ends[-1] :].strip(), category)


def _of_turns(row: DataRow, chosen: Any, rejected: Any, category: str) -> RawChoice:
    """Two conversations that part with their last turn, or two answers as turns after a prompt of its own column."""
    first, second = (read_turns(cell, row.place, name) for cell, name in ((chosen, "chosen"), (rejected, "rejected")))
    answers = [read_reply(cell, row.place, name) for cell, name in ((chosen, "chosen"), (rejected, "rejected"))]
    if len(first) == 1 and len(second) == 1:
        return RawChoice(read_prompt(read_column(row, "prompt"), row.place), answers[0], answers[1], category)
    if first[:-1] != second[:-1]:
        raise RowError(row.place, "chosen and rejected part before their last turn")
    turns = read_prompt([turn.model_dump() for turn in first[:-1]], row.place)
    return RawChoice(turns, answers[0], answers[1], category)


def _parse_input(row: DataRow, text: Any) -> tuple[Message, ...]:
    """An input of HHH alignment: words of a person, at times with answers and more words after them."""
    if not (isinstance(text, str) and _SPEAKER.search(text)):
        return read_prompt(text, row.place)
    return _messages(parse_hh_dialogue(text if text.startswith("Human:") else f"Human: {text}", row.place))


def _messages(turns: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(turn) for turn in turns)


def _make_prompt(turns: tuple[Message, ...], source: str, seen: Counter[str]) -> Prompt:
    text = "\n".join(message.content for message in turns)
    seen[text] += 1
    return user_prompt(text, seen[text] - 1, source).model_copy(update={"messages": turns})
