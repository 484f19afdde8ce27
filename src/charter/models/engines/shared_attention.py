"""Attention to a long beginning that all rows share: its keys and values stand in memory once, not once for each row.

A row's queries look at the beginning and at the row's own places apart, and the two are put together by their
log-sum-exp (Hydragen: Juravsky et al. 2024, arXiv 2402.05099, section 3). The same up to rounding, without a copy of
the beginning for each row to keep and to read at each token.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from charter.models.engines.growing_caches import growing_layer

if TYPE_CHECKING:
    from torch import Tensor

LEAST_APART = 512
"""Fewest tokens of a beginning that is attended to apart: a shorter one is cheaper to copy than to put together."""
NAME = "charter_shared"
"""The name of this attention among those of transformers."""
MOST_SCORES = 2**24
"""Most scores between queries and beginning that are computed at once: 64 MiB of float32."""


def can_attend_apart(model: Any) -> bool:
    """Whether a model's attention can be exchanged, knows no cap on its scores, and keeps keys for each layer."""
    config = model.config.get_text_config()
    return (
        getattr(model, "_supports_attention_backend", False)
        and getattr(model.config, "_attn_implementation", "") == "sdpa"
        and any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model.forward).parameters.values())
        and not getattr(config, "attn_logit_softcapping", None)
        and not getattr(config, "num_kv_shared_layers", 0)
    )


def share_cache(read: Any, rows: int) -> Any:
    """A cache of ``rows`` rows that all begin with what ``read``, the cache of one row, has read."""
    shared = copy.copy(read)
    shared.layers = [shared_layer()(layer, rows) for layer in read.layers]
    return shared


@contextmanager
def attention_apart(model: Any, kept: Any) -> Iterator[dict[str, Any]]:
    """The arguments that a model needs to read on from a cache; where its beginning is shared, the model attends to it
    apart meanwhile. Raises RuntimeError where a layer did not."""
    layers = getattr(kept, "layers", None) or ()
    if not layers or not isinstance(layers[0], shared_layer()):
        yield {}
        return
    _register_attention()
    before, model.config._attn_implementation = model.config._attn_implementation, NAME
    for layer in layers:
        layer.attended = False
    try:
        yield {"shared_layers": layers}
    finally:
        model.config._attn_implementation = before
    if not all(layer.attended for layer in layers):
        raise RuntimeError("a layer passed over the shared beginning; set share_beginnings: false")


@cache
def shared_layer() -> Any:
    """A kind of layer whose rows share their beginning, made when it is first needed: transformers takes long to
    load."""

    class SharedLayer(growing_layer()):  # type: ignore[misc]
        """``beginning``: keys and values [1, heads, places, numbers] of what all rows begin with. ``keys`` and
        ``values`` are those of the rows' own places."""

        def __init__(self, layer: Any, rows: int) -> None:
            super().__init__(layer)
            self.beginning = (layer.keys, layer.values)
            self.keys, self.values = (one.new_empty((rows, one.shape[1], 0, one.shape[3])) for one in self.beginning)
            self.attended = False

        def get_seq_length(self) -> int:
            """Places that a row has read, those of the beginning too."""
            return int(self.beginning[0].shape[-2] + self.keys.shape[-2])

    return SharedLayer


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **given: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention: the values [rows, new places, heads, numbers] that each query sees.

    Args:
        module: the layer's attention, with its number as ``layer_idx``.
        query: [rows, heads, new places, numbers].
        key, value: [rows, heads of keys, own places, numbers].
        attention_mask: [rows, 1, new places, all places], True where a place is seen; None: those up to the own are.
        given: ``scaling``, what scores are multiplied by, ``shared_layers``, the cache's, and what is not needed.
    """
    import torch

    layer = given["shared_layers"][module.layer_idx]
    layer.attended = True
    rows, heads, new, numbers = query.shape
    groups, own = key.shape[1:3]
    query = query.reshape(rows, groups, heads // groups, new, numbers) * given["scaling"]
    flat = query.transpose(0, 1).reshape(groups, -1, numbers)
    first, first_weight = _attend_in_parts(flat, *(one[0] for one in layer.beginning))
    first = first.view(groups, rows, heads // groups, new, -1).transpose(0, 1)
    first_weight = first_weight.view(groups, rows, heads // groups, new, 1).transpose(0, 1)
    scores = (query.flatten(2, 3) @ key.transpose(-1, -2)).float().view(rows, groups, -1, new, own)
    if attention_mask is None:
        seen = torch.ones(new, own, dtype=torch.bool, device=scores.device).tril(own - new)
    else:
        seen = attention_mask[..., -own:].unsqueeze(1)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    second, second_weight = _weigh_values(scores.flatten(2, 3), value)
    second, second_weight = second.view_as(first), second_weight.view_as(first_weight)
    whole = torch.logaddexp(first_weight, second_weight)
    seen_values = first * (first_weight - whole).exp() + second * (second_weight - whole).exp()
    return seen_values.reshape(rows, heads, new, -1).transpose(1, 2).to(value.dtype).contiguous(), None


def _attend_in_parts(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """What queries [heads, queries, numbers] see of keys and values [heads, places, numbers], and their log-sum-exp."""
    import torch

    most = max(1, MOST_SCORES // (key.shape[0] * key.shape[1]))
    parts = [_weigh_values((part @ key.transpose(-1, -2)).float(), value) for part in torch.split(query, most, dim=1)]
    return torch.cat([seen for seen, _ in parts], dim=1), torch.cat([weight for _, weight in parts], dim=1)


def _weigh_values(scores: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The values by the softmax of scores [..., queries, places], as float32, and the log-sum-exp of the scores."""
    weight = scores.logsumexp(-1, keepdim=True)
    return ((scores - weight).exp().to(value.dtype) @ value).float(), weight


@cache
def _register_attention() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
