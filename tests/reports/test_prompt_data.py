"""The sets of prompts of a run: each once, with its sources, its licences and a digest that answers do not change."""

from __future__ import annotations

from pathlib import Path

from charter.records.chat import Prompt, user_prompt
from charter.records.record import digest
from charter.reports.prompt_data import SourceCount, read_prompt_sets
from charter.runs import Run
from charter.runs.reader import RunReader
from tests.fakes.recorded_run import SPEC, give
from tests.fakes.reviewed_runs import answered, record_run


def test_a_set_is_told_once_whoever_answered_it(tmp_path: Path) -> None:
    prompts = [answered(f"question {n}?", f"answer {n}", "old").prompt for n in range(8)]
    (found,) = read_prompt_sets(RunReader(record_run(tmp_path / "run")))
    assert (found.name, found.step, found.count) == ("held-out, only scored", "000/heldout_exchanges", 8)
    assert found.digest == digest(prompts)
    assert found.sources == (SourceCount("", "", 8),)


def test_sources_and_licences_are_counted(tmp_path: Path) -> None:
    def asked(source: str, count: int, licence: str = "") -> list[Prompt]:
        stated = {"licence": licence} if licence else {}
        return [user_prompt(f"{source} {n}", 0, source, **stated) for n in range(count)]

    with Run.create(tmp_path / "run", spec_text=SPEC) as run:
        give(run, "000/prompts", [*asked("own.jsonl", 2), *asked("xstest", 3, licence="CC BY 4.0")])
        give(run, "000/helpful", asked("world:village", 1))
    first, second = read_prompt_sets(RunReader(tmp_path / "run"))
    assert first.name == "red team, train"
    assert first.sources == (SourceCount("xstest", "CC BY 4.0", 3), SourceCount("own.jsonl", "", 2))
    assert (second.name, second.count) == ("ordinary, for replay", 1)
