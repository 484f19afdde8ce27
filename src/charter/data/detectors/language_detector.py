"""Languages by py3langid (BSD licence), offline."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import Any

from charter.errors import EngineError

MIN_CHARACTERS = 20
"""Characters from which a text's language is told; of shorter ones it is guesswork."""


class LangidDetector:
    """Raises EngineError where the extra is not installed."""

    @property
    def identity(self) -> str:
        """Library and version."""
        return f"py3langid {version('py3langid')}"

    def detect(self, text: str) -> str:
        """ISO 639-1 code; nothing for very short texts."""
        return str(self._classify(text)[0]) if len(text.strip()) >= MIN_CHARACTERS else ""

    @cached_property
    def _classify(self) -> Any:
        try:
            import py3langid
        except ModuleNotFoundError as error:
            what = "Telling languages apart needs a package that is not installed: py3langid."
            raise EngineError(what, "pip install 'charter[curate]', or give the rows a `language`.") from error
        return py3langid.classify
