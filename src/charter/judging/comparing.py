"""Two responses compared, in both orders: by a judge in words, or by a model's own log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from charter.judging.asking import PREFERENCE, Compared, compare_request
from charter.judging.polling import comparison, majority, poll
from charter.judging.records import Order, Pair, Preference
from charter.nouns import ScoreRequest, Step
from charter.ports import Engine
from charter.spec import Judging
from charter.templates import Templates

Rules = Mapping[str, tuple[str, str]]
"""The rule that a pair is compared under, by the pair's id: its id and its text."""

LEAST = 1e-16
"""A share under this counts as so much."""


def both_orders(pairs: Sequence[Pair]) -> list[Order]:
    """Each pair twice: with the chosen response first, and second."""
    return [Order(id=f"{p.id}/{1 + (not first)}", pair=p, chosen_first=first) for p in pairs for first in (True, False)]


def compared(order: Order, rules: Rules) -> Compared:
    """What stands side by side."""
    both = (order.pair.chosen, order.pair.rejected)
    rule = rules.get(order.pair.id, ("", ""))[1]
    return Compared(order.pair.prompt, both if order.chosen_first else (both[1], both[0]), rule)


def preferences(
    orders: Sequence[Order],
    judge: Engine,
    templates: Templates,
    judging: Judging,
    rules: Rules | None = None,
    *,
    step: Step,
) -> Iterator[Preference]:
    """One preference for each order of each pair, by a judge."""
    known = rules or {}
    under = {order.id: known.get(order.pair.id, ("", ""))[0] for order in orders}

    asked = [comparison(order.id, compared(order, known), templates, step) for order in orders]
    for id, ballot in poll(asked, judge, judging, step=step):
        label = majority([reading.label for reading in ballot.last])
        first = None if label is None else label == "first"
        yield Preference(id=id, first=first, raw=ballot.last[0].raw, votes=ballot.kept(), rule=under[id])


def likelier(
    orders: Sequence[Order], model: Engine, templates: Templates, rules: Rules, *, step: Step
) -> Iterator[Preference]:
    """One preference for each order of each pair, by how likely the model holds each label as its answer to the
    question that a judge is asked (Bai et al., arXiv 2212.08073, section 4.1)."""
    labels = tuple(PREFERENCE)
    requests, done = [], set[str]()
    for order in orders:
        asked = compare_request(order.id, compared(order, rules), templates, step)
        made = [ScoreRequest(id=f"{order.id}/{label}", messages=asked.messages, completion=label) for label in labels]
        requests += made
        done |= {request.id for request in made} if order.id in step.done else set()
    found: dict[str, dict[str, float]] = {}
    under = {order.id: rules.get(order.pair.id, ("", ""))[0] for order in orders}
    for answer in model.score(requests, done):
        id, _, label = answer.id.rpartition("/")
        seen = found.setdefault(id, {})
        seen[label] = answer.value
        if len(seen) == len(labels):
            share = 1 / (1 + math.exp(min(700.0, seen["second"] - seen["first"])))
            yield Preference(id=id, first=_first(share), share=share, rule=under[id])


def evened(said: Sequence[Preference]) -> list[Preference]:
    """What was said by log-probabilities, without the model's liking for one label or place whatever stands there: the
    mean log-odds over both orders of all pairs, in which what the answers say cancels out, are subtracted. What was
    said in words stays."""
    odds = {p.id: math.log(max(p.share, LEAST) / max(1 - p.share, LEAST)) for p in said if p.share is not None}
    mean = math.fsum(odds.values()) / len(odds) if odds else 0.0
    shares = {id: 1 / (1 + math.exp(min(700.0, mean - own))) for id, own in odds.items()}
    return [
        p.model_copy(update={"first": _first(shares[p.id]), "share": shares[p.id]}) if p.id in shares else p
        for p in said
    ]


def _first(share: float) -> bool | None:
    """None where both labels are as likely: nothing was said."""
    return None if share == 0.5 else share > 0.5
