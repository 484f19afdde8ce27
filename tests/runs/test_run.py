"""What a run promises: one record per item, sealed steps read and not made again, the same end by any way."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from charter.errors import BudgetError, DamagedError, LockedError, StaleError, StoreError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Completion, Request
from charter.records.record import Step
from charter.records.templates import Templates
from charter.reports.integrity import verify_run
from charter.runs import Run, store
from charter.spec import Budget
from tests.fakes.scripted_run import WORDS, Answer, Word, begin, breaking, echo, gather, play, probe, substance, tune
from tests.runs.test_store import largest_file

GOLDEN = "4e2315eae92835a220fa6f6ff074d2f3e25454e40182e94d60682a76d05aba5a"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with begin(tmp_path / "run") as made:
        yield made


def events(run: Run, kind: str) -> list[store.Event]:
    """The journal's events of one kind, as they stand on the disk."""
    found, faults = store.read_journal(store.LineStream(run.directory / store.JOURNAL))
    assert faults == []
    return [event for event in found if event["event"] == kind]


class Unused(ScriptedEngine):
    """An engine that must not be touched: it would load a model."""

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        raise AssertionError(f"asked {len(requests)} with {len(done)} done")


# --- the same run


def test_the_golden_run(tmp_path: Path) -> None:
    """The format of a run on the disk: whoever changes this hash breaks the runs of those who have some."""
    with begin(tmp_path / "run") as run:
        assert play(run).records == GOLDEN
    assert sorted(substance(run.directory))[:6] == [
        "000/answers.jsonl",
        "000/answers.seal.json",
        "000/policy.jsonl",
        "000/policy.seal.json",
        "000/policy/config.json",
        "000/policy/deep/weights.bin",
    ]


@pytest.mark.parametrize("shuffle", range(5))
def test_any_order_of_answers_gives_the_same_run(tmp_path: Path, shuffle: int) -> None:
    for name, order in (("peace", None), ("other", shuffle)):
        with begin(tmp_path / name) as run:
            play(run, echo(order))
    assert substance(tmp_path / "peace") == substance(tmp_path / "other")


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_any_number_of_breaks_gives_the_same_run(tmp_path: Path, error: BaseException) -> None:
    with begin(tmp_path / "peace") as run:
        play(run)
    for _ in range(30):
        with begin(tmp_path / "broken") as run:
            try:
                play(run, breaking(8, error))
            except type(error):
                continue
            break
    assert run.final_head
    assert events(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
    assert substance(tmp_path / "peace") == substance(tmp_path / "broken")
    assert verify_run(tmp_path / "broken").ok


def test_a_finished_run_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        head = play(run)
        before = (run.directory / store.JOURNAL).read_bytes(), (run.directory / store.HEAD).read_bytes()
    with Run.open(tmp_path / "run") as again:
        assert play(again, Unused()) == head
        again.publish({"report.html": "made later"}, derived=True)
        assert ((run.directory / store.JOURNAL).read_bytes(), (run.directory / store.HEAD).read_bytes()) == before
        assert not (run.directory / "report.html").exists()
        with pytest.raises(StaleError, match="charter fork"):
            again.publish({"constitution.yaml": "- be cruel\n"})
        with pytest.raises(StoreError, match="is finished and has no 002/rows"):
            again.steps("002").once("rows", gather, [])


def test_other_times_and_seeds_of_order_give_other_heads_but_the_same_records(tmp_path: Path) -> None:
    heads = []
    for name in ("a", "b"):
        with begin(tmp_path / name) as run:
            heads.append(play(run))
    assert heads[0].records == heads[1].records
    with Run.create(tmp_path / "c", spec_text="name: small\n", seed=8) as run:
        assert play(run).records != heads[0].records


# --- map


def test_map_keeps_records_as_they_come_and_returns_them_in_order(run: Run) -> None:
    lines: list[int] = []
    path = run.directory / "000/answers.jsonl"

    def stage(items: Sequence[Word], *, step: Step) -> Iterator[Answer]:
        assert step.done == frozenset()
        for item in reversed(items):
            lines.append(len(store.read_lines(path).lines))
            yield Answer(id=item.id, reply=item.text)

    answers = run.steps("000").map("answers", stage, WORDS)
    assert lines == list(range(len(WORDS)))
    assert [answer.id for answer in answers] == [word.id for word in WORDS]
    assert store.parse_records(path, store.read_lines(path).lines, Answer) == answers


def test_map_goes_on_with_what_is_left(run: Run) -> None:
    with pytest.raises(RuntimeError):
        run.steps("000").map("answers", probe, WORDS, breaking(4))
    engine = echo()
    assert len(run.steps("000").map("answers", probe, WORDS, engine)) == len(WORDS)
    assert engine.calls == len(WORDS) - 4


def test_a_torn_line_is_cut_off_before_the_next_one(run: Run) -> None:
    path = run.directory / "000/answers.jsonl"
    for done in (2, 4):
        with pytest.raises(RuntimeError):
            run.steps("000").map("answers", probe, WORDS, breaking(2))
        with path.open("ab") as stream:
            stream.write(b'{"id":"w')
        assert len(store.read_lines(path).lines) == done
    assert len(run.steps("000").map("answers", probe, WORDS, echo())) == len(WORDS)


def test_map_does_not_call_the_stage_where_only_the_seal_is_missing(run: Run) -> None:
    steps = run.steps("000")
    made = steps.map("answers", probe, WORDS, echo())
    run.close()
    seal, journal = run.directory / "000/answers.seal.json", run.directory / store.JOURNAL
    before, sealed = seal.read_bytes(), journal.read_bytes()
    seal.unlink()
    journal.write_bytes(b"".join(line for line in sealed.splitlines(keepends=True) if b'"event":"sealed"' not in line))
    with Run.open(run.directory) as again:
        assert again.steps("000").map("answers", probe, WORDS, Unused()) == made
    assert seal.read_bytes() == before


def wrong_id(items: Sequence[Word]) -> Iterator[Answer]:
    yield Answer(id="nobody", reply=items[0].text)


def too_few(items: Sequence[Word], *, step: Step) -> Iterator[Answer]:
    yield Answer(id=items[1].id, reply=step.path)


def twice(items: Sequence[Word]) -> Iterator[Answer]:
    yield from [Answer(id=items[0].id, reply="")] * 2


def wrong_type(items: Sequence[Word]) -> Iterator[Answer]:
    yield from items  # type: ignore[misc]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (wrong_id, "yields nobody which is no item's id"),
        (too_few, "5 of 6 items got no record, w0 first"),
        (twice, "yields w0 twice"),
        (wrong_type, "made a Word, not a Answer"),
    ],
)
def test_map_holds_a_stage_to_its_word(run: Run, stage: Callable[..., Iterator[Answer]], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        run.steps("000").map("answers", stage, WORDS)
    assert not (run.directory / "000/answers.seal.json").exists()


def test_map_refuses_items_that_share_an_id(run: Run) -> None:
    with pytest.raises(StoreError, match="w0 is the id of two items"):
        run.steps("000").map("answers", probe, [WORDS[0], WORDS[0]], Unused())


def test_map_of_nothing_is_sealed_empty(run: Run) -> None:
    assert run.steps("000").map("answers", probe, [], metered(run, Unused())) == []
    assert (run.directory / "000/answers.jsonl").read_bytes() == b""


def test_records_of_nobody_are_damage(run: Run) -> None:
    (run.directory / "000").mkdir()
    (run.directory / "000/answers.jsonl").write_text('{"id":"w0","reply":"forged"}\n')
    with pytest.raises(DamagedError, match="records that the journal does not know"):
        run.steps("000").map("answers", probe, WORDS, Unused())


# --- once


def one() -> Answer:
    return Answer(id="only", reply="")


def several() -> tuple[Answer, ...]:
    return (Answer(id="a", reply=""), Answer(id="b", reply=""))


def same_ids() -> list[Answer]:
    return [Answer(id="a", reply=""), Answer(id="a", reply="b")]


def untyped() -> dict[str, int]:
    return {}


def test_once_gives_back_what_the_stage_returns(run: Run) -> None:
    for _ in range(2):
        assert run.steps("000").once("one", one) == one()
        assert run.steps("000").once("several", several) == several()
        assert run.steps("000").once("rows", gather, []) == []
    with pytest.raises(StoreError, match="a is the id of two records"):
        run.steps("000").once("same", same_ids)
    with pytest.raises(StoreError, match="which a run cannot keep"):
        run.steps("000").once("untyped", untyped)


def test_once_gives_an_empty_directory_and_keeps_what_is_written(run: Run) -> None:
    left = run.directory / "000/policy/left/over"
    left.mkdir(parents=True)
    (left / "file").write_text("from a killed try")
    policy = run.steps("000").once("policy", tune, [])
    assert policy.adapter == "000/policy"
    assert sorted(store.list_files(run.directory / "000/policy")) == ["config.json", "deep/weights.bin"]
    assert not (run.directory / "000/rows").exists()
    (run.directory / "000/policy/deep/weights.bin").unlink()
    with pytest.raises(DamagedError, match=r"weights\.bin: the file is missing"):
        run.steps("000").once("policy", tune, [])


# --- inputs


class Named:
    """Something outside that names itself."""

    def __init__(self, identity: str) -> None:
        self.identity = identity


def options(words: Sequence[Word], named: Any, templates: Templates, size: float = 1.0) -> list[Word]:
    del named, templates, size
    return list(words)


BASE: tuple[Any, ...] = (WORDS, {"a": [Named("x")]}, Templates())


@pytest.mark.parametrize(
    ("name", "args", "more"),
    [
        ("words", (WORDS[1:], *BASE[1:]), {}),
        ("named", (WORDS, {"a": [Named("y")]}, Templates()), {}),
        ("templates", (*BASE[:2], Templates(critique="other {principles}")), {}),
        ("size", BASE, {"size": 2.0}),
    ],
)
def test_other_inputs_of_a_sealed_step_are_named(
    run: Run, name: str, args: tuple[Any, ...], more: dict[str, Any]
) -> None:
    steps = run.steps("000")
    steps.once("step", options, *BASE)
    steps.once("step", options, WORDS, {"a": (Named("x"),)}, Templates(), size=1.0)
    with pytest.raises(StaleError, match=rf"000/step was made from other inputs; changed: {name}\n.*charter fork"):
        steps.once("step", options, *args, **more)
    with pytest.raises(StaleError, match=f"changed: {name}\n"):
        steps.once("step", functools.partial(options, **more), *args)


def test_another_stage_or_type_is_another_input(run: Run) -> None:
    run.steps("000").once("step", several)
    with pytest.raises(StaleError, match=r"changed: \(stage\), \(type\)"):
        run.steps("000").once("step", one)


def test_a_seal_names_the_templates(run: Run) -> None:
    run.steps("000").once("step", options, *BASE)
    seal, _ = store.read_seal(run.directory, "000/step", None)
    assert seal is not None
    assert seal.templates.keys() == Templates.model_fields.keys()


def test_a_partial_step_with_other_inputs_is_stale_and_an_empty_one_begins_anew(run: Run) -> None:
    steps = run.steps("000")
    with pytest.raises(RuntimeError):
        steps.map("answers", probe, WORDS, breaking(2))
    with pytest.raises(StaleError, match="000/answers was made from other inputs; changed: items"):
        steps.map("answers", probe, WORDS[:3], echo())
    with pytest.raises(RuntimeError):
        steps.map("others", probe, WORDS, breaking(0))
    assert len(steps.map("others", probe, WORDS[:3], echo())) == 3


def test_an_argument_without_a_digest_is_refused(run: Run) -> None:
    for value in (object(), lambda: None):
        with pytest.raises(StoreError, match=r"argument note is a .* no digest"):
            run.steps("000").once("rows", gather, [], value)


# --- calls


def metered(run: Run, engine: Engine, purpose: Any = "aligning") -> Engine:
    return run.meter_engine(engine, "judge", purpose)


def test_calls_are_journaled_and_counted_by_purpose(run: Run) -> None:
    play(run)
    asked, answered = events(run, "asked"), events(run, "answered")
    for purpose, calls in (("aligning", 2 * 3 * len(WORDS)), ("target", 2 * len(WORDS)), ("measuring", 0)):
        assert run.count_calls(purpose) == calls  # type: ignore[arg-type]
        for kind in (asked, answered):
            assert sum(event["calls"] for event in kind if event["purpose"] == purpose) == calls
    assert all(event["tokens_in"] > 0 and event["seconds"] >= 0 for event in answered)


def test_an_engine_is_not_touched_where_nothing_is_left_to_ask(run: Run) -> None:
    request = Request(id="w0", messages=())
    assert list(metered(run, Unused()).generate([request], {"w0"})) == []
    with pytest.raises(AssertionError, match="asked 1 with 0 done"):
        list(metered(run, Unused()).generate([request]))


def test_calls_count_the_steps_passed_so_far(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        play(run)
    with Run.open(tmp_path / "run") as run:
        assert run.count_calls("aligning") == 0
        run.steps("000").map("verdicts", probe, WORDS, metered(run, echo()))
        assert run.count_calls("aligning") == len(WORDS)


def test_calls_that_may_be_repeated_are_shown(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        assert run.repeatable_calls == {}
        with pytest.raises(RuntimeError):
            run.steps("000").map("answers", probe, WORDS, metered(run, breaking(4)))
    with Run.open(tmp_path / "run", environment={"python": "3.14"}) as run:
        assert run.repeatable_calls == {"aligning": 2}
        run.steps("000").map("answers", probe, WORDS, metered(run, echo()))
        (resumed,) = events(run, "resumed")
        assert resumed["may_repeat"] == {"aligning": 2}
        assert resumed["environment"] == {"python": "3.14"}
        assert run.count_calls("aligning") == len(WORDS)
    with Run.open(tmp_path / "run") as run:
        assert run.repeatable_calls == {}


def test_a_spent_budget_pauses_the_run_and_a_larger_one_lets_it_go_on(tmp_path: Path) -> None:
    with begin(tmp_path / "peace") as run:
        play(run)
    with begin(tmp_path / "run", budget=Budget(calls=15)) as run:
        with pytest.raises(BudgetError, match=r"000/second needs 6 calls, but 12 of 15 are spent\n.*charter resume"):
            play(run)
        assert [event["step"] for event in events(run, "paused")] == ["000/second"]
    with begin(tmp_path / "run", budget=Budget(calls=36)) as run:
        play(run)
    assert substance(tmp_path / "peace") == substance(tmp_path / "run")


# --- the directory


def test_a_second_process_is_told_who_owns_the_run(run: Run) -> None:
    code = f"from charter.runs import Run; Run.open({str(run.directory)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"is in use by process {os.getpid()} on " in done.stderr
    with pytest.raises(LockedError):
        Run.open(run.directory)
    run.close()
    Run.open(run.directory).close()


def test_a_run_begins_only_in_an_empty_folder_and_opens_only_where_one_is(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds a run already"):
        Run.create(run.directory, spec_text="")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    with pytest.raises(StoreError, match="not an empty folder"):
        Run.create(tmp_path / "full", spec_text="")
    with pytest.raises(StoreError, match="holds no run"):
        Run.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(StoreError, match="Make the folder writable"):
        Run.create(tmp_path / "full/file/run", spec_text="")


def test_a_spec_changed_later_is_refused(run: Run) -> None:
    run.close()
    (run.directory / store.SPEC).write_text("name: other\n")
    with pytest.raises(DamagedError, match=r"spec\.yaml was changed.*\n.*charter fork"):
        Run.open(run.directory)


@contextmanager
def powerless() -> Iterator[None]:
    """Nobody in particular: root may write anywhere."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(mine)


def test_a_folder_that_may_not_be_written_is_an_error_with_its_cure() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with begin(folder / "run") as run:
            play(run)
        for path in (folder, folder / "run"):
            path.chmod(0o555)
        with powerless():
            with pytest.raises(StoreError, match="Make the folder writable"):
                Run.create(folder / "new", spec_text="")
            with pytest.raises(StoreError, match="Make the folder writable"):
                Run.open(folder / "run")
            assert verify_run(folder / "run").ok
        for path in (folder, folder / "run"):
            path.chmod(0o755)


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with begin(tmp_path / "peace") as run:
        play(run)
    for size in range(400, 20_000, 1_300):
        cure = ""
        try:
            with largest_file(size), begin(tmp_path / "run") as run:
                play(run)
        except StoreError as error:
            cure = error.cure
        assert (cure == "") == ((tmp_path / "run" / store.HEAD).exists())
        if not cure:
            break
        assert cure.startswith("Free some space")
    assert size > 2_000
    assert substance(tmp_path / "peace") == substance(tmp_path / "run")
    assert verify_run(tmp_path / "run").ok


# --- results, decisions, forks


def test_results_are_copied_and_badly_named_ones_refused(run: Run) -> None:
    policy = run.steps("000").once("policy", tune, [])
    run.publish(
        {"adapter": run.directory / policy.adapter, "model.bin": run.directory / policy.adapter / "config.json"}
    )
    assert (run.directory / "adapter/deep/weights.bin").read_bytes() == (
        run.directory / "000/policy/deep/weights.bin"
    ).read_bytes()
    assert (run.directory / "model.bin").read_text() == '{"r": 16}'
    for name in (store.HEAD, "../outside", "/outside"):
        with pytest.raises(StoreError, match="cannot be published"):
            run.publish({name: ""})


def test_a_derived_result_stays_out_of_the_records_but_is_verified(tmp_path: Path) -> None:
    heads = []
    for text in ("took 1 s", "took 2 s"):
        with begin(tmp_path / text) as run:
            run.publish({"report.html": text}, derived=True)
            heads.append(play(run))
    assert heads[0].records == heads[1].records
    (tmp_path / text / "report.html").write_text("took 0 s")
    assert [fault.file for fault in verify_run(tmp_path / text).faults] == ["report.html"]


def test_a_run_is_not_finished_while_a_step_is_open(run: Run) -> None:
    with pytest.raises(RuntimeError):
        run.steps("000").map("answers", probe, WORDS, breaking(1))
    with pytest.raises(StoreError, match="000/answers is not finished"):
        run.finish()


def test_human_decisions_are_journaled_also_after_the_end(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        run.record_human_decision("reject", principle="p001", why="too broad")
        head = play(run)
    with Run.open(tmp_path / "run") as run:
        run.record_human_decision("approve", principle="p002")
        assert run.finish() == head
    assert [(e["decision"], e["fields"]["principle"]) for e in events(run, "human")] == [
        ("reject", "p001"),
        ("approve", "p002"),
    ]
    assert verify_run(run.directory, head.head).anchored


def test_a_fork_keeps_the_steps_before_and_makes_the_others_anew(tmp_path: Path) -> None:
    with begin(tmp_path / "old") as run:
        play(run)
        new = run.fork(tmp_path / "new", at="001/rows", spec_text="name: forked\n")
        all_of_it = run.fork(tmp_path / "all")
        with pytest.raises(StoreError, match=r"has no step 007\n.*000/answers, 000/verdicts"):
            run.fork(tmp_path / "none", at="007")
        last = store.read_journal(store.LineStream(run.directory / store.JOURNAL))[0][-1]["hash"]
    assert not (tmp_path / "none").exists()
    old, kept = substance(tmp_path / "old"), substance(new)
    steps = {f"{folder}/{name}" for folder in ("000", "001") for name in ("answers", "verdicts")}
    steps |= {"000/rows", "000/second", "000/policy"}
    assert {name.split(".")[0] for name in kept if name.endswith(".jsonl")} == steps
    assert all(old[name] == data for name, data in kept.items() if name != store.SPEC)
    assert verify_run(new).ok
    with Run.open(new) as fork:
        (origin,) = events(fork, "forked")
        assert origin["last"] == last
        engine = echo()
        play(fork, engine)
        assert engine.calls == 2 * len(WORDS)  # 001/second alone
    assert {k: v for k, v in substance(new).items() if k != store.SPEC} == {
        k: v for k, v in old.items() if k != store.SPEC
    }
    with Run.open(all_of_it) as fork:
        play(fork, Unused())
        assert verify_run(all_of_it).ok


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with begin(tmp_path / "run", observer=lambda *what: told.append(what)) as run:
        run.steps("000").map("answers", probe, WORDS[:2], echo())
        run.steps("000").once("rows", gather, [])
    assert told[0] == ("000/answers", 0, 2)
    assert ("000/answers", 1, 2) in told
    assert told[-1] == ("000/rows", 1, 1)


def test_the_environment_and_the_spec_are_kept_as_given(run: Run) -> None:
    assert json.loads((run.directory / store.ENVIRONMENT).read_text()) == {"python": "3"}
    assert (run.directory / store.SPEC).read_text() == "name: small\n"
    assert run.seed == 7


def test_a_value_that_no_stage_makes_is_sealed_and_read_again(tmp_path: Path) -> None:
    one, none = WORDS[0], list[Word]()
    with begin(tmp_path / "run") as run:
        folder = run.steps("000")
        assert folder.record("one", one) == one
        assert folder.record("several", WORDS[:3]) == WORDS[:3]
        assert folder.record("none", none) == []
    with Run.open(tmp_path / "run") as run:
        folder, sealed = run.steps("000"), len(events(run, "sealed"))
        assert (folder.record("one", one), folder.record("several", WORDS[:3])) == (one, WORDS[:3])
        assert folder.record("none", none) == []
        assert len(events(run, "sealed")) == sealed == 3
        with pytest.raises(StaleError, match="000/one"):
            folder.record("one", WORDS[1])
        with pytest.raises(StoreError):
            folder.record("number", 7)
    assert verify_run(tmp_path / "run").ok
