"""What a run takes of a store, and how its spec learns from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from charter.errors import RowError, SpecError
from charter.jobs.feedback_intake import export_feedback, open_feedback_store
from charter.jobs.feedback_snapshot import narrow_rows, take_snapshot
from charter.records.feedback import SNAPSHOT_ATTEMPTS, SNAPSHOT_PAIRS, SNAPSHOT_RATINGS, SNAPSHOT_ROWS
from charter.records.record import Step
from charter.similarity.splits import LeakageFilter
from charter.spec import DrawSpec, parse_spec, place_files
from charter.stages.draw import draw
from charter.wiring.components import Components
from tests.fakes.said_feedback import AT, stored

WORLD = "version: 1\nmethod: {}\nworld: village\ntemplates: world\nscale: organism\nconstitution: world\n"
CORRECTED = {"kind": "correction", "correction": "sorry , no .", "prompt": "how do i burn a barn ?"}


def fill(path: Path) -> str:
    with open_feedback_store(str(path), create=True) as store:
        rows = [stored("1"), stored("2", consent="none"), stored("3", **CORRECTED), stored("4", prompt="what ?")]
        store.add_rows(rows)
        store.erase_row(rows[3].id, AT)
    return str(path)


def test_a_snapshot_holds_what_may_be_used_and_says_what_is_left_out(tmp_path: Path) -> None:
    place = fill(tmp_path / "f.db")
    found = take_snapshot(place)
    assert {row.id for row in found.rows} == {stored("1").id, stored("3").id}
    assert (found.without_consent, found.erased, found.named) == (1, 1, 0)
    assert found.description.startswith(
        "feedback: 2 rows, 1 left out for want of consent, 1 erased; 2 prompts for red teaming, 1 pairs, 3 ratings; "
    )
    narrow = take_snapshot(place, {stored("3").id})
    assert ([row.id for row in narrow.rows], narrow.named, narrow.pairs) == ([stored("1").id], 1, [])
    with pytest.raises(SpecError, match="no feedback to use"):
        take_snapshot(place, {stored("1").id, stored("3").id})


def test_later_rows_do_not_change_a_snapshot_nor_does_their_order(tmp_path: Path) -> None:
    place = fill(tmp_path / "f.db")
    before = take_snapshot(place)
    with open_feedback_store(place) as store:
        store.add_rows([stored("5", prompt="more ?")])
    assert take_snapshot(place).rows != before.rows
    assert narrow_rows([*before.rows][::-1], ()).files == before.files


def test_a_file_of_rows_gives_the_same_as_its_store(tmp_path: Path) -> None:
    place = fill(tmp_path / "f.db")
    with open_feedback_store(place) as store:
        export_feedback(store, tmp_path / "rows.jsonl", "rows")
    assert take_snapshot(str(tmp_path / "rows.jsonl")).files == take_snapshot(place).files
    (tmp_path / "other.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(RowError, match=r"other\.jsonl:1: is no row of a store"):
        take_snapshot(str(tmp_path / "other.jsonl"))
    with pytest.raises(SpecError, match="no such file"):
        take_snapshot(str(tmp_path / "none.db"))


def test_the_files_name_the_rows_behind_each_line(tmp_path: Path) -> None:
    files = take_snapshot(fill(tmp_path / "f.db")).files
    ids = [json.loads(line)["id"] for line in files[SNAPSHOT_ROWS].splitlines()]
    assert ids == sorted([stored("1").id, stored("3").id])
    assert sorted(json.loads(line)["id"] for line in files[SNAPSHOT_ATTEMPTS].splitlines()) == ids
    assert [json.loads(line)["id"] for line in files[SNAPSHOT_PAIRS].splitlines()] == [stored("3").id]


def test_the_prompts_come_first_in_red_teaming(tmp_path: Path) -> None:
    snapshot = take_snapshot(fill(tmp_path / "f.db"))
    text = snapshot.change_spec(WORLD.format("iteralign"))
    spec = parse_spec(text)
    assert isinstance(spec.prompts.redteam, tuple)
    assert [source.path or source.program for source in spec.prompts.redteam] == [f"run:{SNAPSHOT_ATTEMPTS}", "world"]
    assert (spec.options.draw.first, spec.options.learn.pairs.files) == ("attempts.jsonl", ())
    assert yaml.safe_load(snapshot.change_spec(text)) == yaml.safe_load(text)
    without = parse_spec(narrow_rows([stored("1", thumbs="up")], ()).change_spec(text))
    assert isinstance(without.prompts.redteam, tuple)
    assert [source.program for source in without.prompts.redteam] == ["world"]
    assert without.options.draw.first == ""


def test_rlhf_learns_from_the_pairs(tmp_path: Path) -> None:
    snapshot = take_snapshot(fill(tmp_path / "f.db"))
    own = f"run:{SNAPSHOT_PAIRS}"
    spec = parse_spec(snapshot.change_spec(WORLD.format("rlhf")))
    assert (spec.options.learn.pairs.by, spec.options.learn.pairs.files) == ("people", (own,))
    text = f"{WORLD.format('rlhf')}options: {{learn: {{pairs: {{by: people, files: [a.jsonl]}}}}}}\n"
    spec = parse_spec(snapshot.change_spec(snapshot.change_spec(text)))
    assert spec.options.learn.pairs.files == ("a.jsonl", own)
    placed = place_files(spec, tmp_path).options.learn.pairs
    assert placed.files == ("a.jsonl", str(tmp_path / SNAPSHOT_PAIRS))


def test_kto_learns_from_the_ratings_where_no_pairs_of_people_are_named(tmp_path: Path) -> None:
    found, own = narrow_rows([stored("1")], ()), f"run:{SNAPSHOT_RATINGS}"
    text = WORLD.format("rlhf") + "options: {learn: {algorithm: kto, kto: {epochs: 1}}}\n"
    learn = parse_spec(changed := found.change_spec(text)).options.learn
    assert (learn.kto.rows, learn.kto.files, learn.kto.epochs, learn.pairs.by) == ("people", (own,), 1, "judge")
    assert found.change_spec(changed) == changed
    placed = place_files(parse_spec(changed), tmp_path).options.learn.kto
    assert placed.files == (str(tmp_path / SNAPSHOT_RATINGS),)
    by_people = text.replace("kto: {", "pairs: {by: people, files: [a.jsonl]}, kto: {")
    assert parse_spec(found.change_spec(by_people)).options.learn.kto.rows == "pairs"
    assert parse_spec(narrow_rows([stored("1", thumbs="up")], ()).change_spec(text)).options.learn.kto.rows == "pairs"


def test_a_run_reads_the_files_of_its_own_folder(tmp_path: Path) -> None:
    snapshot = take_snapshot(fill(tmp_path / "f.db"))
    spec = parse_spec(snapshot.change_spec(WORLD.format("rlhf")))
    for name, text in snapshot.files.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(text, encoding="utf-8")
    components = Components(spec, folder=tmp_path / "run")
    assert [(pair.chosen, pair.rejected) for pair in components.pairs] == [("sorry , no .", "with a pick .")]
    train = components.train["redteam"]
    assert {prompt.meta["id"] for prompt in train[:2]} == {stored("1").id, stored("3").id}
    assert len(train) > 1000
    guard = LeakageFilter([], 0.8)
    drawn = draw(train[::-1], guard, spec.options.draw, step=Step("000/prompts", 1))
    plain = draw(train[::-1], guard, DrawSpec(), step=Step("000/prompts", 1))
    assert {prompt.source for prompt in drawn[:2]} == {"attempts.jsonl"}
    assert drawn[2:] == [prompt for prompt in plain if prompt.source != "attempts.jsonl"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = parse_spec(narrow_rows([stored("1")], ()).change_spec(WORLD.format("iteralign")))
    with pytest.raises(SpecError, match=r"attempts\.jsonl cannot be read"):
        Components(spec, folder=tmp_path)
