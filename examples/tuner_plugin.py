"""A tuner of your own: lessons from the shortest answer to the longest, with TRL behind it.

tuner: "python:examples.tuner_plugin:ShortFirstTuner"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charter.errors import TuningError
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.model_refs import ModelRef
from charter.records.record import canonical
from charter.records.training_rows import Example, TrainingRow


class ShortFirstTuner:
    """Trains once over the shorter half of the answers, and then over all of them."""

    options = SftOptions(lr=2e-3, epochs=2, batch=4, device="cpu")

    @property
    def identity(self) -> str:
        """What decides the result, as canonical JSON."""
        return canonical({"tuner": "short first 1", "options": self.options})

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        """Returns the model that was written under ``directory``."""
        lessons = sorted((row for row in rows if isinstance(row, Example)), key=lambda row: len(row.response))
        if not lessons:
            raise TuningError("There are no lessons.", "Use a method that trains on lessons.")
        short = [row.model_copy(update={"id": f"{row.id}/short"}) for row in lessons[: len(lessons) // 2]]
        return LocalTuner(self.options).tune(start, [*short, *lessons], directory, seed)
