"""The cache of a model's output, under either name that transformers gives it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from charter.models.engines.decoding import Forward
from charter.models.engines.shared_beginnings import read_cache


class CacheModel:
    """A model of transformers 5.24, whose argument is ``cache``."""

    def forward(self, input_ids: Any, attention_mask: Any, cache: Any = None, use_cache: bool = True) -> Any:
        return SimpleNamespace(logits=torch.zeros(1, input_ids.shape[1], 2), cache=(cache, use_cache))

    __call__ = forward


class PastModel:
    """A model of transformers 5.23, whose argument is ``past_key_values``."""

    def forward(self, input_ids: Any, attention_mask: Any, past_key_values: Any = None, use_cache: bool = True) -> Any:
        logits = torch.zeros(1, input_ids.shape[1], 2)
        return SimpleNamespace(logits=logits, past_key_values=(past_key_values, use_cache))

    __call__ = forward


@pytest.mark.parametrize("model", [CacheModel(), PastModel()])
def test_the_cache_goes_in_and_comes_out_under_the_name_that_the_model_knows(model: Any) -> None:
    ids = torch.ones(1, 3, dtype=torch.long)
    output = Forward(model)(ids, torch.ones_like(ids), "what was read before")
    assert read_cache(output) == ("what was read before", True)
