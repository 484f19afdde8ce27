"""Red teaming and IterAlign on every published set as it is: a tiny random model, judged by a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charter import cli, jobs
from charter.records.chat import Prompt
from charter.reports.integrity import verify_run
from charter.runs.reader import RunReader
from tests.fakes import architectures
from tests.fakes.published_files import DATA, needs_data

pytestmark = pytest.mark.slow

SPEC = """\
method: red_team
target: {{model: {model}, device: cpu, dtype: float32, batch: 8}}
oracle: {{model: "python:tests.fakes.scripted_judge:judge"}}
evaluator: {{model: "python:tests.fakes.scripted_judge:judge"}}
offline: true
prompts:
  redteam: [{{name: {name}, path: {path}, limit: 24}}]
  helpful: [{{name: vicuna, path: {data}/vicuna, limit: 12}}]
  gate: 2
  heldout: 4
options: {{draw: {{batch: 4}}}}
scale: {{answer_tokens: 8, temperature: 1.0}}
"""
FOLDERS = {"hh-rlhf": "hh_rlhf", "self-instruct": "self_instruct"}
SETS = ("advbench", "bbq", "dangerousqa", "harmbench", "harmfulqa", "hh-rlhf", "self-instruct", "truthfulqa", "xstest")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(architectures.build(tmp_path_factory.mktemp("tiny") / "qwen3", "qwen3", context=4096))


@needs_data
@pytest.mark.parametrize("name", SETS)
def test_a_published_set_is_red_teamed_as_it_is(
    name: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = DATA / FOLDERS.get(name, name)
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(model=model, name=name, path=path, data=DATA), encoding="utf-8")
    for words in (["--dry-run", "--json"], ["--out", str(tmp_path / "run")]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["run", str(spec), *words])
        assert ended.value.code == 0
        said = capsys.readouterr()
        if "--dry-run" in words:
            plan = json.loads(said.out)
            assert plan["template"].startswith("none of ")
            assert len(plan["first_prompts"]) == 3
            assert "rows read" in plan["rows"][name]
        else:
            assert f"prompts: {name}: " in said.err
    drawn = RunReader(tmp_path / "run").records("000/prompts", Prompt)
    assert {prompt.source for prompt in drawn} == {name}
    assert verify_run(tmp_path / "run").ok


LOOP = """\
method: iteralign
target: {{model: {model}, device: cpu, dtype: float32, batch: 16}}
oracle: {{model: "python:tests.fakes.scripted_judge:proposer"}}
judge: {{model: "python:tests.fakes.scripted_judge:judge"}}
evaluator: {{model: "python:tests.fakes.scripted_judge:judge"}}
offline: true
prompts:
  redteam: [{{name: {name}, path: {path}, limit: 24}}]
  helpful: [{{name: vicuna, path: {data}/vicuna, limit: 12}}]
  gate: 2
  heldout: 4
options:
  draw: {{batch: 8}}
  stop: {{iterations: 1, rule: data}}
  replay: {{ratio: 1, fresh: 2}}
  propose: {{verify: false}}
  contrast: {{count: 0}}
  measure: {{efficacy: false}}
  keep: {{verify: false}}
  gates: {{retries: 0, roll_back: false}}
  tune: {{rank: 4, alpha: 8, epochs: 1, learning_rate: 0.000000001}}
scale: {{answer_tokens: 8, critique_tokens: 8, temperature: 1.0, row_tokens: 4096}}
"""


@needs_data
@pytest.mark.parametrize("name", SETS)
def test_iteralign_goes_from_a_published_set_to_a_policy(name: str, model: str, tmp_path: Path) -> None:
    spec = LOOP.format(model=model, name=name, path=DATA / FOLDERS.get(name, name), data=DATA)
    jobs.launch_run(spec, tmp_path / "run")
    reading = RunReader(tmp_path / "run")
    assert {prompt.source for prompt in reading.records("000/prompts", Prompt)} == {name}
    assert reading.constitution.active
    assert reading.outcome["policy"]["adapter"] == "001/policy"
    assert verify_run(tmp_path / "run").ok
