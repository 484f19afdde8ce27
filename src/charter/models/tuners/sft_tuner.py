"""Supervised fine-tuning in this process, behind ``ports.Tuner``."""

from __future__ import annotations

from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions


class SftTuner(LocalTuner):
    """Trains a policy from lessons."""

    def __init__(self, options: SftOptions | None = None) -> None:
        super().__init__(options or SftOptions())
