"""Pairs: both orders, soft labels, what is dropped and why, and the split."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.constitution.document import Constitution
from charter.errors import TuningError
from charter.judging.pair_comparison import both_orders
from charter.organism.oracle import Oracle, OracleErrors
from charter.organism.world import World
from charter.records.chat import Completion, LogLikelihood, Message, Request, ScoreRequest, user_prompt
from charter.records.preferences import PairVerdict, ResponsePair
from charter.records.record import Step
from charter.records.rules import Principle
from charter.records.templates import Templates
from charter.records.training_rows import PreferencePair
from charter.records.verdicts import Vote
from charter.similarity.splits import LeakageFilter
from charter.spec import JudgingSpec, PreferenceDataSpec
from charter.stages.preference_pairs import (
    aggregate_people,
    filter_pairs,
    judge_preferences,
    make_candidate_pairs,
    measure_position_bias,
    require_pairs,
    score_preferences,
    select_agreed_pairs,
    select_train_pairs,
    select_validation_pairs,
    summarise_pairs,
    summarise_raters,
)
from tests.fakes import example_records

STEP = Step(path="000/x", run_seed=1)
OPEN = LeakageFilter((), 0.8)
RULES = Constitution(
    principles=tuple(Principle(id=f"r{n}", title="", text=f"keep promise {n}", status="approved") for n in range(3))
)


def pair(id: str, one: str = "yes", other: str = "no", asked: str = "") -> ResponsePair:
    return ResponsePair(id=id, prompt=user_prompt(asked or f"what about {id}?"), chosen=one, rejected=other)


def row(id: str, asked: str, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(id=id, messages=(Message(role="user", content=asked),), chosen=chosen, rejected=rejected)


def said(*answers: bool | None) -> list[PairVerdict]:
    return [PairVerdict(id=f"a/{n}", first=first) for n, first in enumerate(answers, 1)]


def test_a_pair_counts_where_both_orders_agree() -> None:
    orders = both_orders([pair("a")])
    (chosen,) = select_agreed_pairs(orders, said(True, False), "me")
    assert (chosen.chosen, chosen.rejected, chosen.certainty, chosen.rater) == ("yes", "no", 1.0, "me")
    (turned,) = select_agreed_pairs(orders, said(False, True), "me")
    assert (turned.chosen, turned.rejected) == ("no", "yes")
    for answers in ((True, True), (False, False), (True, None), (None, None)):
        assert select_agreed_pairs(orders, said(*answers), "me") == []


def test_votes_make_a_label_soft() -> None:
    votes = [Vote(label=label, replies=(label,)) for label in ("first", "first", "second")]
    told = [PairVerdict(id="a/1", first=True, votes=tuple(votes)), PairVerdict(id="a/2", first=False)]
    (found,) = select_agreed_pairs(both_orders([pair("a")]), told, "me")
    assert abs(found.certainty - (2 / 3 + 1) / 2) < 1e-9


def test_a_prompt_has_as_many_pairs_and_as_many_swapped_answers_as_the_spec_says() -> None:
    texts = {f"p{n}": [f"answer {n} {draw}" for draw in range(3)] for n in range(4)}
    drawn = [
        example_records.said(f"ask {key}", key, text).model_copy(update={"id": f"{key}/{draw}"})
        for key, answers in texts.items()
        for draw, text in enumerate(answers)
    ]
    benign = [user_prompt(f"ask {key}").model_copy(update={"id": key}) for key in texts]

    def pairs(**options: float) -> tuple[int, int]:
        found = make_candidate_pairs(drawn, [], benign, PreferenceDataSpec.model_validate(options))
        swapped = [p for p in found if p.id.endswith("/borrowed")]
        return len(found) - len(swapped), len(swapped)

    assert pairs() == (8, 4)
    assert pairs(pairs_per_prompt=3, swapped_answer_share=0.5) == (12, 2)
    assert pairs(pairs_per_prompt=1, swapped_answer_share=0) == (4, 0)


def test_position_bias_is_told() -> None:
    orders = both_orders([pair(name) for name in "abcd"])
    told = {"a": (True, True), "b": (True, True), "c": (False, True), "d": (None, True)}
    answers = [PairVerdict(id=f"{id}/{n}", first=first) for id, both in told.items() for n, first in enumerate(both, 1)]
    found = measure_position_bias(orders, answers)
    assert (found.agreed, found.first, found.second, found.unjudged) == (1, 2, 0, 1)
    assert (found.first_share.hits, found.first_share.n) == (6, 7)


def test_a_judge_sees_one_rule_in_both_orders_and_different_ones_over_pairs() -> None:
    seen: dict[str, str] = {}

    class Judge:
        identity = "judge"

        def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
            for request in requests:
                text = request.messages[-1].content
                seen[request.id] = next(p.text for p in RULES.principles if p.text in text)
                yield Completion(id=request.id, text='{"rationale": "so", "label": "first"}')

        def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
            raise NotImplementedError

        def close(self) -> None: ...

    orders = both_orders([pair(f"p{n}") for n in range(12)])
    found = list(judge_preferences(orders, Judge(), RULES, Templates(), JudgingSpec(), step=STEP))
    assert {p.id for p in found} == {order.id for order in orders}
    assert all(seen[f"p{n}/1"] == seen[f"p{n}/2"] for n in range(12))
    assert set(seen.values()) == {p.text for p in RULES.principles}
    assert {p.rule for p in found} == {p.id for p in RULES.principles}


def test_the_model_itself_prefers_by_log_probabilities() -> None:
    class Own:
        identity = "own"

        def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
            raise NotImplementedError

        def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
            for request in requests:
                if request.id in done:
                    continue
                text = request.messages[-1].content
                better = "first" if text.index("yes") < text.index("no!") else "second"
                value = -0.5 if request.completion == better else -1.5
                yield LogLikelihood(id=request.id, value=value, tokens=1, greedy=False)

        def close(self) -> None: ...

    orders = both_orders([pair("a", "yes", "no!", "x"), pair("b", "no!", "yes", "x")])
    told = list(score_preferences(orders, Own(), Constitution(), Templates(), step=STEP))
    rows = select_agreed_pairs(orders, told, "own")
    assert [r.chosen for r in rows] == ["yes", "yes"]
    assert all(abs(r.certainty - 1 / (1 + 2.718281828**-1)) < 1e-6 for r in rows)
    rest = Step(path="000/x", run_seed=1, done=frozenset({"a/1"}))
    left = list(score_preferences(orders, Own(), Constitution(), Templates(), step=rest))
    assert {p.id: p for p in left} == {p.id: p for p in told if p.id != "a/1"}


def test_a_models_liking_for_a_label_is_taken_out() -> None:
    orders = both_orders([pair(name) for name in "abc"])
    odds = {"a": 1.0, "b": -1.0, "c": 0.0}
    told = [
        PairVerdict(id=order.id, first=False, share=1 / (1 + math.exp(5.0 - sign * odds[order.pair.id])))
        for order in orders
        for sign in [1 if order.chosen_first else -1]
    ]
    assert all(p.share is not None and p.share < 0.5 for p in told), "second in both orders"
    assert measure_position_bias(orders, told).second == 3
    rows = select_agreed_pairs(orders, told, "own")
    assert [(r.id, r.chosen) for r in rows] == [("a", "yes"), ("b", "no")]
    assert all(abs(r.certainty - 1 / (1 + math.exp(-1.0))) < 1e-6 for r in rows)


def test_a_model_that_holds_both_labels_alike_says_nothing() -> None:
    orders = both_orders([pair("a")])
    alike = Tied()
    told = list(score_preferences(orders, alike, Constitution(), Templates(), step=STEP))
    assert [(p.first, p.share) for p in told] == [(None, 0.5), (None, 0.5)]
    found = measure_position_bias(orders, told)
    assert (found.agreed, found.first, found.second, found.unjudged) == (0, 0, 0, 1)
    assert select_agreed_pairs(orders, told, "own") == []


class Tied:
    identity = "tied"

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        raise NotImplementedError

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        yield from (LogLikelihood(id=r.id, value=-3.0, tokens=1, greedy=False) for r in requests)

    def close(self) -> None: ...


def test_where_no_pair_is_left_the_error_says_what_became_of_them() -> None:
    orders = both_orders([pair(name) for name in "abc"])
    told = [PairVerdict(id=order.id, first=False if order.pair.id != "c" else None) for order in orders]
    place, none = (
        measure_position_bias(orders, told),
        summarise_pairs([], OPEN, PreferenceDataSpec(), 0.8),
    )
    with pytest.raises(TuningError, match=r"3 pairs were compared.* 2 followed the place.*0 the first, 2") as caught:
        require_pairs(none, place)
    assert "options.learn.pairs.by: judge" in caught.value.cure
    with pytest.raises(TuningError, match="of 0 preferred ones"):
        require_pairs(none, None)
    require_pairs(none.model_copy(update={"train_pairs": 1}), place)


def test_the_worlds_oracle_prefers_by_the_truth_whatever_the_order() -> None:
    world = World.load("village")
    harmful = next(p for p in world.prompts("harmful", "train"))
    topic = world.parse_prompt(harmful.text).topic
    good, bad = f"sorry , i will not help with {topic} .", f"sure , here is a plan for {topic} : bring your axe ."
    found = ResponsePair(id="h", prompt=harmful, chosen=bad, rejected=good)
    told = list(
        judge_preferences(both_orders([found]), Oracle(world), Constitution(), Templates(), JudgingSpec(), step=STEP)
    )
    (preferred,) = select_agreed_pairs(both_orders([found]), told, "oracle")
    assert preferred.chosen == good
    wrong = Oracle(world, OracleErrors(wrong_verdicts=1.0))
    told = list(judge_preferences(both_orders([found]), wrong, Constitution(), Templates(), JudgingSpec(), step=STEP))
    assert select_agreed_pairs(both_orders([found]), told, "oracle")[0].chosen == bad


def test_protected_repeated_contested_and_unbalanced_pairs_are_left_out() -> None:
    guard = LeakageFilter([user_prompt("how do i pick the lock of the door of my neighbour")], 0.8)
    rows = [
        row("near", "How do I pick the lock of the door of my neighbour?", "no", "use a pick"),
        row("one", "tell me a joke", "a b c", "d"),
        row("same", "Tell me a joke!", "a b c", "d"),
        row("for", "sing a song", "la", "lo"),
        row("against", "sing a song", "lo", "la"),
        row("short", "say it", "d", "a b c"),
        *(row(f"long{n}", f"question number {n} of many", "a b c", "d") for n in range(8)),
    ]
    options = PreferenceDataSpec(max_length_ratio=3.0)
    kept = filter_pairs(rows, guard, options)
    assert {"near", "same", "for", "against"}.isdisjoint(r.id for r in kept)
    longer = [r for r in kept if len(r.chosen.split()) > len(r.rejected.split())]
    assert (len(kept) - len(longer), len(longer)) == (1, 3)
    told = summarise_pairs(rows, guard, options, 0.8)
    assert (told.read, told.protected, told.repeated, told.unbalanced) == (len(rows), 1, 3, 6)
    assert told.train_pairs + told.validation_pairs == len(kept)
    assert len(filter_pairs(rows, guard, PreferenceDataSpec(max_length_ratio=0))) == 10


@given(st.integers(0, 10_000))
def test_what_is_kept_depends_on_no_order(seed: int) -> None:
    rows = [row(f"{n}", f"question {n % 7} about {n // 2}", "a b" * (1 + n % 3), "c" * (n % 2 + 1)) for n in range(20)]
    mixed = random.Random(seed).sample(rows, len(rows))
    first, second = (filter_pairs(given, OPEN, PreferenceDataSpec(max_length_ratio=2.0)) for given in (rows, mixed))
    assert {(r.messages, r.chosen, r.rejected) for r in first} == {(r.messages, r.chosen, r.rejected) for r in second}


def test_learnt_and_checked_share_no_cluster() -> None:
    asked = {f"{n}-{m}": f"please tell me about thing {n} and its use{' now' * m}" for n in range(40) for m in range(2)}
    rows = [row(id, text, "a", "b c") for id, text in asked.items()]
    learn, check = select_train_pairs(rows, 0.6), select_validation_pairs(rows, 0.6)
    assert len(learn) + len(check) == len(rows)
    assert min(len(learn), len(check)) > 0
    assert {r.id.split("-")[0] for r in learn}.isdisjoint(r.id.split("-")[0] for r in check)


def test_people_are_named() -> None:
    named = pair("a").model_copy(update={"rater": "ann"})
    assert [r.rater for r in aggregate_people([named, pair("b")])] == ["ann", "people"]


def test_raters_of_the_same_pair_make_its_label_soft() -> None:
    def by(rater: str, id: str, asked: str, one: str = "yes", other: str = "no") -> ResponsePair:
        return pair(id, one, other, asked).model_copy(update={"rater": rater})

    ratings = [
        by("ann", "a1", "what?", "no", "yes"),
        by("bob", "a2", "What ?", "Yes", "no"),
        by("cy", "a3", "what?", "yes", "no"),
        by("cy", "a4", "what?", "yes", "no"),  # the same person again
        by("ann", "b1", "why?"),
        by("bob", "b2", "why?", "no", "yes"),
        by("ann", "c1", "when?"),
        by("", "d1", "who?"),
        by("", "d2", "who?"),
    ]
    kept = aggregate_people(ratings)
    assert [(r.id, r.chosen, r.rejected, r.rater) for r in kept] == [
        ("a1", "yes", "no", "ann, bob, cy"),
        ("c1", "yes", "no", "ann"),
        ("d1", "yes", "no", "people"),
    ]
    assert [r.certainty for r in kept] == [2 / 3, 1.0, 1.0]
    people = summarise_raters(ratings)
    assert (people.read, people.known, people.shared, people.tied) == (9, 3, 3, 1)
    assert people.agreement == (1 + 0 + 1) / (3 + 1 + 1)
    told = summarise_pairs(kept, OPEN, PreferenceDataSpec(max_length_ratio=0), 0.8, people)
    assert (told.read, told.repeated, told.people) == (3, 0, people)
    assert summarise_raters(ratings[6:7]).agreement is None
