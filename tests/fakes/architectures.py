"""Tiny models of many architectures with random weights, each with a tokenizer of its kind, made on the spot.

Word-level and byte-level BPE tokenizers; templates with a system role, without one (refused, or dropped without a
word), and none at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes import tiny_models

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Species:
    """``config`` and ``model``: class names in transformers; ``own``: what the configuration sets besides the usual.
    ``special``: tokens of the tokenizer, the end token first; none: word-level. ``ends``: what ends an answer besides
    it. ``layers``: the endings of what LoRA adapts. ``system``: the template has system turns."""

    config: str
    own: dict[str, Any]
    layers: tuple[str, ...]
    template: str | None
    special: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    system: bool = False

    @property
    def model(self) -> str:
        """The model's class name in transformers."""
        return {"GPT2Config": "GPT2LMHeadModel"}.get(
            self.config, self.config.replace("TextConfig", "Config").replace("Config", "ForCausalLM")
        )


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MIXED = (*ATTENTION, "gate", "experts", "base_layer")
"""Router and experts are adapted as weights, one within another: PEFT calls the inner one ``base_layer``."""
GATED = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
ZOO = {
    "llama": Species("LlamaConfig", {}, GATED, tiny_models.CHAT),
    "mistral": Species("MistralConfig", {"num_key_value_heads": 2, "sliding_window": 24}, GATED, INST),
    "qwen3": Species(
        "Qwen3Config", {"num_key_value_heads": 2, "head_dim": 8}, GATED, CHATML,
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"), system=True,
    ),
    "gemma3": Species(
        "Gemma3TextConfig",
        {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 24, "num_hidden_layers": 3,
         "initializer_range": 0.14, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
        GATED, GEMMA, ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), ("<end_of_turn>",),
    ),
    "phi3": Species(
        "Phi3Config", {}, ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), PHI,
        ("<|endoftext|>", "<|user|>", "<|system|>", "<|assistant|>", "<|end|>"), ("<|end|>",), system=True,
    ),
    "gpt_neox": Species(
        "GPTNeoXConfig", {}, ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"), None, ("<|endoftext|>",)
    ),
    "gpt2": Species("GPT2Config", {}, ("c_attn", "c_proj", "c_fc"), None),
    "qwen3_moe": Species(
        "Qwen3MoeConfig", {**EXPERTS, "num_key_value_heads": 2, "head_dim": 8}, MIXED, CHATML,
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"), system=True,
    ),
    "mixtral": Species("MixtralConfig", {**EXPERTS, "num_key_value_heads": 2}, MIXED, INST),
}  # fmt: skip


def build(where: Path, name: str, *, seed: int = 0, dtype: str = "float32", context: int = 128) -> Path:
    """Writes a model (2 layers, width 32) and its tokenizer into ``where``."""
    import torch
    import transformers

    species = ZOO[name]
    tokenizer = bpe_tokenizer(species) if species.special else tiny_models.word_tokenizer(chat=False)
    tokenizer.chat_template = species.template
    ends = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(species.ends))]
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ends if species.ends else ends[0],
        "pad_token_id": None,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, species.model)(getattr(transformers, species.config)(**shape | species.own))
    model.to(getattr(torch, dtype)).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def bpe_tokenizer(species: Species) -> Any:
    """Byte-level BPE, learnt from the words of the tests; no padding token where the family has none."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator([" ".join(tiny_models.WORDS)] * 3, trainer)
    end, *rest = species.special
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=inner, eos_token=end, bos_token=next((t for t in rest if "bos" in t), None))
    tokenizer.add_special_tokens({"additional_special_tokens": list(species.special)})
    return tokenizer


def adapted(base: Path, where: Path, seed: int = 1) -> Any:
    """A policy on ``base``: a LoRA with random weights, on the layers that a tuner would choose, that changes what it
    says."""
    import torch

    from charter.models import weights
    from charter.models.tuners.model_setup import add_lora
    from charter.models.tuners.tuner_options import SftOptions
    from charter.records.record import digest

    with weights.quiet_libraries(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = add_lora(weights.load_model(base, "cpu", "float32"), SftOptions(r=4, alpha=16))
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.data.normal_(std=0.05)
        model.save_pretrained(str(where))
    ref, files = weights.resolve_model(str(base)), weights.file_digests(where, ("adapter_*",))
    return ref.model_copy(update={"adapter": str(where), "files": files, "digest": digest([ref.digest, files])})


def difference(one: Any, two: Any, asked: Any) -> float:
    """The largest difference of two models' logits in float32, over whole prompts."""
    import torch

    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions

    engines = [LocalEngine(ref, LocalOptions(device="cpu", dtype="float32")) for ref in (one, two)]
    worst = 0.0
    with torch.inference_mode():
        for ids in engines[0].token_ids(asked):
            first, second = (engine.model(torch.tensor([ids])).logits for engine in engines)
            worst = max(worst, float((first - second).abs().max()))
    return worst
