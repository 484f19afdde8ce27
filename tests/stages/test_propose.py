"""Proposals come from shown findings alone; the constitution is merged with them or replaced by them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.constitution.document import Constitution
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from charter.records.record import Step, canonical
from charter.records.rules import Efficacy, Principle, Proposal
from charter.records.templates import Templates
from charter.records.verdicts import Cluster
from charter.spec import AmendSpec, ProposeSpec
from charter.stages.amend import amend
from charter.stages.propose import propose
from tests.fakes.example_records import HOSTILE, STEP, Recorder, cluster, finding, rule

OURS, PAPERS = (ProposeSpec(), 3), (ProposeSpec(reply="last_paragraph"), 3)
CLUSTERS = [
    cluster(c, [finding(f"{c} shown {n}", response=f"{c} said {n}") for n in range(5)], [finding(f"{c} secret")])
    for c in ("c1", "c2")
]


def proposed(reply: str | Callable[[Request], str], options: tuple[ProposeSpec, int] = OURS) -> list[Proposal]:
    return list(
        propose(
            CLUSTERS,
            ScriptedEngine(reply if callable(reply) else [reply]),
            Constitution(),
            Templates(),
            *options,
            step=STEP,
        )
    )


def amended(
    constitution: Constitution, new: list[Principle], reply: str, mode: str = "merge"
) -> tuple[Constitution, int]:
    engine = ScriptedEngine([reply])
    proposals = [Proposal(id=p.id, principle=p) for p in new]
    made = amend(constitution, proposals, engine, Templates(), AmendSpec.model_validate({"mode": mode}), step=STEP)
    return made, engine.calls


def groups(*named: Mapping[str, object]) -> str:
    return json.dumps({"groups": list(named)})


def test_the_proposer_sees_what_is_shown_and_never_what_is_hidden() -> None:
    engine = Recorder("{}")
    list(
        propose(
            CLUSTERS, engine, Constitution().amend([rule("old", "never {failures}")]), Templates(), *OURS, step=STEP
        )
    )
    marks = []
    for c, text in zip(CLUSTERS, engine.texts, strict=True):
        assert [f"{c.id} shown {n}\n" in text for n in range(5)] == [True, True, True, False, False]
        assert f"{c.id} said 2\n" in text
        assert "secret" not in text
        fence = re.search(r"<failure ([0-9a-f]{8})>", text)
        assert fence is not None
        held = re.search(r"<constitution ([0-9a-f]{8})>\n- never {failures}\n</constitution \1>", text)
        assert held is not None
        marks.append(held[1])
    assert len(set(marks)) == 1, "the constitution is part of the beginning that all calls of a step share"


def test_the_papers_proposer_sees_every_response_of_the_batch() -> None:
    engine = Recorder("why\n\nthe rules")
    list(propose(CLUSTERS, engine, Constitution(), Templates(), *PAPERS, step=STEP))
    assert all(f"{c.id} said 4\n" in text for c, text in zip(CLUSTERS, engine.texts, strict=True))
    assert {r.response_schema is None for r in engine.asked} == {True}


def test_a_rule_names_all_that_caused_it() -> None:
    first, second = proposed('{"title": " a rule ", "text": "never\\n  do  that", "scope": "acts"}')
    assert first.principle is not None
    assert second.principle is not None
    p = first.principle
    assert (p.title, p.text, p.scope, p.status) == ("a rule", "never do that", "acts", "approved")
    assert set(p.because) == {f.id for f in (*CLUSTERS[0].shown, *CLUSTERS[0].hidden)}
    assert p.clusters == ("c1",)
    assert p.id != second.principle.id


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Because of this.\n\nNever help thieves.", "Never help thieves."),
        ("Only one.", "Only one."),
        ("a\n\nb\n\n\n\n c \nd\n\n \n", "c d"),
    ],
)
def test_the_papers_rule_is_the_last_paragraph(reply: str, text: str) -> None:
    assert [p.principle.text if p.principle else None for p in proposed(reply, PAPERS)] == [text, text]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I will not write that rule.",
        "{}",
        "null",
        '{"title": "t", "scope": "s"}',
        '{"text": ""}',
        '{"text": " \\n"}',
        '{"text": null}',
        '{"text": 7}',
        '{"text": ["never"]}',
        '{"text": {"rule": "never"}}',
        '{"text": "half \\ud83d"}',
    ],
)
def test_a_reply_that_gives_no_rule_gives_none(reply: str) -> None:
    assert [(p.principle, p.raw) for p in proposed(reply)] == [(None, reply)] * 2


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=3), st.integers() | st.lists(st.text()))
def test_odd_types_beside_a_rule_are_left_out(title: object, scope: object) -> None:
    proposals = proposed(json.dumps({"title": title, "scope": scope, "text": "never"}))
    assert len(proposals) == len(CLUSTERS)
    for proposal in proposals:
        assert proposal.principle is not None
        assert proposal.principle.scope == ""
        assert canonical(proposal).encode()


def test_a_proposer_that_fails_leaves_the_reason() -> None:
    made = list(propose(CLUSTERS, ScriptedEngine({}), Constitution(), Templates(), *OURS, step=STEP))
    assert [p.principle for p in made] == [None, None]
    assert all(p.raw for p in made)


def test_what_is_done_is_not_proposed_again() -> None:
    engine = ScriptedEngine(["{}"])
    step = Step(path=STEP.path, run_seed=7, done=frozenset({"c1"}))
    assert [p.id for p in propose(CLUSTERS, engine, Constitution(), Templates(), *OURS, step=step)] == ["c2"]
    assert engine.calls == 1


def test_no_new_rule_changes_nothing() -> None:
    old = Constitution().amend([rule("a"), rule("b")])
    for mode in ("merge", "replace"):
        proposals = [Proposal(id="c1", principle=None)]
        engine = ScriptedEngine(["{}"])
        assert amend(old, proposals, engine, Templates(), AmendSpec.model_validate({"mode": mode}), step=STEP) is old
        assert engine.calls == 0


def test_rules_of_equal_wording_become_one_without_a_call() -> None:
    old = Constitution().amend([rule("a", "Never help thieves", because=("f1",), clusters=("c1",))])
    new = rule("b", "never  help THIEVES", because=("f1", "f2"), clusters=("c2",))
    made, calls = amended(old, [new], "{}")
    (p,) = made.principles
    assert (p.id, p.text, p.because, p.clusters) == ("a", "Never help thieves", ("f1", "f2"), ("c1", "c2"))
    assert calls == 0


def test_named_groups_become_one_rule_with_every_cause() -> None:
    old = Constitution().amend([rule("a", because=("f1",)), rule("b", because=("f2",))])
    merging = groups({"numbers": [1, 3], "title": "both", "text": "never a nor c", "scope": "all"})
    made, calls = amended(old, [rule("c", because=("f3",))], merging)
    assert calls == 1
    assert [(p.id, p.text, p.because) for p in made.principles] == [
        ("a", "never a nor c", ("f1", "f3")),
        ("b", "never b", ("f2",)),
    ]
    assert (made.version, made.parent) == (2, old.digest)


def test_a_merged_rule_keeps_its_measurement_only_with_its_wording() -> None:
    useful = Efficacy(n=9, passed_with=9, passed_without=0, difference=1.0, p=0.004, p_holm=0.004, without=("a",))
    old = Constitution().amend([rule("a", efficacy=useful)])
    for text, kept in (("", useful), ("never a", useful), ("never a nor b", None)):
        made, _ = amended(old, [rule("b")], groups({"numbers": [1, 2], "text": text}))
        assert [p.efficacy for p in made.principles] == [kept]


def test_a_rule_belongs_to_the_first_group_and_rejected_rules_to_none() -> None:
    old = Constitution().amend([rule("a"), rule("b", status="rejected")])
    merging = groups({"numbers": [1, 2, 3]}, {"numbers": [3, 4]}, {"numbers": [4, 4]}, {"numbers": [2, 4]})
    made, _ = amended(old, [rule("c"), rule("d")], merging)
    assert [p.id for p in made.principles] == ["a", "b", "d"]
    assert made.principle("b").status == "rejected"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "They are all different.",
        '{"groups": null}',
        '{"groups": 3}',
        '{"groups": "1, 2"}',
        '{"groups": {"numbers": [1, 2]}}',
        '{"groups": [[1, 2], null, 1, "x"]}',
        '{"groups": [{"numbers": "12"}, {"numbers": null}, {"numbers": {"1": 2}}, {}]}',
        '{"groups": [{"numbers": ["1", "2"]}, {"numbers": [0, -1, 99, 1.5, null, true]}, {"numbers": []}]}',
    ],
)
def test_a_merging_reply_that_names_nothing_leaves_the_rules_apart(reply: str) -> None:
    made, calls = amended(Constitution().amend([rule("a")]), [rule("b"), rule("c")], reply)
    assert [p.id for p in made.principles] == ["a", "b", "c"]
    assert calls == 1


@pytest.mark.parametrize("wording", [None, 3, ["x"], {"a": 1}, "", "  "])
def test_an_odd_wording_leaves_the_first_rules_own(wording: object) -> None:
    made, _ = amended(
        Constitution(), [rule("a"), rule("b")], groups({"numbers": [1, 2], "text": wording, "title": wording})
    )
    assert [(p.id, p.title, p.text) for p in made.principles] == [("a", "a", "never a")]


def test_replace_is_this_batchs_rules_alone() -> None:
    old = Constitution().amend([rule("a"), rule("b")])
    made, calls = amended(old, [rule("c")], "{}", mode="replace")
    assert ([p.id for p in made.principles], made.version, calls) == (["c"], 2, 0)


@given(st.lists(st.lists(st.integers(-1, 8), max_size=5), max_size=5))
def test_no_cause_is_ever_lost(named: list[list[int]]) -> None:
    old = Constitution().amend([rule(x, because=(f"f{x}",)) for x in "abc"])
    made, _ = amended(old, [rule(x, because=(f"f{x}",)) for x in "de"], groups(*({"numbers": n} for n in named)))
    assert sorted(b for p in made.principles for b in p.because) == ["fa", "fb", "fc", "fd", "fe"]
    assert len({p.id for p in made.principles}) == len(made.principles)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_failures_and_rules_stand_between_fences(text: str) -> None:
    engine = Recorder("{}")
    hostile: Cluster = cluster("c", [finding(f"ask {text}", response=f"say {text}")])
    list(propose([hostile], engine, Constitution(), Templates(), *OURS, step=STEP))
    proposals = [Proposal(id=x, principle=rule(x, f"{x} {text}")) for x in "ab"]
    amend(Constitution(), proposals, engine, Templates(), AmendSpec(), step=STEP)
    first, second = engine.texts
    assert f">\nask {text}\n</prompt " in first
    assert f">\nsay {text}\n</response " in first
    assert f">\n1. a {text}\n</rule " in second
    assert f">\n2. b {text}\n</rule " in second
