"""``python -m bench.accelerator``: what a GPU gives. A Qwen3 of 0.44 billion random weights, made here, answers
in batches of several sizes beside ``generate`` of transformers, and is trained in every way that there is; writes its
section of bench/RESULTS.md. Needs an NVIDIA GPU; 4 bits need bitsandbytes."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.fakes import tiny_models

from bench.page import put
from charter.errors import TuningError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners.launched_tuner import LaunchedTuner
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import DpoOptions, RewardOptions, RlooOptions, SftOptions
from charter.records.chat import Completion, Message, Prompt, Request, Sampling, user_prompt
from charter.records.model_refs import ModelRef
from charter.records.training_rows import Example, PreferencePair

WORDS = 40
ANSWER = 128
SIZES = (1, 8, 64, 256)
ROWS = 128


def main(words: Sequence[str]) -> int:
    """Measures and writes the section."""
    import torch

    del words
    with tempfile.TemporaryDirectory() as folder:
        model = made(Path(folder) / "model")
        spoken, apart = answering(model), apart_by_batch(model)
        trained = training(model, Path(folder))
    device, gib = weights.device_name("cuda"), torch.cuda.get_device_properties(0).total_memory / 2**30
    text = [
        "# What a GPU gives",
        "",
        f"`python -m bench.accelerator`: {device}; torch {torch.__version__}; a Qwen3 of 0.44 billion random weights "
        f"in bfloat16, prompts of {WORDS} words, answers of at most {ANSWER} tokens at temperature 1; memory "
        f"by torch's own count, of {gib:.0f} GiB. Median (smallest to largest) of 3, training once.",
        "",
        "| answering | batch | tokens/s | peak memory, GiB |",
        "| --- | ---: | ---: | ---: |",
        *spoken,
        "",
        *apart,
        "",
        "| training | seconds | a step, s | peak memory, GiB |",
        "| --- | ---: | ---: | ---: |",
        *trained,
    ]
    put("\n".join(text))
    print("\n".join(text))
    return 0


def made(where: Path) -> ModelRef:
    """The model, with a tokenizer that reads any text."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    tiny_models.byte_model(where, context=4096)
    tokenizer: Any = AutoTokenizer.from_pretrained(where)
    for old in where.glob("*.safetensors"):
        old.unlink()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    drawn: Any = Qwen3ForCausalLM(config)
    drawn.to(torch.bfloat16).save_pretrained(where)
    return weights.resolve_model(str(where), offline=True)


def text(number: int) -> str:
    """A prompt of its own."""
    return " ".join(
        tiny_models.WORDS[(number * 7 + place * (3 + number % 5)) % len(tiny_models.WORDS)] for place in range(WORDS)
    )


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What comes of it, seconds, and the most memory, GiB."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    found = work()
    torch.cuda.synchronize()
    return found, time.monotonic() - began, torch.cuda.max_memory_allocated() / 2**30


def spread(values: Sequence[float]) -> str:
    """Median and ends."""
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def answering(model: ModelRef) -> list[str]:
    """Tokens a second by batch size: ours, and transformers' own loop on the same prompts."""
    import torch

    rows, by_size = [], {}
    for size in SIZES:
        engine, speeds, peak = LocalEngine(model, LocalOptions(batch_size=size)), [], 0.0
        asked = requests(size, 1.0)
        list(engine.generate(asked[:2]))
        for _ in range(3):
            found, seconds, gib = measured(partial(_all, engine, asked))
            speeds.append(sum(c.tokens_out for c in found) / seconds)
            peak = max(peak, gib)
        by_size[size] = median(speeds)
        rows.append(f"| charter | {size} | {spread(speeds)} | {peak:.1f} |")
        if size == 64:
            inner: Any = engine.model
            tokenizer: Any = weights.load_tokenizer(Path(model.base))
            tokenizer.padding_side = "left"
            given = tokenizer([text(n) for n in range(size)], return_tensors="pt", padding=True).to("cuda")
            own = []
            for _ in range(3):
                how = {"do_sample": True, "temperature": 1.0, "max_new_tokens": ANSWER, "pad_token_id": 0}
                with torch.inference_mode():
                    out, seconds, gib = measured(partial(inner.generate, **given, **how))
                new = out[:, given["input_ids"].shape[1] :]
                own.append(float((new != 0).sum()) / seconds)
            rows.append(f"| `generate` of transformers | {size} | {spread(own)} | {gib:.1f} |")
            rows.append(f"| ratio, charter to `generate` | {size} | {median(speeds) / median(own):.2f} | |")
        engine.close()
    rows.append(f"| ratio, batches of {SIZES[-1]} to one at a time | | {by_size[SIZES[-1]] / by_size[1]:.0f} | |")
    return rows


def _all(engine: LocalEngine, asked: Sequence[Request]) -> list[Completion]:
    return list(engine.generate(asked))


def requests(count: int, temperature: float, tokens: int = ANSWER) -> list[Request]:
    """So many requests, each with its own seed."""
    how = Sampling(temperature=temperature, max_tokens=tokens)
    return [
        Request(id=f"{n:04d}", messages=(Message(role="user", content=text(n)),), sampling=how, seed=n)
        for n in range(count)
    ]


def apart_by_batch(model: ModelRef) -> list[str]:
    """Of 32 answers of 32 tokens, how many are the same in batches of one, of 8 and of 32, by precision."""
    out = [
        "| precision | drawn | the same in batches of 8 and 32 | in batches of 1 and 32 |",
        "| --- | --- | ---: | ---: |",
    ]
    for dtype in ("float32", "bfloat16"):
        for temperature, drawn in ((0.0, "greedy"), (1.0, "sampled")):
            said = {}
            for size in (1, 8, 32):
                engine = LocalEngine(model, LocalOptions.model_validate({"batch_size": size, "dtype": dtype}))
                said[size] = {c.id: c.text for c in engine.generate(requests(32, temperature, 32))}
                engine.close()
            same = [sum(said[size][id] == answer for id, answer in said[32].items()) for size in (8, 1)]
            out.append(f"| {dtype} | {drawn} | {same[0]} of 32 | {same[1]} of 32 |")
            print(out[-1], flush=True)
    return out


def training(model: ModelRef, folder: Path) -> list[str]:
    """Seconds and memory of every training."""
    lessons = [
        Example(id=f"{n}", messages=(Message(role="user", content=text(n)),), response=text(n + 500), origin="revision")
        for n in range(ROWS)
    ]
    pairs = [
        PreferencePair(id=row.id, messages=row.messages, chosen=row.response, rejected=text(n + 900))
        for n, row in enumerate(lessons)
    ]
    prompts: list[Prompt] = [user_prompt(text(n)) for n in range(ROWS)]
    sft, reward = {"epochs": 1, "batch": 16, "lr": 1e-5}, folder / "reward"
    rewarder = LocalTuner(RewardOptions.model_validate(sft))
    alone = f"{sys.executable} {{script}} {{job}}"
    launched = LaunchedTuner(SftOptions.model_validate(sft), alone, folder / "work")
    (folder / "work").mkdir()
    steps = ROWS // 16
    ways: dict[str, tuple[Callable[[Path], Any], int]] = {
        "SFT, LoRA": (lambda out: LocalTuner(SftOptions.model_validate(sft)).tune(model, lessons, out, 1), steps),
        "SFT, LoRA, activations recomputed": (
            lambda out: LocalTuner(SftOptions.model_validate({**sft, "gradient_checkpointing": True})).tune(
                model, lessons, out, 1
            ),
            steps,
        ),
        "SFT, LoRA over 4 bits": (
            lambda out: LocalTuner(SftOptions.model_validate({**sft, "quantize": "4bit"})).tune(model, lessons, out, 1),
            steps,
        ),
        "SFT, all weights": (
            lambda out: LocalTuner(SftOptions.model_validate({**sft, "kind": "full"})).tune(model, lessons, out, 1),
            steps,
        ),
        "SFT, LoRA, in a process of its own (its start counted, its memory not)": (
            lambda out: launched.tune(model, lessons, out, 1),
            steps,
        ),
        "DPO, LoRA": (lambda out: LocalTuner(DpoOptions.model_validate(sft)).tune(model, pairs, out, 1), steps),
        "reward model, LoRA": (lambda out: rewarder.tune(model, pairs, out, 1), steps),
        "RLOO, LoRA, 32 answers a step": (
            lambda out: LocalTuner(RlooOptions(steps=4, batch=32, group_size=4, answer_tokens=64, lr=1e-5)).tune(
                model, prompts, out, 1, model, ModelRef.model_validate_json(reward.read_text(encoding="utf-8"))
            ),
            4,
        ),
    }
    rows = []
    for number, (name, (work, count)) in enumerate(ways.items()):
        out = folder / f"made{number}"
        out.mkdir()
        try:
            made_, seconds, gib = measured(partial(work, out))
        except TuningError as error:
            rows.append(f"| {name}: {error.message} | | | |")
            continue
        if name.startswith("reward"):
            reward.write_text(made_.model_dump_json(), encoding="utf-8")
        rows.append(f"| {name} | {seconds:.1f} | {seconds / count:.2f} | {gib:.1f} |")
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
