"""transformers in process, behind ``ports.Engine``.

Batches are formed from all requests of a call, longest prompt first, so that neither the batch size nor what is left to
do changes an answer (in float32; in lower precision batches may differ in the last bits). ``response_schema`` is not
enforced here. ``top_p``, ``temperature``, stop strings and the frequency penalty (over generated tokens, as hosted
models do it) come with each request.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from charter.errors import EngineError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines.decoding import DecodedRow, DecodingRow, Forward, decode, pad_left
from charter.records.chat import Completion, LogLikelihood, Message, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import Record, canonical

Item = TypeVar("Item")
Answer = TypeVar("Answer")
BatchFunction = Callable[[list[Item]], list[Answer]]


class LocalOptions(Record):
    """How a model is loaded and asked. In float32 only ``plain``, ``template`` and ``context`` change an
    answer."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on a CPU, else the checkpoint's own."""
    batch_size: int = Field(default=64, ge=1)
    """Rows per batch; halved where memory runs out."""
    plain: bool = False
    """Raw text without the chat template."""
    template: dict[str, bool | int | str] = Field(default_factory=dict)
    """Arguments for the chat template, such as ``enable_thinking``."""
    context: int | None = Field(default=None, ge=1)
    """Most tokens of prompt and answer together; default: what the model's configuration says."""
    remote_code: bool = False
    """Run code that comes with the model."""
    offline: bool = False
    """Never ask the hub: the model must be a folder or in the cache."""


class LocalEngine:
    """Answers with a causal language model; loads it when first asked.

    ``use`` swaps the policy (adapter or full checkpoint) and keeps the base in memory while adapters change.
    """

    def __init__(self, model: ModelRef, options: LocalOptions | None = None) -> None:
        self.options = options or LocalOptions()
        self._policy = model
        self._batch_limit = self.options.batch_size
        self._base: Any = None
        self._peft: Any = None
        self._chat_format: Any = None
        self._loaded_base: Path | None = None
        self._loaded_policy: ModelRef | None = None

    @property
    def identity(self) -> str:
        """The model's name and digest, and what else decides its answers."""
        name = self._policy.base if self._policy.revision else Path(self._policy.base).name
        asked = self.options.model_dump(include={"plain", "template", "context"})
        extras = [f"{key}={canonical(value)}" for key, value in asked.items() if value]
        return " ".join([f"local:{name}@{self._policy.digest[:16]}", *extras])

    @property
    def device(self) -> str:
        """The torch device that answers."""
        return weights.pick_device(self.options.device)

    @property
    def dtype(self) -> str:
        """The weights' precision; loads the model."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def model(self) -> Any:
        """The transformers model with the policy on it; loads what is not in memory. Raises EngineError."""
        if self._loaded_policy != self._policy:
            self._load_policy()
        return self._base

    def describe(self) -> dict[str, str | int]:
        """What answers, where and how: model, device, precision, format, context, batch. Loads no weights."""
        where, options, device = self._base_folder(), self.options, self.device
        config = weights.load_config(where, remote_code=options.remote_code)
        tokenizer = weights.load_tokenizer(where, remote_code=options.remote_code)
        return {
            "model": self._policy.base if self._policy.revision else Path(self._policy.base).name,
            "revision": self._policy.revision,
            "digest": self._policy.digest,
            "architecture": str(config.model_type),
            "device": weights.device_name(device),
            "dtype": weights.pick_dtype(options.dtype, device, config),
            "format": ChatFormat(tokenizer, (), options.plain, options.template).description,
            "context": self._limit_context(config),
            "batch": options.batch_size,
        }

    def use_policy(self, policy: ModelRef) -> LocalEngine:
        """Answers with ``policy`` from now on. Raises EngineError where its base is another model."""
        if policy.base_digest != self._policy.base_digest:
            raise EngineError(
                f"The policy {policy.digest[:16]} was made from another base than {self._policy.base}.",
                "Give this engine policies of its own base, or make another engine.",
            )
        self._policy = policy
        return self

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """One completion per request not in ``done``; a prompt that does not fit the context gets an error, uncut."""
        if all(request.id in done for request in requests):
            return
        dialogue, rows = self._ensure_loaded(), {}
        for request in requests:
            try:
                rows[request.id] = self._decoding_row(request, dialogue)
            except ValueError as refused:
                if request.id not in done:
                    yield Completion(id=request.id, text="", stop="error", error=str(refused))
        fit = sorted(
            (request for request in requests if request.id in rows), key=lambda r: (-len(rows[r.id].ids), r.id)
        )
        for request, drawn in self._run_batches(
            fit, done, lambda batch: self._decode_batch([rows[r.id] for r in batch])
        ):
            said = dialogue.decode_raw(drawn.tokens) if drawn.text is None else drawn.text
            text = said if request.raw else said.strip()
            spent = len(drawn.tokens) + (drawn.stop == "stop" and drawn.text is None)
            asked = len(rows[request.id].ids)
            yield Completion(id=request.id, text=text, stop=drawn.stop, tokens_in=asked, tokens_out=spent)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``. Raises EngineError where one does not fit the context."""
        if all(request.id in done for request in requests):
            return
        dialogue, limit = self._ensure_loaded(), self._context_length()
        pairs = {request.id: self._encode_pair(request, dialogue, limit) for request in requests}
        order = sorted(requests, key=lambda r: (-sum(map(len, pairs[r.id][:2])), r.id))
        for request, found in self._run_batches(
            order, done, lambda batch: self._score_batch([pairs[r.id][:2] for r in batch])
        ):
            _, after, cut = pairs[request.id]
            yield LogLikelihood(id=request.id, value=found[0], tokens=len(after), greedy=found[1], cut=cut)

    def _encode_pair(self, request: ScoreRequest, dialogue: ChatFormat, limit: int) -> tuple[list[int], list[int], int]:
        """The tokens of what stands before and of what is weighed, and how many were cut off on the left. The last
        token is only compared with, so that a raw text may have one more than the model reads."""
        cut = 0
        try:
            if request.raw:
                before, after = dialogue.encode_scored_continuation(
                    _join_messages(request.messages), request.completion
                )
                cut = max(0, len(before) + len(after) - limit - 1)
                before = before[min(cut, len(before) - 1) :]
            else:
                before, after = dialogue.encode_scored(request.messages, request.completion)
        except ValueError as refused:
            raise EngineError(f"Cannot score {request.id}: {refused}", "Change its messages.") from refused
        if not before or len(before) + len(after) > limit + request.raw:
            size = f"{len(before) + len(after)} tokens; the model reads {limit}"
            raise EngineError(f"Cannot score {request.id}: {size if before else 'its prompt is empty'}.", "Drop it.")
        return before, after, cut

    def token_ids(self, requests: Sequence[Request]) -> list[list[int]]:
        """The tokens of each prompt as the model reads them; empty for one that it cannot read."""
        dialogue, found = self._ensure_loaded(), []
        for request in requests:
            try:
                found.append(self._decoding_row(request, dialogue).ids)
            except ValueError:
                found.append([])
        return found

    def merge_adapter(self) -> None:
        """Adds the adapter up with the base, in memory: ``close`` before another policy is used."""
        if self.model is not None and self._peft is not None:
            self._peft.merge_adapter()

    def close(self) -> None:
        """Frees the model's memory; the next call loads it anew."""
        self._unload()
        gc.collect()
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.empty_cache()

    def _unload(self) -> None:
        self._base = self._peft = self._chat_format = self._loaded_base = self._loaded_policy = None

    def _ensure_loaded(self) -> ChatFormat:
        """The model in memory, and how to talk to it."""
        model = self.model
        if self._chat_format is None:
            known = getattr(model.generation_config, "eos_token_id", None)
            ends = [known] if isinstance(known, int) else list(known or ())
            tokenizer = weights.load_tokenizer(self._base_folder(), remote_code=self.options.remote_code)
            self._chat_format = ChatFormat(tokenizer, ends, self.options.plain, self.options.template)
        return self._chat_format  # type: ignore[no-any-return]

    def _base_folder(self) -> Path:
        return weights.model_folder(self._policy, offline=self.options.offline, remote_code=self.options.remote_code)

    def _load_policy(self) -> None:
        """Brings the policy's weights into memory: loads, or only swaps the adapter."""
        adapter = weights.verify_files(self._policy) if self._policy.adapter else None
        full = adapter is not None and not weights.is_adapter(adapter)
        source = adapter if full and adapter else self._base_folder()
        if self._peft is not None:
            self._base, self._peft = self._peft.unload(), None
        self._loaded_policy = None
        if self._loaded_base != source:
            self._unload()
            options = self.options
            self._base = weights.load_model(source, self.device, options.dtype, remote_code=options.remote_code)
            self._loaded_base = source
        if adapter is not None and not full:
            try:
                self._peft = weights.attach_adapter(self._base, adapter)
            except EngineError:
                self._unload()  # a half-attached adapter would stay on the base
                raise
        self._loaded_policy = self._policy

    def _context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._limit_context(self.model.config)

    def _limit_context(self, config: Any) -> int:
        return min(size for size in (self.options.context, weights.context_length(config), 2**31) if size)

    def _decoding_row(self, request: Request, dialogue: ChatFormat) -> DecodingRow:
        """What the loop needs for a request. Raises ValueError where the prompt cannot be read."""
        limit, asked = self._context_length(), request.sampling
        if request.raw:
            room = max(1, limit - asked.max_tokens)
            return DecodingRow(
                dialogue.encode_continuation(_join_messages(request.messages))[-room:],
                asked.max_tokens,
                asked,
                request.seed,
            )
        ids = dialogue.encode_prompt(request.messages)
        if not ids:
            raise ValueError("the prompt is empty")
        if len(ids) >= limit:
            raise ValueError(
                f"the prompt does not fit the context: it has {len(ids)} tokens, and the model reads {limit}"
            )
        if dialogue.stop_texts:
            asked = asked.model_copy(update={"stop": (*asked.stop, *dialogue.stop_texts)})
        return DecodingRow(ids, min(asked.max_tokens, limit - len(ids)), asked, request.seed)

    def _run_batches(
        self, items: list[Item], done: Collection[str], work: BatchFunction[Item, Answer]
    ) -> Iterator[tuple[Any, Answer]]:
        """Item and answer for all items not in ``done``; batches are those of all items, whatever is done."""
        size = self.options.batch_size
        for start in range(0, len(items), size):
            batch: list[Any] = items[start : start + size]
            if not all(item.id in done for item in batch):
                for item, answer in zip(batch, self._run_within_memory(batch, work), strict=True):
                    if item.id not in done:
                        yield item, answer

    def _run_within_memory(self, batch: list[Any], work: BatchFunction[Any, Answer]) -> list[Answer]:
        """The batch's answers; where memory runs out, by halves, and no larger batch is tried again."""
        if len(batch) <= self._batch_limit:
            try:
                return work(batch)
            except FloatingPointError as error:
                raise EngineError(
                    f"{self.identity} gives no numbers: {error}.",
                    "Check its weights, or use dtype float32 or bfloat16.",
                ) from error
            except (RuntimeError, LookupError, ValueError, MemoryError) as error:
                if not weights.is_out_of_memory(error):
                    raise EngineError(f"{self.identity} failed: {error}", "Check the model and the device.") from error
                if len(batch) == 1:
                    raise EngineError(
                        f"{self.identity} ran out of memory on a single request.",
                        "Use a smaller model, a smaller dtype, fewer max_tokens or a device with more memory.",
                    ) from error
        half = (len(batch) + 1) // 2
        self._batch_limit = min(self._batch_limit, half)
        return self._run_within_memory(batch[:half], work) + self._run_within_memory(batch[half:], work)

    def _decode_batch(self, rows: list[DecodingRow]) -> list[DecodedRow]:
        dialogue = self._ensure_loaded()
        return decode(self.model, rows, dialogue.stop_ids, dialogue.decode_raw)

    def _score_batch(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each second part, and whether each of its tokens was the likeliest."""
        import torch

        longest = max(1, *(len(after) for _, after in pairs)) if len(pairs) > 1 else max(1, len(pairs[0][1]))
        with torch.inference_mode():
            ids, mask = pad_left([before + after for before, after in pairs], str(self.model.device))
            logits = Forward(self.model)(ids[:, :-1], mask[:, :-1], cache=False, keep=longest).logits
            goals = ids[:, -longest:]
            shares = torch.log_softmax(logits.float(), -1).gather(-1, goals[..., None])[..., 0]
            hits = (logits.argmax(-1) == goals).tolist()
            found = shares.double().cpu()
        if bool(found.isnan().any()):
            raise FloatingPointError("a log-likelihood is not a number")
        sizes = [len(after) for _, after in pairs]
        return [
            (float(line[longest - size :].sum()), all(hit[longest - size :]))
            for line, hit, size in zip(found, hits, sizes, strict=True)
        ]


def _join_messages(messages: Sequence[Message]) -> str:
    """The text of a raw request."""
    return "".join(message.content for message in messages)
