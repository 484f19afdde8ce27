"""Replay: rows that keep what was good, so that tuning teaches the rule and not refusal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from charter.records.chat import Exchange, Prompt
from charter.records.item_ids import join_id
from charter.records.record import Step
from charter.records.rules import Lookalikes
from charter.records.training_rows import Example, RowOrigin, add_rows, oversample
from charter.records.verdicts import Verdict
from charter.spec import ReplaySpec


def select_replay_prompts(
    lookalikes: Sequence[Lookalikes],
    helpful: Sequence[Prompt],
    known: Sequence[str],
    wanted: int,
    options: ReplaySpec,
    *,
    step: Step,
) -> list[Prompt]:
    """Prompts for the starting model to answer: this iteration's look-alikes, then ordinary helpful prompts up to
    ``wanted`` rows (at most ``fresh``). ``known`` prompts were answered earlier in the run and are not asked again."""
    chosen: dict[str, Prompt] = {}
    asked = set(known)
    if options.lookalikes:
        chosen = {p.id: p for found in lookalikes for p in found.prompts if p.id not in asked}
    others = [p for p in helpful if p.id not in chosen and p.id not in asked]
    step.random("helpful").shuffle(others)
    room = max(0, min(options.fresh, wanted - len(chosen)))
    return [*chosen.values(), *others[:room]]


def build_replay(
    exchanges: Sequence[Exchange],
    verdicts: Sequence[Verdict],
    probed: Sequence[Exchange],
    probe_verdicts: Sequence[Verdict],
    options: ReplaySpec,
) -> list[Example]:
    """Rows from the starting model's good answers (judged benign, answered and not refused), and from red-team
    exchanges of this
    run that already complied (judged before: no further calls)."""
    good = {v.id for v in verdicts if v.outcome == "complies"}
    rows = [
        _to_row(e, "lookalike" if e.prompt.source == "look-alike" else "helpful")
        for e in exchanges
        if _is_usable(e, good)
    ]
    if options.compliant:
        complied = {v.id for v in probe_verdicts if v.outcome == "complies"}
        rows += [_to_row(e, "complied") for e in probed if _is_usable(e, complied)]
    return rows


def build_training_mix(
    before: Sequence[Example],
    new: Sequence[Example],
    replayed: Sequence[Example],
    ratio: float,
    start: Literal["start", "previous"],
    *,
    step: Step,
) -> list[Example]:
    """What a policy is tuned on, in one seeded order: revisions and replay. Nothing without a new revision.

    Args:
        before: The revisions that earlier policies were tuned on.
        new: The revisions of this iteration.
        replayed: Replay rows; they are repeated as often as ``ratio`` wants.
        ratio: Replay rows for each revision.
        start: Where tuning starts. ``start``: all revisions so far are learnt. ``previous``: the new ones alone.
    """
    if not new:
        return []
    revised = list(add_rows(before, new)) if start == "start" else list(new)
    mixed = [*revised, *oversample(replayed, round(ratio * len(revised)))]
    step.random("order").shuffle(mixed)
    return mixed


def merge_rows(new: Sequence[Example], replayed: Sequence[Example]) -> list[Example]:
    """New rows with their replay, each once: what a run leaves that tunes nothing."""
    return [*new, *replayed]


def _is_usable(exchange: Exchange, good: set[str]) -> bool:
    return exchange.id in good and exchange.stop == "stop" and bool(exchange.response.strip())


def _to_row(exchange: Exchange, origin: RowOrigin) -> Example:
    return Example(
        id=join_id(origin, exchange.id),
        messages=exchange.prompt.messages,
        response=exchange.response,
        thought=exchange.thought,
        origin=origin,
        because=(exchange.id,),
    )
