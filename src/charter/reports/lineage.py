"""A run's lineage for its page: each rule with its failures, rows and checkpoints, and each checkpoint with the rules
behind its rows and the scores that it moved."""

from __future__ import annotations

from dataclasses import dataclass

from charter.nouns import Principle
from charter.reports.explain import rules_of
from charter.reports.moves import Move, moves
from charter.reports.reading import Reading
from charter.reports.threads import Checkpoint, Threads


@dataclass(frozen=True)
class Named:
    """A rule with its place on the page."""

    anchor: str
    title: str


@dataclass(frozen=True)
class OfRule:
    """A rule in counts: failures that caused it, rows of their revisions, rows of their look-alikes, and how many rows
    (copies counted) of each checkpoint are its own."""

    rule: Named
    failures: int
    revisions: int
    lookalikes: int
    used: dict[str, int]


@dataclass(frozen=True)
class OfCheckpoint:
    """A checkpoint: the rules behind its rows (other rows belong to no rule), and its scores that moved."""

    checkpoint: Checkpoint
    by_rule: list[tuple[Named, int]]
    others: int
    moved: list[Move]


@dataclass(frozen=True)
class OfFailure:
    """A failure: the rules that it caused, and the checkpoints that were trained on its revision."""

    rules: list[Named]
    used: list[str]


@dataclass(frozen=True)
class Lineage:
    """``failures`` by id. ``inherited``: what the run took over from another one is among its rules and rows."""

    rules: list[OfRule]
    checkpoints: list[OfCheckpoint]
    failures: dict[str, OfFailure]
    inherited: bool


def lineage(reading: Reading) -> Lineage:
    """Raises DamagedError."""
    threads = Threads(reading)
    rules = reading.constitution.principles
    named = {p.id: Named(f"p-{n}", p.title or p.id) for n, p in enumerate(rules, 1)}
    owners = {id: rules_of(threads, row) for id, row in threads.rows.items()}
    return Lineage(
        rules=[_rule(threads, p, named[p.id], owners) for p in rules],
        checkpoints=[_checkpoint(threads, c, named, owners) for c in threads.checkpoints],
        failures={
            id: OfFailure(
                [named[p.id] for p in rules if id in p.because],
                [c.step for c in threads.checkpoints if failure.row and c.rows[failure.row]],
            )
            for id, failure in threads.failures.items()
        },
        inherited=threads.inherited is not None,
    )


def _rule(threads: Threads, rule: Principle, name: Named, owners: dict[str, tuple[str, ...]]) -> OfRule:
    own = [id for id, rules in owners.items() if rule.id in rules]
    kinds = [threads.rows[id].example.origin for id in own]
    used = {c.step: sum(c.rows[id] for id in own) for c in threads.checkpoints}
    return OfRule(
        rule=name,
        failures=len(rule.because),
        revisions=kinds.count("revision"),
        lookalikes=kinds.count("lookalike"),
        used={step: count for step, count in used.items() if count},
    )


def _checkpoint(
    threads: Threads, checkpoint: Checkpoint, named: dict[str, Named], owners: dict[str, tuple[str, ...]]
) -> OfCheckpoint:
    by_rule = dict.fromkeys(named, 0)
    for id, copies in checkpoint.rows.items():
        for rule in owners.get(id, ()):
            by_rule[rule] += copies
    return OfCheckpoint(
        checkpoint=checkpoint,
        by_rule=[(named[rule], count) for rule, count in by_rule.items() if count],
        others=sum(copies for id, copies in checkpoint.rows.items() if not owners.get(id)),
        moved=[move for move in moves(threads, checkpoint) if move.moved],
    )
