"""How far a call is, told while its batches are at work, through a run and up to the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.cli.interrupts import Interrupt
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.chat import CallProgress
from charter.reports.progress import ProgressWatcher
from charter.runs import Run
from tests.fakes import tiny_models
from tests.fakes.scripted_run import WORDS, probe

pytestmark = pytest.mark.slow

ASKED = [
    tiny_models.ask(f"r{n}", " ".join(tiny_models.WORDS[n : n + 1 + n % 5]), seed=n, temperature=1.0, max_tokens=30)
    for n in range(20)
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    where = tiny_models.build(tmp_path_factory.mktemp("model"))
    return LocalEngine(weights.resolve_model(str(where)), LocalOptions(device="cpu", batch_size=8))


def test_a_call_tells_how_far_it_is_inside_its_batches(engine: LocalEngine) -> None:
    told: list[CallProgress] = []
    silent = {c.id: c for c in engine.generate(ASKED)}
    engine.report_progress(told.append)
    assert {c.id: c for c in engine.generate(ASKED)} == silent
    assert told[0] == CallProgress(0, 20, 0.0, 0)
    drawn = sum(c.tokens_out - (c.stop == "stop") for c in silent.values())
    assert told[-1] == CallProgress(20, 20, 1.0, drawn)
    assert len(told) >= 1 + 3 * (1 + 30 // 8), "three batches, each told of more than once"
    assert [p.share for p in told] == sorted(p.share for p in told)
    assert [p.tokens for p in told] == sorted(p.tokens for p in told)
    assert all(p.answered <= p.share * 20 <= 20 for p in told)
    told.clear()
    engine.report_progress(None)
    list(engine.generate(ASKED))
    assert told == []


def test_what_is_on_record_already_is_no_work(engine: LocalEngine) -> None:
    told: list[CallProgress] = []
    engine.report_progress(told.append)
    whole = {c.id for c in engine.generate(ASKED)}
    first = sorted(whole)[:3]
    told.clear()
    list(engine.generate(ASKED, whole - set(first)))
    assert told[-1].share == 1.0
    assert told[-1].answered < 20
    told.clear()
    list(engine.generate(ASKED, whole))
    assert told == []
    engine.report_progress(None)


def test_a_run_hands_it_to_its_observer_and_keeps_the_same_records(engine: LocalEngine, tmp_path: Path) -> None:
    lines: list[str] = []
    watcher = ProgressWatcher(lines.append)
    seen: list[CallProgress] = []

    class Watching(Interrupt):
        def watch_call(self, progress: CallProgress) -> None:
            seen.append(progress)
            super().watch_call(progress)
            watcher.beat()

    for name, observer in (("told", Watching(tmp_path, watcher)), ("silent", None)):
        with Run.create(tmp_path / name, spec_text="", observer=observer) as run:
            run.steps("000").map("answers", probe, WORDS, run.meter_engine(engine, "target", "target"))
    assert seen[-1].share == 1.0
    assert any("answers 0 of 6, tokens" in line and " left)" in line for line in lines)
    told, silent = (tmp_path / name / "000" / "answers.jsonl" for name in ("told", "silent"))
    assert told.read_bytes() == silent.read_bytes()
