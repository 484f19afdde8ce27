"""Attention to a beginning that stands once in memory: the same logits as with a copy for each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from charter.models import weights
from charter.models.engines import shared_attention, shared_beginnings
from charter.models.engines.decoding import Forward, pad_left
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.shared_attention import NAME, can_attend_apart, shared_layer
from charter.models.engines.shared_beginnings import SharedBeginning, read_cache
from tests.fakes import architectures

BEGINNING = list(range(3, 23))
ROWS = [[5, 6, 7, 8], [9], [4, 4]]


@pytest.fixture(params=["llama", "qwen3"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    base = architectures.build(tmp_path / "base", request.param)
    return LocalEngine(weights.resolve_model(str(base)), LocalOptions(device="cpu")).model


def read_rows(model: Any) -> tuple[torch.Tensor, Any]:
    """The logits after three rows of unlike length and after one more token of each, and the cache."""
    forward, beginning = Forward(model), SharedBeginning(BEGINNING)
    with torch.inference_mode():
        ids, mask = pad_left(ROWS, "cpu", room=1, cached=len(BEGINNING))
        first = forward(ids, mask[:, :-1], beginning.expand(model, len(ROWS)))
        second = forward(ids[:, -1:], mask, read_cache(first))
    return torch.cat([first.logits, second.logits]), read_cache(second)


def test_the_logits_are_those_of_a_copy_for_each_row(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    copied, kept = read_rows(model)
    assert kept.layers[0].keys.shape[-2] == len(BEGINNING) + 5
    monkeypatch.setattr(shared_beginnings, "LEAST_APART", len(BEGINNING))
    for most in (2**24, 64):  # all queries at once, and some at a time
        monkeypatch.setattr(shared_attention, "MOST_SCORES", most)
        apart, kept = read_rows(model)
        assert torch.allclose(apart, copied, atol=1e-4)
        assert isinstance(kept.layers[0], shared_layer())
        assert (kept.layers[0].keys.shape[-2], kept.layers[0].get_seq_length()) == (5, len(BEGINNING) + 5)
    assert model.config._attn_implementation == "sdpa", "what is read without a beginning is attended to as before"


def test_a_short_beginning_is_copied(model: Any) -> None:
    assert not SharedBeginning(BEGINNING).stands_apart(model)
    assert SharedBeginning(range(shared_attention.LEAST_APART)).stands_apart(model)


def test_what_cannot_be_exchanged_is_left_alone(model: Any) -> None:
    assert can_attend_apart(model)
    model.config._attn_implementation = "eager"
    assert not can_attend_apart(model)
    model.config._attn_implementation = "sdpa"
    model.config.attn_logit_softcapping = 50.0
    assert not can_attend_apart(model)


def test_a_layer_that_passes_over_the_beginning_is_an_error(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers would be those to a prompt without its beginning."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    monkeypatch.setattr(shared_beginnings, "LEAST_APART", len(BEGINNING))
    read_rows(model)

    def pass_over(module: Any, query: Any, key: Any, value: Any, _mask: Any, **_other: Any) -> Any:
        return sdpa_attention_forward(module, query, key, value, None)

    AttentionInterface.register(NAME, pass_over)
    try:
        with pytest.raises(RuntimeError, match="share_beginnings: false"):
            read_rows(model)
    finally:
        AttentionInterface.register(NAME, shared_attention.attend)
