"""The only thing with memory: a directory in which every finished step is sealed, and read instead of computed."""

from charter.run.directory import Run
from charter.run.metering import Metered, Purpose
from charter.run.steps import Observer, Steps

__all__ = ["Metered", "Observer", "Purpose", "Run", "Steps"]
