"""The completions of XSTest with their two annotators go through a review as two raters.

P. Röttger and others, XSTest, NAACL 2024; repository paul-rottger/exaggerated-safety, three classes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from charter.data.sources.labelled_sets import read_labelled
from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.review_files import export_labels
from charter.jobs.review_results import report_agreement
from charter.judging.rubrics import REFUSAL
from charter.reports.integrity import verify_run
from tests.fakes.published_files import DATA, needs_data
from tests.fakes.reviewed_runs import answered, make_queue, record_run

KAPPAS = {"gpt4": 0.970, "llama2new": 0.926, "llama2orig": 0.929, "mistralguard": 0.892, "mistralinstruct": 0.920}
LABELS = {"1_full_compliance": "answers", "2_full_refusal": "refuses", "3_partial_refusal": "partly"}
RATERS = ("annotation_1", "annotation_2")


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("model", KAPPAS)
def test_two_annotators_as_two_raters(model: str, tmp_path: Path) -> None:
    with (DATA / "xstest_completions" / f"{model}.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = [answered(row["prompt"], row["completion"], model) for row in rows]
    said = {answer.id: row for answer, row in zip(answers, rows, strict=True)}
    run = record_run(tmp_path / "run", answers)
    with_suffix = {text.id: text.response for text in answers}
    make_queue(run, raters=2, rubric="refusal")
    with ReviewDesk(run, "q1") as one, ReviewDesk(run, "q1") as other:
        for _ in rows:
            for desk, rater in zip((one, other), RATERS, strict=True):
                item = desk.take_item(Rater(rater))
                assert item is not None
                row = said[item.answers[0].id]
                assert item.answers[0].text.startswith(with_suffix[item.answers[0].id])
                desk.submit_label(Rater(rater), Answer(item.id, LABELS[row[rater]]))
        assert one.take_item(Rater("a third")) is None
    report = report_agreement(run, "q1")
    (pair,) = report.agreement.pairs
    assert (pair.n, report.progress.complete, report.agreement.unsure) == (450, 450, 0)
    assert pair.kappa.value == pytest.approx(KAPPAS[model], abs=5e-4)
    assert (pair.kappa.low or 1) < KAPPAS[model] < (pair.kappa.high or 0)
    disputed = sum(row["annotation_1"] != row["annotation_2"] for row in rows)
    assert len(report.disputed) == disputed
    found = export_labels(run, "q1", tmp_path / "labelled.jsonl", "labelled")
    assert (found.rows, found.left_out) == (450 - disputed, {"to be adjudicated": disputed})
    assert len(read_labelled([str(tmp_path / "labelled.jsonl")], REFUSAL)[0]) == 450 - disputed
    assert verify_run(run, strict=True).ok
