"""Answers to real prompts: charter's engine beside the batches it had before, transformers' own loop, and vLLM."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

from bench.page import ROOT
from bench.speed_runs import PeakMemory, compare, describe_run, draw_prompts, load_reference
from charter.models.engines import local_engine, shared_beginnings
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.served_engine import ServedEngine, ServedOptions
from charter.models.engines.shared_attention import LEAST_APART
from charter.ports import Engine
from charter.records.chat import Message, Request, Sampling

VLLM = "vLLM's server"
VLLM_START = (
    "serve {base} --dtype float32 --max-model-len 2048 --enforce-eager --host 127.0.0.1 --port {port} "
    "--served-model-name {name}"
)
"""vLLM's words on a CPU, after its program."""


def measure_answers(asked: argparse.Namespace) -> str:
    """Answers: this engine, with the batches it had before, transformers' own loop, and vLLM's server where
    ``CHARTER_VLLM`` names its program. The processor time of the server is not seen."""
    import torch

    start = load_reference()
    engine = LocalEngine(start, LocalOptions(device="cpu"))
    prompts, how = draw_prompts(asked.data, asked.n), Sampling(max_tokens=asked.tokens)
    requests = [Request(id=f"{n:04d}", messages=p.messages, sampling=how, seed=n) for n, p in enumerate(prompts)]
    ids = engine.token_ids(requests)
    requests = [request for request, row in zip(requests, ids, strict=True) if row]
    sizes = sorted((len(row) for row in ids if row), reverse=True)
    fixed = LocalOptions(device="cpu", batch_tokens=2**40, share_beginnings=False)

    def answer(options: LocalOptions) -> int:
        engine.options = options
        return sum(completion.tokens_out for completion in engine.generate(requests))

    def generate() -> int:
        rows, made = sorted((row for row in ids if row), key=len), 0
        for at in range(0, len(rows), 64):
            batch = rows[at : at + 64]
            width, ends = max(map(len, batch)), engine._ensure_loaded().stop_ids
            padded = torch.tensor([[0] * (width - len(row)) + row for row in batch])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
            with torch.inference_mode():
                out = engine.model.generate(
                    input_ids=padded, attention_mask=mask, do_sample=False, max_new_tokens=asked.tokens, pad_token_id=0
                )
            made += sum(
                next((n + 1 for n, t in enumerate(row) if t in ends), len(row)) for row in out[:, width:].tolist()
            )
        return made

    ways: dict[str, Callable[[], int]] = {
        "charter": lambda: answer(LocalOptions(device="cpu")),
        "`generate` of transformers, sorted batches of 64": generate,
        "charter, fixed batches of 64": lambda: answer(fixed),
    }
    with ExitStack() as stack:
        if program := os.environ.get("CHARTER_VLLM"):
            server = stack.enter_context(closing(serve_by_vllm(program)))
            list(server.generate(requests[:1]))
            ways[VLLM] = lambda: sum(completion.tokens_out for completion in server.generate(requests))
        list(engine.generate(requests[:1]))
        table = compare(ways, asked.rounds, "new tokens", VLLM)
    about = f"{len(sizes)} prompts, {sum(sizes):,} tokens (median {median(sizes):.0f}, longest {sizes[0]:,})"
    return "\n".join(
        ["# Answers", "", f"{describe_run(asked)} {about}. "
         f"At most {asked.tokens} new tokens, greedy.",
         "", *table]
    )  # fmt: skip


def serve_by_vllm(program: str) -> ServedEngine:
    """The model behind vLLM's server in float32, started when it is first asked."""

    def connect(urls: Sequence[str], name: str) -> Engine:
        return RemoteEngine(name, RemoteOptions(base_url=urls[0], max_connections=256, timeout=3600))

    serving = ServedOptions(command=f"{shlex.quote(program)} {VLLM_START}")
    return ServedEngine(load_reference(), serving, Path(tempfile.mkdtemp(prefix="charter-bench-")), connect)


def measure_joined_batches(asked: argparse.Namespace) -> str:
    """Answers of prompts that are read in parts and answered together, and of parts answered one after the other."""
    engine = LocalEngine(load_reference(), LocalOptions(device="cpu"))
    prompts, how = draw_prompts(asked.data, min(64, asked.n)), Sampling(max_tokens=asked.tokens)
    requests = [Request(id=f"{n:04d}", messages=p.messages, sampling=how, seed=n) for n, p in enumerate(prompts)]

    def answer() -> int:
        return sum(completion.tokens_out for completion in engine.generate(requests))

    def answer_apart() -> int:
        with patch.object(local_engine, "can_join_caches", lambda _: False):
            return answer()

    list(engine.generate(requests[:1]))
    table = compare({"together": answer, "each part by itself": answer_apart}, asked.rounds, "new tokens")
    about = f"{len(requests)} prompts, at most {asked.tokens} new tokens, greedy, in turn."
    return "\n".join(["# Parts of a batch answered together", "", f"{describe_run(asked)} {about}", "", *table])


def measure_long_beginning(asked: argparse.Namespace) -> str:
    """Answers under rules and examples that all prompts begin with, attended to apart and copied for each row."""
    engine = LocalEngine(load_reference(), LocalOptions(device="cpu"))
    prompts, how = draw_prompts(asked.data, 2 * asked.n), Sampling(max_tokens=asked.tokens)
    rules = " ".join((ROOT / "docs" / "constitution.md").read_text(encoding="utf-8").split()[:1500])
    texts = sorted((p.messages[-1].content for p in prompts), key=len)[: asked.n]
    requests = [
        Request(id=f"{n:04d}", messages=(Message(role="user", content=f"{rules}\n\n{text}"),), sampling=how, seed=n)
        for n, text in enumerate(texts)
    ]
    read, answers, peaks = len(engine.token_ids(requests[:1])[0]), dict[str, list[str]](), dict[str, float]()

    def answer(way: str, least: int) -> int:
        with patch.object(shared_beginnings, "LEAST_APART", least), PeakMemory() as peak:
            found = list(engine.generate(requests))
        answers[way], peaks[way] = [completion.text for completion in found], peak.gib
        return sum(completion.tokens_out for completion in found)

    ways = {"attended to apart": LEAST_APART, "copied for each row": 2**40}
    list(engine.generate(requests[:1]))
    table = compare({way: partial(answer, way, least) for way, least in ways.items()}, asked.rounds, "new tokens")
    one, other = (answers[way] for way in ways)
    same = sum(a == b for a, b in zip(one, other, strict=True))
    about = (
        f"{len(requests)} prompts of at least {read} tokens, at most {asked.tokens} new tokens, greedy, in turn. "
        f"{same} of {len(one)} answers the same. Memory at most, above the model's: "
        + ", ".join(f"{gib:.2f} GiB {way}" for way, gib in peaks.items())
    )
    return "\n".join(["# Answers after a long common beginning", "", f"{describe_run(asked)} {about}.", "", *table])
