"""What goes into a review queue: items made of a run's records, drawn by hash, with the sides of a pair mixed."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.chat import Exchange
from charter.records.item_ids import join_id
from charter.records.preferences import ResponsePair
from charter.records.record import digest
from charter.records.reviews import ReviewAnswer, ReviewItem
from charter.records.revisions import Revision
from charter.records.rules import Principle
from charter.records.verdicts import Finding

ID_LENGTH = 12


def make_exchange_items(step: str, exchanges: Sequence[Exchange]) -> list[ReviewItem]:
    """An item for each answer of a step; what failed has nothing to label and is left out."""
    return [_item(_answer(step, e), exchange=e) for e in exchanges if not e.error and e.response.strip()]


def make_pair_items(
    first_step: str, first: Sequence[Exchange], second_step: str, second: Sequence[Exchange]
) -> list[ReviewItem]:
    """An item for each prompt that two steps answered, where the answers differ."""
    others = {e.id: e for e in second}
    pairs = [(e, others[e.id]) for e in first if e.id in others]
    return [
        _item(_answer(first_step, one), _answer(second_step, other), exchange=one)
        for one, other in pairs
        if one.prompt.messages == other.prompt.messages and _is_choice(one, other)
    ]


def make_response_pair_items(step: str, pairs: Sequence[ResponsePair]) -> list[ReviewItem]:
    """An item for each pair of answers that a step made to be compared."""
    made = []
    for pair in pairs:
        texts = {"a": pair.chosen, "b": pair.rejected}
        sides = [ReviewAnswer(step=step, id=join_id(pair.id, k), model="", text=t) for k, t in texts.items()]
        made.append(ReviewItem(id=_item_id(sides), prompt=pair.prompt.messages, answers=tuple(sides)))
    return made


def make_revision_items(
    finding_step: str, findings: Sequence[Finding], step: str, revisions: Sequence[Revision]
) -> list[ReviewItem]:
    """An item for each finding that was answered again: the first answer and the revision."""
    known = {f.id: f.exchange for f in findings}
    pairs = [(known[r.id], r.exchange) for r in revisions if r.id in known]
    return [
        _item(_answer(finding_step, before), _answer(step, after), exchange=before)
        for before, after in pairs
        if _is_choice(before, after)
    ]


def make_rule_items(step: str, principles: Sequence[Principle]) -> list[ReviewItem]:
    """An item for each rule that is neither rejected nor retired."""
    open_rules = [p for p in principles if p.status in ("proposed", "approved")]
    return [ReviewItem(id=digest([step, p.id, p.text])[:ID_LENGTH], rule=p) for p in open_rules]


def draw_items(items: Sequence[ReviewItem], count: int | None, seed: int) -> list[ReviewItem]:
    """At most ``count`` items, and the order of the queue, by the hash of seed and item; None: all of them. Of a pair
    the hash says which answer is shown first, so that no side follows from the model."""
    ordered = sorted(items, key=lambda item: (digest([seed, item.id]), item.id))
    return [mix_sides(item, seed) for item in ordered[:count]]


def mix_sides(item: ReviewItem, seed: int) -> ReviewItem:
    """The item with its answers in the order that the hash of seed and item gives."""
    swapped = int(digest([seed, item.id, "sides"]), 16) % 2
    return item.model_copy(update={"answers": item.answers[::-1]}) if swapped else item


def _item(*answers: ReviewAnswer, exchange: Exchange) -> ReviewItem:
    return ReviewItem(id=_item_id(answers), prompt=exchange.prompt.messages, answers=answers)


def _item_id(answers: Sequence[ReviewAnswer]) -> str:
    return digest([[answer.step, answer.id] for answer in answers])[:ID_LENGTH]


def _answer(step: str, exchange: Exchange) -> ReviewAnswer:
    return ReviewAnswer(step=step, id=exchange.id, model=exchange.model, text=exchange.response)


def _is_choice(one: Exchange, other: Exchange) -> bool:
    return not (one.error or other.error) and one.response.strip() != other.response.strip()
