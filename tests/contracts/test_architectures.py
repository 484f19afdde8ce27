"""What every architecture keeps beyond the contracts of engine and tuner: no batch size changes an answer, the layers
that LoRA adapts, adapters swapped on one base, long prompts, system turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.engines import shared_beginnings
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.token_batches import LEAST_SHARED
from charter.models.merged_weights import merge_adapter
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Completion, Message, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from tests.contracts.test_tuner import ROWS
from tests.fakes import architectures, tiny_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=architectures.ZOO)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def policy(name: str, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A base model with an adapter."""
    where = tmp_path_factory.mktemp(name)
    found: ModelRef = architectures.adapted(architectures.build(where / "base", name), where / "adapter")
    return found


def bare(policy: ModelRef) -> ModelRef:
    return policy.model_copy(update={"adapter": None, "files": {}, "digest": policy.base_digest})


def engine(policy: ModelRef, batch: int = 16) -> LocalEngine:
    return LocalEngine(policy, LocalOptions(device="cpu", batch_size=batch))


def asked() -> list[Request]:
    """Prompts of 1 to 13 words, every second one sampled."""
    words = tiny_models.WORDS
    return [
        tiny_models.ask(
            f"r{n}", " ".join(words[n : n + 1 + n * 7 % 13]), seed=n, max_tokens=16, temperature=1.2 * (n % 2)
        )
        for n in range(17)
    ]


def answers(model: LocalEngine) -> dict[str, Completion]:
    return {completion.id: completion for completion in model.generate(asked())}


def test_no_batch_size_changes_an_answer_or_a_score(policy: ModelRef) -> None:
    one, three, sixteen = (answers(engine(policy, size)) for size in (1, 3, 16))
    assert one == three == sixteen
    assert not any(completion.error for completion in one.values())
    goals = [ScoreRequest(id=r.id, messages=r.messages, completion="use flour and eggs") for r in asked()]
    alone, together = ({score.id: score for score in engine(policy, size).score(goals)} for size in (1, 16))
    for key, score in alone.items():
        assert together[key].value == pytest.approx(score.value, abs=1e-3)
        assert together[key].tokens == score.tokens


SYSTEM = " ".join(tiny_models.WORDS[:12] * 2)
BOUNDS = ((1, None), (8, None), (64, None), (64, 60), (64, 10**9))
"""Most rows and most padded tokens of a batch."""


def asked_alike() -> list[Request]:
    """Prompts that share a long beginning, and some that share none; every second one sampled."""
    words = tiny_models.WORDS
    shared = [
        tiny_models.ask(f"s{n}", f"{SYSTEM} {' '.join(words[n : n + 1 + n * 7 % 11])}", seed=n, max_tokens=6,
                        temperature=1.2 * (n % 2))
        for n in range(20)
    ]  # fmt: skip
    return [*shared, *asked()[:7]]


def test_no_bound_and_no_shared_beginning_changes_an_answer_or_a_score(
    name: str, policy: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, requests = engine(policy), asked_alike()
    goals = [ScoreRequest(id=r.id, messages=r.messages, completion="use flour and eggs") for r in requests]
    said, scores = [], []
    for shares, apart in ((False, 512), (True, 512), (True, LEAST_SHARED)):
        monkeypatch.setattr(shared_beginnings, "LEAST_APART", apart)
        for rows, tokens in BOUNDS:
            asked: dict[str, Any] = {"batch_size": rows, "batch_tokens": tokens, "share_beginnings": shares}
            model.options, model._batch_limit = LocalOptions(device="cpu", **asked), rows
            said.append({c.id: c for c in model.generate(requests)})
            scores.append({score.id: score.value for score in model.score(goals)})
    assert all(found == said[0] for found in said)
    done = {request.id for request in requests[::3]}
    rest = {c.id: c for c in model.generate(requests, done)}
    assert rest == {key: answer for key, answer in said[0].items() if key not in done}, (
        "a call that goes on after a kill"
    )
    assert all(found == pytest.approx(scores[0], abs=1e-3) for found in scores)
    windowed = "sliding_window" in architectures.ZOO[name].own
    read = [count_read(policy, goals, shares) for shares in (False, True)]
    assert (4 * read[1] < 3 * read[0]) is not windowed, "a window that rows do not fit lets nothing be shared"


def count_read(policy: ModelRef, goals: list[ScoreRequest], shares: bool) -> int:
    """Tokens that go through the model, padding too."""
    model = LocalEngine(policy, LocalOptions(device="cpu", share_beginnings=shares))
    calls: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _m, _a, given: calls.append(given["input_ids"].numel()), with_kwargs=True
    )
    assert len(list(model.score(goals))) == len(goals)
    return sum(calls)


@pytest.mark.parametrize(("name", "words"), [("mistral", 17), ("gemma3", 10)])
def test_a_beginning_is_shared_within_a_sliding_window(name: str, words: int, tmp_path: Path) -> None:
    """Prompts of 17 to 20 tokens and answers of 2, in a window of 24."""
    model = engine(weights.resolve_model(str(architectures.build(tmp_path / "base", name))), 64)
    asked = [
        tiny_models.ask(f"w{n}", " ".join([*tiny_models.WORDS[:words], tiny_models.WORDS[n % 6]]), seed=n, max_tokens=2,
                        temperature=1.0 * (n % 2))
        for n in range(20)
    ]  # fmt: skip
    said, read, calls = [], [], list[int]()
    for shares in (False, True):
        model.options = LocalOptions(device="cpu", plain=True, share_beginnings=shares)
        model.close()
        model.model.register_forward_pre_hook(
            lambda _m, _a, given: calls.append(given["input_ids"].numel()), with_kwargs=True
        )
        said.append({c.id: c for c in model.generate(asked)})
        read.append(sum(calls))
        calls.clear()
    assert said[0] == said[1]
    assert 2 * read[1] < read[0]


def test_adapters_are_swapped_on_one_base(policy: ModelRef) -> None:
    model = engine(policy)
    tuned, memory = answers(model), model.model
    plain = answers(model.use_policy(bare(policy)))
    assert answers(model.use_policy(policy)) == tuned != plain
    assert model.model is memory
    assert answers(engine(bare(policy))) == plain


def test_lora_adapts_the_layers_of_the_family_and_not_the_output(name: str, policy: ModelRef) -> None:
    from safetensors import safe_open

    with safe_open(Path(str(policy.adapter)) / weights.ADAPTER_WEIGHTS, "pt") as tensors:
        layers = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in tensors.keys()}  # noqa: SIM118 (no mapping)
    assert layers == set(architectures.ZOO[name].layers)


def test_long_prompts_and_system_turns(name: str, policy: ModelRef) -> None:
    model = engine(policy)
    species = architectures.ZOO[name]
    system = (Message(role="system", content="please answer"), Message(role="user", content="how do i"))
    long = tiny_models.ask("long", "bake a cake " * 60)
    found = {c.id: c for c in model.generate([long, Request(id="system", messages=system)])}
    assert found["long"].error.startswith("the prompt does not fit the context: it has ")
    assert found["system"].error == ""
    text = model.describe()["format"]
    if species.template is None:
        assert text == "no chat template: the plain format"
    else:
        assert text == f"its chat template, system turns {'as such' if species.system else 'before the next user turn'}"
    assert "answer" in model._ensure_loaded().decode_raw(model._ensure_loaded().encode_prompt(system))


def test_experts_are_adapted_where_they_are_named(tmp_path: Path) -> None:
    start = weights.resolve_model(str(architectures.build(tmp_path / "base", "qwen3_moe")))
    named = ("q_proj", "experts.gate_up_proj", "experts.down_proj")
    policy = LocalTuner(SftOptions(targets=named, epochs=40, lr=2e-2, batch=4, device="cpu")).tune(
        start, ROWS, tmp_path / "policy", seed=0
    )
    config = json.loads((tmp_path / "policy" / weights.ADAPTER_CONFIG).read_text())
    assert config["target_modules"] == ["q_proj"]
    asked = [tiny_models.ask(row.id, row.messages[0].content, max_tokens=40) for row in ROWS]
    expected = {row.id: row.response for row in ROWS}
    assert {c.id: c.text for c in engine(policy).generate(asked)} == expected
    merged = weights.resolve_model(str(merge_adapter(policy, tmp_path / "merged")))
    assert {c.id: c.text for c in engine(merged).generate(asked)} == expected
    assert architectures.difference(policy, merged, asked) <= 1e-4
    with pytest.raises(TuningError, match="LoRA does not fit"):
        LocalTuner(SftOptions(targets=("experts.no_such",), device="cpu")).tune(start, ROWS, tmp_path / "no", seed=0)
