"""What became of each failure: found, criticised, revised, verified, kept or dropped; and what replay was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from charter.records.chat import Exchange, Prompt
from charter.records.decisions import Alarm, Decision, GateCheck
from charter.records.revisions import Critique, Revision, RevisionCheck
from charter.records.rules import Lookalikes, Principle, Proposal
from charter.records.verdicts import Finding, Verdict
from charter.runs import store
from charter.runs.reader import RunReader

MAX_CAUSES, MAX_DROPPED = 8, 40
"""How many causes of each rule, and how many dropped revisions, come first where not every failure is shown."""


@dataclass(frozen=True)
class FailureTrace:
    """One failure and what became of it; None for what did not happen (yet)."""

    anchor: str
    folder: str
    finding: Finding
    critique: str
    revision: Revision | None
    recheck: Verdict | None
    help: Verdict | None
    kept: RevisionCheck | None


@dataclass(frozen=True)
class LookalikeAnswer:
    """A look-alike, with the starting model's answer and what the judge said of it, where it was asked."""

    prompt: Prompt
    answer: Exchange | None
    verdict: Verdict | None


@dataclass(frozen=True)
class IterationSummary:
    """An iteration in counts. ``reasons`` against revisions, and ``discarded`` look-alikes, by reason."""

    folder: str
    decision: Decision | None
    clean: Decision | None
    counts: dict[str, int]
    reasons: dict[str, int]
    discarded: dict[str, int]
    gates: tuple[GateCheck, ...] = ()
    alarms: tuple[Alarm, ...] = ()


def read_failures(reading: RunReader) -> list[FailureTrace]:
    """Every failure of the run, in order."""
    return [story for folder in reading.iterations for story in _failures_of(reading, folder)]


def summarise_iteration(reading: RunReader, folder: str) -> IterationSummary:
    """What happened in one iteration, counted."""
    proposals = reading.records(f"{folder}/proposals", Proposal)
    rows = reading.tally(f"{folder}/rows", "origin")
    found = reading.records(f"{folder}/lookalikes", Lookalikes)
    discarded: Counter[str] = Counter()
    for lookalikes in found:
        discarded.update(lookalikes.dropped)
    discarded.update(f"replay answer: {v.label or v.outcome}" for v in _read_failed_checks(reading, folder))
    return IterationSummary(
        folder=folder,
        decision=next(iter(reading.records(f"{folder}/decision", Decision)), None),
        clean=next(iter(reading.records(f"{folder}/stop", Decision)), None),
        counts={
            "probed": reading.count(f"{folder}/verdicts"),
            "failures": reading.count(f"{folder}/findings"),
            "unjudged": reading.tally(f"{folder}/verdicts", "outcome")["unjudged"],
            "clusters": reading.count(f"{folder}/clusters"),
            "proposals": len(proposals),
            "proposals without a rule": sum(p.principle is None for p in proposals),
            "revisions": reading.count(f"{folder}/revisions"),
            "kept": reading.tally(f"{folder}/kept", "kept")["true"],
            "look-alikes": sum(len(lookalikes.prompts) for lookalikes in found),
            "rows": sum(rows.values()),
            **{f"rows: {origin}": count for origin, count in sorted(rows.items())},
        },
        reasons=dict(reading.tally(f"{folder}/kept", "reasons").most_common()),
        discarded=dict(discarded.most_common()),
        gates=tuple(reading.records(f"{folder}/gates", GateCheck)),
        alarms=tuple(reading.records(f"{folder}/alarms", Alarm)),
    )


def _read_failed_checks(reading: RunReader, folder: str) -> list[Verdict]:
    """The verdicts on replay answers that are no good ones, which are few; the others are not parsed."""
    step = f"{folder}/checks"
    failed = (line for line in reading.lines(step) if b'"outcome":"complies"' not in line)
    return store.parse_records(store.records_path(reading.directory, step), failed, Verdict)


def read_lookalikes(reading: RunReader, folder: str) -> list[LookalikeAnswer]:
    """The look-alikes of one iteration."""
    answers = {e.id: e for e in reading.records(f"{folder}/answers", Exchange)}
    checks = {v.id: v for v in reading.records(f"{folder}/checks", Verdict)}
    return [
        LookalikeAnswer(prompt, answers.get(prompt.id), checks.get(prompt.id))
        for found in reading.records(f"{folder}/lookalikes", Lookalikes)
        for prompt in found.prompts
    ]


def rank_failures(told: Sequence[FailureTrace], principles: Iterable[Principle]) -> list[FailureTrace]:
    """The most telling first: some causes of each rule, some dropped revisions, then the rest in order."""
    causes = {cause for p in principles for cause in p.because[:MAX_CAUSES]}
    first = [story for story in told if story.finding.id in causes]
    others = [story for story in told if story.finding.id not in causes]
    dropped = [story for story in others if story.kept is not None and not story.kept.kept][:MAX_DROPPED]
    shown = {story.anchor for story in dropped}
    return [*first, *dropped, *(story for story in others if story.anchor not in shown)]


def _failures_of(reading: RunReader, folder: str) -> Iterable[FailureTrace]:
    critiques = {c.id: c.text for c in reading.records(f"{folder}/critiques", Critique)}
    revisions = {r.id: r for r in reading.records(f"{folder}/revisions", Revision)}
    rechecks = {v.id: v for v in reading.records(f"{folder}/rechecks", Verdict)}
    helps = {v.id: v for v in reading.records(f"{folder}/helps", Verdict)}
    kept = {k.id: k for k in reading.records(f"{folder}/kept", RevisionCheck)}
    for number, finding in enumerate(reading.records(f"{folder}/findings", Finding), 1):
        yield FailureTrace(
            anchor=f"f-{folder}-{number}",
            folder=folder,
            finding=finding,
            critique=critiques.get(finding.id, ""),
            revision=revisions.get(finding.id),
            recheck=rechecks.get(finding.id),
            help=helps.get(finding.id),
            kept=kept.get(finding.id),
        )
