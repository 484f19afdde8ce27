"""What the program does, a use case a module: run, resume, chain, audit, evaluate, calibrate, curate, export, review,
feedback.

The command line calls these functions. Each reads a spec, binds its objects and takes the work to its end.
"""

from charter.jobs.battery_builder import audit_spec, parse_benchmarks, write_battery
from charter.jobs.evaluation_job import evaluation_spec
from charter.jobs.job_builder import forecast_run
from charter.jobs.launch import collect_environment, continue_run, launch_run, resume_run
from charter.jobs.policy_export import export_policy
from charter.jobs.transcripts import write_csv, write_inspect

__all__ = [
    "audit_spec",
    "collect_environment",
    "continue_run",
    "evaluation_spec",
    "export_policy",
    "forecast_run",
    "launch_run",
    "parse_benchmarks",
    "resume_run",
    "write_battery",
    "write_csv",
    "write_inspect",
]
