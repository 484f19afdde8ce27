"""The one place that turns a spec into live objects and sets a run going. Plain functions, nothing registered.

``launching``: begin and resume; ``chaining``: methods after one another; ``exporting``: policies for others;
``transcripts``: answers and scores for others; ``assembly``: the live objects of one spec; ``models``: target, tuner
and oracles; ``prompts``: sources and splits; ``forecast``: what a run would do at most.
"""

from charter.jobs.battery_builder import audit_spec, parse_benchmarks, write_battery
from charter.jobs.evaluation_job import evaluation_spec as to_evaluate
from charter.jobs.forecast import forecast_run
from charter.jobs.launch import collect_environment, continue_run, launch_run, resume_run
from charter.jobs.policy_export import export_policy
from charter.jobs.transcripts import write_csv, write_inspect
from charter.wiring.components import Components

__all__ = [
    "Components",
    "audit_spec",
    "forecast_run",
    "collect_environment",
    "export_policy",
    "parse_benchmarks",
    "continue_run",
    "launch_run",
    "resume_run",
    "to_evaluate",
    "write_battery",
    "write_csv",
    "write_inspect",
]
