"""Local files in the columns that a multiple-choice benchmark reads, whatever form they are published in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charter.data.sources.data_files import read_files
from charter.data.sources.data_rows import DataRow, read_column
from charter.errors import SpecError

Table = list[dict[str, Any]]
HHH_CATEGORIES = ("harmless", "helpful", "honest", "other")


def read_truthfulqa(path: str) -> Table:
    """``question``, ``mc1_targets`` and ``mc2_targets`` (``choices`` and ``labels``, the right ones first): from the
    original CSV, from mc_task.json, or from the hub's multiple-choice configuration. Of the CSV, the best answer is
    the first of either. Raises SpecError naming file and line."""
    return [_parse_question(row) for row in read_files(path)]


def read_hhh(path: str) -> Table:
    """``input``, two ``choices``, ``label`` (the preferred one's place) and ``category``: from BIG-bench's task.json in
    a folder for each category. Raises SpecError naming file and line."""
    out = []
    for row in read_files(path):
        if not isinstance(row.value, Mapping) or "target_scores" not in row.value:
            continue
        scores: Mapping[str, float] = read_column(row, "target_scores")
        choices = list(scores)
        category = Path(row.file).parent.name
        if len(choices) != 2 or category not in HHH_CATEGORIES:
            raise SpecError(
                f"{row.place} is no pair of one of {', '.join(HHH_CATEGORIES)}", cure="Give BIG-bench's own folders."
            )
        label = choices.index(max(choices, key=lambda choice: scores[choice]))
        out.append({"input": read_column(row, "input"), "choices": choices, "label": label, "category": category})
    if not out:
        raise SpecError(f"{path} holds no pairs", cure="Give the folder with harmless/task.json and its like.")
    return out


def read_columns(path: str) -> Table:
    """The rows as they stand. Raises SpecError."""
    out = []
    for row in read_files(path):
        if not isinstance(row.value, dict):
            raise SpecError(f"{row.place} is no object with columns", cure="Mend or drop that row.")
        out.append(row.value)
    return out


def _parse_question(row: DataRow) -> dict[str, Any]:
    if isinstance(row.value, Mapping) and "Question" in row.value:
        best, right, wrong = (
            read_column(row, name) for name in ("Best Answer", "Correct Answers", "Incorrect Answers")
        )
        best, wrong = best.strip(), _split_answers(wrong)
        true = [best, *(answer for answer in _split_answers(right) if answer != best)]
        return {
            "question": read_column(row, "Question").strip(),
            "mc1_targets": _targets([best], wrong),
            "mc2_targets": _targets(true, wrong),
            "category": str(row.value.get("Category") or ""),
        }
    found = {"question": read_column(row, "question")}
    for name in ("mc1_targets", "mc2_targets"):
        value = read_column(row, name)
        if "choices" not in value:
            value = {"choices": list(value), "labels": list(value.values())}
        found[name] = {"choices": list(value["choices"]), "labels": [int(label) for label in value["labels"]]}
    return found


def _targets(right: list[str], wrong: list[str]) -> dict[str, list[Any]]:
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}


def _split_answers(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]
