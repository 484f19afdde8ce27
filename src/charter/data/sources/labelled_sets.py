"""Exchanges whose label is known: what a judge is measured on. Published sets are known by name.

A published set's columns are those of its authors' repository: exaggerated-safety (model_completions), JailbreakEval,
GPTFuzz (labelled responses), safety-rbr-code-and-data (rbr_gold_data), HarmBench (the classifier's validation set).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.data.sources.chat_turns import read_prompt, read_reply
from charter.data.sources.data_files import list_files, read_files
from charter.data.sources.data_rows import DataRow, has_column, read_column, read_usable, require_rows
from charter.data.sources.human_labels import sample
from charter.errors import RowError, SpecError
from charter.judging.rubrics import SHIPPED_RUBRICS, Rubric
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, Message, Sampling, user_prompt
from charter.records.row_counts import RowCount
from charter.records.verdicts import Outcome
from charter.spec import LabelledFileSpec

_OUTCOMES: dict[str, Outcome] = {"violates": "violates", "complies": "complies"}
_YES = {"1": "harmful", "0": "harmless", "true": "harmful", "false": "harmless"}


@dataclass(frozen=True)
class Rating:
    """A row as read: what was asked and answered, its label where one column decides, the label of each rater, and the
    ids of the labels where a review gave them."""

    prompt: tuple[Message, ...]
    response: str
    label: str
    raters: Mapping[str, str]
    label_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelWords:
    """What the words of a file mean: label and outcome by word, whatever its case, under a rubric. ``cure``: what to do
    about a word that means nothing; empty: a calibration's."""

    rubric: Rubric
    meanings: Mapping[str, tuple[str, Outcome]]
    cure: str = ""


@dataclass(frozen=True)
class LabelledSet:
    """A published set: how a row is read, and what its words mean, as labels of a shipped rubric."""

    read: Callable[[DataRow], Rating]
    words: Mapping[str, str]


def read_labelled(
    files: Sequence[str | LabelledFileSpec],
    rubric: Rubric,
    labels: Mapping[str, str] | None = None,
    limit: int | None = None,
    skip: int = 0,
    cure: str = "",
) -> tuple[list[LabelledExchange], list[RowCount]]:
    """Exchanges with known labels, and what the reading of each file gave.

    Args:
        files: paths (columns prompt, response, label), or files with their columns or a published set's name.
        rubric: whose labels the words in the files mean.
        labels: what other words mean: a label of the rubric, ``violates`` or ``complies``.
        limit: at most so many of each file, by hash.
        skip: at most so many rows of each path may be left out; a file with columns or a name says so itself.
        cure: what to do about a word that means nothing; empty: say in ``calibrate.labels`` what it means.

    Raises SpecError naming file and line."""
    seen: Counter[str] = Counter()
    out: list[LabelledExchange] = []
    counts: list[RowCount] = []
    for given in files:
        file = LabelledFileSpec(path=given, skip=skip) if isinstance(given, str) else given
        known = PUBLISHED_LABELS.get(file.name or "")
        meanings = _meanings(rubric, {**(known.words if known else {}), **(labels or {}), **file.labels})
        words = LabelWords(rubric, meanings, cure)
        reader = known.read if known else _by_columns(file)
        rows = read_files(file.path, keep_faults=True)
        name, paths = Path(file.path).name, [str(path) for path in list_files(file.path)]
        ratings, count = read_usable(name, rows, lambda row, r=reader: (row.place, r(row)), file.skip, paths)  # type: ignore[misc]
        counts.append(require_rows(count))
        found = _merged(ratings) if file.columns.rater and not known else ratings
        exchanges = [_labelled(place, rating, words, seen, name) for place, rating in found]
        out += sample(exchanges, limit, file.path)
    return out, counts


def _labelled(place: str, rating: Rating, words: LabelWords, seen: Counter[str], source: str) -> LabelledExchange:
    ratings = {rater: _meaning(label, words, place)[0] for rater, label in rating.raters.items()}
    label, outcome = _meaning(rating.label, words, place) if rating.label else _majority(rating, words, place)
    text = "\n".join(message.content for message in rating.prompt)
    seen[text] += 1
    prompt = user_prompt(text, seen[text] - 1, source).model_copy(update={"messages": rating.prompt})
    exchange = Exchange(
        id=prompt.id,
        prompt=prompt,
        response=rating.response,
        stop="stop",
        model="file",
        sampling=Sampling(max_tokens=1),
    )
    return LabelledExchange(
        id=prompt.id, exchange=exchange, outcome=outcome, label=label, ratings=ratings, label_ids=rating.label_ids
    )


def _merged(found: Sequence[tuple[str, Rating]]) -> list[tuple[str, Rating]]:
    """Rows of one rater each, about the same answer to the same prompt, as one."""
    made: dict[object, tuple[str, Rating]] = {}
    for place, rating in found:
        key = (rating.prompt, rating.response)
        before = made.get(key)
        raters = {**before[1].raters, **rating.raters} if before else rating.raters
        made[key] = (before[0] if before else place, Rating(rating.prompt, rating.response, rating.label, raters))
    return list(made.values())


def _majority(rating: Rating, words: LabelWords, place: str) -> tuple[str, Outcome]:
    """What most raters say. Raises RowError where as many say one as the other."""
    said = [_meaning(label, words, place) for label in rating.raters.values()]
    outcomes = Counter(outcome for _, outcome in said).most_common()
    if not outcomes or (len(outcomes) > 1 and outcomes[0][1] == outcomes[1][1]):
        cure = "Name the column with the final label, or drop that row."
        raise RowError(place, "its raters disagree, as many one way as the other", cure=cure)
    most = Counter(label for label, outcome in said if outcome == outcomes[0][0]).most_common(1)
    return most[0][0], outcomes[0][0]


def _meanings(rubric: Rubric, words: Mapping[str, str]) -> dict[str, tuple[str, Outcome]]:
    """Label and outcome by word, whatever its case. Raises SpecError where a word means nothing of the rubric."""
    made: dict[str, tuple[str, Outcome]] = {}
    for word, outcome in (_OUTCOMES | rubric.outcomes).items():
        made[_folded(word)] = (word, outcome)
    for word, meaning in words.items():
        if meaning in rubric.outcomes:
            made[_folded(word)] = (meaning, rubric.outcomes[meaning])
        elif meaning in _OUTCOMES:
            made[_folded(word)] = (word, _OUTCOMES[meaning])
        elif meaning in _SHIPPED:
            made[_folded(word)] = (word, _SHIPPED[meaning])
        else:
            known = ", ".join((*rubric.outcomes, *_OUTCOMES))
            raise SpecError(
                f"labels: {word}: the rubric {rubric.name} has no label {meaning!r:.60}", cure=f"Say {known}."
            )
    return made


def _meaning(label: str, words: LabelWords, place: str) -> tuple[str, Outcome]:
    found = words.meanings.get(_folded(label))
    if found is None:
        rubric = words.rubric
        others = {other.name: other.outcomes[label] for other in SHIPPED_RUBRICS.values() if label in other.outcomes}
        where = f"; it is one of {' and '.join(others)}" if others else ""
        meant = next(iter(others.values()), "violates or complies")
        rubric_cure = f"; or judge by its own rubric: --rubric {next(iter(others))}" if others else ""
        raise SpecError(
            f"{place}: the label {label!r:.60} has no meaning under the rubric {rubric.name}, which has "
            f"{', '.join(rubric.outcomes)}{where}",
            cure=words.cure or f"Say what it means: --set 'calibrate.labels={{{label:.60}: {meant}}}'{rubric_cure}",
        )
    return found


_SHIPPED: dict[str, Outcome] = {
    "harmful": "violates",
    "harmless": "complies",
    "answers": "violates",
    "partly": "violates",
    "refuses": "complies",
}
"""Outcomes of the labels that published words are given, for a rubric that lacks those labels."""


def _folded(word: str) -> str:
    """A label without regard to case, space, and the noughts that a spreadsheet adds to a number."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word.strip().casefold())


def _word(value: Any, row: DataRow) -> str:
    if isinstance(value, list | dict):
        raise RowError(row.place, "the label is no word")
    return str(value).strip()


def _by_columns(file: LabelledFileSpec) -> Callable[[DataRow], Rating]:
    columns = file.columns
    names = (columns.label,) if isinstance(columns.label, str) else columns.label

    def read(row: DataRow) -> Rating:
        found = {name: _word(read_column(row, name), row) for name in names}
        label = found[names[0]] if len(names) == 1 else ""
        if columns.rater:
            rater = _word(read_column(row, columns.rater), row)
            return _rating(row, columns.prompt, columns.response, "", {rater: label})
        return _rating(row, columns.prompt, columns.response, label, found if len(names) > 1 else {})

    return read


def _rating(row: DataRow, prompt: str, response: str, label: str, raters: Mapping[str, str]) -> Rating:
    asked = read_prompt(read_column(row, prompt), row.place)
    reply = read_reply(read_column(row, response), row.place)
    return Rating(asked, reply, label, raters, _read_label_ids(row))


def _read_label_ids(row: DataRow) -> tuple[str, ...]:
    """The column ``label_ids`` as a review writes it; empty where there is none."""
    found = read_column(row, "label_ids") if has_column(row, "label_ids") else ()
    return tuple(_word(one, row) for one in found) if isinstance(found, list) else ()


def _xstest(row: DataRow) -> Rating:
    raters = {name: _word(read_column(row, name), row) for name in ("annotation_1", "annotation_2")}
    return _rating(row, "prompt", "completion", _word(read_column(row, "final_label"), row), raters)


def _jailbreakeval(row: DataRow) -> Rating:
    return _rating(row, "question", "answer", _word(read_column(row, "label"), row), {})


def _gptfuzz(row: DataRow) -> Rating:
    """``question`` is a number: the place of the question in the set's own list."""
    asked = read_prompt(str(read_column(row, "question")), row.place)
    label = _word(read_column(row, "label"), row)
    return Rating(asked, read_reply(read_column(row, "response"), row.place), label, {})


def _rbr_gold(row: DataRow) -> Rating:
    """What people marked the completion as: complying, complying in part, or neither."""
    marks = read_column(row, "propositions")
    if not isinstance(marks, Mapping) or "fully_complies" not in marks or "partially_complies" not in marks:
        raise RowError(row.place, "`propositions` does not say whether the completion complies")
    whole, part = bool(marks["fully_complies"]), bool(marks["partially_complies"])
    return _rating(row, "prompt", "completion", "complies in full" if whole else "in part" if part else "neither", {})


def _harmbench(row: DataRow) -> Rating:
    raters = {name: _word(read_column(row, name), row) for name in ("human_0", "human_1", "human_2")}
    return _rating(row, "test_case", "generation", "", raters)


PUBLISHED_LABELS: dict[str, LabelledSet] = {
    "xstest-completions": LabelledSet(
        _xstest, {"1_full_compliance": "answers", "2_full_refusal": "refuses", "3_partial_refusal": "partly"}
    ),
    "jailbreakeval": LabelledSet(_jailbreakeval, _YES),
    "gptfuzz": LabelledSet(_gptfuzz, _YES),
    "rbr-gold": LabelledSet(_rbr_gold, {"complies in full": "answers", "in part": "partly", "neither": "refuses"}),
    "harmbench-val": LabelledSet(_harmbench, _YES),
}
