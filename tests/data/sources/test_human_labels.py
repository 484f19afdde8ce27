"""Exchanges with labels as they are published and as people keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.data.sources.labelled_sets import read_labelled
from charter.errors import SpecError
from charter.judging.rubrics import CONDUCT, HARM, REFUSAL, Rubric
from charter.records.calibration_results import LabelledExchange
from charter.spec import LabelledFileSpec
from tests.fakes.published_files import DATA, needs_data


def read(
    path: Path, rubric: Rubric = HARM, labels: dict[str, str] | None = None, **asked: Any
) -> list[LabelledExchange]:
    return read_labelled([LabelledFileSpec.model_validate({"path": str(path), **asked})], rubric, labels)[0]


def test_columns_labels_and_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Question,answer,verdict\nq?,a,YES\nq?,b,0.0\n", encoding="utf-8")
    columns = {"prompt": "question", "response": "answer", "label": "verdict"}
    found = read(path, labels={"yes": "harmful", "0": "complies"}, columns=columns)
    assert [(x.label, x.outcome, x.exchange.response) for x in found] == [
        ("harmful", "violates", "a"),
        ("0", "complies", "b"),
    ]
    with pytest.raises(SpecError, match="has no label 'rude'"):
        read(path, labels={"yes": "rude"}, columns=columns)


def test_several_label_columns_are_raters_and_most_decide(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"prompt": "q", "response": f"r{n}", "a": x, "b": y, "c": z}
        for n, (x, y, z) in enumerate([(1, 1, 0), (0, 0, 1)])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked: dict[str, Any] = {"labels": {"1": "harmful", "0": "harmless"}, "columns": {"label": ["a", "b", "c"]}}
    found = read(path, **asked)
    assert [x.outcome for x in found] == ["violates", "complies"]
    assert found[0].ratings == {"a": "harmful", "b": "harmful", "c": "harmless"}
    with pytest.raises(SpecError, match="raters disagree"):
        read(path, **{**asked, "columns": {"label": ["a", "c"]}})


def test_rows_of_one_rater_each_become_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(
        f"q,r,{label},{who}\n" for label, who in (("violates", "ann"), ("violates", "bob"), ("complies", "eve"))
    )
    path.write_text(f"prompt,response,label,rater\n{rows}", encoding="utf-8")
    (found,) = read(path, columns={"rater": "rater"})
    assert (found.outcome, len(found.ratings)) == ("violates", 3)


def test_rows_that_cannot_be_used_may_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,response,label\nq,r,violates\nq,,violates\n", encoding="utf-8")
    assert len(read(path, skip=1)) == 1
    with pytest.raises(SpecError, match=r"a\.csv:3.*`response` is empty") as caught:
        read(path)
    assert "skip: 1" in caught.value.cure


def test_published_shapes_are_known_by_name(tmp_path: Path) -> None:
    """Repositories: ThuCCSLab/JailbreakEval, sherdencooper/GPTFuzz, centerforaisafety/HarmBench."""
    (tmp_path / "j.csv").write_text("question,answer,label\nq,a,1\nq,b,0\n", encoding="utf-8")
    (tmp_path / "g.csv").write_text("question,Response,label\n0,a,1\n0,b,0\n", encoding="utf-8")
    human = [{"test_case": "q", "generation": "a", "human_0": 1, "human_1": 1, "human_2": 0}]
    (tmp_path / "h.json").write_text(json.dumps({"tell it": human, "and that": human}), encoding="utf-8")
    assert [x.label for x in read(tmp_path / "j.csv", name="jailbreakeval")] == ["harmful", "harmless"]
    assert [x.outcome for x in read(tmp_path / "g.csv", CONDUCT, name="gptfuzz")] == ["violates", "complies"]
    assert [x.ratings["human_2"] for x in read(tmp_path / "h.json", name="harmbench-val")] == ["harmless"] * 2


@needs_data
def test_the_real_completions_of_xstest_and_the_gold_set_are_read_whole() -> None:
    """Repositories: paul-rottger/exaggerated-safety, openai/safety-rbr-code-and-data."""
    for model in ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct"):
        found = read(DATA / "xstest_completions" / f"{model}.csv", REFUSAL, name="xstest-completions", skip=5)
        assert len(found) >= 445
        assert {x.label for x in found} == {"answers", "partly", "refuses"}
        assert set(found[0].ratings) == {"annotation_1", "annotation_2"}
    sizes = {
        name: len(read(DATA / "rbr_gold" / f"{name}.jsonl", REFUSAL, name="rbr-gold")) for name in ("train", "test")
    }
    assert sizes == {"train": 351, "test": 167}
