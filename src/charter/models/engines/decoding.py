"""The sampling loop of the local engine: rows of token ids in, tokens out, with a key-value cache.

A batch's prompts are read in parts of like length, each with little padding, and answered together.

Every row draws with uniforms of its own, made from its seed alone, so that its tokens depend on (seed, position) and on
its own logits, not on its neighbours. Rows that have ended leave the batch as soon as an eighth of it has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.models.engines.growing_caches import make_room
from charter.models.engines.joined_caches import join_caches
from charter.models.engines.reply_grammars import ReplyGrammar
from charter.models.engines.shared_attention import attention_apart
from charter.models.engines.shared_beginnings import SharedBeginning, read_cache
from charter.records.chat import Sampling, StopReason

if TYPE_CHECKING:
    from torch import Tensor


Text = Callable[[list[int]], str]
BatchWatcher = Callable[[int, float, int], None]
"""Is told how far a batch is: rows that have ended, what the rows at work make in rows, and the tokens drawn."""

KEPT = 7 / 8
"""Rows that have ended leave once no more than this share of the batch goes on: to leave costs a copy of the cache."""
WATCHED_STEPS = 8
"""Tokens of a row between two looks at how far the batch is."""


@dataclass(frozen=True)
class DecodingRow:
    """A prompt's token ids, how many tokens may follow, how they are drawn, and the grammar that they keep."""

    ids: list[int]
    max_tokens: int
    sampling: Sampling
    seed: int
    grammar: ReplyGrammar | None = None


@dataclass
class DecodedRow:
    """What followed: token ids without the end token, the text where a stop string cut it or a grammar ended it, and
    why it ended."""

    tokens: list[int]
    text: str | None = None
    stop: StopReason = "length"


def pad_left(rows: Sequence[Sequence[int]], device: str, room: int = 0, cached: int = 0) -> tuple[Tensor, Tensor]:
    """Ids [rows, width] and mask [rows, cached + width + room] (1 for tokens that are cached before them, for real
    tokens and for the room to come)."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[1] * cached + [0] * (width - len(row)) + [1] * (len(row) + room) for row in rows])
    return ids.to(device), mask.to(device)


class Forward:
    """Calls a causal language model, with just the arguments that its architecture knows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.accepted_arguments = frozenset(inspect.signature(model.forward).parameters)

    def __call__(self, ids: Tensor, mask: Tensor, cache: Any = None, keep: int = 1) -> Any:
        """The output for ``ids`` [rows, new], with logits [rows, keep, vocabulary]; ``mask`` covers cache and ``ids``.

        ``cache`` None starts a new one; give False to do without.
        """
        wanted = {"logits_to_keep": keep, "output_router_logits": False}
        extra: dict[str, Any] = {name: value for name, value in wanted.items() if name in self.accepted_arguments}
        if "position_ids" in self.accepted_arguments:
            extra["position_ids"] = (mask.cumsum(-1)[:, -ids.shape[1] :] - 1).clamp_min(0)
        if cache is not False:
            extra["cache" if "cache" in self.accepted_arguments else "past_key_values"] = cache
        with attention_apart(self.model, cache) as shared:
            output = self.model(input_ids=ids, attention_mask=mask, use_cache=cache is not False, **extra, **shared)
        output.logits = output.logits[:, -keep:]
        return output


@dataclass(frozen=True)
class RowEnds:
    """What ends a row: ``tokens``, and its stop strings in what ``text`` makes of token ids; ``whole`` makes of all of
    a row's the part of its text that stop strings may end (None: all of it)."""

    tokens: Sequence[int]
    text: Text
    whole: Text | None = None


def decode(
    model: Any,
    rows: Sequence[DecodingRow],
    ends: RowEnds,
    beginning: SharedBeginning | None = None,
    parts: Sequence[Sequence[int]] = (),
    watch: BatchWatcher | None = None,
) -> list[DecodedRow]:
    """Draws until each row ends: an end token, one of its stop strings (cut off), the end of its grammar, or its limit.
    ``beginning``: what all rows begin with, read once. ``parts``: places in order that are read together (none: all
    are), for a model whose caches can be joined. A row at work counts for ``watch`` by its share of the tokens
    allowed. Raises FloatingPointError where the model's logits are not numbers.
    """
    import torch

    with torch.inference_mode():
        loop = _SamplingLoop(model, rows, ends)
        return loop.run(beginning or SharedBeginning(()), parts or [range(len(rows))], watch)


class _SamplingLoop:
    """The state of one batch. ``alive`` are the places in ``rows`` that the batch's lines stand for."""

    def __init__(self, model: Any, rows: Sequence[DecodingRow], ends: RowEnds) -> None:
        import torch

        self.forward, self.rows, self.stop_ids = Forward(model), rows, frozenset(ends.tokens)
        self.decode_text, self.whole = ends.text, ends.whole or ends.text
        self.active = list(range(len(rows)))
        self.outputs = [DecodedRow([]) for _ in rows]
        self.unfinished = {place for place, row in enumerate(rows) if row.max_tokens > 0}
        self.grammars = {place: row.grammar.copy() for place, row in enumerate(rows) if row.grammar}
        self.max_steps = max(row.max_tokens for row in rows)
        self.device = device = str(model.device)
        exact = torch.float32 if model.device.type == "mps" else torch.float64
        asked = [row.sampling for row in rows]
        self.temperature = torch.tensor([sampling.temperature for sampling in asked], device=device)
        self.top_p = torch.tensor([sampling.top_p for sampling in asked], device=device)
        self.penalty = torch.tensor([sampling.frequency_penalty for sampling in asked], device=device)
        self.has_penalty = any(sampling.frequency_penalty for sampling in asked)
        drawing = any(sampling.temperature > 0 for sampling in asked)
        self.uniforms = draw_uniforms(rows, self.max_steps).to(exact).to(device) if drawing else None
        self.counts: Tensor | None = None
        self.cache: Any = None

    def run(
        self, beginning: SharedBeginning, parts: Sequence[Sequence[int]], watch: BatchWatcher | None
    ) -> list[DecodedRow]:
        if not self.unfinished:
            return self.outputs
        logits = self._read_prompts(beginning, parts)
        make_room(self.cache)
        for step in range(self.max_steps):
            tokens = self._draw_tokens(logits, step)
            for place, token in zip(self.active, tokens.tolist(), strict=True):
                if place in self.unfinished:
                    self._append_token(place, token)
            if watch is not None and step % WATCHED_STEPS == 0:
                at_work = sum(
                    len(self.outputs[place].tokens) / self.rows[place].max_tokens for place in self.unfinished
                )
                watch(len(self.rows) - len(self.unfinished), at_work, sum(len(drawn.tokens) for drawn in self.outputs))
            if not self.unfinished:
                break
            self.ids = tokens[:, None]
            if len(self.unfinished) <= KEPT * len(self.active):
                self._drop_finished()
            output = self.forward(self.ids, self.mask[:, : self.width + step + 1], self.cache)
            self.cache, logits = read_cache(output), output.logits[:, -1].float()
        return self.outputs

    def _read_prompts(self, beginning: SharedBeginning, parts: Sequence[Sequence[int]]) -> Tensor:
        """The logits after each prompt. Parts stand side by side afterwards, aligned at their ends."""
        import torch
        from torch.nn.functional import pad

        cached, caches, found, masks = len(beginning), [], [], []
        for part in parts:
            whole = [self.rows[place].ids[cached:] for place in part]
            ids, mask = pad_left(whole, self.device, room=self.max_steps, cached=cached)
            output = self.forward(
                ids, mask[:, : cached + ids.shape[1]], beginning.expand(self.forward.model, len(part))
            )
            caches.append(read_cache(output))
            found.append(output.logits[:, -1].float())
            masks.append(mask)
        widest = max(mask.shape[1] for mask in masks)
        first = cached if beginning.stands_apart(self.forward.model) else 0
        self.mask = torch.cat(
            [torch.cat([mask[:, :first], pad(mask[:, first:], (widest - mask.shape[1], 0))], 1) for mask in masks]
        )
        self.width = widest - self.max_steps
        self.cache = join_caches(caches) if len(caches) > 1 else caches[0]
        logits = torch.cat(found)
        if bool(logits.isnan().any()):
            raise FloatingPointError("the model's logits are not numbers")
        return logits

    def _draw_tokens(self, logits: Tensor, step: int) -> Tensor:
        """A token for each line."""
        import torch

        if self.has_penalty:
            self.counts = torch.zeros_like(logits) if self.counts is None else self.counts
            logits = logits - self.penalty[:, None] * self.counts
        for line, place in enumerate(self.active):
            if place in self.grammars and place in self.unfinished:
                forbidden = self.grammars[place].forbid_tokens(logits.shape[-1])
                logits[line].masked_fill_(forbidden.to(logits.device), -torch.inf)
        chance = None if self.uniforms is None else self.uniforms[:, step]
        tokens = sample_tokens(logits, self.temperature, self.top_p, chance)
        if self.counts is not None:
            self.counts.scatter_add_(1, tokens[:, None], torch.ones_like(self.counts[:, :1]))
        return tokens

    def _append_token(self, place: int, token: int) -> None:
        row, drawn = self.rows[place], self.outputs[place]
        if token in self.stop_ids:
            drawn.stop = "stop"
            self.unfinished.discard(place)
            return
        drawn.tokens.append(token)
        if place in self.grammars and self.grammars[place].append_token(token):
            drawn.text, drawn.stop = self.whole(drawn.tokens), "stop"
        elif row.sampling.stop:
            self._cut_at_stop(row.sampling.stop, drawn)
        if drawn.stop == "stop" or len(drawn.tokens) >= row.max_tokens:
            self.unfinished.discard(place)

    def _cut_at_stop(self, stops: Sequence[str], drawn: DecodedRow) -> None:
        """Ends a row at its first stop string. The newest tokens are looked at first: the rest was looked at before."""
        window = self.decode_text(drawn.tokens[-(max(map(len, stops)) + 4) :])
        if any(stop in window for stop in stops):
            whole = self.whole(drawn.tokens)
            places = [whole.find(stop) for stop in stops if stop in whole]
            if places:
                drawn.text, drawn.stop = whole[: min(places)], "stop"

    def _drop_finished(self) -> None:
        """Drops the lines of rows that have ended."""
        import torch

        lines = [line for line, place in enumerate(self.active) if place in self.unfinished]
        if not lines or not hasattr(self.cache, "batch_select_indices"):
            return
        index = torch.tensor(lines, device=self.ids.device)
        self.cache.batch_select_indices(index)
        self.active = [self.active[line] for line in lines]
        self.ids, self.mask = self.ids[index], self.mask[index]
        self.temperature, self.top_p, self.penalty = self.temperature[index], self.top_p[index], self.penalty[index]
        self.uniforms = None if self.uniforms is None else self.uniforms[index]
        self.counts = None if self.counts is None else self.counts[index]


def draw_uniforms(rows: Sequence[DecodingRow], steps: int) -> Tensor:
    """Numbers in [0, 1), [rows, steps] in float64: line by line from the row's seed alone, 0 past its limit."""
    import torch

    table = torch.zeros(len(rows), steps, dtype=torch.float64)
    for line, row in enumerate(rows):
        if row.sampling.temperature > 0:
            generator = torch.Generator().manual_seed(row.seed)
            table[line, : row.max_tokens] = torch.rand(row.max_tokens, generator=generator, dtype=torch.float64)
    return table


def sample_tokens(logits: Tensor, heat: Tensor, nucleus: Tensor, chance: Tensor | None) -> Tensor:
    """A token per row [rows]: the likeliest where ``heat`` is 0, else drawn: the one where ``chance`` falls.

    ``nucleus`` keeps the smallest set of tokens whose share reaches it (1: all).
    """
    import torch

    best = logits.argmax(-1)
    if chance is None:
        return best
    shares = torch.softmax(logits / heat.clamp_min(1e-6)[:, None], -1).to(chance.dtype)
    if bool((nucleus < 1).any()):
        ordered, order = shares.sort(stable=True, dim=-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= nucleus[:, None]
        shares = shares.masked_fill(beyond.scatter(-1, order, beyond) & (nucleus < 1)[:, None], 0.0)
    heap = shares.cumsum(-1)
    drawn = torch.searchsorted(heap, chance[:, None] * heap[:, -1:], right=True)[:, 0]
    last = torch.searchsorted(heap, heap[:, -1:].contiguous())[:, 0]  # of those that have a share
    return torch.where(heat > 0, drawn.minimum(last), best)
