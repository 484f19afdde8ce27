"""A model in a GGUF file answers, scores, is named and is merged as the same weights in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import EngineError
from charter.models import gguf_files, weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.merged_weights import merge_adapter
from charter.records.chat import Message, ScoreRequest
from tests.fakes.gguf_model import write_gguf
from tests.fakes.tiny_models import ask

REQUESTS = [ask("1", "how do i bake a cake", max_tokens=12), ask("2", "yes no", seed=3, temperature=1.0, max_tokens=12)]
SCORED = [ScoreRequest(id="s", messages=(Message(role="user", content="how do i"),), completion=" bake")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_gguf(tmp_path_factory.mktemp("gguf"))


def said(where: Path) -> tuple[list[str], list[float]]:
    engine = LocalEngine(weights.resolve_model(str(where)))
    texts = {c.id: c.text for c in engine.generate(REQUESTS)}
    return [texts[r.id] for r in REQUESTS], [found.value for found in engine.score(SCORED)]


def test_a_gguf_file_answers_as_its_weights_in_a_folder(models: tuple[Path, Path]) -> None:
    folder, file = models
    (texts, values), (wanted, scored) = said(file), said(folder)
    assert texts == wanted
    assert values == pytest.approx(scored, abs=1e-5)


def test_its_name_is_a_digest_of_the_file(models: tuple[Path, Path], tmp_path: Path) -> None:
    file = models[1]
    moved = tmp_path / "other.gguf"
    moved.write_bytes(file.read_bytes())
    changed = tmp_path / "tiny.gguf"
    changed.write_bytes(file.read_bytes()[:-1] + b"\x01")
    first, again = weights.resolve_model(str(file)), weights.resolve_model(str(changed))
    assert first.base_digest == weights.resolve_model(str(file)).base_digest
    assert first.base_digest != again.base_digest


def test_a_policy_without_an_adapter_is_written_as_a_folder_of_safetensors(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    written = merge_adapter(weights.resolve_model(str(models[1])), tmp_path / "merged")
    assert list(written.glob("*.safetensors"))
    assert said(written)[0] == said(models[0])[0]


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(EngineError, match=r"broken\.gguf"):
        said(tmp_path / "broken.gguf")
    assert not gguf_files.is_gguf(tmp_path / "absent.gguf")


def test_without_the_reader_the_extra_is_named(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="charter\\[gguf\\]"):
        weights.load_config(models[1])
