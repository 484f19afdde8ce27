"""Answers whatever is in their batch: on a tiny model, and on pretrained ones where they lie at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evidence.equal_answers import MODELS, compare_batches, make_requests

from charter.records.chat import user_prompt
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

PROMPTS = [user_prompt(f"What is {thing}, and why do people {do} it?") for thing, do in (
    ("a cake", "bake"), ("the capital of France", "visit"), ("a lock", "pick, or rather: why would anyone ever"),
    ("rain", "watch"), ("a plan", "make"), ("flour", "sift"), ("a rule", "keep, break, forget, change and quote")
)]  # fmt: skip


def test_every_way_is_compared_with_rows_alone(tmp_path: Path) -> None:
    rows = compare_batches("tiny", tiny_models.byte_model(tmp_path), make_requests(PROMPTS, tokens=8))
    assert [(row["batch"], row["tokens"]) for row in rows] == [(1, 4096), *[(8, 512)] * 2, *[(8, 4096)] * 2,
                                                               *[(64, 512)] * 2, *[(64, 4096)] * 2]  # fmt: skip
    assert {row["equal"] for row in rows} == {14}
    assert rows[0]["distinct texts"] > 7


@pytest.mark.skipif(not os.environ.get("CHARTER_MODELS"), reason="CHARTER_MODELS names no folder of models")
@pytest.mark.parametrize("name", MODELS)
def test_pretrained_models_answer_the_same_whatever_the_batch(name: str) -> None:
    folder = Path(os.environ["CHARTER_MODELS"]) / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in CHARTER_MODELS")
    rows = compare_batches(name, folder, make_requests(PROMPTS[:4], tokens=4))
    assert {row["equal"] for row in rows} == {8}
