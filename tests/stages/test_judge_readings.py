"""What is learnt about probabilities of labels, without a look at the label that is judged."""

from __future__ import annotations

import json

import pytest

from charter.judging.rubrics import HARM
from charter.records.calibration_results import LabelledExchange
from charter.records.verdicts import Verdict
from charter.stages.judge_readings import compare_readings, cross_fit_verdicts, learn_fit, summarise_probe
from tests.fakes.example_records import said


def known(id: str, violates: bool, file: str = "one") -> LabelledExchange:
    exchange = said(f"prompt {id}", id, f"response {id}")
    exchange = exchange.model_copy(update={"prompt": exchange.prompt.model_copy(update={"source": file})})
    label = "harmful" if violates else "harmless"
    return LabelledExchange(id=id, exchange=exchange, outcome=HARM.outcomes[label], label=label)


def weighed(id: str, p: float) -> Verdict:
    label = "harmful" if p >= 0.5 else "harmless"
    shares = json.dumps({"harmful": p, "harmless": round(1 - p, 6)})
    outcome = HARM.outcomes[label]
    how = {"raw": shares, "severity": None, "probability": p, "threshold": 0.5}
    return Verdict.model_validate({"id": id, "rubric": "harm", "label": label, "outcome": outcome, **how})


def skewed(file: str, at: float, n: int = 20) -> tuple[list[LabelledExchange], list[Verdict]]:
    """A file whose exchanges violate from a probability on that is far above one half."""
    values = [at + (k - n // 2) / (10 * n) for k in range(n)]
    rows = [known(f"{file}{k}", value >= at, file) for k, value in enumerate(values)]
    return rows, [weighed(row.id, round(value, 6)) for row, value in zip(rows, values, strict=True)]


def test_a_judge_that_calls_everything_harmful_is_mended_by_a_threshold() -> None:
    """A threshold turns log-probabilities with an order into verdicts: specificity 0 of 10 before, nearly all after."""
    rows, verdicts = skewed("one", 0.9)
    assert all(verdict.outcome == "violates" for verdict in verdicts)
    fit = learn_fit(rows, verdicts, HARM, "threshold")
    assert 0.89 < fit.threshold < 0.901
    crossed = {v.id: v for v in cross_fit_verdicts(rows, verdicts, HARM, "threshold")}
    right = sum(crossed[row.id].outcome == row.outcome for row in rows)
    assert right >= 18
    assert {v.label for v in crossed.values()} == {"harmful", "harmless"}


def test_a_file_is_judged_by_what_the_other_files_teach() -> None:
    low, high = skewed("low", 0.3), skewed("high", 0.8)
    rows, verdicts = [*low[0], *high[0]], [*low[1], *high[1]]
    crossed = {v.id: v for v in cross_fit_verdicts(rows, verdicts, HARM, "threshold")}
    assert {crossed[row.id].outcome for row in low[0]} == {"complies"}
    assert {crossed[row.id].outcome for row in high[0]} == {"violates"}


def test_no_fit_ever_saw_the_label_that_it_decides() -> None:
    rows, verdicts = skewed("one", 0.9)
    before = {v.id: v for v in cross_fit_verdicts(rows, verdicts, HARM, "isotonic")}
    for number in (0, 7, 19):
        turned = list(rows)
        turned[number] = known(rows[number].id, rows[number].outcome != "violates")
        after = {v.id: v for v in cross_fit_verdicts(turned, verdicts, HARM, "isotonic")}
        assert after[rows[number].id] == before[rows[number].id]


def test_unjudged_ones_stay_so_and_one_outcome_alone_teaches_nothing() -> None:
    rows = [known("a", True), known("b", True)]
    lost = Verdict(id="b", rubric="harm", label=None, outcome="unjudged", why="x")
    verdicts = [weighed("a", 0.7), lost]
    assert learn_fit(rows, verdicts, HARM, "platt").threshold == 0.5
    assert cross_fit_verdicts(rows, verdicts, HARM, "platt") == verdicts


def test_readings_are_compared_on_the_same_labels() -> None:
    rows, verdicts = skewed("one", 0.9)
    words = [v.model_copy(update={"probability": None, "threshold": None}) for v in verdicts]
    crossed = cross_fit_verdicts(rows, verdicts, HARM, "threshold")
    in_words, by_label = compare_readings(rows, {"rationale": words, "label": crossed})
    assert (in_words.id, in_words.balanced_accuracy, in_words.youden, in_words.auc) == ("rationale", 0.5, 0.0, None)
    assert (in_words.prompts, by_label.prompts) == (20, 40)
    assert by_label.youden is not None
    assert by_label.youden_low is not None
    assert by_label.youden >= 0.8
    assert by_label.youden_low > 0.3
    assert by_label.auc == pytest.approx(1.0)


def test_what_a_probe_cannot_judge_counts_against_the_judge() -> None:
    rows = [known("a", True), known("b", True), known("c", False)]
    lost = Verdict(id="b", rubric="harm", label=None, outcome="unjudged", why="x")
    probe = summarise_probe("judge", "m", rows, [weighed("a", 0.9), lost, weighed("c", 0.1)])
    assert (probe.caught, probe.violating, probe.cleared, probe.complying, probe.unjudged) == (1, 2, 1, 1, 1)
    assert probe.line == (
        "the judge agreed with 2 of 3 shipped exchanges: caught 1 of 2, cleared 1 of 1; 1 could not be judged"
    )
