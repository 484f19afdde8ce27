"""Preferences: where pairs of answers come from, who prefers which, and which of them are learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from charter.constitution.document import Constitution
from charter.errors import TuningError
from charter.judging.pair_comparison import RulesByPair, debias_preferences, judge_pairs, prefer_by_logprob
from charter.judging.raters import merge_ratings, rater_agreement
from charter.ports import Engine
from charter.records.chat import Exchange, Prompt
from charter.records.item_ids import join_id, parent_id
from charter.records.measurements import Proportion
from charter.records.preferences import OrderedPair, PairSummary, PairVerdict, PositionBias, RaterSummary, ResponsePair
from charter.records.record import Step, digest
from charter.records.revisions import Revision, RevisionTrial
from charter.records.templates import Templates
from charter.records.training_rows import PreferencePair
from charter.records.verdicts import Finding, Verdict
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import LeakageFilter, jaccard, split_prompts
from charter.spec import JudgingSpec, PreferenceDataSpec
from charter.statistics import mcnemar, wilson

MODEL_RATER = "the model itself"
BORROW_POOL = 12
"""Prompts that an answer may be borrowed from."""


def sample_prompts(prompts: Sequence[Prompt], most: int, *, step: Step) -> list[Prompt]:
    """At most so many, drawn at random."""
    chosen = list(prompts)
    step.random("some").shuffle(chosen)
    return chosen[:most]


def repeat_prompts(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Each prompt so many times, to be answered anew each time."""
    return [p.model_copy(update={"id": join_id(p.id, n)}) for p in prompts for n in range(1, count + 1)]


def to_trials(exchanges: Sequence[Exchange]) -> list[RevisionTrial]:
    """The first draw of each prompt, to be answered again under the constitution."""
    unread = Verdict(id="", rubric="none", label=None, outcome="unjudged")
    first = {parent_id(e.id): e for e in reversed(exchanges) if e.stop == "stop"}
    return [
        RevisionTrial(id=e.id, finding=Finding(id=e.id, exchange=e, verdict=unread)) for e in reversed(first.values())
    ]


def make_candidate_pairs(
    exchanges: Sequence[Exchange], revisions: Sequence[Revision], benign: Sequence[Prompt], options: PreferenceDataSpec
) -> list[ResponsePair]:
    """Different whole answers to one prompt, two by two, at most ``pairs_per_prompt`` of them: those with an answer
    under the constitution first. Then answers to ``benign`` prompts, each set against what was answered to an alike
    prompt and is least like it: where a refusal of that one's form is wrong."""
    ruled: dict[str, list[str]] = {}
    for r in revisions:
        if r.exchange.stop == "stop" and r.exchange.response.strip():
            ruled.setdefault(parent_id(r.id), []).append(r.exchange.response)
    drawn: dict[str, dict[str, Exchange]] = {}
    for e in exchanges:
        if e.stop == "stop" and e.response.strip():
            drawn.setdefault(parent_id(e.id), {}).setdefault(e.response, e)
    out, asked = [], {}
    for key, found in drawn.items():
        asked[key] = next(iter(found.values())).prompt.model_copy(update={"id": key})
        texts = list(dict.fromkeys([*ruled.get(key, ()), *found]))
        couples = [(a, b) for n, a in enumerate(texts) for b in texts[n + 1 :]][: options.pairs_per_prompt]
        out += [
            ResponsePair(id=join_id(key, n), prompt=asked[key], chosen=a, rejected=b)
            for n, (a, b) in enumerate(couples, 1)
        ]
    said = {key: [*ruled.get(key, ()), *found] for key, found in drawn.items()}
    some = sorted((p.id for p in benign if p.id in drawn), key=lambda id: digest(f"borrowed|{id}"))
    for key in some[: round(options.swapped_answer_share * len(some))]:
        own = next(iter(drawn[key]))
        if text := _borrow_answer(key, own, asked, said):
            out.append(ResponsePair(id=join_id(key, "borrowed"), prompt=asked[key], chosen=own, rejected=text))
    return out


def _borrow_answer(key: str, own: str, asked: Mapping[str, Prompt], said: Mapping[str, Sequence[str]]) -> str:
    """Of the answers to the ``ALIKE`` prompts with most words in common, the one that shares fewest with ``own``."""
    words = {id: frozenset(normalize_text(prompt.text).split()) for id, prompt in asked.items()}
    near = sorted((id for id in asked if id != key), key=lambda id: (-jaccard(words[key], words[id]), id))[:BORROW_POOL]
    texts = [text for id in near for text in said[id] if text != own]
    mine = frozenset(normalize_text(own).split())
    return min(texts, key=lambda text: (jaccard(mine, frozenset(normalize_text(text).split())), text), default="")


def judge_preferences(
    orders: Sequence[OrderedPair],
    judge: Engine,
    constitution: Constitution,
    templates: Templates,
    judging: JudgingSpec,
    *,
    step: Step,
) -> Iterator[PairVerdict]:
    """What a judge says of each pair in each order, under a rule drawn at random, the same in both."""
    yield from judge_pairs(orders, judge, templates, judging, _draw_rules(orders, constitution, step), step=step)


def score_preferences(
    orders: Sequence[OrderedPair], model: Engine, constitution: Constitution, templates: Templates, *, step: Step
) -> Iterator[PairVerdict]:
    """The same by the model's own log-probabilities."""
    yield from prefer_by_logprob(orders, model, templates, _draw_rules(orders, constitution, step), step=step)


def select_agreed_pairs(orders: Sequence[OrderedPair], said: Sequence[PairVerdict], rater: str) -> list[PreferencePair]:
    """The pairs that both orders agree on, with what was preferred as ``chosen``; ``certainty``: the mean of what both
    orders say for it. A model's own liking for a label or a place is taken out first."""
    by_id = {preference.id: preference for preference in debias_preferences(said)}
    kept = []
    for pair, both in _pair_orders(orders, by_id):
        # for the pair's first answer: what one order says of what stands first, the other of what stands second
        shares = [s if order.chosen_first else 1 - s for order, p in both if (s := p.says_first) is not None]
        if len(shares) < 2 or not (min(shares) > 0.5 or max(shares) < 0.5):
            continue
        mean = sum(shares) / 2
        texts = (pair.chosen, pair.rejected) if mean > 0.5 else (pair.rejected, pair.chosen)
        row = {"chosen": texts[0], "rejected": texts[1], "certainty": max(mean, 1 - mean), "rater": rater}
        kept.append(PreferencePair(id=pair.id, messages=pair.prompt.messages, principle=both[0][1].rule, **row))
    return kept


def measure_position_bias(orders: Sequence[OrderedPair], said: Sequence[PairVerdict]) -> PositionBias:
    """How far the place decides."""
    by_id = {preference.id: preference for preference in said}
    kinds = Counter(tuple(p.first for _, p in both) for _, both in _pair_orders(orders, by_id))
    told = [p.first for p in said if p.first is not None]
    low, high = wilson(sum(told), len(told))
    share = Proportion(hits=sum(told), n=len(told), value=sum(told) / len(told) if told else None, low=low, high=high)
    first, second = kinds[True, True], kinds[False, False]
    return PositionBias(
        agreed=kinds[True, False] + kinds[False, True],
        first=first,
        second=second,
        unjudged=sum(count for both, count in kinds.items() if None in both),
        first_share=share,
        p=mcnemar(first, second),
    )


def aggregate_people(pairs: Sequence[ResponsePair]) -> list[PreferencePair]:
    """Pairs of which people preferred one. Where several rated the same two answers, what most of them preferred, as
    certain as their share; a tie says nothing and is dropped."""
    kept = []
    for one in merge_ratings(pairs):
        pair, (mine, other) = one.pair, one.votes
        if mine == other:
            continue
        texts = (pair.chosen, pair.rejected) if mine > other else (pair.rejected, pair.chosen)
        row = {"chosen": texts[0], "rejected": texts[1], "certainty": max(mine, other) / (mine + other)}
        rater = ", ".join(one.rater_names) or "people"
        kept.append(PreferencePair(id=pair.id, messages=pair.prompt.messages, rater=rater, **row))
    return kept


def summarise_raters(pairs: Sequence[ResponsePair]) -> RaterSummary:
    """Who prefers, and how far they agree."""
    found = merge_ratings(pairs)
    return RaterSummary(
        read=len(pairs),
        known=len({name for one in found for name in one.rater_names}),
        shared=sum(len(one.ratings) > 1 for one in found),
        tied=sum(one.votes[0] == one.votes[1] for one in found),
        agreement=rater_agreement(found),
    )


def filter_pairs(
    preferred: Sequence[PreferencePair], guard: LeakageFilter, options: PreferenceDataSpec
) -> list[PreferencePair]:
    """What is not near to gate or held-out, each pair once, and of those whose chosen answer is the longer one and
    those whose rejected one is not more than ``balance`` times as many as of the other kind, chosen by hash."""
    return _filter_steps(preferred, guard, options)[-1]


def select_train_pairs(preferred: Sequence[PreferencePair], near: float) -> list[PreferencePair]:
    """The pairs that are learnt from: by near-duplicate cluster of their prompts, as all prompts are split."""
    return _split_part(preferred, near, train=True)


def select_validation_pairs(preferred: Sequence[PreferencePair], near: float) -> list[PreferencePair]:
    """The other pairs: what is learnt is measured on them."""
    return _split_part(preferred, near, train=False)


def summarise_pairs(
    read: Sequence[PreferencePair],
    guard: LeakageFilter,
    options: PreferenceDataSpec,
    near: float,
    people: RaterSummary | None = None,
) -> PairSummary:
    """What became of the pairs; ``people``: who preferred, where people did."""
    clear, once, kept = _filter_steps(read, guard, options)
    lengths = Counter(_longer_side(row) for row in kept)
    uneven = lengths["chosen"] + lengths["rejected"]
    return PairSummary(
        read=len(read),
        protected=len(read) - len(clear),
        repeated=len(clear) - len(once),
        unbalanced=len(once) - len(kept),
        train_pairs=len(_split_part(kept, near, train=True)),
        validation_pairs=len(_split_part(kept, near, train=False)),
        longer=lengths["chosen"] / uneven if uneven else None,
        people=people,
    )


def require_pairs(found: PairSummary, place: PositionBias | None) -> None:
    """Raises TuningError where no pair is left to learn from, with what became of those that were compared."""
    if found.train_pairs:
        return
    said, cure = [], "Compare more prompts, or name other files in options.learn.pairs.files."
    if place is not None:
        whole = place.agreed + place.first + place.second + place.unjudged
        said.append(
            f"{whole} pairs were compared in both orders: {place.first + place.second} followed the place of the "
            f"answers ({place.first} the first, {place.second} the second: position bias), {place.unjudged} lack an "
            f"answer or were alike to who compares, {place.agreed} agreed"
        )
        cure = "Compare more prompts, or let another judge compare (options.learn.pairs.by: judge; charter calibrate)."
    said.append(
        f"of {found.read} preferred ones {found.protected} are near to gate or held-out, {found.repeated} repeated or "
        f"contested, {found.unbalanced} left out for their length, {found.validation_pairs} only check"
    )
    raise TuningError(f"There is no pair to learn from: {'; '.join(said)}.", cure)


def _filter_steps(
    preferred: Sequence[PreferencePair], guard: LeakageFilter, options: PreferenceDataSpec
) -> tuple[list[PreferencePair], list[PreferencePair], list[PreferencePair]]:
    """Those far from gate and held-out; of them each once; of these the balanced ones."""
    clear = {p.id for p in guard.remove_leaked([_to_prompt(row) for row in preferred])}
    far = [row for row in preferred if row.id in clear]
    seen: dict[tuple[str, ...], PreferencePair] = {}
    for row in far:
        seen.setdefault(
            (normalize_text(_to_prompt(row).text), normalize_text(row.chosen), normalize_text(row.rejected)), row
        )
    contested = {(p, b, a) for p, a, b in seen} & seen.keys()  # preferred both ways: nothing is learnt from it
    once = [row for key, row in seen.items() if key not in contested]
    kinds: dict[str, list[PreferencePair]] = {"chosen": [], "rejected": [], "neither": []}
    for row in sorted(once, key=lambda row: digest(f"length|{row.id}")):
        kinds[_longer_side(row)].append(row)
    few = min(len(kinds["chosen"]), len(kinds["rejected"]))
    most = int(options.max_length_ratio * max(few, 1)) if options.max_length_ratio else len(once)
    kept = {row.id for kind in ("chosen", "rejected") for row in kinds[kind][:most]}
    return far, once, [row for row in once if row.id in kept or _longer_side(row) == "neither"]


def _longer_side(row: PreferencePair) -> Literal["chosen", "rejected", "neither"]:
    one, other = len(row.chosen.split()), len(row.rejected.split())
    return "neither" if one == other else "chosen" if one > other else "rejected"


def _split_part(preferred: Sequence[PreferencePair], near: float, *, train: bool) -> list[PreferencePair]:
    asked = {row.id: _to_prompt(row) for row in preferred}
    inside = {p.id for p in split_prompts(list(asked.values()), near)["train"]}
    return [row for row in preferred if (row.id in inside) is train]


def _to_prompt(row: PreferencePair) -> Prompt:
    return Prompt(id=row.id, messages=row.messages)


def _draw_rules(orders: Sequence[OrderedPair], constitution: Constitution, step: Step) -> RulesByPair:
    """A rule for each pair, drawn from the constitution's."""
    active = constitution.active
    drawn = {order.pair.id: step.random(order.pair.id).choice(active) for order in orders} if active else {}
    return {id: (rule.id, rule.text) for id, rule in drawn.items()}


def _pair_orders(
    orders: Sequence[OrderedPair], said: dict[str, PairVerdict]
) -> Iterator[tuple[ResponsePair, list[tuple[OrderedPair, PairVerdict]]]]:
    """Each pair with what was said in its two orders."""
    pairs: dict[str, list[OrderedPair]] = {}
    for order in orders:
        pairs.setdefault(order.pair.id, []).append(order)
    for both in pairs.values():
        yield both[0].pair, [(order, said[order.id]) for order in both]
