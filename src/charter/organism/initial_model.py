"""The structured start of an organism: a small Llama in which two attention heads know how to look back.

One head of layer 0 attends to the previous token and copies it; one head of layer 1 then finds places whose previous
token equals the current one, and speaks for the token found there. From a random start, matching requests with rules
stays at chance at this size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

WIDTH, HEADS, LAYERS, HIDDEN = 128, 4, 3, 320
ROPE_THETA = 1e6
CONTEXT = 512
EMBEDDING_STD = 0.08
GAIN = 4.0
_HEAD_WIDTH = WIDTH // HEADS
_SLOW_PAIRS = range(
    6, _HEAD_WIDTH // 2
)  # rotary pairs that turn slowly enough to compare contents over the whole context


def make_structured_llama(vocabulary: int, special: dict[str, int], generator: torch.Generator) -> LlamaForCausalLM:
    """A fresh model of 0.65 M parameters or so. ``special``: the ids of pad, bos and eos; ``generator`` decides all."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        pad_token_id=special["pad"],
        bos_token_id=special["bos"],
        eos_token_id=special["eos"],
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, EMBEDDING_STD if "embed" in name else 0.03, generator=generator)
        _plant_heads(model, generator)
    return model


def _plant_heads(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """Writes the two heads. Embedding dimension 0 is a constant that both heads may read."""
    import torch

    constant = 4 * EMBEDDING_STD
    model.model.embed_tokens.weight[:, 0] = constant
    seen = constant / math.sqrt((constant**2 + (WIDTH - 1) * EMBEDDING_STD**2) / WIDTH)  # after RMSNorm
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator)).Q
    basis[:, 0] = 0.0
    read, write, take, _ = basis.split(_HEAD_WIDTH)
    embedding = model.model.embed_tokens.weight  # leaves the room free that the first head writes to
    embedding -= embedding @ write.T @ write

    first = model.model.layers[0].self_attn
    head = slice(0, _HEAD_WIDTH)
    query, key = torch.zeros(_HEAD_WIDTH), torch.zeros(_HEAD_WIDTH)
    for pair, weight in enumerate((9.0, 7.0, 6.0)):
        angle = ROPE_THETA ** (-pair / (_HEAD_WIDTH // 2))
        query[pair] = weight
        key[pair], key[pair + _HEAD_WIDTH // 2] = weight * math.cos(angle), weight * math.sin(angle)
    for projection, vector in ((first.q_proj, query), (first.k_proj, key)):
        projection.weight[head] = 0.0
        projection.weight[head, 0] = vector / seen
    first.v_proj.weight[head] = read
    first.o_proj.weight[:, head] = EMBEDDING_STD * write.T

    second = model.model.layers[1].self_attn
    rows = [*_SLOW_PAIRS, *(pair + _HEAD_WIDTH // 2 for pair in _SLOW_PAIRS)]
    second.q_proj.weight[head] = 0.0
    second.k_proj.weight[head] = 0.0
    for at, row in enumerate(rows):
        second.q_proj.weight[row] = GAIN * read[at]
        second.k_proj.weight[row] = write[at]
    second.v_proj.weight[head] = take
    second.o_proj.weight[:, head] = 2 * EMBEDDING_STD * take.T
