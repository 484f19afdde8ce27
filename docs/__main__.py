"""``python -m docs``: renews the generated parts of every page."""

from __future__ import annotations

from docs import filled, generated, pages

parts = generated()
for page in pages():
    old = page.read_text(encoding="utf-8")
    new = filled(old, parts)
    if new != old:
        page.write_text(new, encoding="utf-8")
        print(page.name)
