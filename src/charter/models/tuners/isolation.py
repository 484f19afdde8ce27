"""A training that leaves no trace but what it writes: draws, notices and memory; its processes and checkpoints."""

from __future__ import annotations

import gc
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charter.errors import EngineError, TuningError
from charter.models import weights


def find_newest_checkpoint(checkpoints: Path, writers: int) -> Path | None:
    """The newest checkpoint that was written to its end: the state comes last from the first process, and each of the
    ``writers`` leaves what it draws from."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = (path for path in reversed(found) if _is_complete(path / "trainer_state.json"))
    return next((path for path in whole if len(list(path.glob("rng_state*.pth"))) == writers), None)


def _is_complete(state: Path) -> bool:
    """Whether a state is there to its end: a kill may leave the beginning of it."""
    try:
        json.loads(state.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def count_processes() -> int:
    """How many processes a launcher started for this training; one where there is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def isolated_training(seed: int) -> Iterator[None]:
    """Trains inside without a trace outside: draws, notices and memory. What cannot be loaded is a TuningError."""
    try:
        with _isolated_rng(seed), weights.quiet_libraries():
            yield
    except EngineError as error:
        raise TuningError(error.message, error.cure) from error
    finally:
        _free_trainer_memory()


@contextmanager
def _isolated_rng(seed: int) -> Iterator[None]:
    """Seeds the global generators that the libraries draw from, and puts them back as they were."""
    import numpy
    import torch

    kept, kept_numpy = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(kept)
            numpy.random.set_state(kept_numpy)


def _free_trainer_memory() -> None:
    """Gives the memory of a finished training back: accelerate's shared state and the cycles of the trainer."""
    from accelerate.state import AcceleratorState  # type: ignore[import-untyped]

    AcceleratorState._reset_state(reset_partial_state=True)
    free_memory()


def free_memory() -> None:
    """Gives the memory of models back that nothing names any longer."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
