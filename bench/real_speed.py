"""``python -m bench.real_speed --data DIR``: speed on real text, with SmolLM2-135M-Instruct; writes bench/REAL.md.

Prompts are drawn from HarmfulQA, self-instruct's seed tasks, hh-rlhf and XSTest, published files that DIR holds.
``--only tokens`` counts what goes through the model and runs nothing. ``CHARTER_MODELS`` names a folder with the model
in ``smollm2``; without it the hub's is taken. Ways that are compared run in turn in one process: their ratio tells, not
their seconds. CPU seconds stand beside those of the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.answer_speed import measure_answers, measure_joined_batches, measure_long_beginning
from bench.page import ROOT, put
from bench.speed_runs import FILES, compare, describe_run, draw_prompts, load_reference
from charter.judging.judge_requests import judge_request
from charter.judging.rubrics import CONDUCT
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.token_batches import BatchBounds, BatchRow, plan_batches
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Completion, Exchange, Prompt, Request, Sampling, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import Step
from charter.records.templates import Templates
from charter.records.training_rows import Example

PAGE = ROOT / "bench" / "REAL.md"
JUDGED = "xstest_completions/mistralinstruct.csv"
GIB = 2**20
"""Kibibytes of a gibibyte, as the kernel counts peak memory."""


def main(words: Sequence[str]) -> int:
    """Measures what is asked for and writes its sections."""
    given = argparse.ArgumentParser(prog="bench.real_speed")
    given.add_argument("--data", type=Path, required=True)
    given.add_argument("-n", type=int, default=256, help="prompts")
    given.add_argument("--tokens", type=int, default=64, help="new tokens of an answer")
    given.add_argument("--pairs", type=int, default=200, help="pairs of HHH alignment whose scoring is measured")
    given.add_argument("--rounds", type=int, default=1)
    given.add_argument(
        "--only",
        choices=("tokens", "answers", "together", "beginning", "judge", "labels", "padding", "training", "memory"),
    )
    asked = given.parse_args(words)
    parts: dict[str, Callable[[argparse.Namespace], str]] = {
        "tokens": count_read_tokens, "answers": measure_answers, "together": measure_joined_batches,
        "beginning": measure_long_beginning,
        "judge": partial(measure_judge, labels=False),
        "labels": partial(measure_judge, labels=True), "padding": count_padding, "training": measure_training,
        "memory": measure_memory,
    }  # fmt: skip
    for name, measure in parts.items():
        if asked.only in (None, name):
            section = measure(asked)
            put(section, PAGE)
            print(section, flush=True)
    return 0


def count_read_tokens(asked: argparse.Namespace) -> str:
    """Padded tokens that go through the model for prompts and log-likelihoods, counted without running it."""
    dialogue = LocalEngine(load_reference(), LocalOptions(device="cpu")).dialogue()
    prompts = [dialogue.encode_prompt(p.messages) for p in draw_prompts(asked.data, asked.n)]
    calls = [dialogue.encode_prompt(r.messages) for r in judge_requests(asked.data, asked.n)]
    pairs = [
        dialogue.encode_scored(r.messages, r.completion) for r in list(pair_requests(asked.data))[: 2 * asked.pairs]
    ]
    kinds = {
        f"{len(prompts)} prompts": [BatchRow(ids, len(ids) - 1) for ids in prompts],
        f"{len(calls)} judge calls": [BatchRow(ids, len(ids) - 1) for ids in calls],
        f"both answers to {len(pairs) // 2} questions of HHH": [
            BatchRow([*before, *after[:-1]], len(before) - 1, len(after)) for before, after in pairs
        ],
    }
    out = [
        "| what | tokens | in batches of 64 | in charter's, read whole | with beginnings read once | fewer by |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in kinds.items():
        sizes = sorted((len(row.ids) for row in rows), reverse=True)
        fixed = sum(sizes[at] * len(sizes[at : at + 64]) for at in range(0, len(sizes), 64))
        whole, shared = (
            padded_tokens([row if shares else BatchRow(row.ids, 0, row.kept) for row in rows]) for shares in (0, 1)
        )
        out.append(f"| {name} | {sum(sizes):,} | {fixed:,} | {whole:,} | {shared:,} | {fixed / shared:.1f} |")
    about = "Tokens that go through the model before an answer, padding too, by the tokenizer of SmolLM2-135M-Instruct."
    return "\n".join(["# Tokens read", "", f"{about} Counted; no model runs.", "", *out])


def padded_tokens(rows: Sequence[BatchRow]) -> int:
    """Those of the engine's batches on a CPU, beginnings once."""
    plans = plan_batches(rows, BatchBounds(64, 4096))
    own = (
        len(batch) * (max(len(rows[place].ids) for place in batch) - len(plan.beginning))
        for plan in plans
        for batch in plan.batches
    )
    return sum(own) + sum(len(plan.beginning) for plan in plans)


def judge_requests(data: Path, count: int) -> list[Request]:
    """So many exchanges of XSTest under a rubric, each with a short reply."""
    import csv

    with (data / JUDGED).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    step, asked = Step(path="bench", run_seed=0), []
    for n, row in enumerate(random.Random(0).sample(rows, min(len(rows), count))):
        prompt = Prompt.model_validate({"id": f"{n}", "messages": [{"role": "user", "content": row["prompt"]}]})
        answer = Completion(id=f"{n}", text=row["completion"], stop="stop")
        exchange = Exchange.from_completion(prompt, answer, model="", sampling=Sampling())
        asked.append(judge_request(exchange, CONDUCT, Templates(), step, Sampling(max_tokens=4)))
    return asked


def measure_judge(asked: argparse.Namespace, *, labels: bool) -> str:
    """Calls of a judge in this process, with its rubric read once and read each time."""
    requests = judge_requests(asked.data, max(8, asked.n // 4))
    goals = [
        ScoreRequest(id=f"{r.id}/{label}", messages=r.messages, completion=label)
        for r in requests
        for label in CONDUCT.menu
    ]
    engine = LocalEngine(load_reference(), LocalOptions(device="cpu"))

    def judge(shares: bool) -> int:
        engine.options = LocalOptions(device="cpu", share_beginnings=shares)
        return len(list(engine.generate(requests)))

    def weigh(shares: bool) -> int:
        engine.options = LocalOptions(device="cpu", share_beginnings=shares)
        return len(list(engine.score(goals))) // len(CONDUCT.menu)

    list(engine.generate(requests[:1]))
    sizes = [len(row) for row in engine.token_ids(requests)]
    ask, about_calls = (weigh, "Log-likelihoods of each label") if labels else (judge, "Replies of 4 tokens")
    ways = {"rubric read once": lambda: ask(True), "read in each call": lambda: ask(False)}
    table = compare(ways, asked.rounds, "calls")
    about = f"{len(requests)} exchanges of XSTest (prompts of {median(sizes):.0f} tokens, median), rubric `conduct`."
    return "\n".join([f"# Judge calls: {about_calls.lower()}", "", f"{describe_run(asked)} {about}", "", *table])


def measure_training(asked: argparse.Namespace) -> str:
    """Supervised training on the same rows: by length, in TRL's order, and TRL's own trainer with its defaults."""
    start = load_reference()
    rows = read_lessons(asked.data, max(64, asked.n // 2))

    def train(order: str) -> int:
        options = SftOptions.model_validate(
            {"epochs": 1, "lr": 2e-4, "device": "cpu", "row_order": order, "max_length": 512}
        )
        with tempfile.TemporaryDirectory() as folder:
            LocalTuner(options).tune(start, rows, Path(folder) / "policy", 0)
        return count_tokens(start, rows)

    ways: dict[str, Callable[[], int]] = {
        "charter, rows by length": lambda: train("length"),
        "charter, rows as drawn": lambda: train("random"),
        "TRL's defaults": lambda: train_by_trl(start, rows),
    }
    table = compare(ways, asked.rounds, "tokens of rows")
    return "\n".join(
        ["# Supervised training", "", f"{describe_run(asked)} {len(rows)} rows of self-instruct's seed tasks, "
         "LoRA of rank 16, batches of 8, one epoch; loading and saving included.", "", *table]
    )  # fmt: skip


def count_padding(asked: argparse.Namespace) -> str:
    """Tokens of a training with padding, in three orders, counted without running it: means of 20 seeds."""
    import torch
    from transformers import trainer_pt_utils

    from charter.models.tuners.length_order import LengthOrder
    from charter.models.tuners.tokenized_rows import tokenize_examples

    group: Any = trainer_pt_utils.get_length_grouped_indices
    dialogue, batch, seeds = LocalEngine(load_reference(), LocalOptions(device="cpu")).dialogue(), 8, range(20)
    out = [
        "| rows | tokens | TRL's default order | TRL's `group_by_length` | charter, rows by length | fewer than the "
        "default by |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for count in (32, 64, 128, 175):
        table = tokenize_examples(read_lessons(asked.data, count), dialogue, 512)[0]
        sizes = [len(row["input_ids"]) for row in table]

        def pad(order: Sequence[int], sizes: Sequence[int] = sizes) -> int:
            parts = [[sizes[place] for place in order[at : at + batch]] for at in range(0, len(order), batch)]
            return sum(max(part) * len(part) for part in parts)

        drawn, grouped, own = (
            sum(map(pad, orders)) / len(seeds)
            for orders in (
                [random.Random(seed).sample(range(len(sizes)), len(sizes)) for seed in seeds],
                [group(sizes, batch, generator=torch.Generator().manual_seed(seed)) for seed in seeds],
                [list(LengthOrder(sizes, batch, seed, lambda: 0)) for seed in seeds],
            )
        )
        out.append(
            f"| {len(sizes)} | {sum(sizes):,} | {drawn:,.0f} | {grouped:,.0f} | {own:,.0f} | {drawn / own:.2f} |"
        )
    about = "By the tokenizer of SmolLM2-135M-Instruct; means of 20 seeds, batches of 8 rows of self-instruct's tasks."
    return "\n".join(["# Padding of supervised training", "", f"{about} Counted; no model runs.", "", *out])


def read_lessons(data: Path, count: int) -> list[Example]:
    """Instructions with their answers."""
    found = []
    for line in (data / FILES["self-instruct"]).read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        asked = "\n\n".join(part for part in (task["instruction"], task["instances"][0]["input"]) if part)
        messages = [{"role": "user", "content": asked}]
        row = {"id": task["id"], "messages": messages, "response": task["instances"][0]["output"], "origin": "helpful"}
        found.append(Example.model_validate(row))
    return [row for row in found if row.response.strip() and len(row.messages[0].content + row.response) < 1500][:count]


def count_tokens(start: ModelRef, rows: Sequence[Example]) -> int:
    """Tokens of the rows."""
    from charter.models.tuners.tokenized_rows import tokenize_examples

    dialogue = LocalEngine(start, LocalOptions(device="cpu")).dialogue()
    return sum(len(row["input_ids"]) for row in tokenize_examples(rows, dialogue, 512)[0])


def train_by_trl(start: ModelRef, rows: Sequence[Example]) -> int:
    """TRL's trainer as it comes, on prompts and completions."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    table = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row.messages[0].content}],
                "completion": [{"role": "assistant", "content": row.response}],
            }
            for row in rows
        ]
    )
    with tempfile.TemporaryDirectory() as folder, weights.quiet_libraries():
        config = SFTConfig(
            output_dir=folder, num_train_epochs=1, learning_rate=2e-4, use_cpu=True, max_length=512, report_to="none",
            disable_tqdm=True, save_strategy="no", seed=0, bf16=False, model_init_kwargs={"dtype": "float32"},
        )  # fmt: skip
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(model=start.base, args=config, train_dataset=table, peft_config=lora)
        trainer.train()
        trainer.save_model(folder)
    return count_tokens(start, rows)


def measure_memory(asked: argparse.Namespace) -> str:
    """Peak memory of a process that scores both answers to 200 questions of HHH alignment."""
    import subprocess

    code = f"from bench.real_speed import score_pairs; score_pairs({str(asked.data)!r}, {asked.pairs})"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    pairs, tokens, before, peak, seconds = ended.stdout.split()
    return "\n".join(
        ["# Memory of scoring", "", f"{describe_run(asked)} Both answers to {pairs} questions of HHH alignment "
         f"({int(tokens):,} tokens) in {float(seconds):.0f} s: {float(peak):.2f} GiB at most, {float(before):.2f} GiB "
         "with the model alone."]
    )  # fmt: skip


def score_pairs(data: str, count: int) -> None:
    """Prints pairs, tokens, peak memory after loading and at the end, and seconds."""
    engine = LocalEngine(load_reference(), LocalOptions(device="cpu"))
    requests = list(pair_requests(Path(data)))[: 2 * count]
    list(engine.score([ScoreRequest(id="0", messages=requests[0].messages, completion="Yes.")]))
    before, began = peak_memory(), time.monotonic()
    dialogue = engine.dialogue()
    tokens = sum(len(part) for r in requests for part in dialogue.encode_scored(r.messages, r.completion))
    assert len(list(engine.score(requests))) == len(requests)
    print(len(requests) // 2, tokens, before, peak_memory(), time.monotonic() - began)


def pair_requests(data: Path) -> Iterator[ScoreRequest]:
    """Both answers to each question."""
    for file in sorted((data / "hhh_alignment").glob("*/task.json")):
        for n, row in enumerate(json.loads(file.read_text(encoding="utf-8"))["examples"]):
            for m, answer in enumerate(row["target_scores"]):
                prompt = Prompt.model_validate({"id": "0", "messages": [{"role": "user", "content": row["input"]}]})
                yield ScoreRequest(id=f"{file.parent.name}/{n}/{m}", messages=prompt.messages, completion=answer)


def peak_memory() -> float:
    """GiB that this process took at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
