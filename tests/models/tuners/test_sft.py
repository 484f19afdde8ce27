"""Supervised fine-tuning on tiny models."""

from __future__ import annotations

import gc
import io
import random
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners import trl_trainers
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tokenized_rows import IGNORE_INDEX, tokenize_examples
from charter.models.tuners.training_setup import TrainingSetup
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Message
from charter.records.model_refs import ModelRef
from tests.contracts.test_tuner import ASKED, ROWS, answers
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("llama"))))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """gpt2 (Conv1D layers, learned positions) without a chat template."""
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("raw"), "gpt2", chat=False)))


def tuner(**options: Any) -> LocalTuner:
    return LocalTuner(SftOptions(**{"device": "cpu", "lr": 2e-2, "epochs": 30, "batch": 4, **options}))


@pytest.mark.parametrize("kind", ["llama", "raw"])
def test_the_loss_is_on_the_response_and_its_end_alone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    start: ModelRef = request.getfixturevalue(kind)
    tokenizer, model = weights.load_tokenizer(Path(start.base)), weights.load_model(Path(start.base), "cpu")
    form, options = ChatFormat(tokenizer), SftOptions(device="cpu", batch=4)
    table, _ = tokenize_examples(ROWS, form, 100)
    setup = TrainingSetup(options, tuple(ROWS), 0, model, tokenizer, form, 100, tmp_path)
    with weights.quiet_libraries():
        trainer = trl_trainers.make_sft_trainer(setup, table)
    (batch,) = trainer.get_train_dataloader()
    assert batch["labels"].shape == batch["input_ids"].shape
    seen = {}
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        learnt, real = labels != IGNORE_INDEX, mask == 1
        assert bool((labels[learnt] == ids[learnt]).all())
        assert not bool((learnt & ~real).any())
        prompt = tokenizer.decode(ids[real & ~learnt], skip_special_tokens=True)
        seen[prompt] = tokenizer.convert_ids_to_tokens(labels[learnt].tolist())
    assert seen == {row.messages[0].content: [*row.response.split(), "</s>"] for row in ROWS}


def test_a_policy_reads_what_the_engine_writes(llama: ModelRef, raw: ModelRef) -> None:
    turns = (
        Message(role="user", content="how do i"),
        Message(role="assistant", content="yes"),
        Message(role="user", content="no"),
    )
    row = ROWS[0].model_copy(update={"messages": turns})
    for start in (llama, raw):
        dialogue = ChatFormat(weights.load_tokenizer(Path(start.base)))
        ((line,), _) = tokenize_examples([row], dialogue, 100)
        prompt = dialogue.encode_prompt(turns)
        assert line["input_ids"][: len(prompt)] == prompt
        assert line["labels"][: len(prompt)] == [IGNORE_INDEX] * len(prompt)
        assert dialogue.decode_answer(line["input_ids"][len(prompt) :]) == row.response


def test_learns_in_the_plain_format_too(raw: ModelRef, tmp_path: Path) -> None:
    policy = tuner(epochs=60, lr=1e-2).tune(raw, ROWS, tmp_path / "policy", seed=0)
    assert answers(policy) == {row.id: (row.response, "stop") for row in ROWS}
    assert set(policy.files) == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_goes_on_from_an_adapter(kind: str, llama: ModelRef, tmp_path: Path) -> None:
    first = tuner().tune(llama, ROWS[:2], tmp_path / "first", seed=0)
    gentle = {"lr": 1e-6, "epochs": 1}
    second = tuner(kind=kind, **gentle).tune(first, ROWS[:2], tmp_path / "second", seed=0)
    assert second.digest != first.digest
    assert {key: answers(second)[key] for key in "ab"} == {row.id: (row.response, "stop") for row in ROWS[:2]}
    if kind == "full":
        third = tuner(kind="full", **gentle).tune(second, ROWS[:2], tmp_path / "third", seed=0)
        assert answers(third)["a"] == answers(second)["a"]
        with pytest.raises(TuningError, match="full checkpoint"):
            tuner().tune(second, ROWS, tmp_path / "fourth", seed=0)
    else:
        with pytest.raises(TuningError, match="r 16"):
            tuner(r=4).tune(first, ROWS, tmp_path / "fourth", seed=0)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 0), (0.03, 3), (0.99, 75), (1, 1), (50, 50), (100, 75)])
def test_the_warm_up_is_a_share_of_the_steps_or_their_number(warmup: float, steps: int) -> None:
    assert trl_trainers.warmup_steps_for_rows(304, SftOptions(batch=4, epochs=1, warmup=warmup)) == steps


def test_rows_by_length_are_padded_less_and_learnt_as_well(llama: ModelRef, tmp_path: Path) -> None:
    """The same loss within noise, and the same files each time."""
    draw, words = random.Random(0), tiny_models.WORDS
    rows = [
        tiny_models.lesson(f"{n}", " ".join(draw.choices(words, k=draw.choice((1, 2, 3, 40)))), words[n % 3])
        for n in range(64)
    ]
    padded, losses = [], []
    for order in ("random", "length"):
        tokenizer, model = weights.load_tokenizer(Path(llama.base)), weights.load_model(Path(llama.base), "cpu")
        options = SftOptions.model_validate(
            {"device": "cpu", "batch": 4, "row_order": order, "kind": "full", "lr": 1e-3}
        )
        form = ChatFormat(tokenizer)
        table, _ = tokenize_examples(rows, form, 100)
        with weights.quiet_libraries():
            trainer = trl_trainers.make_sft_trainer(
                TrainingSetup(options, tuple(rows), 0, model, tokenizer, form, 100, tmp_path), table
            )
            batches = [batch["input_ids"] for batch in trainer.get_train_dataloader()]
            seen = list[str]()
            model.register_forward_pre_hook(
                lambda _, __, given, seen=seen: seen.append(str(given["input_ids"].tolist())), with_kwargs=True
            )
            losses.append(trainer.train().training_loss)
        assert sum(map(len, batches)) == len(rows)
        padded.append(sum(batch.numel() for batch in batches))
        epochs = [tuple(seen[at : at + 16]) for at in range(0, len(seen), 16)]
        assert len(epochs) == len(set(epochs)) == 3, "each epoch has an order of its own"
    assert 1.5 * padded[1] < padded[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.15)
    one, two = (
        tuner(epochs=1, row_order="length").tune(llama, rows, tmp_path / name, seed=0) for name in ("one", "two")
    )
    assert one.files == two.files


def test_a_single_step_learns(llama: ModelRef, tmp_path: Path) -> None:
    one, two = (tuner(epochs=1, lr=lr).tune(llama, ROWS, tmp_path / str(lr), seed=0) for lr in (1e-3, 2e-3))
    assert one.files[weights.ADAPTER_WEIGHTS] != two.files[weights.ADAPTER_WEIGHTS], "the only step had learning rate 0"


def test_every_cause_of_failure_names_its_cure(llama: ModelRef, tmp_path: Path) -> None:
    def fails(found: LocalTuner, *, start: ModelRef = llama, rows: Any = ROWS, into: str = "policy") -> str:
        with pytest.raises(TuningError) as caught:
            found.tune(start, rows, tmp_path / into, seed=0)
        assert caught.value.cure
        for path in tmp_path.rglob("*"):
            assert not path.is_file(), "a failed tuning left a file"
        return str(caught.value)

    assert "smaller `lr`" in fails(tuner(lr=1e30))
    assert "smaller `lr`" in fails(tuner(lr=1e30, kind="full"))
    assert "row b is longer than a row may be" in fails(
        tuner(max_length=12), rows=[tiny_models.lesson("b", "one " * 9, "two")]
    )
    assert "of 128" in fails(tuner(), rows=[tiny_models.lesson("b", "one " * 130, "two")])
    assert "empty response" in fails(tuner(), rows=[tiny_models.lesson("b", "one", " ")])
    odd = ROWS[0].model_copy(update={"messages": (Message(role="assistant", content="x"),)})
    assert "begins with an assistant turn" in fails(tuner(), rows=[odd])
    assert "LoRA does not fit" in fails(tuner(targets=("no_such_layer",)))
    assert "missing" in fails(tuner(), start=llama.model_copy(update={"adapter": str(tmp_path / "none")}))
    assert "no model folder" in fails(tuner(), start=llama.model_copy(update={"base": "/no/such/folder"}))


def test_rows_that_are_too_long_are_left_out_whole_and_named(llama: ModelRef, tmp_path: Path) -> None:
    long = tiny_models.lesson("long", "one " * 130, "two")
    with_it = tuner(epochs=1).tune(llama, [*ROWS[:2], long, *ROWS[2:]], tmp_path / "with", seed=0)
    without = tuner(epochs=1).tune(llama, ROWS, tmp_path / "without", seed=0)
    assert with_it.left_out == {"long": "longer than a row may be: 135 tokens of 128"}
    assert without.left_out == {}
    assert with_it.files == without.files


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_memory_running_out_halves_the_batch(
    kind: str, llama: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forward with more than ``limit`` rows asks the machine for more memory than any has."""
    import torch
    from transformers import LlamaModel

    sizes, forward = [], LlamaModel.forward

    def scarce(model: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > limit:
            torch.empty(2**60, dtype=torch.uint8)
        return forward(model, *args, **kwargs)

    whole = tuner(kind=kind, epochs=3).tune(llama, ROWS, tmp_path / "whole", seed=0)
    monkeypatch.setattr(LlamaModel, "forward", scarce)
    limit = 1
    policy = tuner(kind=kind, epochs=3).tune(llama, ROWS, tmp_path / "halved", seed=0)
    assert [size for size in sizes if size > limit] == [4, 2]
    assert policy.notes == ("memory ran out with batches of 4: trained with 1, 4 of them to a step",)
    assert whole.notes == ()
    assert differences(whole, policy) < 1e-3
    limit = 0
    with pytest.raises(TuningError, match="allocate memory"):
        tuner(kind=kind).tune(llama, ROWS, tmp_path / "none", seed=0)


def differences(one: ModelRef, two: ModelRef) -> float:
    """The largest difference between two policies' tensors."""
    from safetensors.torch import load_file

    files = [load_file(Path(str(ref.adapter)) / next(n for n in ref.files if "safetensors" in n)) for ref in (one, two)]
    return max(float((tensor - files[1][name]).abs().max()) for name, tensor in files[0].items())


def test_a_directory_in_use_is_left_alone(llama: ModelRef, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(TuningError, match="not empty"):
        tuner().tune(llama, ROWS, tmp_path, seed=0)
    assert (tmp_path / "mine").read_text() == "keep"


def test_says_nothing_and_leaves_the_world_as_it_was(llama: ModelRef, tmp_path: Path) -> None:
    import numpy
    import torch
    from transformers.utils import logging

    def world() -> list[Any]:
        level: Any = logging
        return [
            random.getstate(),
            numpy.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.get_rng_state().tolist(),
            level.get_verbosity(),
            level.is_progress_bar_enabled(),
            list(warnings.filters),
        ]

    before, out, err = world(), io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        tuner(epochs=1).tune(llama, ROWS, tmp_path / "policy", seed=0)
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert world() == before


def test_memory_is_given_back(llama: ModelRef, tmp_path: Path) -> None:
    from transformers import PreTrainedModel

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), PreTrainedModel) for thing in gc.get_objects())

    before, sizes = alive(), []
    for turn in range(6):
        tuner(epochs=1).tune(llama, ROWS, tmp_path / str(turn), seed=turn)
        sizes.append(psutil.Process().memory_info().rss)
    assert alive() == before
    assert sizes[-1] - sizes[0] < 20 * 2**20


def test_one_engine_serves_base_and_tuned_policies(llama: ModelRef, tmp_path: Path) -> None:
    engine = LocalEngine(llama, LocalOptions(device="cpu"))
    before = list(engine.generate(ASKED))
    policies = [tuner(kind=kind, lr=5e-3).tune(llama, ROWS, tmp_path / kind, seed=0) for kind in ("lora", "full")]
    for policy in policies:
        assert list(engine.use_policy(policy).generate(ASKED)) != before
    assert list(engine.use_policy(llama).generate(ASKED)) == before
