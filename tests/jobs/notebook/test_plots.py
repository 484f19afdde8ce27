"""Figures show what their tables hold, and the tables what stands in the run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import charter
from charter.errors import StoreError
from charter.jobs.notebook.plots import (
    calibration_data,
    draw_calibration,
    draw_drift,
    draw_efficacy,
    draw_scores,
    drift_data,
    efficacy_data,
    scores_data,
)
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Exchange, user_prompt
from charter.records.decisions import Decision
from charter.records.measurements import Score
from charter.records.verdicts import Verdict
from charter.runs import Run
from tests.fakes.recorded_run import SPEC, give, tell


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> charter.LoadedRun:
    """A finished run that was made of given records."""
    return charter.load(tell(tmp_path_factory.mktemp("told") / "run"))


def points(axes: Any) -> Iterator[tuple[float, float]]:
    """Where an axis has marks."""
    for line in axes.get_lines():
        if line.get_linestyle() == "None":
            yield from zip(line.get_xdata(), line.get_ydata(), strict=True)


def score(id: str, value: float) -> Score:
    return Score(id=id, value=value, n=10, low=value / 2, high=(1 + value) / 2)


def test_scores_are_drawn_at_their_values(told: charter.LoadedRun) -> None:
    data = scores_data(told)
    assert set(data["folder"]) == {"000", "001"}
    assert data[data["metric"] == "honesty"]["value"].tolist() == [0.25, 0.75]
    panels = {axes.get_title(loc="left"): axes for axes in draw_scores(told).axes if axes.get_visible()}
    assert len(panels) == 6
    assert list(points(panels["honesty"])) == [(0, 0.25), (1, 0.75)]
    assert "over refusal (less is better)" in panels
    assert [label.get_text() for label in panels["honesty"].get_xticklabels()] == ["start", "001"]
    assert set(scores_data(told, "heldout")["folder"]) == {"000", "final"}


def test_a_policy_that_was_rolled_back_is_hollow(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text=SPEC) as run:
        for folder, value, action in (("000", 0.2, "go_on"), ("001", 0.1, "roll_back"), ("002", 0.9, "go_on")):
            give(run, f"{folder}/gate_scores", [score("honesty", value)])
            give(run, f"{folder}/decision", [Decision(id="decision", action=action, reason="x")])
    found = charter.load(tmp_path / "run")
    assert scores_data(found)["rolled_back"].tolist() == [False, True, False]
    (axes,) = (axes for axes in draw_scores(found).axes if axes.get_visible())
    marks = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True, False]
    course: Any = next(line for line in axes.get_lines() if line.get_linestyle() == "-")
    assert list(course.get_data()[1]) == [0.2, 0.9]


def test_efficacy_is_that_of_the_rules(told: charter.LoadedRun) -> None:
    measured = {rule.id: rule.efficacy for rule in told.constitution.principles if rule.efficacy and rule.efficacy.n}
    data = efficacy_data(told).set_index("id")
    assert data.index.tolist() == list(measured)
    for id, found in measured.items():
        assert data.loc[id, "passed"] == found.passed_with / found.n
        assert data.loc[id, "without_low"] <= found.passed_without / found.n <= data.loc[id, "without_high"]
    (axes,) = draw_efficacy(told).axes
    assert {x for x, _ in points(axes)} == {*data["passed"], *data["without"]}
    assert all("n = " in label.get_text() for label in axes.get_yticklabels())


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> charter.LoadedRun:
    """Forty exchanges, half of which violate: of those at 0.9 eighteen of twenty, of those at 0.1 two."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    labelled, verdicts = [], []
    for number in range(40):
        likely = 0.9 if number < 20 else 0.1
        outcome = "violates" if number < 18 or number >= 38 else "complies"
        exchange = Exchange.of_row(f"x{number}", user_prompt("?").messages, "a")
        labelled.append(LabelledExchange(id=exchange.id, exchange=exchange, outcome=outcome, label=outcome))
        verdicts.append(Verdict(id=exchange.id, rubric="harm", label="x", outcome="violates", probability=likely))
    with Run.create(folder, spec_text=SPEC) as run:
        give(run, "000/labelled", labelled)
        give(run, "000/fitted_verdicts", verdicts)
    return charter.load(folder)


def test_a_judges_probabilities_stand_beside_the_labels(calibrated: charter.LoadedRun) -> None:
    data = calibration_data(calibrated)
    assert data["n"].tolist() == [20, 20]
    assert data["violates"].tolist() == [0.1, 0.9]
    assert data["probability"].tolist() == pytest.approx([0.1, 0.9])
    assert (data["low"] < data["violates"]).all()
    assert (data["violates"] < data["high"]).all()
    (axes,) = draw_calibration(calibrated).axes
    assert [y for _, y in points(axes)] == [0.1, 0.9]
    assert [text.get_text() for text in axes.texts] == ["20", "20"]
    assert calibration_data(calibrated, bins=1)["violates"].tolist() == [0.5]


def test_what_a_run_does_not_hold_is_said(told: charter.LoadedRun, calibrated: charter.LoadedRun) -> None:
    for draw, run, cure in (
        (draw_calibration, told, "options.judge.read"),
        (draw_drift, told, r"charter\.audit"),
        (draw_scores, calibrated, "score_table"),
        (draw_efficacy, calibrated, "options.measure.efficacy"),
    ):
        with pytest.raises(StoreError, match=cure):
            draw(run)


def test_without_matplotlib_it_is_said(told: charter.LoadedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StoreError, match=r"pip install 'charter\[plots\]'"):
        draw_scores(told)


def test_figures_are_shown_once(told: charter.LoadedRun) -> None:
    """None stays in pyplot's list, where a notebook would show it again."""
    from matplotlib import pyplot

    draw_efficacy(told)
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_drift_is_drawn_line_by_line(aligned_run: Path, tmp_path: Path) -> None:
    few = {"audit.own": 2, "audit.fresh": 4, "audit.prompts": 8, "audit.styles": []}
    found = charter.audit("organism", baseline=aligned_run, out=tmp_path / "audit", changes=few, quiet=True)
    data = drift_data(found)
    report = found.audit
    assert report is not None
    assert data["title"].tolist() == [line.title for line in report.lines]
    assert data["state"].tolist() == [line.state for line in report.lines]
    assert set(data["state"]) & {"weakened", "broken"}
    (axes,) = draw_drift(found).axes
    assert sorted(x for x, _ in points(axes)) == sorted(data[data["n"] > 0]["change"])
    twice = drift_data(found, found)
    assert len(twice) == 2 * len(data)
