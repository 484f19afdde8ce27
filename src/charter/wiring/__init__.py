"""The one place that turns a spec into live objects and sets a run going. Plain functions, nothing registered.

``launching``: begin and resume; ``chaining``: methods after one another; ``exporting``: policies for others;
``transcripts``: answers and scores for others; ``assembly``: the live objects of one spec; ``models``: target, tuner
and oracles; ``prompts``: sources and splits; ``forecast``: what a run would do at most.
"""

from charter.wiring.assembly import Assembly
from charter.wiring.batteries import asked_for, further, write_battery
from charter.wiring.continuing import go_on
from charter.wiring.evaluating import spec_text as to_evaluate
from charter.wiring.exporting import export
from charter.wiring.forecast import dry_run
from charter.wiring.launching import environment, launch, resume
from charter.wiring.transcripts import write_csv, write_inspect

__all__ = [
    "Assembly",
    "asked_for",
    "dry_run",
    "environment",
    "export",
    "further",
    "go_on",
    "launch",
    "resume",
    "to_evaluate",
    "write_battery",
    "write_csv",
    "write_inspect",
]
