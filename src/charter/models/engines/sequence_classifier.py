"""A sequence classifier of transformers in process, behind ``ports.Engine`` and ``ports.Classifying``.

It answers no request in words. Its weights are read from safetensors, and code that comes with a model is never run.
Batches are formed from all requests of a call, the longest first, bounded by padded tokens, so that what is left to do
changes no answer.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from charter.errors import EngineError, SpecError, UnsupportedError
from charter.judging.rubrics import Rubric
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines import memory
from charter.models.engines.class_meanings import ClassKind, read_meaning
from charter.models.engines.token_batches import BatchBounds, form_batches
from charter.records.chat import Completion, LogLikelihood, Message, Prompt, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import Record, digest
from charter.records.templates import render_conversation

Reads = Literal["auto", "response", "pair", "chat"]
"""What a classifier reads of an exchange."""
LEAST_SHARE = 1e-12
"""A share under this counts as so much: its logarithm is finite."""
NO_WORDS = "Name a model that answers in words beside the classifier, in the `model` of its role."


class ClassifierOptions(Record):
    """How a classifier is loaded and asked."""

    device: str = "auto"
    dtype: weights.Dtype = "auto"
    batch_size: int = 64
    batch_tokens: int | None = None
    """Most padded tokens of a batch. None: as for an engine in process."""
    reads: Reads = "auto"
    offline: bool = False


@dataclass(frozen=True)
class EncodedText:
    """What the model reads of an exchange: tokens, their segments where it has any, and how many were cut off.
    ``error``: why it cannot be read."""

    ids: list[int] = field(default_factory=list)
    segments: list[int] | None = None
    cut: int = 0
    error: str = ""


class SequenceClassifier:
    """Weighs the labels of ``rubrics`` by what ``meanings`` says of the model's classes, by the rubric's name. The
    weights load when it is first asked; what does not fit is told at once.

    Raises EngineError where the model is no sequence classifier, SpecError where the meanings do not fit its classes.
    """

    def __init__(
        self,
        model: ModelRef,
        meanings: Mapping[str, Mapping[str, str]],
        rubrics: Mapping[str, Rubric],
        options: ClassifierOptions | None = None,
    ) -> None:
        self.options, self._ref = options or ClassifierOptions(), model
        self._model: Any = None
        self._folder = weights.model_folder(model, offline=self.options.offline)
        config = weights.load_config(self._folder)
        named = ", ".join(config.architectures or ())
        if "SequenceClassification" not in named:
            raise EngineError(
                f"{model.base} is no sequence classifier; its config.json names {named}.",
                "Name a model of the kind AutoModelForSequenceClassification.",
            )
        self.kind = _find_kind(config)
        classes = [str(config.id2label[place]) for place in range(config.num_labels)]
        self._meanings = {
            name: read_meaning(model.base, classes, self.kind, given, rubrics[name]) for name, given in meanings.items()
        }
        self.reads = self._choose_reading()

    @property
    def identity(self) -> str:
        """The model's name and digest, what it reads, and what its classes mean."""
        name = self._ref.base if self._ref.revision else Path(self._ref.base).name
        told = digest({key: meaning.labels for key, meaning in self._meanings.items()})[:8]
        return f"classifier:{name}@{self._ref.digest[:16]} reads={self.reads} classes={told}"

    def list_labels(self, rubric: str) -> Sequence[str]:
        """The labels that it tells apart; none of a rubric that it does not know."""
        return self._meanings[rubric].told if rubric in self._meanings else ()

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """Nothing. Raises UnsupportedError."""
        del requests, done
        raise UnsupportedError(f"{self.identity} answers nothing in words", NO_WORDS)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """The logarithm of each label's share, per request not in ``done``. An exchange without a token has an
        ``error``; one that is too long is cut, and ``cut`` counts the tokens. Raises EngineError."""
        for request in requests:
            if request.completion not in self.list_labels(request.rubric):
                raise UnsupportedError(f"{self.identity} weighs no {request.completion!r} there", NO_WORDS)
        if all(request.id in done for request in requests):
            return
        asked: dict[tuple[Message, ...], list[ScoreRequest]] = {}
        for request in requests:
            asked.setdefault(request.messages, []).append(request)
        texts = {messages: self._encode(messages) for messages in asked}
        for messages, text in texts.items():
            if text.error:
                yield from self._answer(asked[messages], text, [], done)
        fit = sorted((m for m in asked if not texts[m].error), key=lambda m: (-len(texts[m].ids), asked[m][0].id))
        bounds = BatchBounds(self.options.batch_size, self.options.batch_tokens or self._batch_tokens)
        for places in form_batches([len(texts[m].ids) for m in fit], bounds, [1] * len(fit)):
            batch = [fit[place] for place in places]
            if all(request.id in done for messages in batch for request in asked[messages]):
                continue
            outputs = self._run_model([texts[messages] for messages in batch])
            for messages, numbers in zip(batch, outputs, strict=True):
                yield from self._answer(asked[messages], texts[messages], numbers, done)

    def _answer(
        self, requests: Sequence[ScoreRequest], text: EncodedText, outputs: Sequence[float], done: Collection[str]
    ) -> Iterator[LogLikelihood]:
        """What each label of one exchange weighs."""
        shares = {name: m.share_labels(outputs) for name, m in self._meanings.items()} if outputs else {}
        for request in requests:
            share = shares[request.rubric][request.completion] if shares else 1.0
            likeliest = bool(shares) and share == max(shares[request.rubric].values())
            value = math.log(max(share, LEAST_SHARE))
            if request.id not in done:
                yield LogLikelihood(
                    id=request.id, value=value, tokens=0, greedy=likeliest, cut=text.cut, error=text.error
                )

    def close(self) -> None:
        """Frees the model's memory; the next call loads it anew."""
        self._model = None
        gc.collect()
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    @property
    def _device(self) -> str:
        return weights.pick_device(self.options.device)

    @property
    def _batch_tokens(self) -> int:
        return memory.default_batch_tokens(self._device)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own."""
        return weights.load_tokenizer(self._folder)

    @cached_property
    def _chat_format(self) -> ChatFormat:
        return ChatFormat(self.tokenizer)

    @property
    def model(self) -> Any:
        """The model; loads it when it is first asked. Raises EngineError."""
        if self._model is None:
            self._model = _load_classifier(self._folder, self._device, self.options.dtype)
            self._model.config.get_text_config().pad_token_id = self._pad_token
        return self._model

    @property
    def _pad_token(self) -> int:
        own = self.tokenizer.pad_token_id
        return 0 if own is None else int(own)

    def _choose_reading(self) -> Reads:
        """As asked. Of itself: the chat where the tokenizer has a template, else the answer, with the prompt before it
        where the model gives one score."""
        has_template = bool(getattr(self.tokenizer, "chat_template", None))
        if self.options.reads == "chat" and not has_template:
            raise SpecError(
                f"{self._ref.base} has no chat template", ("reads: chat needs one",), "Set reads: pair, or response."
            )
        if self.options.reads != "auto":
            return self.options.reads
        return "chat" if has_template else "pair" if self.kind == "score" else "response"

    def _encode(self, messages: Sequence[Message]) -> EncodedText:
        """The tokens of an exchange, whose last message is the answer."""
        *before, answer = messages
        limit = self._limit
        if self.reads == "chat":
            try:
                text = self._chat_format.render_answered(before, answer.content)
            except ValueError as refused:
                return EncodedText(error=str(refused))
            ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
            cut = max(0, len(ids) - limit)
            return EncodedText([*ids[:1], *ids[cut + 1 :]] if cut else ids, cut=cut)
        texts = [answer.content]
        if self.reads == "pair":
            texts.insert(0, render_conversation(Prompt(id="", messages=tuple(before))))
        with weights.quiet_libraries():
            whole = self.tokenizer(*texts)
            cut = max(0, len(whole.input_ids) - limit)
            if cut:
                how = "longest_first" if len(texts) > 1 else "only_first"
                whole = self.tokenizer(*texts, truncation=how, max_length=limit)
        error = "" if whole.input_ids else "there is nothing to read"
        return EncodedText(whole.input_ids, whole.get("token_type_ids"), cut, error)

    @property
    def _limit(self) -> int:
        """Most tokens that the model reads: positions before the first token of a text are no places for tokens."""
        known = weights.context_length(self.model.config)
        padding = [
            layer.padding_idx + 1
            for name, layer in self.model.named_modules()
            if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None
        ]
        least = known - max(padding, default=0) if known else 2**31
        return min(least, int(min(self.tokenizer.model_max_length, 2**31)))

    def _run_model(self, batch: Sequence[EncodedText]) -> list[list[float]]:
        """The model's numbers for each text. Raises EngineError where one is not finite, or memory runs out."""
        import torch

        longest, pad = max(len(text.ids) for text in batch), self._pad_token
        rows = {
            "input_ids": [text.ids + [pad] * (longest - len(text.ids)) for text in batch],
            "attention_mask": [[1] * len(text.ids) + [0] * (longest - len(text.ids)) for text in batch],
        }
        takes_segments = "token_type_ids" in signature(self.model.forward).parameters
        if takes_segments and all(text.segments is not None for text in batch):
            rows["token_type_ids"] = [[*(text.segments or ()), *[0] * (longest - len(text.ids))] for text in batch]
        try:
            with torch.inference_mode():
                given = {key: torch.tensor(value).to(self.model.device) for key, value in rows.items()}
                found: list[list[float]] = self.model(**given).logits.float().tolist()
        except (RuntimeError, LookupError, ValueError, MemoryError) as error:
            cure = (
                "Give it fewer tokens at once: batch_tokens." if weights.is_out_of_memory(error) else "Check the model."
            )
            raise EngineError(f"{self.identity} failed: {error}", cure) from error
        if not all(math.isfinite(number) for numbers in found for number in numbers):
            raise EngineError(f"{self.identity} gives no numbers.", "Check its weights, or use dtype: float32.")
        return found


def _find_kind(config: Any) -> ClassKind:
    """How the classes hang together, as the configuration says."""
    if config.num_labels == 1:
        return "score"
    return "independent" if config.problem_type == "multi_label_classification" else "exclusive"


def _load_classifier(where: Path, device: str, dtype: weights.Dtype) -> Any:
    """The model in evaluation mode; a head that the files do not hold is an error, where transformers would draw it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    chosen = "float32" if dtype == "auto" and device == "cpu" else dtype
    cure = "Name a folder with config.json and *.safetensors weights of a sequence classifier."
    with weights.translate_load_errors(where, cure), weights.quiet_libraries():
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            where,
            dtype=chosen if chosen == "auto" else getattr(torch, chosen),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model, report = loaded
    weights.check_complete(where, report)
    with weights.translate_load_errors(where, f"Choose another device than {device}."):
        return model.to(device).eval()
