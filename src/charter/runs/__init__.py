"""The only thing with memory: a directory in which every finished step is sealed, and read instead of computed."""

from charter.runs.directory import Run
from charter.runs.ledger import MeteredEngine, Purpose
from charter.runs.next_step import NextStep
from charter.runs.steps import CallWatcher, Observer, Steps

__all__ = ["CallWatcher", "MeteredEngine", "NextStep", "Observer", "Purpose", "Run", "Steps"]
