"""Texts placed by the hidden states of a model whose copies lie on the workers of a Ray cluster.

A worker is given what this process would read together, so that the vectors are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from charter.errors import EngineError
from charter.models.embedders.hidden_states import HiddenStateEmbedder
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.ray_workers import MOST_DEATHS


@dataclass(frozen=True)
class TextChunk:
    """Texts that are read together. ``places``: where they stand among all; ``deaths``: workers that ended while they
    had them."""

    places: Sequence[int]
    texts: Sequence[str]
    deaths: int = 0

    def work(self, replica: Any) -> list[Any]:
        """Their vectors. Raises EngineError."""
        return HiddenStateEmbedder("", lambda: replica).embed(self.texts)

    def share_out(self) -> tuple[list[TextChunk], list[Any]]:
        """The same texts again, so that their vectors stay the same. Raises EngineError, since no error has a place
        among vectors."""
        if self.deaths + 1 < MOST_DEATHS:
            return [replace(self, deaths=self.deaths + 1)], []
        said = f"it ended {MOST_DEATHS} workers that had nothing else to read"
        raise EngineError(
            f"A batch of {len(self.texts)} texts cannot be placed by their meaning: {said}. It begins with "
            f"{self.texts[0][:80]!r}.",
            "Drop what is strange in it, or give workers more memory; embedder: none goes by words alone.",
        )


class RayEmbedder:
    """Reads texts with the copies of ``engine``. ``embedder`` reads them in this process: it is asked for its name and
    for what is read together, which loads no weights."""

    def __init__(self, embedder: HiddenStateEmbedder, engine: RayEngine) -> None:
        self._embedder, self._engine = embedder, engine

    @property
    def identity(self) -> str:
        """As in this process: where it is read changes no vector."""
        return self._embedder.identity

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order. Raises EngineError, UnavailableError."""
        batches = self._embedder.form_batches(texts)
        chunks = [TextChunk(places, [texts[place] for place in places]) for places in batches]
        found: dict[int, list[float]] = {}
        for chunk, vectors in self._engine.run_chunks(chunks):
            found.update(zip(chunk.places, vectors, strict=True))
        return [found[place] for place in range(len(texts))]
