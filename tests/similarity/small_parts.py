"""Limits so small that few texts meet all of them."""

from __future__ import annotations

import pytest

from charter.similarity import mark_sets, overlap, set_index, wordings


def make_parts_small(patch: pytest.MonkeyPatch) -> None:
    """Many blocks, parts and files; and only shared marks bring sets together."""
    patch.setattr(set_index, "BLOCK", 8)
    patch.setattr(mark_sets, "IN_MEMORY", 64)
    patch.setattr(wordings, "BATCH_WORDS", 20)
    for name, value in (("FEW_PLACES", 0), ("PLACE_WORK", 1000), ("TESTED", 7), ("SORTED", 40)):
        patch.setattr(overlap, name, value)
    for module in (mark_sets, set_index, overlap):
        patch.setattr(module, "CHUNK", 50)
        patch.setattr(module, "CHUNK_SETS", 5)
