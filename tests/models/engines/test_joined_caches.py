"""Prompts that are read in parts and answered together, on tiny models of many architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charter.models import weights
from charter.models.engines.joined_caches import can_join_caches
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.chat import Request
from tests.fakes import architectures, tiny_models

pytestmark = pytest.mark.slow

SYSTEM = "please answer each day " * 5


def requests(beginning: str = "") -> list[Request]:
    """24 prompts of 1 to 60 words; some answers are long, some short."""
    words = tiny_models.WORDS
    return [
        tiny_models.ask(
            f"r{n}",
            beginning + " ".join((words * 2)[n : n + 1 + n * n * 7 % 60]),
            seed=n,
            temperature=1.5 * (n % 2),
            max_tokens=20 if beginning else 4 + n,
        )
        for n in range(24)
    ]


def watch(engine: LocalEngine) -> list[tuple[int, int]]:
    """Rows and tokens of each row that go through the model, as they go."""
    seen: list[tuple[int, int]] = []

    def look(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        seen.append(tuple(given["input_ids"].shape))

    engine.model.register_forward_pre_hook(look, with_kwargs=True)
    return seen


def engine(where: Path, **options: Any) -> LocalEngine:
    return LocalEngine(weights.resolve_model(str(where)), LocalOptions(device="cpu", **options))


@pytest.mark.parametrize("kind", architectures.ZOO)
@pytest.mark.parametrize("beginning", ["", SYSTEM], ids=["whole", "shared"])
def test_answers_are_those_of_rows_alone(kind: str, beginning: str, tmp_path: Path) -> None:
    where = architectures.build(tmp_path, kind)
    alone, together = engine(where, batch_size=1), engine(where, batch_tokens=1200)
    seen, asked = watch(together), requests(beginning)
    expected = {c.id: c.text for c in alone.generate(asked)}
    assert {c.id: c.text for c in together.generate(asked)} == expected
    assert len(set(expected.values())) > 5
    read = [rows for rows, width in seen if width > 1]
    drawn = [rows for rows, width in seen if width == 1]
    assert can_join_caches(together.model)
    assert max(drawn) > max(read), "several parts are answered together"


def test_the_padded_tokens_of_what_is_answered_together_are_bounded(tmp_path: Path) -> None:
    model = engine(tiny_models.build(tmp_path), batch_tokens=150)
    seen = watch(model)
    list(model.generate(requests()))
    widest = 0
    for rows, width in seen:
        widest = max(widest, width) if width > 1 else widest
        assert rows * width <= 150
        if width == 1:
            assert rows <= 150 // 3
    assert len([width for _, width in seen if width > 1]) > 3


def test_a_cache_that_keeps_a_state_is_not_joined(tmp_path: Path) -> None:
    import transformers

    config: Any = transformers.MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert not can_join_caches(transformers.MambaForCausalLM(config))
