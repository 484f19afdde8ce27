"""A tiny llama as a GGUF file, written with the format's own package."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes import tiny_models

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def write_gguf(folder: Path) -> tuple[Path, Path]:
    """The same weights twice: as a folder of safetensors, and as a GGUF file with its tokenizer and chat template."""
    import gguf
    from safetensors.numpy import load_file

    source, target = tiny_models.byte_model(folder / "plain"), folder / "tiny.gguf"
    (source / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    known = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    words = sorted(known["vocab"], key=known["vocab"].get)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]

    writer = gguf.GGUFWriter(str(target), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([gguf.TokenType.CONTROL if w in ("<s>", "</s>") else gguf.TokenType.NORMAL for w in words])
    writer.add_token_merges([" ".join(pair) for pair in known["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(source / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp keeps the halves of a head interleaved
            count = heads if "q_proj" in name else kv_heads
            halves = tensor.reshape(count, 2, tensor.shape[0] // count // 2, tensor.shape[1])
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        placed = names.get_name(name, try_suffixes=(".weight",))
        assert placed is not None, name
        writer.add_tensor(placed, tensor.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return source, target
