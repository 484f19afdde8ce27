"""Evaluate: a model put to the benchmarks that a spec names, and nothing else. It aligns nothing, so that a target that
is only reached by HTTP will do; what it cannot take is said."""

from __future__ import annotations

from charter.methods.benchmark_evaluation import run_benchmarks
from charter.ports import BenchmarkSuite, SkippedBenchmark
from charter.records.chat import Sampling
from charter.records.model_refs import ModelRef
from charter.run import Run


def evaluate(
    run: Run, given: BenchmarkSuite, policy: ModelRef, start: ModelRef, answers: Sampling
) -> list[SkippedBenchmark]:
    """Measures ``policy``; ``start`` is the starting model that it may be compared with."""
    return run_benchmarks(run.steps("000"), policy, start, given, answers)
