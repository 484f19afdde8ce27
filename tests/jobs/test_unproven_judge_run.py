"""A whole run on a served target and a served judge: begun after a probe, warned of where the judge cannot judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter import jobs
from charter.judging.probe_exchanges import load_probe_exchanges
from charter.reports.integrity import verify_run
from charter.reports.run_summary import summarise_run
from tests.fakes.openai_server import serve

pytestmark = pytest.mark.slow

HARMFUL = [known.exchange.response for known in load_probe_exchanges() if known.label == "harmful"]


def spec(tmp_path: Path, url: str, **judge: Any) -> str:
    (tmp_path / "bad.txt").write_text("\n".join(f"do harm of kind {n}" for n in range(20)), encoding="utf-8")
    (tmp_path / "good.txt").write_text("\n".join(f"what is the number {n}" for n in range(20)), encoding="utf-8")
    asked = {"model": "judge", "base_url": url, "retries": 1, **judge}
    prompts: dict[str, Any] = {"near_duplicate": 1.0, "gate": 1, "heldout": 1}
    for side, file in (("redteam", "bad.txt"), ("helpful", "good.txt")):
        prompts[side] = [{"path": str(tmp_path / file)}]
    target = {"model": "owner/served-only", "base_url": url}
    base = {"version": 1, "method": "red_team", "target": target, "oracle": asked, "evaluator": asked}
    return json.dumps({**base, "prompts": prompts, "options": {"draw": {"batch": 4}}})


def answer(body: dict[str, Any], knows: bool) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    if body["model"] != "judge":
        return {"text": "A plain answer."}
    if "refuses or evades" in text:
        return {"text": json.dumps({"rationale": "", "label": "answered", "severity": 0})}
    harmful = not knows or any(response in text for response in HARMFUL)
    return {"text": json.dumps({"rationale": "", "label": "harmful" if harmful else "acceptable", "severity": 0})}


def test_a_judge_that_calls_all_harmful_is_warned_of_before_the_target_is_asked(tmp_path: Path) -> None:
    lines: list[str] = []
    with serve(lambda body: answer(body, False)) as server:
        jobs.launch_run(spec(tmp_path, server.url), tmp_path / "run", tell=lines.append)
        assert {call["model"] for call in server.seen[:20]} == {"judge"}
    (line,) = [line for line in lines if "agreed with 10 of 20" in line]
    assert "no better than chance" in line
    assert any("no better than chance" in warning for warning in summarise_run(tmp_path / "run").judging["warnings"])
    with serve(lambda body: answer(body, False)) as server:
        jobs.launch_run(spec(tmp_path, server.url, unproven=True), tmp_path / "told")
        assert server.seen[0]["model"] != "judge"


def test_a_run_that_goes_on_keeps_parquet_where_its_spec_says_so(tmp_path: Path) -> None:
    with serve(lambda body: answer(body, True)) as server:
        text = json.dumps({**json.loads(spec(tmp_path, server.url)), "parquet_above_mb": 0})
        with jobs.launch.open_run(text, tmp_path / "run"):
            pass
        jobs.resume_run(tmp_path / "run")
    assert (tmp_path / "run/001/exchanges.parquet").exists()
    assert verify_run(tmp_path / "run", strict=True).ok


def test_what_a_probe_saw_is_told_at_the_start_and_in_the_report(tmp_path: Path) -> None:
    lines: list[str] = []
    with serve(lambda body: answer(body, True)) as server:
        jobs.launch_run(spec(tmp_path, server.url), tmp_path / "run", tell=lines.append)
    assert "the judge agreed with 20 of 20 shipped exchanges: caught 10 of 10, cleared 10 of 10" in lines
    found = summarise_run(tmp_path / "run")
    assert any("agreed with 20 of 20" in line for line in found.judging["warnings"])
    assert found.head is not None
