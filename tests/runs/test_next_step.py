"""The next step's calls may be made while a step is at work: the run is the same, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from charter.errors import BudgetError, UnavailableError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Request
from charter.reports.costs import read_costs, read_times
from charter.reports.integrity import verify_run
from charter.runs import NextStep, Run, store
from charter.runs.next_step import take_records
from charter.runs.reader import RunReader
from charter.spec import Budget
from tests.fakes.overlapping_engine import OverlappingEngine
from tests.fakes.scripted_run import WORDS, Answer, begin, probe, reflect, reply, substance

ROOT = Path(__file__).parents[2]
SECONDS = 5.0
"""Seconds that a test waits for another thread; none takes so long where all is well."""


def play(run: Run, target: Engine, judge: Engine, overlap: bool = True) -> list[Answer]:
    """Answers, and what is said of each in two calls, the second of which needs the first."""
    steps, metered = run.steps("001"), run.meter_engine(judge, "judge", "aligning", (2.0, 10.0))
    own = run.meter_engine(target, "target", "target")
    then = NextStep("verdicts", reflect, metered) if overlap else None
    answers = steps.map("answers", probe, WORDS, own, then=then)
    return list(steps.map("verdicts", reflect, answers, metered))


def peace(folder: Path) -> Path:
    """The run whose steps are done one after the other."""
    with begin(folder / "peace") as run:
        play(run, ScriptedEngine(reply), OverlappingEngine(), overlap=False)
        run.finish()
    return folder / "peace"


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.001)


def following(judge: OverlappingEngine, calls: int = 2, error: BaseException | None = None) -> ScriptedEngine:
    """A target that waits, before its third answer, for so many calls of the judge; then it breaks, if it is to."""

    def answer(request: Request) -> str:
        if target.calls > 2:
            wait_until(lambda: len(judge.asked) >= calls)
            if error is not None:
                raise error
        return reply(request)

    target = ScriptedEngine(answer)
    return target


def asked_ahead(directory: Path) -> list[store.Event]:
    return [event for event in RunReader(directory).events if event.get("ahead")]


def lines(directory: Path) -> list[str]:
    """What is kept of the next step's calls."""
    path = directory / ".ahead/001/verdicts.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def no_thread_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


# -- the same run


def test_the_judge_is_asked_before_the_answers_are_complete_and_the_run_is_the_same(tmp_path: Path) -> None:
    judge = OverlappingEngine()
    with begin(tmp_path / "run") as run:
        made = play(run, following(judge), judge)
        assert [answer.id for answer in made] == [word.id for word in WORDS]
        assert any(name.startswith("ahead 001/verdicts") for name in judge.threads)
        run.finish()
    assert substance(tmp_path / "run") == substance(peace(tmp_path))
    assert sorted(judge.asked) == sorted(f"{word.id}/{n}" for word in WORDS for n in (1, 2)), "no call is made twice"
    assert verify_run(tmp_path / "run").ok
    assert not (tmp_path / "run/.ahead").exists()
    assert no_thread_is_left()
    with begin(tmp_path / "run") as again:
        assert play(again, ScriptedEngine(reply), judge) == made


def test_what_a_step_costs_does_not_depend_on_it_and_its_seconds_are_those_of_the_step_at_work(tmp_path: Path) -> None:
    judge = OverlappingEngine(seconds=0.02)
    with begin(tmp_path / "run") as run:
        play(run, following(judge), judge)
    found, plain = RunReader(tmp_path / "run"), RunReader(peace(tmp_path))
    without_time = [[cost.model_copy(update={"seconds": 0.0}) for cost in read_costs(each)] for each in (found, plain)]
    assert without_time[0] == without_time[1]
    assert asked_ahead(tmp_path / "run")
    assert set(read_times(found).by_step) == {"001/answers", "001/verdicts"}
    ahead = sum(event["seconds"] for event in asked_ahead(tmp_path / "run") if event["event"] == "answered")
    waited = sum(event["seconds"] for event in found.events if event["event"] == "answered")
    assert ahead > 0.03
    assert sum(read_times(found).waiting.values()) == pytest.approx(waited - ahead, abs=0.002)


@pytest.mark.parametrize("why", ["in this process", "switched off", "the same engine", "calls are counted", "long"])
def test_nothing_is_asked_ahead(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge: Engine = OverlappingEngine()
    target: Engine = ScriptedEngine(reply)
    budget = Budget(calls=100) if why == "calls are counted" else None
    if why == "in this process":
        judge = ScriptedEngine(reply)
    elif why == "switched off":
        judge.may_overlap = False  # type: ignore[attr-defined]
    elif why == "the same engine":
        target = judge
    elif why == "long":
        monkeypatch.setattr("charter.runs.steps.PART", len(WORDS) - 1)
    with begin(tmp_path / "run", budget=budget) as run:
        play(run, target, judge)
        run.finish()
    assert asked_ahead(tmp_path / "run") == []
    assert not (tmp_path / "run/.ahead").exists()


# -- what goes wrong


def test_an_error_ends_the_asking_ahead_and_is_met_by_the_step(tmp_path: Path) -> None:
    def away(request: Request) -> None:
        if len(judge.asked) > 3:
            raise UnavailableError("it is away", "Wait.")

    judge = OverlappingEngine(watch=away)
    with begin(tmp_path / "run") as run, pytest.raises(UnavailableError):
        play(run, following(judge, calls=4), judge)
    assert RunReader(tmp_path / "run").seal("001/answers") is not None
    assert no_thread_is_left()
    assert len(lines(tmp_path / "run")) == 3
    judge.watch = None
    with begin(tmp_path / "run") as run:
        play(run, ScriptedEngine(reply), judge)
        run.finish()
    assert substance(tmp_path / "run") == substance(peace(tmp_path))


def test_a_budget_of_tokens_ends_the_asking_ahead_and_the_step_pauses(tmp_path: Path) -> None:
    judge = OverlappingEngine()
    with begin(tmp_path / "run", budget=Budget(tokens=250)) as run, pytest.raises(BudgetError, match="tokens"):
        play(run, following(judge, calls=3), judge)
    assert RunReader(tmp_path / "run").seal("001/answers") is not None
    assert len(judge.asked) == 3
    assert len(lines(tmp_path / "run")) == 3
    with begin(tmp_path / "run", budget=Budget(tokens=10**6)) as run:
        play(run, ScriptedEngine(reply), judge)
        run.finish()
    assert len(judge.asked) == 2 * len(WORDS)
    assert substance(tmp_path / "run") == substance(peace(tmp_path))


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_step_that_stops_ends_the_asking_at_once(error: BaseException, tmp_path: Path) -> None:
    judge, begun = OverlappingEngine(seconds=60), time.monotonic()
    with begin(tmp_path / "run") as run, pytest.raises(type(error)):
        play(run, following(judge, calls=1, error=error), judge)
    assert time.monotonic() - begun < SECONDS
    assert judge.was_aborted
    assert no_thread_is_left()


def test_an_interrupt_while_the_last_call_is_under_way_gives_it_up(tmp_path: Path) -> None:
    def interrupt(request: Request) -> None:
        del request
        wait_until(judge.was_drained.is_set)
        os.kill(os.getpid(), signal.SIGINT)

    judge = OverlappingEngine(seconds=60, watch=interrupt)
    with begin(tmp_path / "run") as run, pytest.raises(KeyboardInterrupt):
        play(run, following(judge, calls=1), judge)
    assert judge.was_aborted
    assert no_thread_is_left()


def test_what_was_asked_of_another_model_is_not_used(tmp_path: Path) -> None:
    judge = OverlappingEngine()
    with begin(tmp_path / "run") as run, pytest.raises(RuntimeError):
        play(run, following(judge, error=RuntimeError("broken")), judge)
    assert lines(tmp_path / "run")
    other = OverlappingEngine()
    other.identity = "another"
    with begin(tmp_path / "run") as run:
        play(run, ScriptedEngine(reply), other)
        run.finish()
    assert sorted(other.asked) == sorted(f"{word.id}/{n}" for word in WORDS for n in (1, 2))
    assert not (tmp_path / "run/.ahead").exists()


# -- kills


def test_the_end_that_comes_with_the_last_records_is_met_again() -> None:
    waiting: SimpleQueue[int | None] = SimpleQueue()
    for record in (1, 2, None):
        waiting.put(record)
    assert [take_records(waiting) for _ in range(3)] == [[1, 2], [], []]


def test_a_killed_run_goes_on_to_the_same_end_and_pays_no_written_answer_twice(tmp_path: Path) -> None:
    kills = 60 if os.environ.get("CHARTER_FULL") else 8
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.killed_overlaps", str(tmp_path), str(kills)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["kills"] >= kills // 2
    assert result["ahead"], "some were killed while calls were made ahead"
