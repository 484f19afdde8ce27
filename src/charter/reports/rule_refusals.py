"""What became of each wording that was to become a rule: refused, and why, or tried with success."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from charter.records.candidate_rules import CandidateCheck
from charter.records.record import Record
from charter.runs.reader import RunReader


class CheckedWording(Record):
    """One wording with its check: in which iteration. ``check.reason`` is None where it passed."""

    folder: str
    check: CandidateCheck


def read_checked_wordings(reading: RunReader) -> list[CheckedWording]:
    """Every wording that was checked, in order; none in a run that takes proposals as they come."""
    return [
        CheckedWording(folder=folder, check=check)
        for folder in reading.iterations
        for name in _check_steps(reading, folder)
        for check in reading.records(f"{folder}/{name}", CandidateCheck)
    ]


def _check_steps(reading: RunReader, folder: str) -> list[str]:
    names = (step.rpartition("/")[2] for step in reading.steps if step.startswith(f"{folder}/"))
    return [name for name in names if name.endswith("_checks") and name.startswith(("proposal", "merged", "narrowed"))]


def count_checked(wordings: list[CheckedWording]) -> dict[str, int]:
    """How many wordings passed, and how many were refused for each reason."""
    counts = Counter(w.check.reason or "passed" for w in wordings)
    return {"passed": counts.pop("passed", 0), **dict(counts.most_common())} if wordings else {}


def tabulate_checked(wordings: list[CheckedWording]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The reasons with their counts, then each refused wording with why; nothing where none was checked."""
    if not wordings:
        return
    counts = count_checked(wordings)
    rows: list[tuple[str, ...]] = [("outcome", "wordings"), *((name, str(count)) for name, count in counts.items())]
    yield "Proposed rules, by what became of them", rows
    refused = [w for w in wordings if w.check.reason is not None and w.check.reason != "repeated"]
    if refused:
        head = ("iteration", "wording", "refused", "why")
        told = [(w.folder, w.check.text or "-", str(w.check.reason), w.check.why) for w in refused]
        yield "Refused as a rule, each wording once", [head, *told]
