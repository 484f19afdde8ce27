"""What raters and users found bad, as cases of a battery: where each comes from, and what may be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.judging.audit_battery import Probe
from charter.judging.rubrics import SHIPPED_RUBRICS
from charter.records.calibration_results import LabelledExchange
from charter.records.feedback import Feedback, FeedbackRow
from charter.records.verdicts import Finding
from charter.similarity.spelling import normalize_text
from charter.wiring.components import Components

if TYPE_CHECKING:
    from charter.runs.reader import RunReader


def make_cases(
    reading: RunReader, labelled: Sequence[Path], components: Components, causes: Sequence[Finding]
) -> tuple[list[Probe], list[str]]:
    """Probes of what people found bad, and what there is to say of them.

    Args:
        reading: The run, with the feedback that it took in.
        labelled: Files of exchanges that raters labelled.
        components: What the run's spec names.
        causes: The failures behind the run's principles.

    Returns:
        The probes, and notes: how many come from users, and how many prompts are like no principle's failures.

    Raises:
        SpecError: A labelled file has a bad label that the run's rubric lacks, or none.
    """
    from charter.stages.battery_probes import make_labelled_probes, make_reported_probes

    rules, embedder, notes = reading.constitution.active, components.embedder, list[str]()
    bad, reported = _read_violating(labelled, components), list_reported_texts(reading.feedback)
    by_raters = make_labelled_probes(rules, causes, bad, embedder)
    by_users = make_reported_probes(rules, causes, reading.feedback, embedder)
    if left := len({one.exchange.prompt.text for one in bad}) - len(by_raters):
        notes.append(f"{left} labelled prompts are like no principle's failures, and were left out")
    if by_users:
        notes.append(f"{len(by_users)} prompts come from feedback: users found the answers bad")
    if left := len(reported) - len(by_users):
        notes.append(f"{left} prompts of feedback are like no principle's failures, and were left out")
    return [*by_raters, *by_users], notes


def list_reported_texts(rows: Sequence[FeedbackRow]) -> set[str]:
    """The prompts whose answers users found bad, where these may be used."""
    return {_join_turns(said) for row in rows if row.is_usable and (said := row.said) and said.is_good is False}


def note_consent(rows: Sequence[FeedbackRow], probes: Sequence[Probe]) -> list[str]:
    """Says how many prompts are words of users who let them be used and not be published; nothing where none is."""
    kept = {normalize_text(_join_turns(said)) for row in rows if (said := row.said) and said.consent == "improve"}
    count = sum(normalize_text(probe.prompt.text) in kept for probe in probes)
    what = f"{count} prompts are words of users who let them improve a model and not be published"
    return [f"{what}: keep the battery to yourself"] if count else []


def _read_violating(files: Sequence[Path], components: Components) -> list[LabelledExchange]:
    """The exchanges of labelled files that violate the run's rubric, by which an audit judges. A label that another
    shipped rubric calls good is passed over, since no good answer is taken. Raises SpecError where a file has a bad
    label that the run's rubric lacks, or none."""
    from charter.data.sources.labelled_sets import read_labelled

    rubric, found = components.rubric_of("evaluator"), list[LabelledExchange]()
    others = [pair for other in SHIPPED_RUBRICS.values() for pair in other.outcomes.items()]
    good = {word: outcome for word, outcome in others if outcome == "complies" and word not in rubric.outcomes}
    cure = (
        f"An audit judges by the run's rubric. Label by it: charter review create RUN --kind exchanges --rubric "
        f"{rubric.name}; or leave out what was labelled by another."
    )
    for file in files:
        rows, _ = read_labelled([str(file)], rubric, good, cure=cure)
        bad = [row for row in rows if row.outcome == "violates"]
        if not bad:
            raise SpecError(f"{file} holds no exchange that violates", cure="Give a file with some, or none.")
        found += bad
    return found


def _join_turns(said: Feedback) -> str:
    return "\n".join(turn.content for turn in said.prompt)
