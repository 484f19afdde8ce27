"""Texts placed by what a language model makes of them: the mean of its hidden states near the end.

The layer is the third from the end, without the first token: the last layers turn to the next word, and the first token
gathers attention whatever it is (Xiao et al., arXiv 2309.17453). An adapter is left out, so that all policies of a base
place a text the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from charter.models.engines.local_engine import LocalEngine

TOKENS = 256
"""Tokens of a text that are read; what follows says little of what it is about."""
PADDED_TOKENS = 2048
"""Padded tokens of a batch."""
FROM_END = 2
"""Layers that are left out at the end."""


class HiddenStateEmbedder:
    """Reads texts with the model of an engine, which ``open_engine`` gives when texts are first placed."""

    def __init__(self, name: str, open_engine: Callable[[], LocalEngine]) -> None:
        self._name, self._open = name, open_engine

    @property
    def identity(self) -> str:
        """The model's name and digest, and what is read of it."""
        return f"hidden-states-{FROM_END}:{self._name}"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order; zeros for one without a token. Raises EngineError."""
        import torch

        model, tokenizer, ids = self._open().model, self._tokenizer, self._read_tokens(texts)
        layer = max(1, model.config.get_text_config().num_hidden_layers - FROM_END)
        found = [[0.0] * model.config.get_text_config().hidden_size for _ in texts]
        with torch.inference_mode(), without_adapters(model):
            for places in form_length_batches([len(one) for one in ids]):
                rows, mask = _pad_right([ids[place] for place in places], tokenizer.pad_token_id)
                states = model.base_model(  # the layers without the head that gives logits
                    input_ids=rows.to(model.device),
                    attention_mask=mask.to(model.device),
                    output_hidden_states=True,
                    use_cache=False,
                ).hidden_states[layer]
                counted = mask.to(states.device, states.dtype)[..., None]
                if rows.shape[1] > 1:
                    counted = torch.cat([counted[:, :1] * (counted.sum(1, keepdim=True) < 2), counted[:, 1:]], dim=1)
                means = (states * counted).sum(1) / counted.sum(1).clamp(min=1)
                for place, vector in zip(places, means.float().tolist(), strict=True):
                    found[place] = vector
        return found

    def form_batches(self, texts: Sequence[str]) -> list[list[int]]:
        """The places of texts that ``embed`` reads together, which it would do too if it were given these alone; last
        those that it does not read. No weights load."""
        lengths = [len(one) for one in self._read_tokens(texts)]
        empty = [place for place, length in enumerate(lengths) if not length]
        return [*form_length_batches(lengths), *([empty] if empty else [])]

    @property
    def _tokenizer(self) -> Any:
        return self._open().dialogue().tokenizer

    def _read_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        read = self._tokenizer
        return [read(text, add_special_tokens=False, truncation=True, max_length=TOKENS).input_ids for text in texts]


def form_length_batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts of about the same length, the shortest first; those of length 0 stand in none."""
    batch: list[int] = []
    for place in sorted((n for n, length in enumerate(lengths) if length), key=lambda n: (lengths[n], n)):
        if batch and (len(batch) + 1) * lengths[place] > PADDED_TOKENS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _pad_right(rows: Sequence[Sequence[int]], fill: int) -> tuple[Any, Any]:
    """Token ids and attention mask [rows, tokens]."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """The model as its base: what PEFT put into it is passed by."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [
        module for module in model.modules() if isinstance(module, BaseTunerLayer) and not module.disable_adapters
    ]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
