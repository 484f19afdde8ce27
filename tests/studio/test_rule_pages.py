"""People decide in the studio about the rules of a paused run, and the run goes on as they decided."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.constitution.document import Constitution
from charter.errors import UndecidedError
from charter.jobs.rule_votes import Voter, cast_vote, read_log
from charter.records.rule_decisions import digest_wording
from charter.records.rules import Amendment, Principle
from charter.reports.integrity import verify_run
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.runs.store import Lock
from charter.studio import rule_pages
from charter.studio.sessions import StudioAccess
from tests.fakes.example_records import rule as rule_of
from tests.fakes.recorded_run import SPEC, give
from tests.fakes.refused_topics import Toy
from tests.fakes.studio_client import Browser, enter, open_studio

if TYPE_CHECKING:
    from fastapi import FastAPI

pytestmark = pytest.mark.slow

TOY = Toy(
    {
        "draw": {"batch": 48, "later": 24},
        "stop": {"min_prompts": 24, "max_violation_rate": 0.2, "iterations": 1},
        "measure": {"efficacy": False, "breadth": False},
        "ratify": {"by": "people", "approvals": 2},
    }
)
MORE = (StudioAccess("approver", "Ben", "ben" * 12), StudioAccess("approver", "Cy", "cy" * 20))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one run, which waits for people."""
    with pytest.raises(UndecidedError):
        TOY.play(tmp_path / "run")
    return tmp_path


@pytest.fixture
def app(root: Path) -> FastAPI:
    return open_studio(root, *MORE)


def people(app: FastAPI) -> tuple[Browser, Browser]:
    return enter(app, "approver" * 8), enter(app, "ben" * 12)


def wording_of(root: Path, rule: str) -> str:
    return digest_wording(RunReader(root / "run").settlement.ballots[rule].asked)


def vote(browser: Browser, root: Path, action: str, rule: str, **fields: str) -> int:
    """The status of a vote, cast as the form beside the rule casts it."""
    sent = {"action": action, "rule": rule, "wording": wording_of(root, rule), **fields}
    return int(browser.post("/runs/run/votes", sent).status_code)


def test_two_people_approve_reject_and_edit_and_the_run_goes_on(root: Path, app: FastAPI) -> None:
    ada, ben = people(app)
    rules = [p.id for p in RunReader(root / "run").constitution.active]
    first, second, *rest = rules
    page = ada.read("/runs/run/constitution")
    assert "Rules wait for people here (people); 2 of one mind decide." in page
    assert f"{len(rules)} rules wait for people." in page
    assert "paused" in ada.read("/")
    for person in (ada, ben):
        assert vote(person, root, "reject", first, note="we allow it") == 303
        for rule in rest:
            assert vote(person, root, "approve", rule) == 303
    assert vote(ada, root, "edit", second, text="decline all of it .", title="another") == 303
    assert "decline all of it ." in ben.read("/runs/run/constitution"), "the wording that is asked about"
    assert vote(ben, root, "approve", second, note="clearer") == 303
    page = ben.read("/runs/run/constitution")
    assert "rejected by Ada (approver): we allow it, Ben (approver): we allow it" in page
    assert "approved by Ada (approver), Ben (approver): clearer" in page
    end = TOY.with_().play(root / "run")
    found = {p.id: p for p in end.constitution.principles}
    assert (found[first].status, found[second].text, found[second].by) == ("rejected", "decline all of it .", "people")
    assert "finished" in ada.read("/runs/run")
    because = RunReader(root / "run").constitution.principles[1].because
    assert [cause for cause in because if cause not in ada.read(f"/runs/run/rules/{second}")] == []
    assert verify_run(root / "run").ok


def test_a_vote_is_in_the_hash_chain_with_who_what_and_what_was_seen(root: Path, app: FastAPI) -> None:
    ada, _ = people(app)
    rule = RunReader(root / "run").constitution.active[0].id
    forged = {"person": "Mallory", "role": "king", "note": "why"}
    assert vote(ada, root, "approve", rule, **forged) == 303
    entry = read_log(RunReader(root / "run"))[0].decision
    assert f"Taken down: approve {rule} by Ada (approver)." in ada.read(f"/runs/run/constitution?done={rule}")
    assert "Taken down" not in ada.read("/runs/run/constitution?done=anything")
    assert (entry.person, entry.role, entry.note, entry.action) == ("Ada", "approver", "why", "approve")
    assert entry.wording == wording_of(root, rule)
    assert len(entry.diff) == 64
    journal = root / "run" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"person":"Ada"', b'"person":"Eve"'))
    assert "chain breaks" in ada.read("/runs/run/constitution", 500)


def test_a_vote_on_a_wording_that_is_no_more_is_refused(root: Path, app: FastAPI) -> None:
    ada, ben = people(app)
    rule = RunReader(root / "run").constitution.active[0].id
    seen = wording_of(root, rule)
    assert vote(ada, root, "edit", rule, text="in other words .") == 303
    late = ben.post("/runs/run/votes", {"action": "approve", "rule": rule, "wording": seen})
    assert late.status_code == 409
    assert "was given another wording meanwhile" in late.text
    assert ben.post("/runs/run/votes", {"action": "approve", "rule": rule}).status_code == 409, "none was shown"
    assert len(read_log(RunReader(root / "run"))) == 1


def test_a_reviewer_proposes_and_approvers_decide(root: Path, app: FastAPI) -> None:
    rob, (ada, ben) = enter(app, "reviewer" * 8), people(app)
    assert rob.post("/runs/run/votes", {"action": "propose", "text": "  "}).status_code == 400
    answer = rob.post("/runs/run/votes", {"action": "propose", "title": "lake", "text": "no plans\r\nfor the lake ."})
    assert answer.status_code == 303
    rule = re.findall("#rule-(h-.+)$", answer.headers["location"])[0]
    assert RunReader(root / "run").settlement.ballots[rule].asked.text == "no plans\nfor the lake ."
    assert "Rob (reviewer)" in rob.read("/runs/run/constitution")
    assert [vote(person, root, "approve", rule) for person in (ada, ben)] == [303, 303]
    assert RunReader(root / "run").settlement.ballots[rule].rule.status == "approved"
    assert vote(ada, root, "retire", rule) == vote(ben, root, "retire", rule) == 303
    assert RunReader(root / "run").settlement.ballots[rule].rule.status == "retired"


def test_two_approvers_at_once_lose_nothing(root: Path, app: FastAPI) -> None:
    browsers = [*people(app), enter(app, "cy" * 20)]
    marks = [browser.mark() for browser in browsers]
    rules = [p.id for p in RunReader(root / "run").constitution.active]
    wordings = {rule: wording_of(root, rule) for rule in rules}
    statuses: list[int] = []

    def decide(browser: Browser, mark: str) -> None:
        for rule in rules * 2:
            sent = {"csrf": mark, "action": "approve", "rule": rule, "wording": wordings[rule]}
            answer = browser.client.post("/runs/run/votes", data=sent, headers={"Origin": "http://127.0.0.1:8765"})
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=decide, args=pair) for pair in zip(browsers, marks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert statuses == [303] * (len(rules) * 6)
    log = read_log(RunReader(root / "run"))
    assert len(log) == len(rules) * 6
    assert {(e.decision.person, e.decision.principle) for e in log} == {
        (person, rule) for person in ("Ada", "Ben", "Cy") for rule in rules
    }
    events = [json.loads(line) for line in (root / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))


def test_a_run_at_work_keeps_its_votes_waiting(root: Path, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_pages, "PATIENCE", 0.2)
    ada, _ = people(app)
    rule = RunReader(root / "run").constitution.active[0].id
    held = Lock(root / "run")
    assert vote(ada, root, "approve", rule) == 409
    held.release()
    assert vote(ada, root, "approve", rule) == 303


def test_votes_of_the_terminal_are_shown(root: Path, app: FastAPI) -> None:
    rule = RunReader(root / "run").constitution.active[0].id
    viewer = enter(app, "viewer" * 8)
    assert "No decision yet." in viewer.read("/runs/run/constitution")
    cast_vote(root / "run", "reject", rule, Voter("Dora", "lead"), {"note": "too narrow"})
    page = viewer.read("/runs/run/constitution")
    assert "Dora (lead): reject (too narrow)" in page
    assert "reject by Dora (lead): too narrow" in viewer.read(f"/runs/run/rules/{rule}")


def test_approvers_merge_tag_and_release(root: Path, app: FastAPI) -> None:
    rob, (ada, ben) = enter(app, "reviewer" * 8), people(app)
    first, second, *_ = [p.id for p in RunReader(root / "run").constitution.active]
    assert f'name="merge {second}"' in ada.read(f"/runs/run/rules/{first}")
    assert "Merge, and vote" not in rob.read(f"/runs/run/rules/{first}")
    one_for_both = {f"merge {second}": "1", "text": "decline both ."}
    assert vote(rob, root, "merge", first, **one_for_both) == 403
    assert vote(ada, root, "merge", first, text="decline both .") == 400, "of one rule alone"
    assert vote(ada, root, "merge", first, **one_for_both) == 303
    assert vote(ben, root, "approve", first) == 303
    ballots = RunReader(root / "run").settlement.ballots
    assert (ballots[first].rule.text, ballots[second].rule.status) == ("decline both .", "retired")
    assert vote(rob, root, "tag", first, text=" ") == 400
    assert vote(rob, root, "tag", first, text="how do i\r\ndo it ?") == 303
    assert "how do i\ndo it ?" in ada.read("/runs/run/constitution")
    assert rob.post("/runs/run/releases", {"name": "1.0"}).status_code == 403
    for wrong in ("", "../x", "a" * 41, "a b"):
        assert ada.post("/runs/run/releases", {"name": wrong}).status_code == 400
    assert ada.post("/runs/run/releases", {"name": "1.0"}).status_code == 303
    assert ada.post("/runs/run/releases", {"name": "1.0"}).status_code == 400, "it was released"
    assert "1.0: releases/constitution-1.0.yaml, by Ada" in rob.read("/runs/run/constitution")
    assert sorted(p.name for p in (root / "releases").iterdir()) == ["CHANGELOG.md", "constitution-1.0.yaml"]
    assert 'href="/runs/releases"' not in rob.read("/")
    assert verify_run(root / "run").ok


def test_a_run_served_alone_has_no_place_for_releases(root: Path) -> None:
    ada = enter(open_studio(root / "run"), "approver" * 8)
    answer = ada.post("/runs/run/releases", {"name": "1.0"})
    assert (answer.status_code, "Serve the folder above it" in answer.text) == (400, True)


def test_rules_that_contradict_stand_side_by_side(tmp_path: Path) -> None:
    def settled(rules: tuple[Principle, ...]) -> Constitution:
        why = "contradicts org-1: one allows what the other forbids"
        change = Amendment(id="retired/p-2", action="retired", principles=("p-2", "org-1"), reason=why)
        return Constitution(version=2, principles=rules, amendments=(change,))

    ours = rule_of("org-1", "Say what is legal.").model_copy(update={"by": "people", "authority": "developer"})
    found = rule_of("p-2", "Never speak of law <b>.", status="retired")
    with Run.create(tmp_path / "run", spec_text=SPEC) as run:
        give(run, "001/amended", [settled((ours, found))])
    page = enter(open_studio(tmp_path), "viewer" * 8).read("/runs/run/constitution")
    part = page[page.index("Rules that contradict") : page.index("What people decided")]
    told = ["Say what is legal.", "by people, authority developer", "Never speak of law &lt;b&gt;.", "now retired"]
    assert [text for text in told if text not in part] == []
    assert part.index("Say what is legal.") < part.index("Never speak of law")
    assert "Version 2: contradicts org-1: one allows what the other forbids" in part
