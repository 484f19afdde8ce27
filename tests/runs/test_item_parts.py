"""Long steps: in parts, with records read when they are asked for, they leave what short ones leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from charter.errors import DamagedError, StoreError
from charter.records.record import Step
from charter.reports.costs import read_costs
from charter.reports.integrity import verify_run
from charter.runs import Run, store
from charter.runs.reader import RunReader
from charter.runs.unique_ids import find_repeated_id
from tests.fakes.scripted_run import WORDS, Answer, Word, begin, breaking, echo, play, probe, substance


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The run as it is left where no step is long."""
    with begin(tmp_path / "whole") as run:
        play(run)
    return tmp_path / "whole"


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    """Steps of more than four items are long, and no more than two records are held."""
    monkeypatch.setattr("charter.runs.steps.PART", 4)
    monkeypatch.setattr("charter.runs.store.record_file.MAX_HELD", 2)
    monkeypatch.setattr("charter.runs.store.MAX_HELD", 2)


def read_events(directory: Path, kind: str) -> list[store.Event]:
    return [event for event in RunReader(directory).events if event["event"] == kind]


@pytest.mark.usefixtures("in_parts")
def test_a_run_in_parts_leaves_the_same_records_and_seals(whole: Path, tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        head = play(run, echo(shuffle=3))
    assert substance(tmp_path / "run") == substance(whole)
    assert verify_run(tmp_path / "run", head.head).anchored
    assert [(e["step"], e["part"]) for e in read_events(tmp_path / "run", "passed")][:2] == [
        ("000/answers", 0),
        ("000/answers", 1),
    ]
    with begin(tmp_path / "run") as again:
        assert play(again) == head


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("after", [5, 6, 7, 9, 12])
def test_a_run_in_parts_that_breaks_goes_on_to_the_same_end(whole: Path, tmp_path: Path, after: int) -> None:
    stops = 0
    for _ in range(100):
        with begin(tmp_path / "run") as run:
            try:
                play(run, breaking(after))
                break
            except RuntimeError:
                stops += 1
    assert stops
    assert substance(tmp_path / "run") == substance(whole)
    assert verify_run(tmp_path / "run").ok


@pytest.mark.usefixtures("in_parts")
def test_a_stage_is_handed_a_part_and_what_goes_along_with_it(tmp_path: Path) -> None:
    seen: list[tuple[list[str], list[str], int]] = []

    def pair(items: Sequence[Word], along: Sequence[Word], apart: Sequence[Word], *, step: Step) -> Iterator[Answer]:
        seen.append(([i.id for i in items], [i.id for i in along], len(apart)))
        assert step.done <= {item.id for item in items}
        yield from (Answer(id=item.id, reply=item.text) for item in reversed(items))

    with begin(tmp_path / "run") as run:
        made = run.steps("000").map("pairs", pair, WORDS, list(WORDS), WORDS[::-1])
    ids = [word.id for word in WORDS]
    assert seen == [(ids[:4], ids[:4], 6), (ids[4:], ids[4:], 6)]
    assert isinstance(made, store.StoredRecords)
    assert [answer.id for answer in made] == ids
    assert [answer.id for answer in made[1:4]] == ids[1:4]
    assert (made[-1].id, len(made)) == (ids[-1], 6)
    with pytest.raises(IndexError):
        made[6]


@pytest.mark.usefixtures("in_parts")
def test_the_calls_of_an_unfinished_step_are_known_and_their_ids_are_not_held(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        engine = run.meter_engine(breaking(5), "judge", "aligning")
        with pytest.raises(RuntimeError):
            run.steps("000").map("answers", probe, WORDS, engine)
    first, second = read_events(tmp_path / "run", "asked")
    assert (first["ids"], len(second["ids"])) == ([], 2)
    assert [(cost.step, cost.calls) for cost in read_costs(RunReader(tmp_path / "run"))] == [("000/answers", 6)]
    with begin(tmp_path / "run") as run:
        assert run.repeatable_calls == {"aligning": 1}
        run.steps("000").map("answers", probe, WORDS, run.meter_engine(echo(), "judge", "aligning"))
        assert run.count_calls("aligning") == 6


def test_an_unfinished_step_of_before_goes_on_whole(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with begin(tmp_path / "run") as run, pytest.raises(RuntimeError):
        play(run, breaking(5))
    monkeypatch.setattr("charter.runs.steps.PART", 4)
    with begin(tmp_path / "run") as run:
        play(run)
    assert substance(tmp_path / "run") == substance(whole)
    assert not [e for e in read_events(tmp_path / "run", "passed") if e["step"] == "000/answers"]


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("line", [b'{"id":"w0","reply":"x"}\n', b'{"id":"w9","reply":"x"}\n'])
def test_records_of_other_parts_are_damage(tmp_path: Path, line: bytes) -> None:
    with begin(tmp_path / "run") as run, pytest.raises(RuntimeError):
        run.steps("000").map("answers", probe, WORDS, breaking(5))
    with (tmp_path / "run/000/answers.jsonl").open("ab") as stream:
        stream.write(line)
    with begin(tmp_path / "run") as run, pytest.raises(DamagedError, match="records of other items, or one twice"):
        run.steps("000").map("answers", probe, WORDS, echo())


@pytest.mark.usefixtures("in_parts")
def test_a_repeated_id_is_found_among_many(tmp_path: Path) -> None:
    ids = [f"i{n}" for n in range(1000)]
    assert find_repeated_id(lambda: iter(ids)) is None
    assert find_repeated_id(lambda: iter([*ids, "i7"])) == "i7"
    with begin(tmp_path / "run") as run, pytest.raises(StoreError, match="w2 is the id of two items"):
        run.steps("000").map("answers", probe, [*WORDS, WORDS[2]], echo())


def test_a_long_damaged_file_is_named_by_its_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charter.runs.store.line_stream.MAX_COMPARED", 3)
    monkeypatch.setattr("charter.runs.store.line_stream.WATCH_EVERY", 2)
    lines, told = [f"{n}".encode() for n in range(9)], list[int]()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    digests = [store.sha256(line) for line in lines]
    assert store.find_line_faults("rows", digests, store.LineStream(path), told.append) == []
    assert told == [2, 4, 6, 8]
    for wrong, line in ((digests[:6], 7), ([*digests, "x"], 10), ([*digests[:4], "x", *digests[5:]], 5)):
        faults = store.find_line_faults("rows", wrong, store.LineStream(path))
        assert [(fault.line, "from here on" in fault.what) for fault in faults] == [(line, True)]


def test_a_seal_of_many_records_is_read_in_pieces(tmp_path: Path) -> None:
    words = [Word(id=f"w{n}", text="x") for n in range(9000)]
    with Run.create(tmp_path / "run", spec_text="x: 1\n") as run:
        run.steps("000").record("words", words)
    seal, faults = store.read_seal(tmp_path / "run", "000/words", None)
    assert (seal is not None, faults) == (True, [])
    assert seal is not None
    digests = store.SealedDigests(tmp_path / "run", seal)
    expected = [store.sha256(line) for line in store.LineStream(tmp_path / "run/000/words.jsonl")]
    assert list(digests) == expected
    assert (digests[0], digests[8999], digests[4095:4098]) == (expected[0], expected[-1], expected[4095:4098])
    assert digests.read_at([8999, 0, 9000]) == [expected[-1], expected[0], ""]
    found = RunReader(tmp_path / "run").records("000/words", Word)
    assert isinstance(found, store.StoredRecords)
    assert list(found) == words
    path = tmp_path / "run/000/words.seal.json"
    for old, new in ((expected[5000], "g" * 64), (expected[5000], expected[5000].upper())):
        kept = path.read_bytes()
        path.write_bytes(kept.replace(old.encode(), new.encode()))
        assert [str(f) for f in store.read_seal(tmp_path / "run", "000/words", None)[1]] == [
            "000/words.seal.json, line 1: not a seal"
        ]
        path.write_bytes(kept)
