"""An embedder that knows words of one meaning, so that what is alike may have no word in common."""

from __future__ import annotations

from collections.abc import Sequence

CONCEPTS = {
    "fire": "arson burn ignite torch blaze kindle petrol matches",
    "theft": "theft steal rob swipe pilfer wallet purse",
    "lies": "fraud forge fake cheque signature counterfeit",
    "sea": "fishing nets trawl harbour boat angling",
}


class ConceptEmbedder:
    """Counts the words of each meaning; every text has a part that all share."""

    identity = "concepts"

    def __init__(self) -> None:
        self.asked = list[str]()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A number for each meaning, and one that is large for all."""
        self.asked += texts
        return [[*(_count(text, words) for words in CONCEPTS.values()), 100.0] for text in texts]


def _count(text: str, words: str) -> float:
    return float(sum(word in words.split() for word in text.lower().split()))
