"""Replay: what the starting model answered well, and what already complied, mixed with the revisions."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from charter.records.chat import Exchange, user_prompt
from charter.records.record import Step
from charter.records.rules import Lookalikes
from charter.records.training_rows import Example
from charter.records.verdicts import Verdict
from charter.spec import ReplaySpec
from charter.stages.replay import build_replay, build_training_mix, select_replay_prompts
from tests.fakes.example_records import STEP, row, said, verdict

HELPFUL = [user_prompt(f"how do i bake cake {n}") for n in range(20)]
FOUND = [
    Lookalikes(id=c, prompts=tuple(user_prompt(text, source="look-alike") for text in texts))
    for c, texts in (("c1", ["plan for fishing", "plan for sewing"]), ("c2", ["plan for fishing", "plan for golf"]))
]


def test_lookalikes_come_first_each_once_then_ordinary_prompts_up_to_what_is_wanted() -> None:
    asked = select_replay_prompts(FOUND, HELPFUL, (), 10, ReplaySpec(), step=STEP)
    assert [p.text for p in asked[:3]] == ["plan for fishing", "plan for sewing", "plan for golf"]
    assert len(asked) == 10
    assert len({p.id for p in asked}) == 10
    assert asked == select_replay_prompts(FOUND, HELPFUL, (), 10, ReplaySpec(), step=STEP)
    assert asked[3:] != [p for p in HELPFUL if p in asked]
    other = select_replay_prompts(FOUND, HELPFUL, (), 10, ReplaySpec(), step=Step(path=STEP.path, run_seed=8))
    assert asked[:3] == other[:3]
    assert asked != other


def test_what_was_answered_earlier_is_not_asked_again() -> None:
    known = [p.id for p in (*FOUND[0].prompts, *HELPFUL[:15])]
    asked = select_replay_prompts(FOUND, HELPFUL, known, 100, ReplaySpec(), step=STEP)
    assert {p.text for p in asked} == {"plan for golf", *(p.text for p in HELPFUL[15:])}


def test_limits_and_switches() -> None:
    assert len(select_replay_prompts(FOUND, HELPFUL, (), 100, ReplaySpec(fresh=5), step=STEP)) == 8
    assert len(select_replay_prompts(FOUND, HELPFUL, (), 100, ReplaySpec(fresh=5, lookalikes=False), step=STEP)) == 5
    assert len(select_replay_prompts(FOUND, HELPFUL, (), -7, ReplaySpec(), step=STEP)) == 3
    assert select_replay_prompts(FOUND, HELPFUL, (), 0, ReplaySpec(lookalikes=False), step=STEP) == []
    assert select_replay_prompts([], [], (), 9, ReplaySpec(), step=STEP) == []


def test_a_helpful_prompt_with_a_lookalikes_text_is_asked_once() -> None:
    same = user_prompt("plan for golf")
    asked = select_replay_prompts(FOUND, [same], (), 9, ReplaySpec(), step=STEP)
    assert [p.id for p in asked].count(same.id) == 1


def exchanges() -> tuple[list[Exchange], list[Verdict]]:
    made = [said(f"q{n}", id=f"e{n}") for n in range(3)]
    made += [
        said("cut", id="cut", stop="length"),
        said("empty", id="empty", response=" "),
        said("error", id="err", response="", stop="error"),
    ]
    outcomes = [verdict("e0", "complies"), verdict("e1", "violates"), verdict("e2", "unjudged")]
    return made, outcomes + [verdict(x, "complies") for x in ("cut", "empty", "err")]


def test_only_whole_answers_that_comply_are_rehearsed() -> None:
    made, verdicts = exchanges()
    rows = build_replay(made, verdicts, made, verdicts, ReplaySpec())
    assert [(r.id, r.origin, r.response) for r in rows] == [
        ("helpful/e0", "helpful", "an answer"),
        ("complied/e0", "complied", "an answer"),
    ]
    assert [r.origin for r in build_replay(made, verdicts, made, verdicts, ReplaySpec(compliant=False))] == ["helpful"]


def test_rows_tell_where_they_come_from() -> None:
    prompt = FOUND[0].prompts[0]
    made = said(prompt.text).model_copy(update={"prompt": prompt})
    (only,) = build_replay([made], [verdict(made.id, "complies")], [], [], ReplaySpec())
    assert (only.origin, only.because, only.messages) == ("lookalike", (made.id,), prompt.messages)


OLD, NEW = [row(f"old{n}", "revision") for n in range(4)], [row(f"new{n}", "revision") for n in range(3)]
KEPT = [row(f"kept{n}") for n in range(5)]


def mixed(
    before: list[Example],
    new: list[Example],
    replayed: list[Example],
    ratio: float = 3,
    start: Literal["start", "previous"] = "start",
    more: float = 0,
) -> list[Example]:
    return build_training_mix(before, new, replayed, ratio + more, start, step=STEP)


def test_tuning_from_the_start_takes_all_revisions_and_from_the_previous_only_the_new() -> None:
    anew = [r.id for r in mixed(OLD, NEW, [], 0) if r.origin == "revision"]
    on = [r.id for r in mixed(OLD, NEW, [], 0, start="previous")]
    assert sorted(anew) == sorted(r.id for r in (*OLD, *NEW))
    assert sorted(on) == sorted(r.id for r in NEW)


def test_nothing_new_nothing_to_train_on() -> None:
    assert mixed(OLD, [], KEPT) == []


def test_replay_is_repeated_evenly_up_to_its_ratio_and_not_cut_below_what_there_is() -> None:
    rows = [r for r in mixed(OLD, NEW, KEPT) if r.origin == "helpful"]
    assert len(rows) == 21
    counts = Counter(r.response for r in rows)
    assert set(counts) == {r.response for r in KEPT}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len([r for r in mixed([], NEW[:1], KEPT) if r.origin == "helpful"]) == 5
    assert [r.origin for r in mixed(OLD, NEW, KEPT, 0)] == ["revision"] * 7


def test_rows_that_were_rolled_back_come_with_more_replay() -> None:
    counts = [len([r for r in mixed(OLD, NEW, KEPT, more=more) if r.origin == "helpful"]) for more in (0, 2, 4)]
    assert counts == [21, 35, 49]
    assert len(mixed(OLD, NEW, KEPT, ratio=0, more=2)) == 7 + 14


@given(st.integers(0, 4), st.integers(1, 3), st.integers(0, 5), st.floats(0, 6))
def test_every_row_has_an_id_of_its_own_and_the_order_is_the_steps(old: int, new: int, kept: int, ratio: float) -> None:
    rows = mixed(OLD[:old], NEW[:new], KEPT[:kept], ratio)
    assert len({r.id for r in rows}) == len(rows)
    assert rows == mixed(OLD[:old], NEW[:new], KEPT[:kept], ratio)
    if kept and round(ratio * (old + new)):
        assert len(rows) - old - new == max(kept, round(ratio * (old + new)))


def test_a_revision_that_is_made_again_is_learnt_once() -> None:
    """A fork may ask a prompt again that the old run revised."""
    again = row("a", "revision").model_copy(update={"response": "a later answer"})
    mixed = build_training_mix([row("a", "revision")], [again], [], 0, "start", step=STEP)
    assert mixed == [again]
