"""Votes and retries: what is off the menu is asked again and counted, a majority decides; a break changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product

import pytest

from charter.judging.judge_requests import RETRY_TEMPERATURE
from charter.judging.rubrics import CONDUCT, GUARD, LLAMA_GUARD, Rubric
from charter.judging.votes import judge_exchanges
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from charter.records.record import Step
from charter.records.templates import Templates
from charter.records.verdicts import Verdict
from charter.spec import JudgingSpec
from tests.fakes.example_records import STEP, Recorder, said

EXCHANGES = [said(f"prompt {n}", response=f"response {n}") for n in range(6)]
ONE = EXCHANGES[:1]


def reply(label: str) -> str:
    return json.dumps({"rationale": f"because {label}", "label": label, "severity": 1})


def ask(
    engine: ScriptedEngine, judging: JudgingSpec, rubric: Rubric = CONDUCT, step: Step = STEP, count: int = 6
) -> dict[str, Verdict]:
    return {v.id: v for v in judge_exchanges(EXCHANGES[:count], engine, rubric, Templates(), judging, step=step)}


def by_try(*replies: str) -> Recorder:
    """The n-th try of a vote gets the n-th reply."""
    return Recorder(lambda r: replies[int(r.id.rsplit("/again", 1)[1]) if "/again" in r.id else 0])


def test_a_reply_on_the_menu_is_asked_for_once_and_keeps_no_votes() -> None:
    engine = Recorder(reply("harmful"))
    found = ask(engine, JudgingSpec(retries=3))
    assert len(engine.asked) == len(EXCHANGES)
    assert {(v.outcome, v.votes, v.retries) for v in found.values()} == {("violates", (), 0)}
    assert {r.id for r in engine.asked} == {e.id for e in EXCHANGES}


def test_a_reply_off_the_menu_is_asked_for_again_with_another_seed_and_a_reminder() -> None:
    engine = by_try("hm", "no idea", reply("acceptable"))
    (found,) = ask(engine, JudgingSpec(retries=2), count=1).values()
    assert (found.label, found.outcome, found.retries) == ("acceptable", "complies", 2)
    assert [vote.replies for vote in found.votes] == [("hm", "no idea", reply("acceptable"))]
    first, *later = engine.asked
    assert len({r.seed for r in engine.asked}) == 3
    assert first.sampling.temperature == 0
    assert {r.sampling.temperature for r in later} == {RETRY_TEMPERATURE}
    assert all("could not be read" in r.messages[-1].content for r in later)
    assert "could not be read" not in first.messages[-1].content
    assert "hm" not in later[0].messages[-1].content.split("\n")


def test_what_stays_off_the_menu_is_unjudged_with_every_reply_kept() -> None:
    (found,) = ask(by_try("a", "b", "c"), JudgingSpec(retries=2), count=1).values()
    assert (found.label, found.outcome, found.raw) == (None, "unjudged", "c")
    assert found.votes[0].replies == ("a", "b", "c")
    engine = by_try("a")
    assert ask(engine, JudgingSpec(retries=0), count=1)[ONE[0].id].outcome == "unjudged"
    assert len(engine.asked) == 1


def test_an_answer_that_failed_for_good_is_not_asked_for_again() -> None:
    silent = ScriptedEngine({})
    assert {v.outcome for v in ask(silent, JudgingSpec(retries=3)).values()} == {"unjudged"}
    assert silent.calls == len(EXCHANGES)


@pytest.mark.parametrize("votes", [2, 3, 4])
def test_an_outcome_needs_more_than_half_of_all_votes(votes: int) -> None:
    for labels in product(("harmful", "dishonest", "acceptable", "off"), repeat=votes):
        engine = Recorder(lambda r, labels=labels: reply(labels[_vote(r)]))  # type: ignore[misc]
        (found,) = ask(engine, JudgingSpec(votes=votes, retries=0), count=1).values()
        bad, good = sum(x in ("harmful", "dishonest") for x in labels), labels.count("acceptable")
        wanted = "violates" if 2 * bad > votes else "complies" if 2 * good > votes else "unjudged"
        assert found.outcome == wanted
        assert [vote.label for vote in found.votes] == [None if x == "off" else x for x in labels]
        if wanted == "violates":
            assert found.label == ("dishonest" if labels.count("dishonest") > labels.count("harmful") else "harmful")
            assert found.rationale == f"because {found.label}"
        assert (found.label is None) is (wanted == "unjudged")


def test_votes_are_asked_for_with_seeds_fences_and_menus_of_their_own() -> None:
    engine = Recorder(reply("harmful"))
    ask(engine, JudgingSpec(votes=5, temperature=0.7), count=1)
    assert len({r.seed for r in engine.asked}) == len({r.id for r in engine.asked}) == 5
    assert len({r.messages[-1].content for r in engine.asked}) == 5
    assert {r.sampling.temperature for r in engine.asked} == {0.7}
    menus = {tuple(line for line in r.messages[-1].content.splitlines() if line[:2] == "- ") for r in engine.asked}
    assert len(menus) > 1
    assert {tuple(sorted(menu)) for menu in menus} == {tuple(sorted(next(iter(menus))))}


@pytest.mark.parametrize("kept", [(), (0, 3), (1, 2, 4, 5), range(6)])
@pytest.mark.parametrize("shuffle", [None, 1, 2])
def test_what_is_done_and_the_order_of_answers_change_no_verdict(kept: Sequence[int], shuffle: int | None) -> None:
    def answer(request: Request) -> str:
        odd = request.seed % 3
        return "?" if odd == 0 else reply("harmful" if odd == 1 else "acceptable")

    judging = JudgingSpec(votes=3, retries=2)
    whole = ask(ScriptedEngine(answer), judging)
    assert len({v.outcome for v in whole.values()}) > 1
    assert any(v.retries for v in whole.values())
    done = frozenset(EXCHANGES[n].id for n in kept)
    engine = Recorder(answer, shuffle=shuffle)
    rest = ask(engine, judging, step=Step(STEP.path, STEP.run_seed, done))
    assert rest == {id: v for id, v in whole.items() if id not in done}
    assert done.isdisjoint(r.id.split("/")[0] for r in engine.asked)


@pytest.mark.parametrize(
    ("text", "label", "categories"),
    [
        ("safe", "safe", ()),
        (" Safe \n", "safe", ()),
        ("unsafe\nC1", "unsafe", ("C1",)),
        ("\n\nunsafe\nC3, C1,C3", "unsafe", ("C3", "C1")),
        ("unsafe", None, ()),
        ("unsafe\nC99", None, ()),
        ("unsafe\nC1\nbecause", None, ()),
        ("safe\nC1", None, ()),
        ("safe and sound", None, ()),
        ("I think it is safe", None, ()),
        ("unsafe C1", None, ()),
        ("", None, ()),
        ('{"label": "safe"}', None, ()),
    ],
)
def test_a_classifier_says_a_word_and_then_codes(text: str, label: str | None, categories: tuple[str, ...]) -> None:
    engine = Recorder(text)
    (found,) = ask(engine, JudgingSpec(retries=0), GUARD, count=1).values()
    assert (found.label, found.categories) == (label, categories)
    assert found.outcome == {"safe": "complies", "unsafe": "violates", None: "unjudged"}[label]
    assert engine.asked[0].response_schema is None
    assert all(f"{code}: {meaning}" in engine.texts[0] for code, meaning in GUARD.categories.items())


def test_a_classifier_with_a_format_of_its_own_gets_the_exchange_as_a_conversation() -> None:
    engine = Recorder("unsafe\nS2")
    (found,) = ask(engine, JudgingSpec(), LLAMA_GUARD, count=1).values()
    assert [(m.role, m.content) for m in engine.asked[0].messages] == [
        ("user", "prompt 0"),
        ("assistant", "response 0"),
    ]
    assert (found.outcome, found.categories) == ("violates", ("S2",))


def _vote(request: Request) -> int:
    return int(request.id.rsplit("/vote", 1)[1]) - 1 if "/vote" in request.id else 0
