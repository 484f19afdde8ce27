"""A review of rules: what it decides, who may decide so, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from charter.errors import SpecError, StaleError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.review_votes import decide_rules
from charter.jobs.rule_votes import Voter, cast_vote, read_log
from charter.records.rule_decisions import digest_wording
from charter.reports.integrity import verify_run
from charter.runs import store
from charter.runs.reader import RunReader
from tests.fakes.reviewed_runs import make_queue, record_run

ADA, BEN, CY, ROB = (Rater(name, "approver") for name in ("ada", "ben", "cy", "rob"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("votes") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def review(run: Path, said: Mapping[Rater, tuple[str | None, str | None]]) -> dict[str, str]:
    """A queue of both rules that these people label, p-1 first; the items by rule."""
    make_queue(run, "rules", raters=len(said))
    with ReviewDesk(run, "q1") as desk:
        items = {item.rule.id: item.id for item in desk.items.values() if item.rule}
        for rater, labels in said.items():
            pairs = zip(("p-1", "p-2"), labels, strict=True)
            desk.submit_labels([(rater, Answer(items[rule], label, comment=f"{rule}!")) for rule, label in pairs])
    return items


def statuses(run: Path) -> dict[str, str]:
    return {p.id: p.status for p in RunReader(run).constitution.principles}


def test_labels_become_votes_with_rater_time_and_the_wording_that_was_seen(run: Path) -> None:
    items = review(run, {ADA: ("approve", "reject"), BEN: ("approve", "reject")})
    found = decide_rules(run, "q1")
    assert (found.added, found.known, found.open_items, sorted(found.states)) == (4, 0, 0, ["p-1", "p-2"])
    assert statuses(run) == {"p-1": "approved", "p-2": "rejected"}
    with ReviewDesk(run, "q1") as desk:
        wordings = {i.rule.id: digest_wording(i.rule) for i in desk.items.values() if i.rule}
        labels = {label.id: label for said in desk.read_board().labels.values() for label in said.values()}
    assert len(read_log(RunReader(run))) == 4
    for entry in read_log(RunReader(run)):
        vote, label = entry.decision, labels[entry.decision.label]
        assert (vote.person, vote.role, vote.labelled) == (label.rater, "approver", label.at)
        assert (items[vote.principle], vote.action) == (label.item, label.label)
        assert (vote.wording, vote.note) == (wordings[vote.principle], f"{vote.principle}!")
    assert verify_run(run, strict=True).ok


def test_a_vote_is_taken_down_once_and_a_changed_label_is_another_vote(run: Path) -> None:
    items = review(run, {ADA: ("approve", "approve")})
    decide_rules(run, "q1")
    journal = (run / store.JOURNAL).read_bytes()
    assert decide_rules(run, "q1").known == 2
    assert (run / store.JOURNAL).read_bytes() == journal
    with ReviewDesk(run, "q1") as desk:
        desk.submit_label(ADA, Answer(items["p-2"], "reject"))
    found = decide_rules(run, "q1")
    assert (found.added, found.known) == (1, 1)
    assert statuses(run)["p-2"] == "rejected"


def test_the_rule_ends_as_its_review_did_and_dissent_is_kept(run: Path) -> None:
    items = review(run, {ADA: ("approve", "approve"), BEN: ("approve", "reject"), CY: ("reject", None)})
    found = decide_rules(run, "q1")
    assert (found.added, found.open_items, list(found.states)) == (3, 1, ["p-1"])
    assert "against: cy (approver): p-1!" in found.states["p-1"]
    with ReviewDesk(run, "q1") as desk:
        desk.settle_item(ROB, items["p-2"], "reject", note="too broad")
    found = decide_rules(run, "q1")
    assert (found.added, found.known, found.open_items) == (3, 3, 0)
    assert statuses(run) == {"p-1": "approved", "p-2": "rejected"}
    last = read_log(RunReader(run))[-1].decision
    assert (last.person, last.action, last.note) == ("rob", "reject", "too broad")


def test_who_has_no_such_role_decides_nothing(run: Path) -> None:
    people = {ADA: ("approve", "approve"), Rater("rob", "reviewer"): ("approve",) * 2, Rater("eve"): ("approve",) * 2}
    review(run, people)
    journal = (run / store.JOURNAL).read_bytes()
    with pytest.raises(SpecError, match=r"q1#\d+: rob has the role reviewer[\s\S]*q1#\d+: eve has no role"):
        decide_rules(run, "q1")
    with pytest.raises(SpecError, match="eve has no role"):
        decide_rules(run, "q1", ("approver", "reviewer"))
    assert (run / store.JOURNAL).read_bytes() == journal


def test_a_wording_that_changed_is_refused_and_reviewed_anew(run: Path) -> None:
    review(run, {ADA: ("approve", "approve")})
    cast_vote(run, "edit", "p-2", Voter("ben", "approver"), {"text": "Say so, always."})
    journal = (run / store.JOURNAL).read_bytes()
    with pytest.raises(StaleError, match="p-2: the wording is another one by now"):
        decide_rules(run, "q1")
    assert (run / store.JOURNAL).read_bytes() == journal
    make_queue(run, "rules")
    with ReviewDesk(run, "q2") as desk:
        assert "Say so, always." in {item.rule.text for item in desk.items.values() if item.rule}


def test_what_decides_nothing_is_said(run: Path) -> None:
    make_queue(run, "rules")
    make_queue(run)
    with pytest.raises(SpecError, match="nothing is decided in q1 yet"):
        decide_rules(run, "q1")
    with pytest.raises(SpecError, match="q2 holds exchanges, and no rules"):
        decide_rules(run, "q2")
