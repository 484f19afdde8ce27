"""From a spec to what places failures by their meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import SpecError
from charter.models.engines.local_options import LocalOptions
from charter.ports import Embedder
from charter.records.model_refs import ModelRef
from charter.spec import Spec
from charter.wiring import role_models

if TYPE_CHECKING:
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.ray_engine import RayEngine


def build_embedder(
    spec: Spec,
    start: ModelRef,
    load_start: Callable[[], LocalEngine],
    find_workers: Callable[[ModelRef, LocalOptions], RayEngine | None],
) -> Embedder | None:
    """What ``embedder`` names; None where words alone tell failures apart. Raises SpecError, EngineError.

    Args:
        spec: What is asked.
        start: The target.
        load_start: Gives the target's own weights in this process.
        find_workers: Gives the workers of a cluster that hold a model's weights; None where there is no cluster.
    """
    from charter.models.embedders.static_vectors import FolderEmbedder
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.weights import resolve_model

    target, asked = spec.target, spec.embedder
    if not places_by_meaning(spec):
        return None
    if asked == "auto":
        return _read_hidden_states(start, load_start, find_workers(start, role_models.local_options(spec)))
    folder = Path(asked).expanduser()
    if not folder.is_dir():
        raise SpecError(f"embedder: there is no folder {asked}", cure="Name a folder, or write auto or none.")
    if _holds_language_model(folder):
        model = resolve_model(str(folder))
        options = LocalOptions(device=target.device, offline=spec.offline)
        engine = LocalEngine(model, options)
        return _read_hidden_states(model, lambda: engine, find_workers(model, options))
    return FolderEmbedder(folder)


def places_by_meaning(spec: Spec) -> bool:
    """Whether failures are placed by vectors; else their words tell them apart."""
    if spec.embedder == "none" or spec.options.cluster.by == "batch":
        return False
    target = spec.target
    in_process = not target.by_http and not target.serve and target.model != "organism"
    return spec.embedder != "auto" or (in_process and spec.options.tune.kind != "full")


def _read_hidden_states(model: ModelRef, load: Callable[[], LocalEngine], workers: RayEngine | None) -> Embedder:
    from charter.models.embedders.hidden_states import HiddenStateEmbedder
    from charter.models.embedders.ray_embedder import RayEmbedder

    embedder = HiddenStateEmbedder(f"{Path(model.base).name}@{model.base_digest[:16]}", load)
    return embedder if workers is None else RayEmbedder(embedder, workers)


def _holds_language_model(folder: Path) -> bool:
    """Whether transformers' configuration there names a model that writes text."""
    if (folder / "modules.json").is_file() or not (folder / "config.json").is_file():
        return False
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and any("CausalLM" in str(name) for name in config.get("architectures") or ())
