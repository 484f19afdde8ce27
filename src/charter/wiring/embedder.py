"""From a spec to what places failures by their meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.ports import Embedder
from charter.records.model_refs import ModelRef
from charter.spec import Spec

if TYPE_CHECKING:
    from charter.models.engines.local_engine import LocalEngine


def build_embedder(spec: Spec, start: ModelRef, load_start: Callable[[], LocalEngine]) -> Embedder | None:
    """What ``embedder`` names; None where words alone tell failures apart. ``load_start`` gives the target's own
    weights. Raises SpecError, EngineError."""
    from charter.models.embedders.hidden_states import HiddenStateEmbedder
    from charter.models.embedders.static_vectors import FolderEmbedder
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions
    from charter.models.weights import resolve_model

    target, asked = spec.target, spec.embedder
    if not places_by_meaning(spec):
        return None
    if asked == "auto":
        return HiddenStateEmbedder(f"{Path(start.base).name}@{start.base_digest[:16]}", load_start)
    folder = Path(asked).expanduser()
    if not folder.is_dir():
        raise SpecError(f"embedder: there is no folder {asked}", cure="Name a folder, or write auto or none.")
    if _holds_language_model(folder):
        model = resolve_model(str(folder))
        engine = LocalEngine(model, LocalOptions(device=target.device, offline=spec.offline))
        return HiddenStateEmbedder(f"{folder.name}@{model.base_digest[:16]}", lambda: engine)
    return FolderEmbedder(folder)


def places_by_meaning(spec: Spec) -> bool:
    """Whether failures are placed by vectors; else their words tell them apart."""
    if spec.embedder == "none" or spec.options.cluster.by == "batch":
        return False
    target = spec.target
    in_process = not target.by_http and not target.serve and target.model != "organism"
    return spec.embedder != "auto" or (in_process and spec.options.tune.kind != "full")


def _holds_language_model(folder: Path) -> bool:
    """Whether transformers' configuration there names a model that writes text."""
    if (folder / "modules.json").is_file() or not (folder / "config.json").is_file():
        return False
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and any("CausalLM" in str(name) for name in config.get("architectures") or ())
