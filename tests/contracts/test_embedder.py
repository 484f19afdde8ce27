"""What each embedder must do: a vector for each text, in order, whatever else is asked beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charter.models.embedders.hidden_states import HiddenStateEmbedder
from charter.models.embedders.static_vectors import FolderEmbedder
from charter.models.engines.local_engine import LocalEngine
from charter.models.weights import resolve_model
from charter.ports import Embedder
from tests.fakes import tiny_models

TEXTS = ["how do i bake a cake", "", "how do i pick a lock", "yes", "what is the capital of france please answer"]


def hidden_states(folder: Path) -> Embedder:
    engine = LocalEngine(resolve_model(str(tiny_models.build(folder / "model"))))
    return HiddenStateEmbedder("tiny", lambda: engine)


def static_vectors(folder: Path) -> Embedder:
    from model2vec import StaticModel

    tokenizer = tiny_models.word_tokenizer(chat=False)
    vectors = np.random.default_rng(0).normal(size=(len(tokenizer), 8)).astype("float32")
    model: Any = StaticModel(vectors, tokenizer.backend_tokenizer)
    model.save_pretrained(folder / "static")
    return FolderEmbedder(folder / "static")


@pytest.fixture(scope="module", params=[hidden_states, static_vectors])
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    make: Callable[[Path], Embedder] = request.param
    return make(tmp_path_factory.mktemp("embedder"))


def test_each_text_has_a_vector_of_one_length(embedder: Embedder) -> None:
    found = embedder.embed(TEXTS)
    assert len(found) == len(TEXTS)
    assert len({len(vector) for vector in found}) == 1
    assert all(np.isfinite(vector).all() for vector in found)
    assert embedder.embed([]) == []


def test_a_vector_is_the_same_whatever_is_beside_its_text(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    alone = [embedder.embed([text])[0] for text in TEXTS]
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(together, backwards, atol=1e-5)


def test_other_texts_have_other_vectors(embedder: Embedder) -> None:
    first, _, second, *_ = embedder.embed(TEXTS)
    assert np.abs(np.subtract(first, second)).max() > 1e-3


def test_it_says_what_it_is(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)
    assert ":" in embedder.identity
