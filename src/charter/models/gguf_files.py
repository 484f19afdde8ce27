"""Models in one GGUF file, read by transformers' own reader: their weights become plain numbers of a torch dtype.

A quantised file gives the numbers that it holds, not those that were quantised. The reader needs the package ``gguf``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from charter.errors import EngineError

SUFFIX = ".gguf"
READER_CURE = "pip install 'charter[gguf]'"


def is_gguf(where: Path) -> bool:
    """Whether this is a model in a GGUF file."""
    return where.suffix.lower() == SUFFIX and where.is_file()


def reader_arguments(where: Path) -> dict[str, Any]:
    """What transformers' loaders are told of a folder or GGUF file: where it lies, and its name there. Raises
    EngineError where the reader's package is missing."""
    if not is_gguf(where):
        return {"pretrained_model_name_or_path": str(where)}
    if find_spec("gguf") is None:
        raise EngineError(f"{where} is a GGUF file, and its reader is not installed.", READER_CURE)
    return {"pretrained_model_name_or_path": str(where.parent), "gguf_file": where.name}


def forget_quantisation(model: Any) -> Any:
    """The model without the notes of the file's quantisation: its weights are plain numbers, which can be trained and
    saved."""
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model
