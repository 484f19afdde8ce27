"""A pretrained model's answers in float32, whatever is in their batch: sizes, token bounds, beginnings read once.

``CHARTER_MODELS`` names a folder with the models in it. Every prompt is asked twice, greedy and sampled. What a row is
answered alone, with nothing reused, is compared with what it is answered in every other way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench.speed_runs import draw_prompts

from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.weights import resolve_model
from charter.records.chat import Message, Prompt, Request, Sampling
from evidence.claims import Row, target

MODELS = ("smollm2", "gemma3-270m")
PROMPTS, TOKENS = 8, 12
SIZES, BOUNDS = (1, 8, 64), (512, 4096)
SYSTEM = (
    "You are a helpful assistant. Answer the question in plain words and in a few sentences. Say so where you do not "
    "know something, and do not make up facts, names, places or figures. If a request would harm someone, say no in "
    "one friendly sentence and offer something else instead."
)
"""What all prompts begin with, so that there is something to read once."""
SAMPLED = Sampling(max_tokens=TOKENS, temperature=1.0, top_p=0.9)


def equal_answers() -> dict[str, Any]:
    """Texts that are equal, for each model, batch size, bound and reuse of beginnings."""
    data, folder = Path(os.environ["CHARTER_TEST_DATA"]), Path(os.environ["CHARTER_MODELS"])
    prompts = draw_prompts(data, PROMPTS)
    rows = [row for name in MODELS for row in compare_batches(name, folder / name, make_requests(prompts))]
    share = [row["equal"] / row["n"] for row in rows]
    return {
        "n": {"models": len(MODELS), "prompts": PROMPTS, "tokens of each": TOKENS},
        "rows": rows,
        "targets": [target("answers equal to those alone", "all", share, lambda found: found == 1.0)],
    }


def make_requests(prompts: Sequence[Prompt], tokens: int = TOKENS) -> list[Request]:
    """Each prompt behind the system turn, greedy and sampled."""
    ways = {"greedy": Sampling(max_tokens=tokens), "sampled": SAMPLED.model_copy(update={"max_tokens": tokens})}
    system = Message(role="system", content=SYSTEM)
    return [
        Request(id=f"{n}/{way}", messages=(system, *prompt.messages), sampling=how, seed=n)
        for n, prompt in enumerate(prompts)
        for way, how in ways.items()
    ]


def compare_batches(name: str, folder: Path, asked: Sequence[Request]) -> list[Row]:
    """One line for each way: how many texts are those of rows that are answered alone."""
    engine = LocalEngine(resolve_model(str(folder)), LocalOptions(device="cpu", dtype="float32"))

    def answer(size: int, bound: int, shares: bool) -> dict[str, str]:
        engine.options = engine.options.model_copy(
            update={"batch_size": size, "batch_tokens": bound, "share_beginnings": shares}
        )
        return {found.id: found.text for found in engine.generate(asked)}

    alone, rows = answer(1, BOUNDS[-1], False), list[Row]()
    for size, bound, shares in product(SIZES, BOUNDS, (False, True)):
        if size == 1 and (bound != BOUNDS[-1] or not shares):
            continue  # rows alone have no bound
        found = answer(size, bound, shares)
        same = [id.partition("/")[2] for id in alone if found[id] == alone[id]]
        rows.append(
            {
                "model": name,
                "batch": size,
                "tokens": bound,
                "beginning": "read once" if shares else "read in each row",
                "n": len(asked),
                "greedy equal": same.count("greedy"),
                "sampled equal": same.count("sampled"),
                "equal": len(same),
                "distinct texts": len(set(alone.values())),
            }
        )
        print(rows[-1], flush=True)
    engine.close()
    return rows
