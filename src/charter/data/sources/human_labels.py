"""Pairs of which people preferred one, and exchanges whose label is known: what a judge is measured on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from charter.data.sources.data_files import FileRow, read_file_rows
from charter.data.sources.published_datasets import parse_hh_dialogue, read_column, read_optional_column
from charter.errors import SpecError
from charter.judging.rubrics import Rubric
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, Message, Prompt, Sampling, user_prompt
from charter.records.preferences import ResponsePair
from charter.records.record import digest
from charter.records.verdicts import Outcome

R = TypeVar("R", ResponsePair, LabelledExchange)
_SPEAKER = re.compile(r"(?:^|\n\n)(?:Human|Assistant):")
_ANSWER = "\n\nAssistant:"
_OUTCOMES: dict[str, Outcome] = {"violates": "violates", "complies": "complies"}


def read_pairs(paths: Sequence[str], limit: int | None = None) -> list[ResponsePair]:
    """The pairs of files or folders: of hh-rlhf (``chosen``, ``rejected``: two dialogues), of HHH alignment (``input``,
    ``target_scores``), or with columns ``prompt``, ``chosen``, ``rejected``. Pairs of equal responses are left out;
    of each file at most ``limit`` are taken, by hash. Raises SpecError naming file and line."""
    seen: Counter[str] = Counter()
    out: list[ResponsePair] = []
    for path in paths:
        found = [
            ResponsePair(
                id=prompt.id,
                prompt=prompt,
                chosen=chosen,
                rejected=rejected,
                category=category,
                rater=read_optional_column(row, "rater"),
            )
            for row in read_file_rows(path)
            for turns, chosen, rejected, category in _parse_pairs(row)
            if chosen != rejected and (prompt := _make_prompt(turns, path, seen))
        ]
        out += _sample(found, limit, path)
    return out


def read_labelled(
    paths: Sequence[str], rubric: Rubric, labels: Mapping[str, Outcome] | None = None, limit: int | None = None
) -> list[LabelledExchange]:
    """Exchanges with columns ``prompt``, ``response`` and ``label``: a label of the rubric, ``violates`` or
    ``complies``, or a word that ``labels`` gives a meaning; of each file at most ``limit``, by hash. Raises SpecError
    naming file and line."""
    known = {**_OUTCOMES, **rubric.outcomes, **(labels or {})}
    seen: Counter[str] = Counter()
    out: list[LabelledExchange] = []
    for path in paths:
        out += _sample([_parse_labelled(row, path, known, seen) for row in read_file_rows(path)], limit, path)
    return out


def _parse_labelled(row: FileRow, path: str, known: Mapping[str, Outcome], seen: Counter[str]) -> LabelledExchange:
    prompt = _make_prompt(_parse_turns(row, read_column(row, "prompt")), path, seen)
    response, label = read_column(row, "response"), str(read_column(row, "label")).strip()
    if not isinstance(response, str):
        raise SpecError(f"{row.place}: the response is no text", cure="Mend that row.")
    if label not in known:
        raise SpecError(
            f"{row.place}: the label {label!r:.60} has no meaning (known: {', '.join(known)})",
            cure=f"Say what it means: calibrate.labels: {{{label!r:.60}: violates}}",
        )
    exchange = Exchange(
        id=prompt.id, prompt=prompt, response=response, stop="stop", model="file", sampling=Sampling(max_tokens=1)
    )
    return LabelledExchange(id=prompt.id, exchange=exchange, outcome=known[label], label=label)


def _parse_pairs(row: FileRow) -> Iterator[tuple[Any, str, str, str]]:
    """(turns, chosen, rejected, category) of each pair in a row."""
    value = row.value
    if not isinstance(value, Mapping):
        if row.parent_keys and row.parent_keys[-1] == "examples":
            raise SpecError(f"{row.place} is no pair", cure="Mend that row.")
        return
    if isinstance(value.get("target_scores"), Mapping):
        scores = value["target_scores"]
        best = max(scores, key=lambda text: scores[text], default="")
        turns = _parse_input(row, read_column(row, "input"))
        category = Path(row.place.rsplit(":", 1)[0]).parent.name
        yield from ((turns, best, text, category) for text in scores if scores[text] < scores[best])
        return
    chosen, rejected = (read_column(row, name) for name in ("chosen", "rejected"))
    if not (isinstance(chosen, str) and isinstance(rejected, str)):
        raise SpecError(f"{row.place}: chosen and rejected are not both texts", cure="Mend that row.")
    if "prompt" in value:
        yield _parse_turns(row, value["prompt"]), chosen, rejected, read_optional_column(row, "category")
        return
    ends = [found.end() for found in re.finditer(_ANSWER, chosen) if rejected.startswith(chosen[: found.end()])]
    if not ends:
        raise SpecError(f"{row.place} has no answer after the same words", cure="Mend or drop that row.")
    turns = parse_hh_dialogue(chosen[: ends[-1] - len(_ANSWER)], row.place)
    yield turns, chosen[ends[-1] :].strip(), rejected[ends[-1] :].strip(), read_optional_column(row, "category")


def _parse_input(row: FileRow, text: Any) -> Any:
    """An input of HHH alignment: words of a person, at times with answers and more words after them."""
    if not (isinstance(text, str) and _SPEAKER.search(text)):
        return _parse_turns(row, text)
    return parse_hh_dialogue(text if text.startswith("Human:") else f"Human: {text}", row.place)


def _parse_turns(row: FileRow, cell: Any) -> Any:
    if isinstance(cell, str) and cell.strip():
        return cell.strip()
    try:
        if isinstance(cell, list) and cell and [Message.model_validate(turn) for turn in cell][-1].role == "user":
            return cell
    except ValueError:
        pass
    raise SpecError(f"{row.place}: the prompt is neither text nor turns that end with the user's", cure="Mend it.")


def _make_prompt(turns: Any, path: str, seen: Counter[str]) -> Prompt:
    messages = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    kept = tuple(Message.model_validate(message) for message in messages)
    text = "\n".join(message.content for message in kept)
    seen[text] += 1
    return user_prompt(text, seen[text] - 1, Path(path).name).model_copy(update={"messages": kept})


def _sample(found: list[R], limit: int | None, path: str) -> list[R]:
    """At most ``limit``, drawn by hash, in the file's order. Raises SpecError where there is nothing."""
    if not found:
        raise SpecError(f"{path} holds nothing to judge", cure="Give another file.")
    drawn = {record.id for record in sorted(found, key=lambda record: digest([record.id]))[:limit]}
    return [record for record in found if record.id in drawn]
