"""Key-value caches of several batches side by side, so that prompts read apart are answered together."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any


def can_join_caches(model: Any) -> bool:
    """Whether a model's cache is made of layers that hold a place for each token, and positions are told to it."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer}


def join_caches(caches: Sequence[Any]) -> Any:
    """The rows of all caches in one, which is the first; shorter ones get empty places on the left, which the
    attention mask must hide."""
    import torch
    from torch.nn.functional import pad

    for layers in zip(*(cache.layers for cache in caches), strict=True):
        first, places = layers[0], max(layer.keys.shape[-2] for layer in layers)
        for name in ("keys", "values"):
            parts = [getattr(layer, name) for layer in layers]
            setattr(first, name, torch.cat([pad(part, (0, 0, places - part.shape[-2], 0)) for part in parts]))
        if first.is_sliding:
            first.cumulative_length = max(layer.cumulative_length for layer in layers)
    return caches[0]
