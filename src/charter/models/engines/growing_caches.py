"""Key-value caches with room for the tokens to come: a step writes its token, and does not copy those before it."""

from __future__ import annotations

from functools import cache
from typing import Any

LEAST_ROOM, ROOM_SHARE = 32, 8
"""Places that are added at once, and the part of the places at hand where that is more."""


def make_room(kept: Any) -> None:
    """Lets the layers of a cache that keep every place grow in place; the others stay as they are."""
    from transformers.cache_utils import DynamicLayer

    layers = getattr(kept, "layers", [])
    for number, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[number] = growing_layer()(layer)


@cache
def growing_layer() -> Any:
    """A kind of layer that keeps every place, made when it is first needed: transformers takes long to load."""
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
        """Keys and values [rows, heads, places, numbers] at the beginning of longer tensors, which are made anew when
        they are full or when rows have left."""

        def __init__(self, layer: DynamicLayer) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            vars(self).update(vars(layer))
            self._held: list[Any] | None = None
            self._shown: Any = None

        def update(self, key_states: Any, value_states: Any, *_args: Any, **_kwargs: Any) -> tuple[Any, Any]:
            """Writes the new places behind those at hand, and gives all."""
            kept: tuple[Any, Any] = self.keys, self.values
            places = kept[0].shape[-2]
            all_places = places + key_states.shape[-2]
            if self._held is None or kept[0] is not self._shown or all_places > self._held[0].shape[-2]:
                room = max(LEAST_ROOM, all_places // ROOM_SHARE)
                self._held = [_widen(one, all_places + room) for one in kept]
            for held, new in zip(self._held, (key_states, value_states), strict=True):
                held[..., places:all_places, :] = new
            self.keys, self.values = (held[..., :all_places, :] for held in self._held)
            self._shown = self.keys
            return self._shown, self.values

        def batch_select_indices(self, indices: Any) -> None:
            """Keeps these rows alone; what was held for the others is given back at once."""
            super().batch_select_indices(indices)
            self._held = None

    return GrowingLayer


def _widen(kept: Any, places: int) -> Any:
    held = kept.new_empty((*kept.shape[:-2], places, kept.shape[-1]))
    held[..., : kept.shape[-2], :] = kept
    return held
