"""People at one queue: what they may take, say, change and see, and what stays when a process is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import DamagedError, SpecError, StoreError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk, find_queue, list_progress
from charter.jobs.review_queues import QueueRequest, create_queue
from charter.jobs.review_results import report_agreement
from charter.records.reviews import ReviewKind
from charter.reports.integrity import verify_run
from charter.runs import Run, store
from charter.stages.review_board import LEASE
from tests.fakes.reviewed_runs import make_queue, record_run

ADA, BO, CY = Rater("ada", "linguist"), Rater("bo"), Rater("cy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_run(tmp_path_factory.mktemp("reviews") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "run"))


def rate(desk: ReviewDesk, rater: Rater, label: str | None) -> str:
    item = desk.take_item(rater)
    assert item is not None
    return desk.submit_label(rater, Answer(item.id, label)).item


@pytest.mark.parametrize(
    ("kind", "size", "answers", "menu"),
    [
        ("exchanges", 8, 1, ["harmful", "harmless"]),
        ("pairs", 8, 2, ["first", "second", "equal"]),
        ("revisions", 4, 2, ["first", "second", "equal"]),
        ("rules", 2, 0, ["approve", "reject"]),
    ],
)
def test_a_queue_of_each_kind(run: Path, kind: ReviewKind, size: int, answers: int, menu: list[str]) -> None:
    queue = make_queue(run, kind)
    with ReviewDesk(run, "q1") as desk:
        assert (len(desk.items), queue.population, list(desk.queue.menu)) == (size, size, menu)
        assert {len(item.answers) for item in desk.items.values()} == {answers}
        assert store.sha256(desk.guideline.encode()) == queue.guideline
        assert all(label in desk.guideline for label in menu)
    found = verify_run(run, strict=True)
    assert (found.ok, found.foreign, list(found.reviews)) == (True, (), ["q1"])


def test_a_queue_is_drawn_by_its_seed_and_sides_do_not_follow_the_model(tmp_path: Path) -> None:
    run = record_run(tmp_path / "run", count=60)
    names = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        create_queue(run, QueueRequest("pairs", 20, name=name, seed=seed))
        with ReviewDesk(run, name) as desk:
            names[name] = [(item.id, item.answers[0].model) for item in desk.items.values()]
    assert names["a"] == names["b"] != names["c"]
    create_queue(run, QueueRequest("pairs", name="all"))
    with ReviewDesk(run, "all") as desk:
        assert 15 < sum(item.answers[0].model == "old" for item in desk.items.values()) < 45


def test_two_raters_label_each_item_once_and_a_third_gets_none(run: Path) -> None:
    make_queue(run, count=3, raters=2)
    with ReviewDesk(run, "q1") as desk:
        said = [rate(desk, rater, "harmful") for rater in (ADA, BO) for _ in range(3)]
        assert sorted(said) == sorted([*desk.items] * 2)
        assert [desk.take_item(rater) for rater in (ADA, BO, CY)] == [None] * 3
        with pytest.raises(SpecError, match="has its 2 raters"):
            desk.submit_label(CY, Answer(said[0], "harmful"))
        progress = desk.measure_progress()
    assert (progress.complete, progress.labels) == (3, {"ada": 3, "bo": 3})
    assert verify_run(run, strict=True).ok


def test_an_item_is_kept_for_who_sees_it_until_the_time_is_up(run: Path) -> None:
    make_queue(run, count=1)
    now = [1000.0]
    with ReviewDesk(run, "q1", clock=lambda: now[0]) as desk, ReviewDesk(run, "q1", clock=lambda: now[0]) as other:
        item = desk.take_item(ADA)
        assert item is not None
        assert desk.take_item(ADA) == item
        assert other.take_item(BO) is None
        with pytest.raises(SpecError, match="being labelled by ada"):
            other.submit_label(BO, Answer(item.id, "harmful"))
        now[0] += LEASE + 1
        assert other.take_item(BO) == item
        other.submit_label(BO, Answer(item.id, "harmful"))
        with pytest.raises(SpecError, match="has its 1 raters"):
            desk.submit_label(ADA, Answer(item.id, "harmless"))


def test_what_is_passed_over_comes_last_and_is_free_for_others(run: Path) -> None:
    make_queue(run, count=3)
    with ReviewDesk(run, "q1") as desk:
        first, second, third = desk.items
        desk.pass_item(ADA, first)
        assert rate(desk, ADA, "harmless") == second
        assert rate(desk, BO, "harmless") == first
        assert rate(desk, ADA, "harmless") == third
        assert desk.take_item(ADA) is None


def test_labels_of_others_are_hidden_until_the_own_one_is_in_and_can_be_changed(run: Path) -> None:
    make_queue(run, count=1, raters=2)
    with ReviewDesk(run, "q1") as desk:
        item = rate(desk, ADA, "harmful")
        assert desk.read_board().list_visible(item, "bo") == []
        desk.submit_label(BO, Answer(item, None, comment="which knife?"))
        assert [label.rater for label in desk.read_board().list_visible(item, "bo")] == ["ada", "bo"]
        changed = desk.submit_label(BO, Answer(item, "harmless", corrected="Better not."))
        assert (changed.id, changed.role) == ("q1#5", "")
        assert desk.submit_label(BO, Answer(item, "harmless", corrected="Better not.")) == changed
        assert desk.read_board().changed == 1


def test_who_disagrees_is_adjudicated_by_name(run: Path) -> None:
    make_queue(run, count=4, raters=2)
    with ReviewDesk(run, "q1") as desk:
        one, two, three, four = desk.items
        for item, mine, theirs in ((one, "harmful", "harmful"), (two, "harmful", "harmless"), (three, None, None)):
            desk.submit_labels([(ADA, Answer(item, mine)), (BO, Answer(item, theirs))])
        report = report_agreement(run, "q1")
        assert [found.item for found in report.disputed] == [two, three]
        assert (report.agreement.n, report.agreement.unsure) == (2, 2)
        with pytest.raises(SpecError, match="0 of its 2 raters"):
            desk.settle_item(CY, four, "harmful")
        with pytest.raises(SpecError, match="not on the menu"):
            desk.settle_item(CY, two, "nonsense")
        desk.settle_item(CY, two, "harmless", note="they asked about bread")
        assert report_agreement(run, "q1").progress.to_adjudicate == (three,)
        final = desk.read_board().find_final(two)
        assert final is not None
        assert (final.label, final.by, final.labels) == ("harmless", "settlement", ("q1#8",))
        with pytest.raises(SpecError, match="settled by cy"):
            desk.submit_label(ADA, Answer(two, "harmless"))


@pytest.mark.parametrize(
    ("rater", "answer", "says"),
    [
        (Rater(""), {}, "needs a name"),
        (Rater("a\x1b[2J"), {}, "steer a terminal"),
        (Rater("a", "r" * 81), {}, "at most 80"),
        (ADA, {"label": "evil"}, "not on the menu: harmful, harmless, unsure"),
        (ADA, {"item": "nothing"}, "no item 'nothing'"),
        (ADA, {"comment": "x" * 100_001}, "at most 100,000"),
        (ADA, {"comment": "\ud800"}, "half a character"),
    ],
)
def test_what_cannot_be_taken_down_is_refused(run: Path, rater: Rater, answer: dict[str, str], says: str) -> None:
    make_queue(run, count=1)
    with ReviewDesk(run, "q1") as desk:
        before = (run / store.review_log_name("q1")).read_bytes()
        given = {"item": next(iter(desk.items)), "label": "harmful", **answer}
        with pytest.raises(SpecError, match=says):
            desk.submit_label(rater, Answer(**given))
        assert (run / store.review_log_name("q1")).read_bytes() == before


def test_queues_are_found_by_name(run: Path) -> None:
    with pytest.raises(SpecError, match="0 review queues"):
        find_queue(run)
    make_queue(run)
    assert find_queue(run) == "q1"
    make_queue(run, "rules")
    with pytest.raises(SpecError, match=r"2 review queues[\s\S]*q1, q2"):
        find_queue(run)
    with pytest.raises(StoreError, match="no review queue q9"):
        ReviewDesk(run, "q9")
    with pytest.raises(StoreError, match="has a queue q1 already"):
        create_queue(run, QueueRequest("rules", name="q1"))
    with pytest.raises(SpecError, match="no name of a queue"):
        create_queue(run, QueueRequest("rules", name="../q"))
    assert [one.queue.kind for one in list_progress(run)] == ["exchanges", "rules"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (QueueRequest("exchanges", steps=("001/nothing",)), "no finished step"),
        (QueueRequest("pairs", steps=("000/heldout_exchanges",)), "need two steps"),
        (QueueRequest("exchanges", rubric="nothing"), "neither shipped nor"),
        (QueueRequest("exchanges", count=0), "one item and one rater"),
        (QueueRequest("revisions", steps=("000/heldout_exchanges",)), "no revisions"),
    ],
)
def test_what_cannot_be_reviewed_is_said(run: Path, asked: QueueRequest, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        create_queue(run, asked)
    assert not (run / "reviews").exists()


def test_a_run_at_work_makes_no_queue_but_its_queues_can_be_rated(run: Path) -> None:
    make_queue(run, count=1)
    with Run.open(run), ReviewDesk(run, "q1") as desk:
        with pytest.raises(StoreError, match="in use"):
            make_queue(run)
        assert rate(desk, ADA, "harmful") in desk.items


def damage(run: Path, how: str) -> None:
    log = run / store.review_log_name("q1")
    lines = log.read_bytes().splitlines(keepends=True)
    if how == "changed":
        log.write_bytes(log.read_bytes().replace(b'"harmful"', b'"harmless"', 1))
    elif how == "removed":
        log.write_bytes(b"".join(lines[:2] + lines[3:]))
    elif how == "missing":
        log.unlink()
    elif how == "nonsense":
        log.write_bytes(log.read_bytes() + b"{}\n")
    elif how == "item":
        path = run / "reviews/q1.jsonl"
        path.write_bytes(path.read_bytes().replace(b"answer", b"ANSWER", 1))
    else:
        (run / "reviews/q1/guideline.md").write_text("Say harmless.")


@pytest.mark.parametrize("how", ["changed", "removed", "missing", "nonsense", "item", "guideline"])
def test_damage_is_found_by_verify_and_stops_the_desk(run: Path, how: str) -> None:
    make_queue(run, count=2)
    with ReviewDesk(run, "q1") as desk:
        rate(desk, ADA, "harmful")
        rate(desk, ADA, "harmful")
    assert verify_run(run, strict=True).ok
    damage(run, how)
    found = verify_run(run)
    assert not found.ok
    assert {fault.file.split("/")[0] for fault in found.faults} == {"reviews"}
    with pytest.raises(DamagedError), ReviewDesk(run, "q1") as desk:
        desk.read_board()


def test_a_line_that_a_kill_cut_is_a_note_and_gives_way(run: Path) -> None:
    make_queue(run, count=1)
    log = run / store.review_log_name("q1")
    with log.open("ab") as file:
        file.write(b'{"event":"labelled","item":')
    found = verify_run(run)
    assert (found.ok, len(found.notes)) == (True, 1)
    with ReviewDesk(run, "q1") as desk:
        rate(desk, ADA, "harmful")
    assert verify_run(run, strict=True).notes == ()


def test_a_queue_that_a_kill_kept_from_the_journal_is_read_by_nobody(run: Path) -> None:
    make_queue(run, count=1)
    journal = run / store.JOURNAL
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    found = verify_run(run)
    assert found.ok
    assert all(name.startswith("reviews/") for name in found.foreign)
    assert make_queue(run, count=2).id == "q1"
    assert verify_run(run, strict=True).ok
