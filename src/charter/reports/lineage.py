"""A run's lineage for its page: each rule with its failures, rows and checkpoints, and each checkpoint with the rules
behind its rows and the scores that it moved."""

from __future__ import annotations

from dataclasses import dataclass

from charter.records.rules import Principle
from charter.reports.explanation import rules_of_row
from charter.reports.provenance import Checkpoint, RunGraph
from charter.reports.score_changes import ScoreChange, find_score_changes
from charter.runs.reader import RunReader


@dataclass(frozen=True)
class RuleLink:
    """A rule with its place on the page."""

    anchor: str
    title: str


@dataclass(frozen=True)
class RuleLineage:
    """A rule in counts: failures that caused it, rows of their revisions, rows of their look-alikes, and how many rows
    (copies counted) of each checkpoint are its own."""

    rule: RuleLink
    failures: int
    revisions: int
    lookalikes: int
    used: dict[str, int]


@dataclass(frozen=True)
class CheckpointLineage:
    """A checkpoint: the rules behind its rows (other rows belong to no rule), and its scores that moved."""

    checkpoint: Checkpoint
    by_rule: list[tuple[RuleLink, int]]
    others: int
    moved: list[ScoreChange]


@dataclass(frozen=True)
class FailureLineage:
    """A failure: the rules that it caused, and the checkpoints that were trained on its revision."""

    rules: list[RuleLink]
    used: list[str]


@dataclass(frozen=True)
class Lineage:
    """``failures`` by id. ``inherited``: what the run took over from another one is among its rules and rows."""

    rules: list[RuleLineage]
    checkpoints: list[CheckpointLineage]
    failures: dict[str, FailureLineage]
    inherited: bool


def build_lineage(reading: RunReader) -> Lineage:
    """Raises DamagedError."""
    threads = RunGraph(reading)
    rules = reading.constitution.principles
    named = {p.id: RuleLink(f"p-{n}", p.title or p.id) for n, p in enumerate(rules, 1)}
    owners = {id: rules_of_row(threads, row) for id, row in threads.rows.items()}
    return Lineage(
        rules=[_rule_lineage(threads, p, named[p.id], owners) for p in rules],
        checkpoints=[_checkpoint_lineage(threads, c, named, owners) for c in threads.checkpoints],
        failures={
            id: FailureLineage(
                [named[p.id] for p in rules if id in p.because],
                [c.step for c in threads.checkpoints if failure.row and c.rows[failure.row]],
            )
            for id, failure in threads.failures.items()
        },
        inherited=threads.inherited is not None,
    )


def _rule_lineage(
    threads: RunGraph, rule: Principle, name: RuleLink, owners: dict[str, tuple[str, ...]]
) -> RuleLineage:
    own = [id for id, rules in owners.items() if rule.id in rules]
    kinds = [threads.rows[id].example.origin for id in own]
    used = {c.step: sum(c.rows[id] for id in own) for c in threads.checkpoints}
    return RuleLineage(
        rule=name,
        failures=len(rule.because),
        revisions=kinds.count("revision"),
        lookalikes=kinds.count("lookalike"),
        used={step: count for step, count in used.items() if count},
    )


def _checkpoint_lineage(
    threads: RunGraph, checkpoint: Checkpoint, named: dict[str, RuleLink], owners: dict[str, tuple[str, ...]]
) -> CheckpointLineage:
    by_rule = dict.fromkeys(named, 0)
    for id, copies in checkpoint.rows.items():
        for rule in owners.get(id, ()):
            by_rule[rule] += copies
    return CheckpointLineage(
        checkpoint=checkpoint,
        by_rule=[(named[rule], count) for rule, count in by_rule.items() if count],
        others=sum(copies for id, copies in checkpoint.rows.items() if not owners.get(id)),
        moved=[move for move in find_score_changes(threads, checkpoint) if move.is_significant],
    )
