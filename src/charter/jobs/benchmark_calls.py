"""What one pass of a benchmark asks, counted before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass

from charter.ports import Benchmark
from charter.spec import MethodOptions, OracleSpec
from charter.wiring.reading_calls import ReadingCalls, plan_reading


@dataclass(frozen=True)
class BenchmarkCalls:
    """``answers`` and ``log_likelihoods`` of models at most, and ``verdicts``: calls of the judge at most."""

    answers: int
    log_likelihoods: int
    verdicts: int


def count_calls(benchmark: Benchmark, options: MethodOptions, judged: bool) -> BenchmarkCalls:
    """The calls of one pass. Each style asks for an answer, or for one each turn. A comparison asks the starting model
    besides, and the judge in both orders. Each vote counts with its retries."""
    questions, pairwise = benchmark.questions(), "baseline" in benchmark.needs
    free = sum(question.completion is None for question in questions)
    turns = sum(options.attack.turns if style == "escalation" else 1 for style in benchmark.styles)
    votes = options.judge.votes * (options.judge.retries + 1)
    read = ReadingCalls(votes) if pairwise else plan_reading(OracleSpec(), options.judge, "", votes)
    return BenchmarkCalls(
        answers=free * (turns + pairwise),
        log_likelihoods=len(questions) - free,
        verdicts=read.count(judged * free * len(benchmark.styles) * (1 + pairwise)),
    )
