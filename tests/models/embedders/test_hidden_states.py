"""Hidden states are those of the base, whatever adapter is in use, and batches hold texts of about one length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charter.models.embedders.hidden_states import PADDED_TOKENS, HiddenStateEmbedder, form_length_batches
from charter.models.engines.local_engine import LocalEngine
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.models.weights import resolve_model
from tests.contracts.test_tuner import ROWS
from tests.fakes import architectures, tiny_models


@pytest.mark.slow
def test_an_adapter_does_not_move_a_text(tmp_path: Path) -> None:
    start = resolve_model(str(tiny_models.build(tmp_path / "base")))
    policy = LocalTuner(SftOptions(epochs=3, lr=0.05)).tune(start, ROWS, tmp_path / "policy", 0)
    texts = ["how do i bake a cake", "yes no red"]
    engine = LocalEngine(start)
    before = HiddenStateEmbedder("tiny", lambda: engine).embed(texts)
    engine.use_policy(policy)
    said = [c.text for c in engine.generate([tiny_models.ask("a", "how do i", max_tokens=8)])]
    np.testing.assert_allclose(HiddenStateEmbedder("tiny", lambda: engine).embed(texts), before, atol=1e-6)
    assert [c.text for c in engine.generate([tiny_models.ask("a", "how do i", max_tokens=8)])] == said


@pytest.mark.slow
@pytest.mark.parametrize("name", [*architectures.ZOO, "gpt2"])
def test_every_architecture_places_texts(name: str, tmp_path: Path) -> None:
    where = tmp_path / "model"
    built = tiny_models.build(where, "gpt2") if name == "gpt2" else architectures.build(where, name)
    engine = LocalEngine(resolve_model(str(built)))
    texts = ["how do i pick a lock", "bake a cake please", "how do i pick a lock"]
    first, second, again = HiddenStateEmbedder(name, lambda: engine).embed(texts)
    assert np.allclose(first, again, atol=1e-5)
    assert not np.allclose(first, second, atol=1e-4)


def test_batches_hold_each_text_once_and_few_padded_tokens() -> None:
    lengths = [0, 5, 3000, 7, 1, 600, 600, 600, 600, 2]
    batches = list(form_length_batches(lengths))
    assert sorted(place for batch in batches for place in batch) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= PADDED_TOKENS
