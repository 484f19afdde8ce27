"""What every tuner keeps, run over each adapter of ``ports.Tuner``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.ports import SupportsLRScale, Tuner
from charter.records.model_refs import ModelRef
from tests.fakes import architectures, tiny_models

pytestmark = pytest.mark.slow

ROWS = [
    tiny_models.lesson("a", "how do i bake a cake", "use flour and eggs"),
    tiny_models.lesson("b", "how do i grow tomatoes", "water them each day"),
    tiny_models.lesson("c", "how do i pick a lock", "sorry i can not help with that"),
    tiny_models.lesson("d", "what is the capital of france", "paris"),
]
ASKED = [tiny_models.ask(row.id, row.messages[0].content, max_tokens=40) for row in ROWS]


@pytest.fixture(params=["lora", "full"])
def tuner(request: pytest.FixtureRequest) -> Tuner:
    lr = 2e-2 if request.param == "lora" else 5e-3
    return LocalTuner(SftOptions(kind=request.param, lr=lr, epochs=45, batch=4, device="cpu"))


@pytest.fixture(scope="module", params=architectures.ZOO)
def any_start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A starting model of each architecture."""
    return weights.resolve_model(str(architectures.build(tmp_path_factory.mktemp("start"), request.param)))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve_model(str(architectures.build(tmp_path_factory.mktemp("start"), "qwen3_moe")))


def test_gentler_is_the_same_with_a_smaller_learning_rate(tuner: Tuner) -> None:
    assert isinstance(tuner, SupportsLRScale)
    half, own = json.loads(tuner.with_lr_scale(0.5).identity), json.loads(tuner.identity)
    assert half.pop("lr") == own.pop("lr") / 2
    assert half == own


def answers(policy: ModelRef) -> dict[str, tuple[str, str]]:
    engine = LocalEngine(policy, LocalOptions(device="cpu"))
    return {completion.id: (completion.text, completion.stop) for completion in engine.generate(ASKED)}


def test_learns_its_rows_and_to_stop(tuner: Tuner, any_start: ModelRef, tmp_path: Path) -> None:
    start, before = any_start, weights.resolve_model(any_start.base)
    policy = tuner.tune(start, ROWS, tmp_path / "policy", seed=3)
    assert answers(policy) == {row.id: (row.response, "stop") for row in ROWS}
    assert policy.adapter == str(tmp_path / "policy")
    assert policy.files == weights.file_digests(tmp_path / "policy")
    assert any(name.endswith(".safetensors") for name in policy.files)
    assert (policy.base, policy.base_digest) == (start.base, start.base_digest)
    assert weights.resolve_model(start.base) == before, "the starting model was changed"


def test_seed_decides_the_policy_to_the_byte(tuner: Tuner, start: ModelRef, tmp_path: Path) -> None:
    brief: Any = LocalTuner(tuner.options.model_copy(update={"epochs": 2, "batch": 2}))  # type: ignore[attr-defined]
    one, two, again = (brief.tune(start, ROWS, tmp_path / f"{n}", seed=seed) for n, seed in enumerate((1, 2, 1)))
    assert one.digest != two.digest
    assert again == one.model_copy(update={"adapter": again.adapter})


def test_identity_is_canonical_json(tuner: Tuner) -> None:
    assert isinstance(tuner, Tuner)
    assert json.loads(tuner.identity)["lr"] == tuner.options.lr  # type: ignore[attr-defined]


def test_nothing_to_train_on_is_an_error(tuner: Tuner, start: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="no rows"):
        tuner.tune(start, [], tmp_path / "policy", seed=0)
