"""What many prompts begin with (system turn, rubric, exemplars), read once: its key-value cache for all rows.

A row's own tokens follow the beginning with padding between them. Layers with a sliding window count cached places and
not positions, so they see the same only where the whole row fits their window.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

from charter.models.engines.shared_attention import LEAST_APART, can_attend_apart, share_cache


def read_cache(output: Any) -> Any:
    """The key-value cache of a model's output: ``cache`` from transformers 5.24 on, ``past_key_values`` before."""
    return output.cache if hasattr(output, "cache") else output.past_key_values


class SharedBeginning:
    """Token ids that begin every row of a group. They are read when they are first needed."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = list(ids)
        self._cache: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    def stands_apart(self, model: Any) -> bool:
        """Whether it is kept once for all rows; else each row has a copy."""
        return len(self) >= LEAST_APART and can_attend_apart(model)

    def expand(self, model: Any, rows: int) -> Any:
        """A cache for ``rows`` rows that have read the beginning; None where there is none."""
        import torch

        if not self.ids:
            return None
        if self._cache is None:
            with torch.inference_mode():
                ids = torch.tensor([self.ids], device=model.device)
                few = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
                self._cache = read_cache(model(input_ids=ids, use_cache=True, **few))
        if self.stands_apart(model):
            return share_cache(self._cache, rows)
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache


def longest_shareable_row(model: Any) -> int:
    """The most tokens of a row, with its answer, that may have a shared beginning; 0 where the model's cache does not
    allow one."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if "position_ids" not in inspect.signature(model.forward).parameters:
        return 0
    longest = 2**31
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            longest = min(longest, layer.sliding_window - 1)
        elif type(layer) is not DynamicLayer:
            return 0
    return longest
