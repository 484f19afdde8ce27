"""Texts in a table that a spreadsheet opens: none of them is a formula there."""

from __future__ import annotations

import unicodedata

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Signs with which a formula begins, also in their wide forms."""
_UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Kinds of characters that a spreadsheet may pass over before such a sign (Unicode's general categories)."""


def escape_formula(text: str) -> str:
    """The text, after an apostrophe where a spreadsheet would take it for a formula; so is a text that looks like one
    that was escaped."""
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unescape_formula(text: str) -> str:
    """The text as it was before ``escape_formula``."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    seen = next((at for at, sign in enumerate(text) if unicodedata.category(sign) not in _UNSEEN), len(text))
    return text.startswith(_FORMULA, seen) or text[:1] in ("\t", "\r")
