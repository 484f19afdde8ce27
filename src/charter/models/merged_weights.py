"""A policy written as one folder: its adapter added to the base's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.errors import EngineError
from charter.models import weights
from charter.models.gguf_files import is_gguf
from charter.records.model_refs import ModelRef


def merge_adapter(model: ModelRef, where: Path, *, offline: bool = False, remote_code: bool = False) -> Path:
    """Writes the model as one folder into ``where`` (made here): the base with its adapter merged in (added up in
    float32, kept in the checkpoint's own dtype), and the tokenizer. Needs the memory of one float32 copy.

    Without an adapter the folder holds links to the base's own files; of a GGUF file, its weights. Raises EngineError;
    then ``where`` may be left half written."""
    base = weights.model_folder(model, offline=offline, remote_code=remote_code)
    policy = weights.verify_files(model) if model.adapter else None
    where.mkdir(parents=True)
    whole = policy or base
    if not is_gguf(whole) and not weights.is_adapter(whole):
        for path in whole.iterdir():
            (where / path.name).symlink_to(path.resolve())
        return where
    loaded = weights.load_model(base, "cpu", "float32", remote_code=remote_code)
    if policy is None:
        return _save_merged(loaded, base, where, remote_code)
    named = json.loads((policy / weights.ADAPTER_CONFIG).read_text(encoding="utf-8")).get("target_modules")
    if tied := weights.list_tied_targets(loaded, named if isinstance(named, list) else ()):
        raise EngineError(
            f"The adapter changes {', '.join(tied)}, which shares its weights with another layer (tied embeddings): "
            "merged, it would change both.",
            "Export it as an adapter, without --merge.",
        )
    return _save_merged(weights.attach_adapter(loaded, policy).merge_and_unload(), base, where, remote_code)


def _save_merged(merged: Any, base: Path, where: Path, remote_code: bool) -> Path:
    """Writes a model in the base's own precision, with the base's tokenizer."""
    with weights.translate_load_errors(where, "Make room on the disk."), weights.quiet_libraries():
        own = weights.load_config(base, remote_code=remote_code).dtype
        merged.to(own or merged.dtype).save_pretrained(str(where))
        weights.load_tokenizer(base, remote_code=remote_code).save_pretrained(str(where))
    return where
