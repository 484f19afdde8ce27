"""Records as a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    import pandas


def frame(records: Iterable[BaseModel]) -> pandas.DataFrame:
    """A row for each record. The fields of a field are columns of their own, with dots: ``prompt.meta.category``.

    Args:
        records: Of one type. All of them are held in memory.

    Returns:
        Lists stay lists. Beside ``messages`` stands ``text``, the contents of all turns joined by newlines. A field
        that a record leaves out is NaN.
    """
    import pandas

    return pandas.json_normalize([_add_text(record.model_dump(mode="json")) for record in records])


def _add_text(value: Any) -> Any:
    """The value with the text of every conversation within it."""
    if not isinstance(value, dict):
        return value
    out = {key: _add_text(inner) for key, inner in value.items()}
    if isinstance(messages := value.get("messages"), list) and "text" not in value:
        out["text"] = "\n".join(message["content"] for message in messages)
    return out
