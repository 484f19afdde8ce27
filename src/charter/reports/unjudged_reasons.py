"""Why verdicts are missing: kinds of replies that could not be read, and what judges refuse to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from charter.judging.judge_replies import REFUSED
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, Prompt
from charter.records.measurements import Measurement
from charter.records.preferences import PairVerdict
from charter.records.verdicts import Verdict
from charter.runs.reader import RunReader

UNJUDGED = '"outcome":"unjudged"'
"""What stands in the line of a verdict that is missing. In a text its quotes would be escaped."""
_MOST = 80


def count_reasons(reading: RunReader, steps: tuple[str, ...]) -> dict[str, int]:
    """How many verdicts are missing for which reason, the most frequent first; an older run tells no reason."""
    found = Counter(_kind(v.why) for _, v in _unjudged(reading, steps))
    for step in (step for step in reading.steps if step.split("/")[-1] == "preferences"):
        found.update(_kind(p.why) for p in reading.records(step, PairVerdict) if p.first is None)
    return dict(found.most_common())


def count_refusals(reading: RunReader, steps: tuple[str, ...]) -> dict[str, int]:
    """How many verdicts a judge refused, by the prompt's category."""
    missing = [(step, v) for step, v in _unjudged(reading, steps) if v.why == REFUSED]
    known = _categories(reading) if missing else {}
    found = Counter(known.get(v.id, "") or "no category" for _, v in missing)
    return dict(found.most_common())


def tabulate_unread(why: dict[str, int], refused: dict[str, int]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The missing verdicts of a run in tables, with their heads; nothing where none is missing."""
    if why:
        yield "Missing verdicts, by reason", [("reason", "verdicts"), *((k, str(n)) for k, n in why.items())]
    if refused:
        title = "Refused by a judge, by the prompt's category: shares without these are biased"
        yield title, [("category", "verdicts"), *((k, str(n)) for k, n in refused.items())]


def _kind(why: str) -> str:
    return why.split(":")[0][:_MOST] or "no reason told"


def _unjudged(reading: RunReader, steps: tuple[str, ...]) -> Iterator[tuple[str, Verdict]]:
    for step in reading.steps:
        name = step.split("/")[-1]
        found: Iterable[Verdict] = ()
        if name in steps or name.endswith(("_rechecks", "_addressed")):
            found = reading.find_records(step, Verdict, UNJUDGED)
        elif name.endswith("_measurements"):
            found = (m.verdict for m in reading.find_records(step, Measurement, UNJUDGED) if m.verdict is not None)
        yield from ((step, v) for v in found if v.outcome == "unjudged")


def _categories(reading: RunReader) -> dict[str, str]:
    """The category of each prompt that was asked, by the id of what was judged."""
    prompts: dict[str, Prompt] = {}
    for step in reading.steps:
        name = step.split("/")[-1]
        if name.endswith("exchanges"):
            prompts |= {e.id: e.prompt for e in reading.records(step, Exchange)}
        elif name == "labelled":
            prompts |= {known.id: known.exchange.prompt for known in reading.records(step, LabelledExchange)}
    return {id: prompt.meta.get("category", "") for id, prompt in prompts.items()}
