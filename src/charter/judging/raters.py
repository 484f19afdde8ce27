"""What several people say of the same two answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from charter.records.preferences import ResponsePair
from charter.similarity.spelling import normalize_text

Rating = tuple[str, str]
"""Who preferred (empty: not known), and the text preferred, normalised."""


@dataclass(frozen=True)
class MergedRating:
    """A pair as the first of its ratings has it, and all of them; of a person who says the same twice, once."""

    pair: ResponsePair
    ratings: tuple[Rating, ...]

    @property
    def votes(self) -> tuple[int, int]:
        """For the pair's ``chosen``, and for its ``rejected``."""
        mine = sum(text == normalize_text(self.pair.chosen) for _, text in self.ratings)
        return mine, len(self.ratings) - mine

    @property
    def rater_names(self) -> list[str]:
        """Who is known, in the order of the ratings."""
        return list(dict.fromkeys(who for who, _ in self.ratings if who))


def merge_ratings(pairs: Sequence[ResponsePair]) -> list[MergedRating]:
    """Ratings of the same two answers to the same prompt, in either order, as one."""
    found: dict[tuple[str, frozenset[str]], tuple[ResponsePair, list[Rating]]] = {}
    for pair in pairs:
        text = normalize_text(pair.chosen)
        key = (normalize_text(pair.prompt.text), frozenset((text, normalize_text(pair.rejected))))
        _, said = found.setdefault(key, (pair, []))
        if not pair.rater or (pair.rater, text) not in said:
            said.append((pair.rater, text))
    return [MergedRating(pair, tuple(said)) for pair, said in found.values()]


def rater_agreement(found: Sequence[MergedRating]) -> float | None:
    """Of all two ratings of the same pair, the share that prefer the same answer; None where there are none."""
    same = both = 0
    for one, other in (pair.votes for pair in found):
        same += one * (one - 1) // 2 + other * (other - 1) // 2
        both += (one + other) * (one + other - 1) // 2
    return same / both if both else None
