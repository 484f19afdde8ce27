"""What a search for garbage is spared."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from charter.models.spared_libraries import spare_libraries


class Model:
    """What holds itself, so that only a search for garbage frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _nothing_is_spared_yet() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.freeze()


def test_libraries_are_spared_and_a_model_that_is_loaded_later_is_freed() -> None:
    with spare_libraries():
        assert gc.get_freeze_count()
        freed = weakref.ref(Model())
        gc.collect()
        assert freed() is None
    assert not gc.get_freeze_count()


def test_an_inner_end_ends_no_outer_one() -> None:
    with spare_libraries():
        with spare_libraries():
            pass
        assert gc.get_freeze_count()
