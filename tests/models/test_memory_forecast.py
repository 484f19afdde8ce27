"""What a model takes, before it is loaded."""

from __future__ import annotations

from pathlib import Path

from charter.models import memory_forecast, weights
from charter.models.memory_forecast import BatchShape
from tests.fakes import tiny_models


def test_a_batch_takes_more_the_larger_it_is(tmp_path: Path) -> None:
    where = tiny_models.build(tmp_path / "model")
    config, parameters = weights.load_config(where), weights.count_parameters(where)
    assert parameters is not None
    shapes = [BatchShape(1, 16), BatchShape(4, 16), BatchShape(4, 64)]
    trained = [memory_forecast.estimate_training(config, parameters, "float32", shape, False) for shape in shapes]
    asked = [memory_forecast.estimate_answering(config, parameters, "float32", shape, 32) for shape in shapes]
    for found in (trained, asked):
        assert parameters * 4 < found[0] < found[1] < found[2]
    assert asked[2] < trained[2]


def test_all_weights_take_their_gradients_and_means(tmp_path: Path) -> None:
    config = weights.load_config(tiny_models.build(tmp_path / "model"))
    few, many = (
        memory_forecast.estimate_training(config, 1000, "float32", BatchShape(1, 8), full) for full in (False, True)
    )
    assert many - few == 1000 * memory_forecast.ADAM_BYTES


def test_half_the_precision_takes_half_of_the_weights(tmp_path: Path) -> None:
    config = weights.load_config(tiny_models.build(tmp_path / "model"))
    shape = BatchShape(1, 8)
    whole, half = (memory_forecast.estimate_answering(config, 10**9, d, shape, 8) for d in ("float32", "bfloat16"))
    assert whole == 2 * half


def test_what_is_free_is_some_of_this_machine() -> None:
    free = memory_forecast.read_free_memory("cpu")
    assert free is None or free > 2**20
