"""The order in which rows of like lengths are learnt together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

SPREAD = 0.1
"""Lengths that differ by less than this share change places, so that rows meet other rows in another epoch."""


class LengthOrder:
    """Places of rows for a trainer, drawn anew for each epoch: steps of rows of like lengths, in any order.

    The longest rows come first, so that memory runs out at once if it does; rows that fill no step come last. The
    trainer's own grouping sorts within larger drawn groups, which pads more: of 64 rows it saves next to nothing.

    Args:
        lengths: tokens of each row.
        step: rows of an optimiser step, so that the steps are the same however they are split.
        seed: decides the order, with the epoch.
        read_epoch: which epoch begins, from 0. A trainer that resumes knows it.
    """

    def __init__(self, lengths: Sequence[int], step: int, seed: int, read_epoch: Callable[[], int]) -> None:
        self._lengths, self._step, self._seed, self._read_epoch = lengths, step, seed, read_epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed}|{self._read_epoch()}")
        size = {place: length * draw.uniform(1, 1 + SPREAD) for place, length in enumerate(self._lengths)}
        places = sorted(size, key=lambda place: -size[place])
        steps = [places[at : at + self._step] for at in range(0, len(places), self._step)]
        rest = [steps.pop()] if len(places) % self._step else []
        middle = steps[1:]
        draw.shuffle(middle)
        for step in (*steps[:1], *middle, *rest):
            yield from step
