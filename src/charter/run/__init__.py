"""The only thing with memory: a directory in which every finished step is sealed, and read instead of computed."""

from charter.run.directory import Run
from charter.run.ledger import MeteredEngine, Purpose
from charter.run.steps import CallWatcher, Observer, Steps

__all__ = ["CallWatcher", "MeteredEngine", "Observer", "Purpose", "Run", "Steps"]
