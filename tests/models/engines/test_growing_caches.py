"""A cache with room: it holds what one that is copied at each step holds, whatever happens to its rows."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from charter.models.engines.growing_caches import LEAST_ROOM, growing_layer, make_room


def filled(rows: int, places: int) -> Any:
    """A cache of one layer with numbers of its own at each place."""
    cache: Any = DynamicCache()
    cache.update(*keys_and_values(rows, places), 0)
    return cache


def keys_and_values(rows: int, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    keys = torch.arange(rows * 2 * places * 3, dtype=torch.float32).reshape(rows, 2, places, 3)
    return keys, -keys


def step_both(one: Any, other: Any, rows: int) -> None:
    """Gives both layers one new place, which must then hold the same."""
    new = keys_and_values(rows, 1)
    for plain, growing in zip(one.update(*new), other.update(*new), strict=True):
        assert torch.equal(plain, growing)


def test_a_step_writes_into_the_room_and_full_room_is_made_anew() -> None:
    plain, cache = filled(3, 5), filled(3, 5)
    make_room(cache)
    layer, places = cache.layers[0], set[int]()
    for _ in range(3 * LEAST_ROOM):
        step_both(plain.layers[0], layer, 3)
        places.add(layer.keys.data_ptr())
    assert len(places) == 3
    assert layer.get_seq_length() == 5 + 3 * LEAST_ROOM


def test_rows_may_leave_and_places_may_be_cut_off() -> None:
    plain, cache = filled(4, 5), filled(4, 5)
    make_room(cache)
    both = plain.layers[0], cache.layers[0]
    step_both(*both, 4)
    for layer in both:
        layer.batch_select_indices(torch.tensor([0, 3]))
    step_both(*both, 2)
    for layer in both:
        layer.crop(-3)
    step_both(*both, 2)


def test_layers_of_other_kinds_and_empty_ones_stay() -> None:
    cache = filled(1, 2)
    sliding = DynamicSlidingWindowLayer(sliding_window=4)
    cache.layers += [sliding, DynamicLayer()]  # type: ignore[no-untyped-call]
    make_room(cache)
    assert [type(layer) for layer in cache.layers] == [growing_layer(), DynamicSlidingWindowLayer, DynamicLayer]
    make_room(object())
