"""How alike a merged model and base + adapter answer, measured on prompts."""

from __future__ import annotations

from collections.abc import Sequence

from charter.models import weights
from charter.models.engines.local_engine import LocalEngine, LocalOptions
from charter.records.chat import Request
from charter.records.model_refs import ModelRef
from charter.records.record import Record

TAIL_POSITIONS = 16
"""Positions at a prompt's end whose logits are compared."""


class MergeCheck(Record):
    """Over ``n`` prompts: ``logits``, the largest difference in float32 between base + adapter and the same weights
    added up; ``same``, how many greedy answers of the merged model equal those of base + adapter, both in ``dtype``."""

    n: int
    max_logit_difference: float
    equal_answers: int
    dtype: str


def check_merge(policy: ModelRef, merged: ModelRef, requests: Sequence[Request], options: LocalOptions) -> MergeCheck:
    """Asks both, one after the other; ``policy`` has an adapter. Prompts that do not fit the context are left out.
    Raises EngineError."""
    difference, dtype = _max_logit_difference(policy, requests, options)
    own = options.model_copy(update={"dtype": dtype})
    sides = []
    for model in (policy, merged):
        engine = LocalEngine(model, own)
        sides.append({answer.id: answer.text for answer in engine.generate(requests) if not answer.error})
        engine.close()
    same = sum(sides[1].get(key) == text for key, text in sides[0].items())
    return MergeCheck(n=len(sides[0]), max_logit_difference=difference, equal_answers=same, dtype=dtype)


def _max_logit_difference(policy: ModelRef, requests: Sequence[Request], options: LocalOptions) -> tuple[float, str]:
    """The largest difference of logits in float32, and the checkpoint's own precision."""
    import torch

    engine = LocalEngine(policy, options.model_copy(update={"dtype": "float32"}))
    where = weights.model_folder(policy, offline=options.offline, remote_code=options.remote_code)
    config = weights.load_config(where, remote_code=options.remote_code)
    prompts = [row for row in engine.token_ids(requests) if row]
    model, tails = engine.model, []
    for merging in (False, True):
        if merging:
            engine.merge_adapter()
        with torch.inference_mode():
            rows = (model(input_ids=torch.tensor([ids], device=model.device), use_cache=False) for ids in prompts)
            tails.append([output.logits[0, -TAIL_POSITIONS:].float().cpu() for output in rows])
    engine.close()
    worst = max((float((one - two).abs().max()) for one, two in zip(*tails, strict=True)), default=0.0)
    return worst, weights.pick_dtype("auto", "", config)
