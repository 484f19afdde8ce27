"""A LoRA adapter as one GGUF file, in the form that llama.cpp's servers load beside a base model.

The tensors are those of PEFT under the format's own names. llama.cpp turns queries and keys of Llama's layers by
neighbouring numbers, where transformers turns the two halves of a head. So the rows of these layers change places.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.errors import EngineError
from charter.models import weights
from charter.models.gguf_files import READER_CURE

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "gemma3_text": "gemma3"}
"""The format's names of architectures, by those of transformers."""
HALVED = ("llama",)
"""Architectures whose queries and keys are stored in another order of rows."""
_PLAIN = {"bias": "none", "peft_type": "LORA"}
_UNKNOWN = ("use_dora", "use_rslora", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern")
_CURE = "Serve the policy's merged weights, by {merged_dir} in place of {adapter_gguf}."


def write_gguf_adapter(adapter: Path, config: Any, where: Path) -> Path:
    """Writes the adapter in the folder ``adapter`` as the GGUF file ``where``, in float32. ``config``: that of the base
    model, as transformers reads it. Raises EngineError where llama.cpp knows no such adapter."""
    told = json.loads((adapter / weights.ADAPTER_CONFIG).read_text(encoding="utf-8"))
    named = config.get_text_config()
    odd = [key for key, value in _PLAIN.items() if told.get(key, value) != value]
    odd += [key for key in (*_UNKNOWN, "target_parameters") if told.get(key)]
    if odd or named.model_type not in ARCHITECTURES:
        what = f"has {', '.join(odd)}" if odd else f"is for {named.model_type}"
        raise EngineError(f"The adapter in {adapter} {what}, which is not written as GGUF.", _CURE)
    try:
        import gguf
        from safetensors.numpy import load_file
    except ImportError as error:
        raise EngineError("GGUF files are written by a package that is not installed.", READER_CURE) from error

    architecture = ARCHITECTURES[named.model_type]
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, named.num_hidden_layers)
    writer = gguf.GGUFWriter(str(where), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(told["lora_alpha"]))
    for key, tensor in sorted(load_file(adapter / weights.ADAPTER_WEIGHTS).items()):
        layer, _, half = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        placed = names.get_name(f"{layer}.weight", try_suffixes=(".weight",))
        if placed is None or half not in ("A", "B"):
            raise EngineError(f"The adapter in {adapter} changes {key}, which has no name in GGUF.", _CURE)
        if half == "B" and named.model_type in HALVED and layer.endswith(("q_proj", "k_proj")):
            tensor = _pair_halves(tensor, _count_heads(named, layer))
        writer.add_tensor(f"{placed}.lora_{half.lower()}", tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return where


def _count_heads(named: Any, layer: str) -> int:
    """The heads of a layer of queries or keys."""
    return int(named.num_attention_heads if layer.endswith("q_proj") else named.num_key_value_heads)


def _pair_halves(tensor: Any, heads: int) -> Any:
    """Rows (heads x 2 halves x half a head) with those of both halves side by side."""
    rows = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return rows.swapaxes(1, 2).reshape(tensor.shape)
