"""A LoRA adapter written as GGUF holds the numbers of PEFT, in the order of rows that llama.cpp reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError
from charter.models import weights
from charter.models.gguf_adapters import write_gguf_adapter
from tests.fakes import tiny_models

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.byte_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on every linear layer, with numbers drawn at random."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights=False)
    where = tmp_path_factory.mktemp("adapter")
    with weights.quiet_libraries():
        get_peft_model(weights.load_model(base, "cpu"), config).save_pretrained(str(where))
    return where


def written(adapter: Path, base: Path, where: Path) -> dict[str, Any]:
    """The tensors of the GGUF file by their names, and its fields under ``fields``."""
    reader = gguf.GGUFReader(str(write_gguf_adapter(adapter, weights.load_config(base), where)))
    return {t.name: t.data for t in reader.tensors} | {"fields": {k: f.contents() for k, f in reader.fields.items()}}


def test_the_file_holds_each_half_of_each_layer_as_the_readers_of_gguf_turn_it(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """Read back by transformers' own reader of Llama's layers, the rows are those of PEFT."""
    from safetensors.numpy import load_file
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    config = weights.load_config(base)
    found, known = written(adapter, base, tmp_path / "a.gguf"), load_file(adapter / weights.ADAPTER_WEIGHTS)
    fields = found.pop("fields")
    assert fields["general.architecture"] == "llama"
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["adapter.lora.alpha"] == 6
    assert len(found) == len(known) == config.num_hidden_layers * 7 * 2
    make_reader: Any = LlamaTensorProcessor
    reader, stem = make_reader(config.to_dict()), "base_model.model.model.layers.1"
    heads = {"q": (config.num_attention_heads,) * 2, "k": (config.num_attention_heads, config.num_key_value_heads)}
    for letter in ("q", "k"):
        turned = reader._reverse_permute_weights(found[f"blk.1.attn_{letter}.weight.lora_b"], *heads[letter])
        assert (turned == known[f"{stem}.self_attn.{letter}_proj.lora_B.weight"]).all()
        assert (turned != found[f"blk.1.attn_{letter}.weight.lora_b"]).any()
    for name, layer in {
        "attn_v": "self_attn.v_proj",
        "ffn_down": "mlp.down_proj",
        "attn_q": "self_attn.q_proj",
    }.items():
        assert (found[f"blk.1.{name}.weight.lora_a"] == known[f"{stem}.{layer}.lora_A.weight"]).all()
    assert (found["blk.1.ffn_up.weight.lora_b"] == known[f"{stem}.mlp.up_proj.lora_B.weight"]).all()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"use_dora": True}, "has use_dora"),
        ({"bias": "all"}, "has bias"),
        ({"target_parameters": ["x"]}, "has target_"),
    ],
)
def test_an_adapter_of_another_kind_is_refused_with_what_to_do(
    change: dict[str, Any], fault: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    told = json.loads((adapter / weights.ADAPTER_CONFIG).read_text())
    (tmp_path / weights.ADAPTER_CONFIG).write_text(json.dumps(told | change))
    with pytest.raises(EngineError, match=fault) as caught:
        write_gguf_adapter(tmp_path, weights.load_config(base), tmp_path / "a.gguf")
    assert "{merged_dir}" in str(caught.value.cure)


def test_an_architecture_that_was_not_tried_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    config = weights.load_config(base)
    config.model_type = "starcoder2"
    with pytest.raises(EngineError, match="is for starcoder2"):
        write_gguf_adapter(adapter, config, tmp_path / "a.gguf")
