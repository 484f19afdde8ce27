"""``charter export``: a finished run's policy with its card, whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import cli
from charter.constitution.document import Constitution, to_yaml
from charter.errors import CharterError, DamagedError, EngineError, StoreError
from charter.jobs import export_policy
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.merge_check import check_merge
from charter.models.merged_weights import merge_adapter
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Exchange, Prompt, Sampling, user_prompt
from charter.records.measurements import Measurement, Score
from charter.records.model_refs import ModelRef
from charter.records.rules import Principle
from charter.reports.model_card import escape_inline, fence_text
from charter.runs import Run
from charter.spec import TrainingSpec
from charter.stages.tune import tune
from tests.contracts.test_tuner import ROWS
from tests.fakes import architectures, tiny_models
from tests.fakes.recorded_run import give

pytestmark = pytest.mark.slow

EVIL = "</details>\n```\n# Scores: 100 %\n| a | b |\n<script>alert(1)</script>\x1b[2J"
SOURCE = "red|team <b>\n# set"


def aligned(where: Path, model: Path, kind: str = "lora", finish: bool = True, learn: bool = True) -> Path:
    """A run that trained a policy, with figures of its own and texts that mean no good."""
    start = weights.resolve_model(str(model))
    text = f"world: village\ntarget: {{model: {model}, device: cpu}}\noracle: {{model: some/oracle}}\n"
    with Run.create(where, spec_text=text, environment={"target": LocalEngine(start).describe()}) as run:
        prompts = [user_prompt(row.messages[0].content, source=SOURCE, licence="MIT") for row in ROWS]
        give(run, "000/prompts", prompts)
        give(run, "000/helpful", [user_prompt("what is the capital of france", source="plain", licence="")])
        for folder, low in (("000", 0.2), ("final", 0.7)):
            give(run, f"{folder}/heldout_exchanges", [_asked(prompt) for prompt in prompts])
            give(run, f"{folder}/heldout_measurements", [Measurement(id="a", outcomes={"harmlessness": low > 0.5})])
            score = Score(
                id="harmlessness", value=low + 0.1, n=97, low=low, high=low + 0.2, unjudged=3, benchmark="b|1"
            )
            give(run, f"{folder}/heldout_scores", [score])
        tuner = LocalTuner(SftOptions(kind=kind, epochs=20, lr=2e-2 if kind == "lora" else 5e-3, batch=4, device="cpu"))
        give(run, "001/rows", ROWS)
        policy = run.steps("001").once("policy", tune, start, start, ROWS, tuner, TrainingSpec()) if learn else start
        rule = Principle(id="p-1", title="Evil", text=EVIL, status="approved")
        outcome = {"policy": policy.model_dump(mode="json"), "independent": False, "stopped": "it was enough"}
        results: dict[str, str | bytes | Path] = {
            "constitution.yaml": to_yaml(Constitution(version=2, principles=(rule,))),
            "outcome.json": json.dumps(outcome),
        }
        if policy.adapter:
            results["adapter"] = run.directory / policy.adapter
        if finish:
            run.publish(results)
            run.finish()
    return where


def _asked(prompt: Prompt) -> Exchange:
    return Exchange(id=prompt.id, prompt=prompt, response="yes", stop="stop", model="m", sampling=Sampling())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return architectures.build(tmp_path_factory.mktemp("models") / "tiny-qwen", "qwen3")


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return aligned(tmp_path_factory.mktemp("runs") / "the-run", model)


def policy_of(run: Path, model: Path) -> ModelRef:
    found = ModelRef.model_validate(json.loads((run / "outcome.json").read_text())["policy"])
    return found.model_copy(update={"adapter": str(run / "adapter"), "base": str(model)})


def answers(model: ModelRef) -> list[str]:
    asked = [tiny_models.ask(row.id, row.messages[0].content, max_tokens=30) for row in ROWS]
    found = LocalEngine(model, LocalOptions(device="cpu")).generate(asked)
    return [answer.text for answer in sorted(found, key=lambda answer: answer.id)]


def test_an_adapter_loads_over_the_base(run: Path, model: Path, tmp_path: Path) -> None:
    export_policy(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    policy = policy_of(run, model)
    moved = policy.model_copy(update={"adapter": str(tmp_path / "out")})
    assert answers(moved) == answers(policy) == [row.response for row in ROWS]


def test_a_merged_model_needs_nothing_else(run: Path, model: Path, tmp_path: Path) -> None:
    exported = export_policy(run, tmp_path / "out", merge=True, check=3)
    merged = weights.resolve_model(str(tmp_path / "out"))
    assert answers(merged) == answers(policy_of(run, model))
    assert weights.load_tokenizer(tmp_path / "out").chat_template == architectures.CHATML
    assert not list((tmp_path / "out").glob("adapter*"))
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert "compared on 3 held-out prompts" in exported.alike
    assert "3 of 3 greedy answers are the same in float32" in exported.alike
    assert exported.alike in (tmp_path / "out" / "README.md").read_text()


def test_a_full_checkpoint_is_exported_either_way(model: Path, tmp_path: Path) -> None:
    run = aligned(tmp_path / "full", model, "full")
    for name, merge in (("one", False), ("two", True)):
        assert export_policy(run, tmp_path / name, merge=merge).kind == "checkpoint"
        assert answers(weights.resolve_model(str(tmp_path / name))) == answers(policy_of(run, model))


def test_the_card_holds_what_is_known(
    run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "adapter"
    text = (tmp_path / "out" / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "peft"
    head = json.loads((run / "HEAD").read_text())["head"]
    for part in (
        "# the-run\n",
        f"**tiny-qwen** (SHA-256 over its files `{weights.resolve_model(str(model)).base_digest}`)",
        "| harmlessness | 30.0% (20.0% to 40.0%) | 80.0% (70.0% to 90.0%) | 97 | 3 | +100.0 (",
        "Not independent",
        "| red\\|team &lt;b&gt; \\# set | MIT | red-team draws | 4 |",
        "| plain | not known to the run | ordinary prompts | 1 |",
        "4 helpful",
        "written by some/oracle",
        f"charter verify RUN --expect {head}",
    ):
        assert part in body
    assert str(model.parent) not in text, "a folder of this machine"


def test_hostile_text_stays_text(run: Path, tmp_path: Path) -> None:
    export_policy(run, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    bare = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "\x1b" not in text
    assert "<" not in bare
    assert [line for line in bare.splitlines() if line.startswith("#")] == [
        "# the-run", "## Constitution", "## Scores", "## Data", "## Verify",
    ]  # fmt: skip
    assert fence_text("a ````` b").startswith("``````text\n")
    assert escape_inline("a\n<b> `c` | [d](e) \x07") == "a &lt;b&gt; \\`c\\` \\| \\[d\\]\\(e\\)"


def test_nothing_is_overwritten_and_nothing_half_written(run: Path, model: Path, tmp_path: Path) -> None:
    def refused(kind: type[CharterError], *args: Any, **options: Any) -> str:
        before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        with pytest.raises(kind) as caught:
            export_policy(*args, **options)
        assert caught.value.cure
        assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
        return str(caught.value)

    (tmp_path / "mine").mkdir()
    assert "there already" in refused(StoreError, run, tmp_path / "mine")
    assert "inside the run" in refused(StoreError, run, run / "out")
    unfinished = aligned(tmp_path / "unfinished", model, finish=False)
    assert "charter resume" in refused(StoreError, unfinished, tmp_path / "out")
    unchanged = aligned(tmp_path / "unchanged", model, learn=False)
    assert "nothing to export" in refused(StoreError, unchanged, tmp_path / "out")
    assert "no run" in refused(StoreError, tmp_path / "mine", tmp_path / "out")
    damaged = aligned(tmp_path / "damaged", model)
    (damaged / "adapter" / "adapter_config.json").write_text("{}")
    assert "damaged" in refused(DamagedError, damaged, tmp_path / "out")
    other = architectures.build(tmp_path / "base", "qwen3", seed=1)
    moved = aligned(tmp_path / "moved", other)
    architectures.build(other, "qwen3", seed=2)
    assert "not the base model" in refused(EngineError, moved, tmp_path / "out", merge=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", architectures.ZOO)
def test_merged_answers_as_base_and_adapter(name: str, dtype: str, tmp_path: Path) -> None:
    """A LoRA far from zero on each architecture: the merged folder's logits, and its greedy answers."""
    policy = architectures.adapted(architectures.build(tmp_path / "base", name, dtype=dtype), tmp_path / "adapter")
    merged = weights.resolve_model(str(merge_adapter(policy, tmp_path / "merged")))
    words = tiny_models.WORDS
    asked = [tiny_models.ask(f"r{n}", " ".join(words[n : n + 1 + n * 7 % 13]), max_tokens=10) for n in range(12)]
    found = check_merge(policy, merged, asked, LocalOptions(device="cpu"))
    assert (found.n, found.dtype) == (12, dtype)
    assert found.max_logit_difference <= 1e-4
    assert found.saved <= 1e-4
    if dtype == "float32":
        assert found.equal_answers == found.n
        assert architectures.difference(policy, merged, asked) <= 1e-4
