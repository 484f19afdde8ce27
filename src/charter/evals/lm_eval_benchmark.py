"""Tasks of lm-evaluation-harness (extra ``lm-eval``), answered by our engines and kept in our records.

The harness builds the requests and computes the figures, as its own command does: once to learn what it asks, and again
with the answers that are on record. Only the model's part is ours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from typing import Any, TypeVar

from charter.evals.lm_eval_tasks import (
    HarnessTask,
    load_tasks,
    make_recorded_model,
    select_documents,
    silence_harness,
    translate_errors,
)
from charter.evals.metric_scores import describe_guessing, score_bootstrap, score_metrics
from charter.ports import AnsweredItem, BenchmarkQuestion, Need
from charter.records.item_ids import join_id, parent_id
from charter.records.measurements import Better, Measurement, Metric, Score
from charter.records.record import digest
from charter.statistics import score_share

_RIGHT = ("acc", "acc_norm")
HarnessResults = dict[str, Any]
T = TypeVar("T")
ByItem = dict[str, dict[str, T]]
_BIAS = "bias_score"
"""BBQ's scores of bias go from -1 to 1; the harness says of them that lower is better, and 0 is."""
_UNBIASED = "0 is no bias: the distance from 0 counts, on either side"
_BETTER: Mapping[bool | None, Better] = {True: "higher", False: "lower"}


class HarnessBenchmark:
    """What ``asked`` names. The task is loaded when it is first needed. Raises SpecError."""

    styles = ("plain",)

    def __init__(self, name: str, asked: HarnessTask) -> None:
        self.name, self._task = name, asked
        self._last_results: tuple[str, HarnessResults] = ("", {})

    @cached_property
    def identity(self) -> str:
        """The harness with its version, the task, and the digest of everything that is asked."""
        asked = digest([[q.id, q.prompt.messages, q.completion, q.sampling] for q in self._questions])[:12]
        shots = "" if self._task.fewshot is None else f" {self._task.fewshot}-shot"
        return f"lm-eval {metadata.version('lm_eval')}: {self._task.task}{shots}@{asked}"

    @property
    def needs(self) -> frozenset[Need]:
        """Log-likelihoods, or answers, in the task's format."""
        given = {q.completion is not None for q in self._questions}
        kinds: dict[bool, Need] = {True: "log-likelihoods", False: "raw answers"}
        if self._task.chat:
            kinds = {True: "chat log-likelihoods", False: "answers"}
        return frozenset(kinds[kind] for kind in given)

    @cached_property
    def metrics(self) -> Sequence[Metric]:
        """Every figure of every task; a figure of several tasks is named after its task."""
        told = self._blank_results["higher_is_better"]

        def better(name: str, task: str, key: str) -> Better:
            return "zero" if _BIAS in name else _BETTER.get(told.get(task, {}).get(key.split(",")[0]), "neither")

        return [
            Metric(name=name, better=better(name, *place), kind="whole") for name, place in self._metric_keys.items()
        ]

    @property
    def gate_metrics(self) -> Collection[str]:
        """Every figure of which more, or less, is better."""
        return [metric.name for metric in self.metrics if metric.better in ("higher", "lower")]

    def questions(self) -> Sequence[BenchmarkQuestion]:
        """Every request of the harness, document by document."""
        return self._questions

    def grade(self, answered: Sequence[AnsweredItem], done: Collection[str] = ()) -> Iterator[Measurement]:
        """What the harness makes of each document: events and values. A figure that only all documents have together is
        not there."""
        events, values = self._document_figures(answered)
        for item in answered:
            if item.id not in done:
                yield Measurement(id=item.id, outcomes=dict(events.get(item.id, {})), values=values.get(item.id, {}))

    def scores(self, answered: Sequence[AnsweredItem], measured: Sequence[Measurement]) -> Sequence[Score]:
        """The harness's own figures; shares with Wilson's interval, other figures with a bootstrap over documents. The
        figure of a group of tasks has an interval where it is the share over all their documents."""
        out, found = [], self._results_for(answered)["results"]
        for metric in self.metrics:
            task, key = self._metric_keys[metric.name]
            value = found[task].get(key)
            if isinstance(value, int | float) and not math.isnan(value):
                score = self._score(metric, float(value), answered, measured)
                known = (score.note, _UNBIASED if _BIAS in metric.name else self._guessed(task, key, score))
                out.append(score.model_copy(update={"note": "; ".join(filter(None, known))}))
        return out

    def _guessed(self, task: str, key: str, score: Score) -> str:
        """What guessing gives, of a share of right choices; BBQ has many words for one of its three."""
        found = self._blank_results["results"][task]
        if score.interval != "wilson" or key.split(",")[0] not in _RIGHT or any(_BIAS in name for name in found):
            return ""
        options: dict[str, set[str]] = {}
        for question in self._questions:
            if question.completion is not None and parent_id(question.item) == task:
                options.setdefault(question.item, set()).add(question.completion)
        many = [len(given) for given in options.values()]
        return describe_guessing(many) if many and min(many) > 1 else ""

    def _score(
        self, metric: Metric, value: float, answered: Sequence[AnsweredItem], measured: Sequence[Measurement]
    ) -> Score:
        task, key = self._metric_keys[metric.name]
        if task not in self._tasks:
            names = {
                name for name, (of, same) in self._metric_keys.items() if same == key and of in self._subtasks(task)
            }
            events = [m.outcomes[name] for m in measured for name in names if name in m.outcomes]
            pooled = score_share(metric, events, self.identity)
            if pooled.value is not None and math.isclose(pooled.value, value, abs_tol=1e-9):
                return pooled
            note = "no interval: the harness's mean over tasks of unequal size"
            return pooled.model_copy(update={"value": value, "low": None, "high": None, "note": note})
        own = [m for m in measured if parent_id(m.id) == task]
        for kind in ("share", "mean"):
            found = score_metrics([metric.model_copy(update={"kind": kind})], own, self.identity)
            if found and found[0].n:
                return found[0].model_copy(update={"value": value})
        rows = [row for row in self._values(answered, task, key) if _counts_for_metric(metric.name, row)]
        aggregate = self._tasks[task].aggregation()[key.split(",")[0]]

        def figure(drawn: Sequence[int]) -> float | None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one = float(aggregate([rows[place] for place in drawn]))
            return None if math.isnan(one) else one

        return score_bootstrap(metric, len(rows), figure, self.identity).model_copy(update={"value": value})

    def _document_figures(self, answered: Sequence[AnsweredItem]) -> tuple[ByItem[bool], ByItem[float]]:
        """By document: the events, and the values between 0 and 1. A figure is an event where it is 0 or 1
        throughout."""
        events: dict[str, dict[str, bool]] = {}
        values: dict[str, dict[str, float]] = {}
        for name, (task, key) in self._metric_keys.items():
            if task not in self._tasks:
                continue
            seen = {id: _document_value(name, value) for id, value in self._by_document(answered, task, key).items()}
            known = {id: value for id, value in seen.items() if value is not None}
            if not known or not all(0 <= value <= 1 for value in known.values()):
                continue
            for id, value in known.items():
                if all(value in (0, 1) for value in known.values()):
                    events.setdefault(id, {})[name] = bool(value)
                else:
                    values.setdefault(id, {})[name] = value
        return events, values

    def _by_document(self, answered: Sequence[AnsweredItem], task: str, key: str) -> dict[str, Any]:
        metric, _, filtered = key.partition(",")
        rows = self._results_for(answered)["samples"][task]
        anew = {doc: place for place, doc in enumerate(self._selected[task])} if self._selected else {}
        found = [row for row in rows if row["filter"] == filtered and metric in row]
        return {join_id(task, anew.get(row["doc_id"], row["doc_id"])): row[metric] for row in found}

    def _values(self, answered: Sequence[AnsweredItem], task: str, key: str) -> list[Any]:
        return list(self._by_document(answered, task, key).values())

    def _results_for(self, answered: Sequence[AnsweredItem]) -> HarnessResults:
        """The harness's results from the answers on record."""
        said: dict[str, Any] = {}
        for item in answered:
            said |= {found.id: (found.value, found.greedy) for found in item.likelihoods}
            said |= {exchange.id: exchange.response for exchange in item.exchanges}
        key = digest(sorted(said.items()))
        if self._last_results[0] != key:
            self._last_results = key, self._run_harness(said)
        return self._last_results[1]

    @cached_property
    def _questions(self) -> tuple[BenchmarkQuestion, ...]:
        told: list[BenchmarkQuestion] = []
        self.__dict__["_blank"] = self._run_harness(None, told)
        places = {item: place for place, item in enumerate(dict.fromkeys(q.item for q in told))}
        return tuple(sorted(told, key=lambda q: places[q.item]))

    @cached_property
    def _blank_results(self) -> HarnessResults:
        """The results from answers that say nothing: which figures there are."""
        return self._run_harness(None)

    @cached_property
    def _metric_keys(self) -> dict[str, tuple[str, str]]:
        """The task and key of each figure, by its name."""
        found: dict[str, dict[str, Any]] = self._blank_results["results"]
        out = {}
        for task, figures in found.items():
            for key in figures:
                metric, _, filtered = key.partition(",")
                if filtered and not metric.endswith("_stderr"):
                    name = metric if filtered == "none" else f"{metric}_{filtered}"
                    out[name if len(found) == 1 else f"{task}.{name}"] = (task, key)
        return out

    def _subtasks(self, group: str) -> set[str]:
        found: dict[str, list[str]] = self._blank_results["group_subtasks"]
        inside = set(found.get(group, ()))
        return inside.union(*(self._subtasks(child) for child in inside))

    @property
    def _tasks(self) -> dict[str, Any]:
        tasks: dict[str, Any] = self._loaded_tasks["tasks"]
        return tasks

    @cached_property
    def _loaded_tasks(self) -> dict[str, Any]:
        with silence_harness(), translate_errors(self._task.task):
            return load_tasks(self._task)

    @cached_property
    def _selected(self) -> dict[str, list[int]] | None:
        """The documents of each task that are asked, where it is a part of them; the harness numbers these anew."""
        with silence_harness(), translate_errors(self._task.task):
            return select_documents(self._task, self._loaded_tasks)

    def _run_harness(
        self, said: Mapping[str, Any] | None, told: list[BenchmarkQuestion] | None = None
    ) -> HarnessResults:
        """One evaluation by the harness; what it asks goes into ``told``."""
        asked, loaded, part = self._task, self._loaded_tasks, self._selected  # these have errors of their own
        with silence_harness(), translate_errors(asked.task):
            from lm_eval.evaluator import evaluate

            found: HarnessResults = evaluate(
                lm=make_recorded_model(said, [] if told is None else told),
                task_dict=loaded,
                samples=part,
                bootstrap_iters=0,
                apply_chat_template=asked.chat,
                fewshot_as_multiturn=asked.chat,
            )
        return found


def _document_value(metric: str, value: Any) -> float | None:
    """What a figure says of one document; None where it says nothing of this one alone."""
    if isinstance(value, tuple) and len(value) == 2 and metric.endswith(("accuracy_amb", "accuracy_disamb")):
        value = value[0] if _counts_for_metric(metric, value) else None
    if isinstance(value, bool | int | float) or hasattr(value, "item"):
        number = float(value)
        return None if math.isnan(number) else number
    return None


def _counts_for_metric(metric: str, value: Any) -> bool:
    """Whether a document counts for a figure of BBQ: of its category, in an ambiguous context or in another one."""
    if not isinstance(value, tuple) or not ("amb_" in metric or metric.endswith("amb")):
        return True
    mask = float(value[-1])
    return not math.isnan(mask) and bool(mask) == ("disamb" in metric)
