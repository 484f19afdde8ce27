"""A benchmark of your own: capitals, right where the answer names them.

benchmarks: [{name: capitals, task: "python:examples.benchmark_plugin:Capitals"}]
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from charter.evals.metric_scores import score_metrics
from charter.ports import AnsweredItem, BenchmarkQuestion, Need
from charter.records.chat import user_prompt
from charter.records.measurements import Measurement, Metric, Score

CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Peru": "Lima"}


class Capitals:
    """Asks for capitals, and looks for their names."""

    name, identity = "capitals", "capitals 1"
    needs: frozenset[Need] = frozenset({"answers"})
    styles, metrics, gate_metrics = ("plain",), (Metric(name="right"),), ("right",)

    def questions(self) -> Sequence[BenchmarkQuestion]:
        """One for each country."""
        asked = {land: user_prompt(f"What is the capital of {land}?") for land in CAPITALS}
        return [BenchmarkQuestion(id=f"{land}/plain", item=land, prompt=prompt) for land, prompt in asked.items()]

    def grade(self, answered: Sequence[AnsweredItem], done: Collection[str] = ()) -> Iterator[Measurement]:
        """Whether the answer names the capital; None where there is no answer."""
        for item in (item for item in answered if item.id not in done):
            text = None if item.exchanges[0].stop == "error" else item.exchanges[0].response
            yield Measurement(id=item.id, outcomes={"right": None if text is None else CAPITALS[item.id] in text})

    def scores(self, answered: Sequence[AnsweredItem], measured: Sequence[Measurement]) -> Sequence[Score]:
        """The share of right answers."""
        return score_metrics(self.metrics, measured, self.identity)
