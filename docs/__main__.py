"""``python -m docs``: renews the generated parts of every page, and the diagrams."""

from __future__ import annotations

from docs import filled, generated, pages
from docs.diagrams import FOLDER, render_diagrams

parts = generated()
made = {page: filled(page.read_text(encoding="utf-8"), parts) for page in pages()} | render_diagrams()
FOLDER.mkdir(exist_ok=True)
for path, new in made.items():
    if not path.exists() or path.read_text(encoding="utf-8") != new:
        path.write_text(new, encoding="utf-8")
        print(path.name)
