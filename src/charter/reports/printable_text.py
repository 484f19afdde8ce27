"""Text of models and users as a person may see it, on a terminal or on a page."""

from __future__ import annotations


def escape_controls(text: object) -> str:
    """Text that cannot steer a terminal: control characters, escapes and writing-direction marks replaced."""
    shown = str(text)
    if shown.replace("\n", "").replace("\t", "").isprintable():
        return shown
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in shown)
