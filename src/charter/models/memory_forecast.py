"""How much memory a model takes for answering and for training, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charter.models.engines.memory import estimate_batch, read_available

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ADAM_BYTES = 12
"""A trained number has its gradient and Adam's two means beside it, each of 4 bytes."""
LAYER_NUMBERS, ATTENTION_NUMBERS = 17.0, 2.5
"""Numbers that a layer keeps for its backward pass, for each token and hidden unit and, where attention is not fused,
for each token, head and token that it attends to. V. Korthikanti and others, "Reducing Activation Recomputation in
Large Transformer Models", 2022, equation 2, counts 34 and 5 bytes at 16 bits."""


@dataclass(frozen=True)
class BatchShape:
    """Rows that are at work at once, and the tokens of the longest one."""

    rows: int
    tokens: int


def estimate_answering(config: Any, parameters: int, dtype: str, batch: BatchShape, drawn: int) -> int:
    """Bytes for weights, cache and one batch at its height. ``drawn``: the most tokens of an answer."""
    batch_bytes = estimate_batch(config, batch.rows, batch.tokens, batch.tokens + drawn, 1)
    return parameters * BYTES.get(dtype, 4) + batch_bytes * BYTES.get(dtype, 4) // BYTES["float32"]


def estimate_training(config: Any, parameters: int, dtype: str, batch: BatchShape, full: bool) -> int:
    """Bytes for weights, what each layer keeps of a batch, its logits with their gradient and, where all weights are
    trained (``full``), gradients and Adam's means. An adapter's own numbers are left out: they are few."""
    text, size = config.get_text_config(), BYTES.get(dtype, 4)
    hidden, layers, heads, words = (
        next((int(found) for name in names if (found := getattr(text, name, None))), 0)
        for names in (
            ("hidden_size", "n_embd"),
            ("num_hidden_layers", "n_layer"),
            ("num_attention_heads", "n_head"),
            ("vocab_size",),
        )
    )
    tokens, eager = batch.rows * batch.tokens, getattr(config, "_attn_implementation", "") == "eager"
    kept = layers * tokens * (LAYER_NUMBERS * hidden + ATTENTION_NUMBERS * heads * batch.tokens * eager) * size
    return int(parameters * (size + ADAM_BYTES * full) + kept + 2 * tokens * words * BYTES["float32"])


def read_free_memory(device: str) -> int | None:
    """Bytes that can still be taken: of a GPU's memory, else of this machine's. None where nothing tells."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return read_available()
