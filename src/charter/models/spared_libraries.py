"""Garbage is not looked for among the million objects of libraries, which each full collection would walk."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spare_libraries() -> Iterator[None]:
    """Leaves out of garbage collection what there is by now. What comes later, such as a model, is found. Within
    itself it changes nothing, so that an inner end ends no outer one."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
