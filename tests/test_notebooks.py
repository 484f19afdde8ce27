"""The notebooks run as they stand, and their pages show what they put out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docs.executed_notebooks import execute, list_notebooks, render_page

NOTEBOOKS = list_notebooks()
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
MOST_BYTES = 150_000


@every_notebook
def test_a_notebook_was_executed_from_top_to_bottom(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert {output["output_type"] for output in outputs} <= {"execute_result", "display_data", "stream"}
    assert path.stat().st_size < MOST_BYTES


@every_notebook
def test_its_page_has_texts_code_and_figures(path: Path) -> None:
    page = render_page(path)
    assert page.startswith("# ")
    assert f"]({path.name})" in page
    assert "```python\n" in page
    assert "data:image/png;base64,i" in page
    assert "<div" not in page
    assert "site-packages" not in page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@every_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    before = json.loads(path.read_text(encoding="utf-8"))["cells"]
    after = execute(path, tmp_path).cells
    assert [cell.cell_type for cell in after] == [cell["cell_type"] for cell in before]
    assert [len(cell.get("outputs", ())) for cell in after] == [len(cell.get("outputs", ())) for cell in before]


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["judge-and-audit", "read-a-run"]
