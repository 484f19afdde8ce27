"""Verification: which revisions become training rows, and why the others do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from charter.constitution.answer_form import find_repetition
from charter.records.chat import Prompt
from charter.records.record import digest
from charter.records.revisions import Revision, RevisionCheck
from charter.records.training_rows import Example
from charter.records.verdicts import Verdict
from charter.similarity.spelling import first_words
from charter.similarity.splits import LeakageFilter
from charter.spec import VerifySpec

OPENING_WORDS = 5
"""Words of an opening that is counted for repetition."""

_SELF_REFERENCE = re.compile(
    r"\b(constitution|principles?|guidelines?|critique|criticism|revised?|revision"
    r"|(?:previous|earlier|last|original|first|above|prior) (?:answer|response|reply|message)|the rules?)\b",
    re.IGNORECASE,
)


def verify(
    revisions: Sequence[Revision],
    rechecks: Sequence[Verdict],
    helps: Sequence[Verdict],
    before: Sequence[Example],
    options: VerifySpec,
    replay_ratio: float,
) -> list[RevisionCheck]:
    """One outcome for each revision, with every reason against it. Without verification there is one reason alone:
    there is no answer, so nothing to train on.

    Words that already stand in the prompt ("what is the constitution of France") do not count as speaking of the
    constitution.

    Args:
        revisions: The answers to be verified.
        rechecks: Verdicts on their conduct.
        helps: For those that comply, whether they help where safe help exists.
        before: The rows kept earlier in the run; the openings are counted over these too.
        options: What is checked.
        replay_ratio: Replay rows for each revision, which count where shares of openings are taken.
    """
    conduct, helpful = ({v.id: v for v in verdicts} for verdicts in (rechecks, helps))
    out = [
        RevisionCheck(id=r.id, kept=not reasons, reasons=tuple(reasons), example=_to_example(r))
        for r in revisions
        for reasons in [
            _rejection_reasons(r, conduct[r.id], helpful.get(r.id), options) if options.verify else _missing_answer(r)
        ]
    ]
    return _limit_openings(out, before, options, replay_ratio) if options.verify else out


def drop_protected(given: Sequence[Example], guard: LeakageFilter) -> list[RevisionCheck]:
    """Rows that were given, less those without an answer and those whose prompt is close to gate or held-out."""
    leaked = guard.find_leaked([Prompt(id=e.id, messages=e.messages) for e in given])
    return [
        RevisionCheck(id=e.id, kept=not reasons, reasons=tuple(reasons), example=e)
        for e, is_leaked in zip(given, leaked, strict=True)
        for reasons in [_exclusion_reasons(e, is_leaked)]
    ]


def select_for_help_check(
    revisions: Sequence[Revision], rechecks: Sequence[Verdict], options: VerifySpec
) -> list[Revision]:
    """The revisions that the second rubric is asked about: those that comply. None where verification or this check is
    off."""
    complies = {v.id for v in rechecks if v.outcome == "complies"}
    return [r for r in revisions if r.id in complies] if options.verify and options.check_help else []


def to_examples(kept: Sequence[RevisionCheck]) -> list[Example]:
    """The training rows of the kept revisions."""
    return [k.example for k in kept if k.kept and k.example is not None]


def _missing_answer(revision: Revision) -> list[str]:
    """Why there is no answer at all; nothing where there is one."""
    if revision.exchange.stop == "error":
        return ["no answer"]
    return [] if revision.exchange.response.strip() else ["empty"]


def _exclusion_reasons(example: Example, is_leaked: bool) -> list[str]:
    checks = {"empty": not example.response.strip(), "close to gate or held-out": is_leaked}
    return [reason for reason, holds in checks.items() if holds]


def _rejection_reasons(revision: Revision, conduct: Verdict, helpful: Verdict | None, options: VerifySpec) -> list[str]:
    text = revision.exchange.response
    prompt = revision.exchange.prompt.text
    said = {m.group(0).lower() for m in _SELF_REFERENCE.finditer(text)}
    asked = {m.group(0).lower() for m in _SELF_REFERENCE.finditer(prompt)}
    checks = {
        "still violates": conduct.outcome == "violates",
        "unjudged": conduct.outcome == "unjudged" or (helpful is not None and helpful.outcome == "unjudged"),
        "only refuses where safe help exists": helpful is not None and helpful.outcome == "violates",
        "does not end properly": revision.exchange.stop not in ("stop", "sentence"),
        "empty": not text.strip(),
        "too long": len(text) > options.max_characters,
        "speaks of the constitution, the critique or the earlier answer": bool(said - asked),
        "recites a rule": bool(revision.recited),
        "repeats itself": bool(find_repetition(text)),
    }
    return [reason for reason, holds in checks.items() if holds]


def _to_example(revision: Revision) -> Example:
    exchange = revision.exchange
    return Example(
        id=revision.id,
        messages=exchange.prompt.messages,
        response=exchange.response,
        thought=exchange.thought,
        origin="revision",
        because=(revision.id, *revision.principles),
    )


def _limit_openings(
    kept: Sequence[RevisionCheck], before: Sequence[Example], options: VerifySpec, replay: float
) -> list[RevisionCheck]:
    """No opening 5-gram in more than ``opening_share`` of the rows: the revisions so far and now, with ``replay`` rows
    for each (a row of its own is always allowed); the rows to drop are chosen by the hash of their id."""
    new = [k.example for k in kept if k.kept and k.example is not None]
    taken = Counter(_opening(e) for e in before)
    exempt = tuple(" ".join(opening.lower().split()) for opening in options.exempt_openings)
    groups: dict[str, list[str]] = {}
    for example in sorted(new, key=lambda e: digest(f"opening|{e.id}")):
        if not " ".join(example.response.lower().split()).startswith(exempt):
            groups.setdefault(_opening(example), []).append(example.id)
    extra: set[str] = set()
    while True:
        most = int((len(before) + len(new) - len(extra)) * (1 + replay) * options.opening_share)
        room = {opening: max(0 if taken[opening] else 1, most - taken[opening]) for opening in groups}
        dropped = {i for opening, ids in groups.items() for i in ids[room[opening] :]}
        if dropped == extra:
            break
        extra = dropped
    reason = f"opening shared by more than {options.opening_share:.0%} of the rows"
    return [k.model_copy(update={"kept": False, "reasons": (reason,)}) if k.id in extra else k for k in kept]


def _opening(example: Example) -> str:
    return first_words(example.response, OPENING_WORDS)
