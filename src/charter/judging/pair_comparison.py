"""Two responses compared, in both orders: by a judge in words, or by a model's own log-probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from charter.judging.exchange_classes import list_classes
from charter.judging.judge_requests import COMPARISON_MENU, SideBySide, compare_request
from charter.judging.label_reading import DIGITS
from charter.judging.rubrics import COMPARE
from charter.judging.votes import ask_with_retries, comparison_question, majority_label
from charter.ports import Engine
from charter.records.chat import LogLikelihood, Message, ScoreRequest
from charter.records.item_ids import join_id, parent_id, split_id
from charter.records.preferences import OrderedPair, PairVerdict, ResponsePair
from charter.records.record import Step
from charter.records.templates import Templates
from charter.spec import JudgingSpec

RulesByPair = Mapping[str, tuple[str, str]]
"""The rule that a pair is compared under, by the pair's id: its id and its text."""

BETTER = "better"
"""The label whose share decides between two responses that a classifier reads."""
MIN_SHARE = 1e-16
"""A share under this counts as so much."""


def both_orders(pairs: Sequence[ResponsePair]) -> list[OrderedPair]:
    """Each pair twice: with the chosen response first, and second."""
    return [
        OrderedPair(id=join_id(p.id, 1 + (not first)), pair=p, chosen_first=first)
        for p in pairs
        for first in (True, False)
    ]


def place_side_by_side(order: OrderedPair, rules: RulesByPair) -> SideBySide:
    """What stands side by side."""
    both = (order.pair.chosen, order.pair.rejected)
    rule = rules.get(order.pair.id, ("", ""))[1]
    return SideBySide(order.pair.prompt, both if order.chosen_first else (both[1], both[0]), rule)


def judge_pairs(
    orders: Sequence[OrderedPair],
    judge: Engine,
    templates: Templates,
    judging: JudgingSpec,
    rules: RulesByPair | None = None,
    *,
    step: Step,
) -> Iterator[PairVerdict]:
    """One preference for each order of each pair, by a judge: in words, or by a classifier that compares, where no
    rule is to be heeded."""
    known = rules or {}
    if list_classes(judge, COMPARE) and not any(text for _, text in known.values()):
        yield from _compare_classes(orders, judge, step)
        return
    under = {order.id: known.get(order.pair.id, ("", ""))[0] for order in orders}

    asked = [comparison_question(order.id, place_side_by_side(order, known), templates, step) for order in orders]
    for id, ballot in ask_with_retries(asked, judge, judging, step=step):
        label = majority_label([reading.label for reading in ballot.last_replies])
        first = None if label is None else label == "first"
        last = ballot.last_replies[0]
        why = last.why or "no majority" if first is None else ""
        yield PairVerdict(id=id, first=first, raw=last.raw, votes=ballot.to_votes(), rule=under[id], why=why)


def _compare_classes(orders: Sequence[OrderedPair], judge: Engine, step: Step) -> Iterator[PairVerdict]:
    """The response that a classifier holds for better, read by itself, is preferred; neither where both are as good."""
    requests = []
    for order in orders:
        side = place_side_by_side(order, {})
        for number, response in enumerate(side.responses):
            id = join_id(join_id(order.id, number), BETTER)
            turns = (*side.prompt.messages, Message(role="assistant", content=response))
            requests.append(ScoreRequest(id=id, messages=turns, completion=BETTER, label=True, rubric=COMPARE.name))
    done = {request.id for request in requests if parent_id(request.call_id) in step.done}
    found: dict[str, dict[str, LogLikelihood]] = {}
    for answer in judge.score(requests, done):
        id, place = split_id(parent_id(answer.id))
        both = found.setdefault(id, {})
        both[place] = answer
        if len(both) == 2:
            yield _to_preference(id, found.pop(id))


def _to_preference(id: str, both: Mapping[str, LogLikelihood]) -> PairVerdict:
    why = next((answer.error for answer in both.values() if answer.error), "")
    first, second = both["0"].value, both["1"].value
    raw = json.dumps({BETTER: [round(math.exp(value), DIGITS) for value in (first, second)]})
    if why or first == second:
        return PairVerdict(id=id, first=None, raw=why or raw, why=why or "both are as good")
    return PairVerdict(id=id, first=first > second, raw=raw)


def prefer_by_logprob(
    orders: Sequence[OrderedPair], model: Engine, templates: Templates, rules: RulesByPair, *, step: Step
) -> Iterator[PairVerdict]:
    """One preference for each order of each pair, by how likely the model holds each label as its answer to the
    question that a judge is asked (Bai et al., arXiv 2212.08073, section 4.1)."""
    labels = tuple(COMPARISON_MENU)
    requests, done = [], set[str]()
    for order in orders:
        asked = compare_request(order.id, place_side_by_side(order, rules), templates, step)
        made = [ScoreRequest(id=join_id(order.id, x), messages=asked.messages, completion=x) for x in labels]
        requests += made
        done |= {request.id for request in made} if order.id in step.done else set()
    found: dict[str, dict[str, float]] = {}
    under = {order.id: rules.get(order.pair.id, ("", ""))[0] for order in orders}
    for answer in model.score(requests, done):
        id, label = split_id(answer.id)
        seen = found.setdefault(id, {})
        seen[label] = answer.value
        if len(seen) == len(labels):
            share = 1 / (1 + math.exp(min(700.0, seen["second"] - seen["first"])))
            yield PairVerdict(id=id, first=_prefers_first(share), share=share, rule=under[id])


def debias_preferences(said: Sequence[PairVerdict]) -> list[PairVerdict]:
    """What was said by log-probabilities, without the model's liking for one label or place whatever stands there: the
    mean log-odds over both orders of all pairs, in which what the answers say cancels out, are subtracted. What was
    said in words stays."""
    odds = {p.id: math.log(max(p.share, MIN_SHARE) / max(1 - p.share, MIN_SHARE)) for p in said if p.share is not None}
    mean = math.fsum(odds.values()) / len(odds) if odds else 0.0
    shares = {id: 1 / (1 + math.exp(min(700.0, mean - own))) for id, own in odds.items()}
    return [
        p.model_copy(update={"first": _prefers_first(shares[p.id]), "share": shares[p.id]}) if p.id in shares else p
        for p in said
    ]


def _prefers_first(share: float) -> bool | None:
    """None where both labels are as likely: nothing was said."""
    return None if share == 0.5 else share > 0.5
