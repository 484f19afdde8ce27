"""Texts placed by the mean of their words' vectors: a folder that model2vec or sentence-transformers wrote."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from charter.errors import EngineError
from charter.models.weights import file_digests, quiet_libraries, translate_load_errors
from charter.records.record import digest

PACKAGES = {"model2vec": "model2vec", "sentence-transformers": "sentence_transformers"}
"""The packages that read such folders, by the extra that installs them."""


class FolderEmbedder:
    """Reads texts with the model in a folder; it loads when texts are first placed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model: Any = None
        self._package = "model2vec" if _has_static_vectors(folder) else "sentence-transformers"
        self._digest = digest(file_digests(folder, ("*.safetensors", "*.json", "*/*.safetensors", "*/*.json")))[:16]

    @property
    def identity(self) -> str:
        """The folder's name, its digest, and what reads it."""
        return f"{self._package}:{self.folder.name}@{self._digest}"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order. Raises EngineError."""
        if not texts:
            return []
        model = self._model or self._load()
        with translate_load_errors(self.folder, "Use a folder whose vectors fit its tokenizer."), quiet_libraries():
            return [[float(number) for number in row] for row in model.encode(list(texts))]

    def _load(self) -> Any:
        module = PACKAGES[self._package]
        if find_spec(module) is None:
            raise EngineError(f"{self.folder} is read by {self._package}.", f"pip install {self._package}")
        with translate_load_errors(self.folder, "Name a folder that it wrote."), quiet_libraries():
            if self._package == "model2vec":
                from model2vec import StaticModel

                self._model = StaticModel.from_pretrained(self.folder)
            else:
                make = import_module("sentence_transformers").SentenceTransformer
                self._model = make(str(self.folder), trust_remote_code=False, local_files_only=True)
        return self._model


def _has_static_vectors(folder: Path) -> bool:
    """Whether the folder holds a table of vectors alone, which model2vec reads; it may list itself as a module."""
    listed = folder / "modules.json"
    return not listed.is_file() or "StaticEmbedding" in listed.read_text(encoding="utf-8", errors="replace")
