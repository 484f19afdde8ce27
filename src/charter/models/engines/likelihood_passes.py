"""Log-likelihoods in bounded memory: which rows go through the model, in which batches, and what is read from them.

A row of a batch is a *pass*. Completions that hang on one context share passes: the last token of a completion is only
compared with, so that options of one token need the context alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from charter.models.engines.decoding import Forward, pad_left
from charter.models.engines.shared_beginnings import SharedBeginning

if TYPE_CHECKING:
    from torch import Tensor

LOGITS = 2**26
"""Most logits of a batch (rows x kept positions x vocabulary): 256 MiB in float32."""
SLICE = 2**23
"""Most logits that are made into log-probabilities at once."""

Weighed = tuple[float, bool]
"""A log-likelihood in nats, and whether each token was the likeliest."""


@dataclass(frozen=True)
class ScoredSpan:
    """What is read from a pass for the pair ``place``: ``goals``, the first of which follows the token ``at``."""

    place: int
    at: int
    goals: list[int]


@dataclass(frozen=True)
class ScoringPass:
    """Token ids that go through the model once, and what is read from them."""

    ids: list[int]
    spans: list[ScoredSpan] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Positions at its end whose logits are needed."""
        return max(1, *(len(self.ids) - span.at for span in self.spans))

    @property
    def unread(self) -> int:
        """Tokens at its beginning whose logits are not needed: as many may be shared with other passes."""
        return len(self.ids) - self.kept


def plan_passes(pairs: Sequence[tuple[list[int], list[int]]]) -> list[ScoringPass]:
    """One pass for each input that begins no other; longest first. ``pairs``: a context, and what is weighed after."""
    inputs = [[*before, *after[:-1]] for before, after in pairs]
    passes: list[ScoringPass] = []
    for place in sorted(range(len(pairs)), key=lambda n: inputs[n], reverse=True):
        ids, (before, after) = inputs[place], pairs[place]
        if not passes or passes[-1].ids[: len(ids)] != ids:
            passes.append(ScoringPass(ids))
        passes[-1].spans.append(ScoredSpan(place, len(before) - 1, after))
    return sorted(passes, key=lambda one: (-len(one.ids), one.ids))


def score_passes(
    model: Any, passes: Sequence[ScoringPass], beginning: SharedBeginning | None = None
) -> list[list[Weighed]]:
    """What each span of each pass weighs. ``beginning``: what all passes begin with, read once. Raises
    FloatingPointError where a log-likelihood is no number."""
    import torch

    kept, cached = max(one.kept for one in passes), len(beginning or ())
    with torch.inference_mode():
        ids, mask = pad_left([one.ids[cached:] for one in passes], str(model.device), cached=cached)
        cache = beginning.expand(model, len(passes)) if beginning else False
        logits = Forward(model)(ids, mask, cache=cache, keep=kept).logits
        found = []
        for line, one in zip(logits, passes, strict=True):
            starts = [span.at - len(one.ids) + kept for span in one.spans]
            found.append([_weigh(line[s:], span.goals) for s, span in zip(starts, one.spans, strict=True)])
    return found


def _weigh(logits: Tensor, goals: list[int]) -> Weighed:
    """The sum of the goals' log-probabilities, slice by slice."""
    import torch

    total, greedy = 0.0, True
    step = max(1, SLICE // logits.shape[-1])
    for start in range(0, len(goals), step):
        wanted = torch.tensor(goals[start : start + step], device=logits.device)
        part = logits[start : start + len(wanted)].float()
        shares = torch.log_softmax(part, -1).gather(-1, wanted[:, None])[:, 0].double()
        if bool(shares.isnan().any()):
            raise FloatingPointError("a log-likelihood is not a number")
        total += float(shares.sum())
        greedy = greedy and bool((part.argmax(-1) == wanted).all())
    return total, greedy
