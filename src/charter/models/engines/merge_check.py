"""How alike a merged model and base + adapter answer, measured on prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.chat import Request
from charter.records.model_refs import ModelRef
from charter.records.record import Record

TAIL_POSITIONS = 16
"""Positions at a prompt's end whose logits are compared."""


class MergeCheck(Record):
    """How alike a policy and the folder that was saved of it are.

    Attributes:
        n: prompts that were compared.
        logits: the largest difference in float32 between base + adapter and the same weights added up.
        saved: the largest difference between these weights, rounded to ``dtype``, and those read from the folder.
        same: how many greedy answers of the saved model equal those of base + adapter, both in ``dtype``.
        dtype: the checkpoint's own precision.
    """

    n: int
    max_logit_difference: float
    saved: float
    equal_answers: int
    dtype: str


def check_merge(policy: ModelRef, merged: ModelRef, requests: Sequence[Request], options: LocalOptions) -> MergeCheck:
    """Asks both, one after the other; ``policy`` has an adapter. Prompts that do not fit the context are left out.
    Raises EngineError."""
    where = weights.model_folder(policy, offline=options.offline, remote_code=options.remote_code)
    dtype = weights.pick_dtype("auto", "", weights.load_config(where, remote_code=options.remote_code))
    logits, saved = _differences(policy, merged, requests, options, dtype)
    own = options.model_copy(update={"dtype": dtype})
    sides = []
    for model in (policy, merged):
        engine = LocalEngine(model, own)
        sides.append({answer.id: answer.text for answer in engine.generate(requests) if not answer.error})
        engine.close()
    same = sum(sides[1].get(key) == text for key, text in sides[0].items())
    return MergeCheck(n=len(sides[0]), max_logit_difference=logits, saved=saved, equal_answers=same, dtype=dtype)


def _differences(
    policy: ModelRef, merged: ModelRef, requests: Sequence[Request], options: LocalOptions, dtype: str
) -> tuple[float, float]:
    """The largest differences of logits in float32: of adding up, and of saving."""
    import torch

    exact = options.model_copy(update={"dtype": "float32"})
    engine = LocalEngine(policy, exact)
    prompts = [row for row in engine.token_ids(requests) if row]
    apart = _tails(engine.model, prompts)
    engine.merge_adapter()
    added = _tails(engine.model, prompts)
    for tensor in engine.model.parameters():
        tensor.data = tensor.data.to(getattr(torch, dtype)).float()
    rounded = _tails(engine.model, prompts)
    engine.close()
    engine = LocalEngine(merged, exact)
    read = _tails(engine.model, prompts)
    engine.close()
    return _farthest(apart, added), _farthest(rounded, read)


def _tails(model: Any, prompts: Sequence[list[int]]) -> list[Any]:
    """The logits at each prompt's end."""
    import torch

    with torch.inference_mode():
        rows = (model(input_ids=torch.tensor([ids], device=model.device), use_cache=False) for ids in prompts)
        return [output.logits[0, -TAIL_POSITIONS:].float().cpu() for output in rows]


def _farthest(one: Sequence[Any], other: Sequence[Any]) -> float:
    return max((float((a - b).abs().max()) for a, b in zip(one, other, strict=True)), default=0.0)
