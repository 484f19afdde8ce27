"""What a run could not use is counted and shown: prompts that do not fit the context, rows that are too long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charter import cli
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Prompt, Sampling, user_prompt
from charter.reports.page import render_page
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.spec import TrainingSpec
from charter.stages.probe import probe
from charter.stages.tune import tune
from tests.contracts.test_tuner import ROWS
from tests.fakes import architectures, tiny_models

pytestmark = pytest.mark.slow

LONG = [f"{word} " * 130 for word in ("red", "green", "blue")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose target reads 128 tokens: three of five prompts and one of five rows are longer."""
    where = tmp_path_factory.mktemp("runs")
    start = weights.resolve_model(str(architectures.build(where / "model", "llama")))
    engine = LocalEngine(start, LocalOptions(device="cpu"))
    prompts: list[Prompt] = [user_prompt(text) for text in (*LONG, "how do i", "what is")]
    environment = {"target": engine.describe()}
    with Run.create(where / "run", spec_text="world: village\n", environment=environment) as run:
        steps, sampling = run.steps("001"), Sampling(max_tokens=5)
        exchanges = steps.map("exchanges", probe, prompts, run.meter_engine(engine, "target", "target"), sampling)
        assert len(exchanges) == len(prompts)
        rows = [*ROWS, tiny_models.lesson("long", LONG[0], "two")]
        tuner = LocalTuner(SftOptions(epochs=1, device="cpu"))
        steps.once("policy", tune, start, start, rows, tuner, TrainingSpec())
    return where / "run"


def test_are_counted_by_reason(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = summarise_run(run)
    assert found.failed == {"the prompt does not fit the context": 3}
    assert found.left_out == 1
    with pytest.raises(SystemExit):
        cli.main(["show", str(run), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert (shown["failed"], shown["left_out"]) == (found.failed, 1)
    with pytest.raises(SystemExit):
        cli.main(["show", str(run)])
    text = capsys.readouterr().out
    assert "3 answers failed, and count as unjudged. the prompt does not fit the context: 3." in text
    assert "1 training rows were too long or not rendered, and left out" in text


def test_are_in_the_report_beside_the_target(run: Path) -> None:
    text = render_page(run)
    assert "3 answers failed." in text
    assert "the prompt does not fit the context: 3" in text
    assert "1 training rows left out." in text
    assert "Target: model on cpu in float32; its chat template, system turns before the next user turn" in text
    assert "context 128 tokens" in text


def test_no_record_holds_a_shortened_prompt(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "001" / "exchanges.jsonl").read_text().splitlines()]
    kept = {line["prompt"]["messages"][0]["content"]: line for line in lines}
    for text in LONG:
        assert kept[text]["response"] == ""
        assert kept[text]["error"] == "the prompt does not fit the context: it has 133 tokens, and the model reads 128"
