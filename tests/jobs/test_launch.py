"""What a run does around its job."""

from __future__ import annotations

import gc
import weakref

from charter.jobs.launch import spare_libraries


class Model:
    """What holds itself, so that only a search for garbage frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_libraries_are_spared_and_a_model_that_is_loaded_later_is_freed() -> None:
    before = gc.get_freeze_count()
    with spare_libraries():
        assert gc.get_freeze_count() > before
        freed = weakref.ref(Model())
        gc.collect()
        assert freed() is None
    assert gc.get_freeze_count() <= before
