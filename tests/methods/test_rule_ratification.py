"""A run that waits for people: it pauses, goes on as they decided, and comes to the same end however often it stops."""

from __future__ import annotations

import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

import pytest

from charter.errors import StoreError, UndecidedError
from charter.jobs.rule_votes import CastVote, Voter, cast_vote, read_log
from charter.methods.iteralign import IterAlignState
from charter.records.rule_decisions import RuleAction
from charter.runs.reader import RunReader
from tests.fakes.refused_topics import Toy
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

OPTIONS: dict[str, Any] = {
    "draw": {"batch": 48, "later": 24},
    "stop": {"min_prompts": 24, "max_violation_rate": 0.2, "iterations": 2},
    "measure": {"efficacy": False, "breadth": False},
}
ADA, BEN = Voter("Ada", "policy lead"), Voter("Ben")


def toy(**ratify: Any) -> Toy:
    return Toy(OPTIONS | {"ratify": {"by": "people", **ratify}})


def decide(run: Path, action: RuleAction, rule: str, voter: Voter = ADA, **fields: Any) -> CastVote:
    return cast_vote(run, action, rule, voter, fields)


def rules_of(run: Path) -> list[str]:
    return [p.id for p in RunReader(run).constitution.active]


def finish(made: Toy, run: Path, *voters: Voter) -> IterAlignState:
    """Plays to the end; whatever waits is approved by each of the voters."""
    while True:
        try:
            return made.play(run)
        except UndecidedError as error:
            for rule in re.findall("  (p-[0-9a-f]+): ", error.message):
                for voter in voters or (ADA,):
                    decide(run, "approve", rule, voter)


def test_a_run_waits_and_goes_on_as_people_decided(tmp_path: Path) -> None:
    run, made = tmp_path / "run", toy()
    with pytest.raises(UndecidedError, match="rules wait for people") as caught:
        made.play(run)
    assert caught.value.exit_code == 10
    first, second, *rest = rules_of(run)
    assert decide(run, "reject", first, note="we allow it").state == "rejected by Ada (policy lead): we allow it"
    assert "+" in decide(run, "edit", second, text="decline all of it, and say why .").diff
    with pytest.raises(UndecidedError, match=rest[0]):
        made.play(run)
    end = finish(made, run)
    found = {p.id: p for p in end.constitution.principles}
    assert (found[first].status, found[first].by) == ("rejected", "people")
    assert found[second].text == "decline all of it, and say why ."
    shown = "\n".join(r.messages[-1].content for r in made.asked["target"])
    assert "decline all of it, and say why ." in shown
    changes = [(c.action, c.reason) for _, c in RunReader(run).amendments if c.by == "people"]
    assert ("rejected", "rejected by Ada (policy lead): we allow it") in changes


def test_two_people_decide_and_what_they_saw_is_kept(tmp_path: Path) -> None:
    run, made = tmp_path / "run", toy(approvals=2)
    with pytest.raises(UndecidedError, match="2 of one mind"):
        made.play(run)
    rules = rules_of(run)
    for rule in rules:
        assert decide(run, "approve", rule).state == "1 voted; 2 people of one mind decide"
        assert decide(run, "approve", rule).state == "1 voted; 2 people of one mind decide", "Ada is one person"
    with pytest.raises(UndecidedError):
        made.play(run)
    for rule in rules:
        decide(run, "approve", rule, BEN)
    finish(made, run, ADA, BEN)
    log = read_log(RunReader(run))
    assert {entry.decision.person for entry in log} == {"Ada", "Ben"}
    assert all(len(entry.decision.diff) == len(entry.decision.wording) == 64 for entry in log)


def test_a_decision_after_the_step_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    run, made = tmp_path / "run", toy()
    with pytest.raises(UndecidedError):
        made.play(run)
    finish(made, run)
    before = {p: p.read_bytes() for p in run.rglob("*.jsonl") if p.name != "journal.jsonl"}
    decide(run, "retire", rules_of(run)[0], note="norms change")
    made.play(run)
    assert {p: p.read_bytes() for p in run.rglob("*.jsonl") if p.name != "journal.jsonl"} == before


def test_killed_after_any_decision_it_comes_to_the_same_end(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with pytest.raises(UndecidedError):
        toy().play(whole)
    finish(toy(), whole)
    with pytest.raises(UndecidedError):
        toy().play(parts)
    for number, rule in enumerate(rules_of(parts)):
        decide(parts, "approve", rule)
        with pytest.raises((UndecidedError, KeyboardInterrupt)):
            toy().with_(kill=3 * number).play(parts)
    finish(toy(), parts)
    assert substance(parts) == substance(whole)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UndecidedError):
        toy().play(tmp_path / "run")
    with pytest.raises(StoreError, match="no rule p-99") as caught:
        decide(tmp_path / "run", "approve", "p-99")
    assert rules_of(tmp_path / "run")[0] in caught.value.cure


def _vote_often(run: Path, person: str, rules: list[str]) -> None:
    for rule in rules:
        cast_vote(run, "approve", rule, Voter(person), {})


def test_people_decide_at_once_and_no_vote_is_lost(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UndecidedError):
        toy(approvals=3).play(run)
    rules = rules_of(run)
    context = multiprocessing.get_context("spawn")
    people = [context.Process(target=_vote_often, args=(run, name, rules)) for name in ("Ada", "Ben", "Cy")]
    for person in people:
        person.start()
    for person in people:
        person.join(120)
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(event["event"] == "human" for event in events) == 3 * len(rules)
    finish(toy(approvals=3), run, ADA, BEN, Voter("Cy"))
