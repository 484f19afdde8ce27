"""The notebooks of ``docs/notebooks``: executed, and turned to pages of the site. ``python -m docs.executed_notebooks``
executes all of them anew, in an empty folder, and keeps what they put out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"
SECONDS_A_CELL = 600


def list_notebooks() -> list[Path]:
    """Every notebook."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, folder: Path) -> Any:
    """The notebook as it is after all of its cells were run in ``folder``, beside copies of the files that it reads.
    Raises CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    for file in FOLDER.glob("*.jsonl"):
        shutil.copy(file, folder)
    settings = {"IPYTHONDIR": str(folder / ".ipython"), "OMP_NUM_THREADS": "1"}
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(folder)}})
    client.execute(env={**os.environ, **settings})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ each time
        if cell.cell_type == "code":  # warnings of libraries name places of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def render_page(path: Path) -> str:
    """A notebook as a page: its texts, its code, and what that put out, without HTML of its own."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    parts = [f"[The notebook itself]({path.name})"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        parts += [_render_output(output) for output in cell.outputs]
    title, *rest = parts[1:]
    return "\n\n".join([title, parts[0], *rest]) + "\n"


def _render_output(output: Any) -> str:
    """A picture, or text as it stands."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![A figure](data:image/png;base64,{''.join(data['image/png'].split())})"
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```"


def _renew(path: Path) -> None:
    import nbformat

    with TemporaryDirectory() as folder:
        nbformat.write(execute(path, Path(folder)), path)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        _renew(Path(given))
    for found in () if sys.argv[1:] else list_notebooks():
        subprocess.run([sys.executable, "-m", "docs.executed_notebooks", str(found)], check=True)
