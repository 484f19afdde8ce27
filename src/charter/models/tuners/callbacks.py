"""What ends a training before its last step, by what it logs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

TrainLogs = Mapping[str, Any]


def stop_on_nan() -> Any:
    """A callback that ends training once the logged loss is no number; what follows says so."""
    return _stop_when(lambda logs: not math.isfinite(logs.get("loss", 0.0)))


def stop_on_kl(limit: float) -> Any:
    """A callback that ends practice once it is more nats an answer from its reference than ``limit``."""
    return _stop_when(lambda logs: (nats := _kl_per_answer(logs)) is not None and nats > limit)


def describe_early_stop(trainer: Any, limit: float | None) -> tuple[str, ...]:
    """The reason, where practice was ended by its divergence."""
    seen = [(line["step"], nats) for line in trainer.state.log_history if (nats := _kl_per_answer(line)) is not None]
    if limit is None or not seen or seen[-1][1] <= limit:
        return ()
    step, last = seen[-1]
    return (f"practice was ended after step {step}: {last:.1f} nats an answer from the reference (bound {limit:g})",)


def _kl_per_answer(logs: TrainLogs) -> float | None:
    """Nats an answer from the reference, from what is logged of one step of practice: TRL logs a token's."""
    each, length = logs.get("kl"), logs.get("completions/mean_length")
    return None if each is None or length is None else float(each) * float(length)


def _stop_when(over: Callable[[TrainLogs], bool]) -> Any:
    """A callback that ends training where ``over`` says so. No checkpoint is written there: a training that goes on
    from one takes a step before anything can end it."""
    from transformers import TrainerCallback

    class Ending(TrainerCallback):
        def on_log(self, *given: Any, logs: Any = None, **_: Any) -> None:
            _args, _state, control = given
            if over(logs or {}):
                control.should_training_stop, control.should_save = True, False

    return Ending()
