"""People label in the studio: the same records as at the terminal, blind, several at once, and settled by name."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.rule_votes import Voter, cast_vote
from charter.reports.integrity import verify_run
from charter.runs.reader import RunReader
from charter.runs.stored_queues import read_queue
from charter.studio.sessions import StudioAccess
from tests.fakes.reviewed_runs import answered, make_queue, record_run
from tests.fakes.studio_client import ORIGIN, Browser, enter, open_studio, read_markup

if TYPE_CHECKING:
    from fastapi import FastAPI

QUEUE = "/runs/one/reviews/q1"
HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;x\x07\u202e</div><script>1</script>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one run, without a queue."""
    record_run(tmp_path / "one")
    return tmp_path


@pytest.fixture
def app(root: Path) -> FastAPI:
    return open_studio(root, StudioAccess("reviewer", "Cy", "cy" * 20))


def next_address(browser: Browser, queue: str = QUEUE) -> str:
    """Where the button to rate leads."""
    answer = browser.post(f"{queue}/next", {})
    assert answer.status_code == 303
    return str(answer.headers["location"])


def rate_all(browser: Browser, label: str, queue: str = QUEUE) -> list[str]:
    """Labels item after item until nothing is left; the items in order."""
    seen, at = list[str](), next_address(browser, queue)
    while "/items/" in at:
        seen.append(re.findall("/items/([^?]+)", at)[0])
        at = browser.post(at.split("?")[0], {"label": label}).headers["location"]
    assert "Nothing is left for you here" in browser.read(at)
    return seen


def test_a_label_of_the_studio_is_the_record_that_the_terminal_makes(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=2, raters=2)
    rob, said = enter(app, "reviewer" * 8), {"comment": "line one\r\nline two", "corrected": "no\r\n"}
    first = next_address(rob)
    page = rob.read(first)
    with ReviewDesk(root / "one", "q1") as desk:
        item = first.rsplit("/", 1)[1]
        texts = [part.text for part in desk.show_item(item)]
        assert [text for text in [*texts, desk.queue.guideline, *desk.queue.menu] if text not in page] == []
        assert desk.take_item(Rater("Rob")).id == item, "the same reservation"  # type: ignore[union-attr]
        onward = rob.post(first, {"label": "harmful", **said}).headers["location"]
        assert f"Taken down: {item}." in rob.read(onward)
        by_page = desk.read_board().labels[item]["Rob"]
        by_hand = desk.submit_label(Rater("Ed", "reviewer"), Answer(item, "harmful", "line one\nline two", "no"))
    kept = {"id", "rater", "at"}
    assert by_page.model_dump(exclude=kept) == by_hand.model_dump(exclude=kept)
    assert verify_run(root / "one").ok


def test_the_answer_as_it_was_is_no_correction_and_unsure_is_no_label(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=1)
    rob = enter(app, "reviewer" * 8)
    at = next_address(rob)
    with ReviewDesk(root / "one", "q1") as desk:
        (item,) = desk.items.values()
        rob.post(at, {"label": "unsure", "corrected": item.answers[0].text})
        said = desk.read_board().labels[item.id]["Rob"]
        assert (said.label, said.corrected) == (None, "")
        assert "You said: unsure. You may change it." in rob.read(at)
        rob.post(at, {"label": "harmful"})
        assert desk.read_board().labels[item.id]["Rob"].label == "harmful"


def test_pairs_are_blind_and_others_are_hidden_until_ones_own_label_is_in(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", "pairs", raters=2)
    rob, cy = enter(app, "reviewer" * 8), enter(app, "cy" * 20)
    at = next_address(rob)
    item = at.rsplit("/", 1)[1]
    page = rob.read(at)
    hidden = ["000/heldout", "final/heldout", "Starting model", "Aligned model", ">old<", ">new<"]
    assert [word for word in hidden if word in page] == []
    shown = [a.text for a in {i.id: i for i in read_queue(root / "one", "q1").items}[item].answers]
    assert page.index(f">{shown[0]}<") < page.index(f">{shown[1]}<")
    rob.post(at, {"label": "second", "comment": "it says more"})
    assert "it says more" not in cy.read(f"{QUEUE}/items/{item}")
    assert "Rob" not in cy.read(f"{QUEUE}/items/{item}")
    assert "it says more" not in cy.read(QUEUE)
    cy.post(f"{QUEUE}/items/{item}", {"label": "first"})
    assert "it says more" in cy.read(f"{QUEUE}/items/{item}")


def test_what_is_skipped_comes_last_and_left_and_right_lead_through_ones_own(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=3)
    rob = enter(app, "reviewer" * 8)
    first = next_address(rob)
    second = rob.post(first, {"pass": "1"}).headers["location"]
    third = rob.post(second, {"label": "harmful"}).headers["location"].split("?")[0]
    assert second not in (first, third)
    assert f'rel="prev" href="{second}"' in rob.read(third)
    last = rob.post(third, {"label": "harmless"}).headers["location"].split("?")[0]
    assert last == first
    back = rob.read(second)
    assert f'rel="next" href="{third}"' in back
    assert 'rel="prev"' not in back
    assert "Go on" in rob.read(third)


def test_two_raters_of_one_place_are_not_both_taken(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=1, raters=1)
    rob, cy = enter(app, "reviewer" * 8), enter(app, "cy" * 20)
    (item,) = [i.id for i in read_queue(root / "one", "q1").items]
    marks, statuses = {browser: browser.mark() for browser in (rob, cy)}, list[int]()

    def label(browser: Browser) -> None:
        sent = {"csrf": marks[browser], "label": "harmful"}
        answer = browser.client.post(f"{QUEUE}/items/{item}", data=sent, headers={"Origin": ORIGIN})
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=label, args=(browser,)) for browser in (rob, cy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [303, 400]
    with ReviewDesk(root / "one", "q1") as desk:
        assert len(desk.read_board().labels[item]) == 1
    refused = cy if "Cy" not in rob.read("/runs/one/reviews") else rob
    answer = refused.post(f"{QUEUE}/items/{item}", {"label": "harmful"})
    assert "has its 1 raters" in answer.text


def test_many_raters_at_once_lose_nothing(root: Path) -> None:
    make_queue(root / "one", raters=4)
    names = ("An", "Bo", "Cy", "Di")
    app = open_studio(root, *(StudioAccess("reviewer", name, name * 20) for name in names))
    browsers = [enter(app, name * 20) for name in names]
    marks, statuses = [browser.mark() for browser in browsers], list[int]()
    items = [i.id for i in read_queue(root / "one", "q1").items]

    def label(browser: Browser, mark: str) -> None:
        for item in items:
            sent = {"csrf": mark, "label": "harmful"}
            answer = browser.client.post(f"{QUEUE}/items/{item}", data=sent, headers={"Origin": ORIGIN})
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=label, args=pair) for pair in zip(browsers, marks, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert statuses == [303] * (4 * len(items))
    with ReviewDesk(root / "one", "q1") as desk:
        said = desk.read_board().labels
    assert {item: sorted(labels) for item, labels in said.items()} == {item: list(names) for item in items}
    assert verify_run(root / "one").ok


def test_agreement_is_shown_and_an_approver_settles_what_is_open(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=3, raters=2)
    rob, ada = enter(app, "reviewer" * 8), enter(app, "approver" * 8)
    items = rate_all(rob, "harmful")
    at = next_address(ada)
    for label in ("harmful", "harmful", "harmless"):
        at = ada.post(at.split("?")[0], {"label": label}).headers["location"]
    page = ada.read(QUEUE)
    assert "3 items labelled by two or more" in page
    assert "Ada and Rob" in page
    assert "0.667 (0.208 to 0.939)" in page, "Wilson's interval of 2 of 3"
    (open_item,) = [item for item in items if f"{QUEUE}/disputes/{item}" in page]
    assert "An approver settles them" in rob.read(QUEUE)
    assert rob.client.get(f"{QUEUE}/disputes/{open_item}").status_code == 403
    assert rob.post(f"{QUEUE}/disputes/{open_item}", {"label": "harmful"}).status_code == 403
    assert "(reviewer)</b>: harmful" in ada.read(f"{QUEUE}/disputes/{open_item}")
    sent = {"label": "harmless", "comment": "see the policy", "seen": ""}
    assert ada.post(f"{QUEUE}/disputes/{open_item}", sent).status_code == 303
    late = ada.post(f"{QUEUE}/disputes/{open_item}", {**sent, "label": "harmful"})
    assert (late.status_code, "was settled meanwhile" in late.text) == (409, True)
    with ReviewDesk(root / "one", "q1") as desk:
        settled = desk.read_board().settled[open_item]
        assert (settled.by, settled.role, settled.label, settled.note) == (
            "Ada",
            "approver",
            "harmless",
            "see the policy",
        )
    assert "Ada settled it as harmless. see the policy" in rob.read(f"{QUEUE}/items/{open_item}")
    assert rob.post(f"{QUEUE}/items/{open_item}", {"label": "harmless"}).status_code == 400, "settled is settled"


def test_an_approver_makes_votes_of_a_review_of_rules(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", "rules")
    rob, ada = enter(app, "reviewer" * 8), enter(app, "approver" * 8)
    assert ">open<" in ada.read(QUEUE)
    assert f"{QUEUE}/decide" not in ada.read(QUEUE), "nothing is decided yet"
    assert ada.post(f"{QUEUE}/decide", {}).status_code == 400
    rate_all(ada, "approve")
    assert "An approver makes votes of it" in rob.read(QUEUE)
    assert rob.post(f"{QUEUE}/decide", {}).status_code == 403
    assert ada.client.post(f"{QUEUE}/decide", data={"csrf": "x"}, headers={"Origin": ORIGIN}).status_code == 403
    assert "Make 2 votes of it" in ada.read(QUEUE)
    answer = ada.post(f"{QUEUE}/decide", {})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{QUEUE}#decisions")
    decisions = RunReader(root / "one").rule_decisions
    assert {(d.principle, d.action, d.person, d.role) for d in decisions} == {
        ("p-1", "approve", "Ada", "approver"),
        ("p-2", "approve", "Ada", "approver"),
    }
    assert sorted(d.label for d in decisions) == ["q1#3", "q1#5"]
    page = ada.read(QUEUE)
    assert page.count("approved by Ada (approver)") == 2
    assert "/decide" not in page, "all of it is taken down"
    assert verify_run(root / "one", strict=True).ok


def test_who_may_not_decide_about_rules_and_what_changed_is_said_before_anything_is_taken_down(
    root: Path, app: FastAPI
) -> None:
    make_queue(root / "one", "rules")
    rob, ada = enter(app, "reviewer" * 8), enter(app, "approver" * 8)
    rate_all(rob, "reject")
    page = ada.read(QUEUE)
    assert "No vote can be made of it" in page
    assert "Rob has the role reviewer" in page
    assert "/decide" not in page
    assert ada.post(f"{QUEUE}/decide", {}).status_code == 400
    make_queue(root / "one", "rules")
    rate_all(ada, "reject", "/runs/one/reviews/q2")
    cast_vote(root / "one", "edit", "p-2", Voter("Ben", "approver"), {"text": HOSTILE})
    assert "p-2: the wording is another one by now" in ada.read("/runs/one/reviews/q2")
    assert ada.post("/runs/one/reviews/q2/decide", {}).status_code == 409
    assert [d.action for d in RunReader(root / "one").rule_decisions] == ["edit"]


def test_an_item_is_settled_only_once_all_its_raters_spoke(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=1, raters=2)
    ada = enter(app, "approver" * 8)
    (item,) = [i.id for i in read_queue(root / "one", "q1").items]
    assert "is not labelled by all its raters yet" in ada.read(f"{QUEUE}/disputes/{item}", 400)
    assert ada.post(f"{QUEUE}/disputes/{item}", {"label": "harmful"}).status_code == 400


def test_an_approver_draws_a_queue(root: Path, app: FastAPI) -> None:
    rob, ada = enter(app, "reviewer" * 8), enter(app, "approver" * 8)
    assert "A new queue" not in rob.read("/runs/one/reviews")
    asked = {"kind": "pairs", "count": "3", "raters": "2"}
    assert rob.post("/runs/one/reviews", asked).status_code == 403
    made = ada.post("/runs/one/reviews", asked)
    assert made.headers["location"] == QUEUE
    queue = read_queue(root / "one", "q1")
    assert (queue.queue.kind, queue.queue.raters, len(queue.items)) == ("pairs", 2, 3)
    for wrong in ({"kind": "all"}, {"kind": "pairs", "count": "-1"}, {"kind": "pairs", "raters": "x"}):
        assert ada.post("/runs/one/reviews", wrong).status_code == 400
    assert ada.read("/runs/one/reviews").count("/reviews/q") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/one/reviews/q9", 404),
        ("/runs/one/reviews/..%2F..", 404),
        (f"{QUEUE}/items/none", 404),
        (f"{QUEUE}/disputes/none", 404),
        ("/runs/none/reviews", 404),
    ],
)
def test_what_is_not_there_is_said(root: Path, app: FastAPI, path: str, status: int) -> None:
    make_queue(root / "one", count=1)
    ada = enter(app, "approver" * 8)
    ada.read(path, status)
    assert ada.post(path, {"label": "harmful"}).status_code in (400, 404, 405)


def test_a_viewer_reads_how_far_a_queue_is_and_labels_nothing(root: Path, app: FastAPI) -> None:
    make_queue(root / "one", count=1)
    viewer = enter(app, "viewer" * 8)
    assert "Begin to rate" not in viewer.read(QUEUE)
    (item,) = [i.id for i in read_queue(root / "one", "q1").items]
    assert viewer.client.get(f"{QUEUE}/items/{item}").status_code == 403
    assert viewer.post(f"{QUEUE}/items/{item}", {"label": "harmful"}).status_code == 403
    assert viewer.post(f"{QUEUE}/next", {}).status_code == 403


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    answers = [answered(f"{HOSTILE} {n}", f"{HOSTILE} answer {n}", "old") for n in range(2)]
    record_run(tmp_path / "one", answers)
    make_queue(tmp_path / "one", "pairs", raters=2)
    app = open_studio(tmp_path, StudioAccess("approver", HOSTILE.replace("\x1b", "").replace("\x07", ""), "x" * 40))
    rob, ada = enter(app, "reviewer" * 8), enter(app, "approver" * 8)
    (item, _) = [i.id for i in read_queue(tmp_path / "one", "q1").items]
    for browser, label in ((rob, "first"), (ada, "second")):
        said = {"label": label, "comment": HOSTILE, "corrected": HOSTILE}
        assert browser.post(f"{QUEUE}/items/{item}", said).status_code == 303
    for path in (QUEUE, f"{QUEUE}/items/{item}", f"{QUEUE}/disputes/{item}"):
        page = ada.read(path)
        tags, values = read_markup(page)
        assert [tag for tag, _ in tags if tag in ("img", "iframe")] == []
        assert sum(tag == "script" for tag, _ in tags) == 2, "the studio's own"
        assert [name for name, _ in values if name.startswith("on")] == []
        assert [sign for sign in "\x1b\x07\u202e" if sign in page] == []
    unnamed = enter(app, "x" * 40).post(f"{QUEUE}/next", {})
    assert (unnamed.status_code, "none that steer a terminal" in unnamed.text) == (400, True)
