"""What several people say of the same two answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.judging.records import Pair
from charter.similarity import normal

Said = tuple[str, str]
"""Who preferred (empty: not known), and the text preferred, normalised."""


@dataclass(frozen=True)
class Rated:
    """A pair as the first of its ratings has it, and all of them; of a person who says the same twice, once."""

    pair: Pair
    said: tuple[Said, ...]

    @property
    def votes(self) -> tuple[int, int]:
        """For the pair's ``chosen``, and for its ``rejected``."""
        mine = sum(text == normal(self.pair.chosen) for _, text in self.said)
        return mine, len(self.said) - mine

    @property
    def names(self) -> list[str]:
        """Who is known, in the order of the ratings."""
        return list(dict.fromkeys(who for who, _ in self.said if who))


def rated(pairs: Sequence[Pair]) -> list[Rated]:
    """Ratings of the same two answers to the same prompt, in either order, as one."""
    found: dict[tuple[str, frozenset[str]], tuple[Pair, list[Said]]] = {}
    for pair in pairs:
        text = normal(pair.chosen)
        key = (normal(pair.prompt.text), frozenset((text, normal(pair.rejected))))
        _, said = found.setdefault(key, (pair, []))
        if not pair.rater or (pair.rater, text) not in said:
            said.append((pair.rater, text))
    return [Rated(pair, tuple(said)) for pair, said in found.values()]


def agreement(found: Sequence[Rated]) -> float | None:
    """Of all two ratings of the same pair, the share that prefer the same answer; None where there are none."""
    same = both = 0
    for one, other in (pair.votes for pair in found):
        same += one * (one - 1) // 2 + other * (other - 1) // 2
        both += (one + other) * (one + other - 1) // 2
    return same / both if both else None
