"""Tiny models with random weights, and their tokenizers, made on the spot: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from charter.records.chat import Message, Request, Sampling
from charter.records.training_rows import Example

WORDS = (  # noqa: SIM905 (a text reads better than 60 quoted words)
    "how do i bake a cake pick lock grow tomatoes what is the capital of france paris sorry can not help with that "
    "use flour and eggs water them each day yes no red green blue one two three four five rule plan please answer"
).split()
CHAT = (
    "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('it begins with an assistant turn') }}{% endif %}"
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system turns') }}"
    "{% endif %}<{{ m['role'] }}> {{ m['content'] }}{% if m['role'] == 'assistant' %} {{ eos_token }}{% endif %} "
    "{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)
Architecture = Literal["llama", "gpt2"]


def build(
    where: Path, architecture: Architecture = "llama", *, chat: bool = True, seed: int = 0, width: int = 32
) -> Path:
    """Writes a model (context 128) and its word-level tokenizer into ``where``; llama is the default kind."""
    import torch

    tokenizer = word_tokenizer(chat=chat)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _model(architecture, len(tokenizer), width, tokenizer)
    model.save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def word_tokenizer(*, chat: bool = True) -> Any:
    """Word-level tokens over WORDS, with bos, eos, pad and unk."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "<assistant>"]
    words = [*special, *dict.fromkeys(WORDS)]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    tokenizer.chat_template = CHAT if chat else None
    return tokenizer


def byte_model(where: Path, *, seed: int = 0, context: int = 1024) -> Path:
    """Writes a model that reads any text: byte-level tokens with some merges, an opening token before each text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
    )
    inner.train_from_iterator([" ".join(WORDS)] * 3 + [__doc__ or ""], trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _model("llama", len(tokenizer), 32, tokenizer, context)
    model.save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def _model(architecture: Architecture, vocabulary: int, width: int, tokenizer: Any, context: int = 128) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if architecture == "gpt2":
        small = GPT2Config(
            vocab_size=vocabulary, n_positions=128, n_embd=width, n_layer=2, n_head=4, initializer_range=0.3, **ends
        )
        return GPT2LMHeadModel(small)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=context,
            initializer_range=0.3,
            **ends,
        )
    )


def ask(id: str, text: str, seed: int = 0, **sampling: Any) -> Request:
    """A one-turn request."""
    return Request(id=id, messages=(Message(role="user", content=text),), seed=seed, sampling=Sampling(**sampling))


def lesson(id: str, text: str, answer: str) -> Example:
    """A one-turn training row."""
    return Example(id=id, messages=(Message(role="user", content=text),), response=answer, origin="helpful")
