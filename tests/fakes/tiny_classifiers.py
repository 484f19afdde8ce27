"""Tiny sequence classifiers, trained on the spot on a few labelled texts, so that their classes mean something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CHAT = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[SEP]"
Kind = Literal["exclusive", "independent", "score"]
Row = tuple[str, str]
"""A text, and its class; of independent classes those that apply, with a blank between them."""
TOXIC: Sequence[Row] = [
    *[(f"{word} you", "toxic") for word in ("hate", "hurt", "kill", "poison", "rob")],
    *[(f"{word} you", "neutral") for word in ("thank", "help", "greet", "see", "know")],
]
"""What a classifier of one word learns at once."""


def build(
    where: Path, rows: Sequence[Row] = TOXIC, kind: Kind = "exclusive", *, chat: bool = False, context: int = 64
) -> Path:
    """Writes a BERT of one layer, trained on ``rows``, and its word tokenizer. Of one score, the class ``high`` has the
    high ones. ``chat``: with a chat template, by which it learnt nothing."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    classes = ["LABEL_0"] if kind == "score" else sorted({name for _, said in rows for name in said.split()})
    tokenizer = _word_tokenizer([text for text, _ in rows], context)
    tokenizer.chat_template = CHAT if chat else None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=context,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0,
            id2label=dict(enumerate(classes)),
            label2id={name: place for place, name in enumerate(classes)},
            problem_type="multi_label_classification" if kind == "independent" else None,
        )
        make: Any = BertForSequenceClassification
        model = make(config)
        _train(model, tokenizer, rows, classes, kind)
    model.save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def _train(model: Any, tokenizer: Any, rows: Sequence[Row], classes: Sequence[str], kind: Kind) -> None:
    import torch

    given = tokenizer([text for text, _ in rows], padding=True, truncation=True, return_tensors="pt")
    loss_of: Any
    if kind == "exclusive":
        goals, loss_of = torch.tensor([classes.index(said) for _, said in rows]), torch.nn.functional.cross_entropy
    else:
        names = ["high"] if kind == "score" else classes
        goals = torch.tensor([[float(name in said.split()) for name in names] for _, said in rows])
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(60):
        optimiser.zero_grad()
        loss: Any = loss_of(model(**given).logits, goals)
        loss.backward()
        optimiser.step()
    model.eval()


def _word_tokenizer(texts: Sequence[str], context: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split: Any = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text.lower())})
    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *words])}
    inner: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), split
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    kind: Any = PreTrainedTokenizerFast
    return kind(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        model_max_length=context,
    )
