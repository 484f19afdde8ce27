"""What ``embedder`` of a spec gives: the target's hidden states, a folder's vectors, or words alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import SpecError
from charter.models.embedders.hidden_states import HiddenStateEmbedder
from charter.models.embedders.static_vectors import FolderEmbedder
from charter.models.engines.local_engine import LocalEngine
from charter.models.weights import resolve_model
from charter.ports import Embedder
from charter.spec import parse_spec
from charter.wiring.embedder import build_embedder
from tests.contracts.test_embedder import static_vectors
from tests.fakes import tiny_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("target"))


def built(folder: Path, **changes: Any) -> Embedder | None:
    spec = parse_spec(json.dumps({"world": "village", "target": {"model": str(folder)}, **changes}))
    start = resolve_model(str(folder))
    return build_embedder(spec, start, lambda: LocalEngine(start), lambda *_: None)


def test_the_target_tells_failures_apart_where_its_weights_are_here(folder: Path) -> None:
    found = built(folder)
    assert isinstance(found, HiddenStateEmbedder)
    assert len(found.embed(["yes", "no"])) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"embedder": "none"},
        {"target": {"model": "organism"}},
        {"target": {"model": "x", "base_url": "http://127.0.0.1:1/v1"}, "method": "red_team"},
        {"options": {"tune": {"kind": "full"}}},
        {"options": {"cluster": {"by": "batch"}}},
    ],
)
def test_words_alone_do_it_elsewhere(folder: Path, changes: dict[str, Any]) -> None:
    assert built(folder, **changes) is None


def test_a_folder_is_read_by_what_wrote_it(folder: Path, tmp_path: Path) -> None:
    static_vectors(tmp_path)
    assert isinstance(built(folder, embedder=str(tmp_path / "static")), FolderEmbedder)
    assert isinstance(built(folder, embedder=str(folder)), HiddenStateEmbedder)
    with pytest.raises(SpecError, match="no folder"):
        built(folder, embedder=str(tmp_path / "absent"))
