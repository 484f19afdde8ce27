"""Both models of a run answer outside of it as they did in it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.app import app
from charter.errors import SpecError, StoreError
from charter.jobs.chat_job import MAX_ANSWER_TOKENS, RunChat
from charter.records.chat import Exchange
from charter.runs.reader import RunReader
from tests.fakes.recorded_run import Tale, tell

BY_HTTP = """\
version: 1
method: evaluate
target: {model: openai/some, base_url: "http://127.0.0.1:9/v1"}
benchmarks: [{task: arc_easy}]
"""


def test_the_answers_are_those_of_the_run(aligned_run: Path) -> None:
    reading, sides = RunReader(aligned_run), ("000", "final")
    before, after = (reading.records(f"{side}/heldout_exchanges", Exchange) for side in sides)
    changed = [pair for pair in zip(before, after, strict=True) if pair[0].response != pair[1].response][:2]
    assert len(changed) == 2
    files = {path: path.stat().st_mtime_ns for path in aligned_run.rglob("*")}
    with closing(RunChat(aligned_run)) as talk:
        for old, new in changed:
            found = talk.ask_both(old.prompt.text)
            assert (found.base, found.aligned) == (old.response, new.response)
        for wrong in ("", "x" * 9_000):
            with pytest.raises(SpecError, match="no prompt"):
                talk.ask_both(wrong)
    assert {path: path.stat().st_mtime_ns for path in aligned_run.rglob("*")} == files
    text, both = changed[0][0].prompt.text, {"base": changed[0][0].response, "aligned": changed[0][1].response}
    said = CliRunner().invoke(app, ["chat", str(aligned_run), "--json"], input=f"{json.dumps(text)}\n\n")
    assert (said.exit_code, json.loads(said.stdout)) == (0, both)
    plain = CliRunner().invoke(app, ["chat", str(aligned_run)], input=f"{text}\n")
    assert f"aligned model:  {both['aligned']}" in plain.stdout
    wrong_line = CliRunner().invoke(app, ["chat", str(aligned_run), "--json"], input="not json\n")
    assert "not JSON" in str(wrong_line.exception)


def test_an_answer_is_bounded(aligned_run: Path) -> None:
    with closing(RunChat(aligned_run)) as talk:
        assert 0 < talk._sampling.max_tokens <= MAX_ANSWER_TOKENS


def test_a_run_without_weights_at_hand_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a finished run with a policy"):
        RunChat(tell(tmp_path / "under-way", Tale(finished=False)))
    with pytest.raises(SpecError, match="answers over HTTP"):
        RunChat(tell(tmp_path / "elsewhere", Tale(spec=BY_HTTP)))
