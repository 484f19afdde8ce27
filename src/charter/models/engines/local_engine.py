"""transformers in process, behind ``ports.Engine``.

Batches are formed from all requests of a call, bounded by padded tokens, longest prompt first, so that neither the
bounds nor what is left to do changes an answer (in float32; in lower precision batches may differ in the last bits).
What many prompts of a call begin with is read once. With ``reply_schema`` an answer keeps its request's
``response_schema``, unless the model thinks first. ``top_p``, ``temperature``, stop strings and the frequency penalty
(over generated tokens, as hosted models do it) come with each request.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from charter.errors import EngineError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines import memory
from charter.models.engines.batch_progress import BatchProgress
from charter.models.engines.decoding import DecodedRow, DecodingRow, RowEnds, decode
from charter.models.engines.joined_caches import can_join_caches
from charter.models.engines.likelihood_passes import LOGITS, ScoringPass, plan_passes, score_passes
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.reply_grammars import ReplyGrammar, ReplyGrammars
from charter.models.engines.scored_pairs import encode_pair, encode_pairs, join_messages
from charter.models.engines.shared_beginnings import SharedBeginning, longest_shareable_row
from charter.models.engines.template_report import note_altered, report_template
from charter.models.engines.token_batches import PADDING, BatchBounds, BatchRow, form_batches, plan_batches
from charter.records.chat import CallProgress, Completion, LogLikelihood, Prompt, Request, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import canonical

Item = TypeVar("Item")
Answer = TypeVar("Answer")
BatchFunction = Callable[[list[Item]], list[Answer]]


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
        self._grammars: ReplyGrammars | None = None
        self._tell: Callable[[CallProgress], None] | None = None
        self._progress: BatchProgress | None = None
        self._loaded_base: Path | None = None
        self._loaded_policy: ModelRef | None = None

    @property
    def identity(self) -> str:
        """The model's name and digest, and what else decides its answers."""
        name = self._policy.base if self._policy.revision else Path(self._policy.base).name
        asked = self.options.model_dump(include={"plain", "template", "context", "today", "reply_schema"})
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

    def describe(self, prompts: Sequence[Prompt] = ()) -> dict[str, Any]:
        """What answers, where and how: model, device, precision, format, context, batch; ``notes`` on the template and
        on how it renders ``prompts``, where there are any. Loads no weights."""
        where, options, device = self._base_folder(), self.options, self.device
        config, dialogue = weights.load_config(where, remote_code=options.remote_code), self.dialogue()
        notes = [*report_template(dialogue).notes, note_altered(dialogue, prompts)]
        return {
            "model": self._policy.base if self._policy.revision else Path(self._policy.base).name,
            "revision": self._policy.revision,
            "digest": self._policy.digest,
            "architecture": str(config.model_type),
            "device": weights.device_name(device),
            "dtype": weights.pick_dtype(options.dtype, device, config),
            "format": dialogue.description,
            "context": self._limit_context(config),
            "batch": options.batch_size,
            **({"date": options.today} if options.today else {}),
            **({"notes": [note for note in notes if note]} if any(notes) else {}),
        }

    def dialogue(self) -> ChatFormat:
        """How the base model is talked to. Loads no weights."""
        where, remote_code = self._base_folder(), self.options.remote_code
        config = weights.load_config(where, remote_code=remote_code)
        tokenizer = weights.load_tokenizer(where, remote_code=remote_code)
        return self._speak(tokenizer, weights.load_end_tokens(where, config))

    def report_progress(self, tell: Callable[[CallProgress], None] | None) -> None:
        """Tells ``tell`` how far a call for answers is, while its batches are at work; None: nobody."""
        self._tell = tell

    @property
    def renders(self) -> bool:
        """It shows what the model reads."""
        return True

    def render(self, request: Request | ScoreRequest) -> str:
        """What the model reads before it answers a request, special tokens and all; empty where it cannot read it."""
        dialogue = self.dialogue()
        try:
            if isinstance(request, ScoreRequest):
                ids = encode_pair(request, dialogue, 2**31)[0]
            else:
                ids = (
                    dialogue.encode_continuation(join_messages(request.messages))
                    if request.raw
                    else dialogue.encode_prompt(request.messages)
                )
        except (ValueError, EngineError):
            return ""
        return str(dialogue.tokenizer.decode(ids))

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
        for request, drawn in self._answers(fit, rows, done):
            spent = len(drawn.tokens) + (drawn.stop == "stop" and drawn.text is None)
            used = {"tokens_in": len(rows[request.id].ids), "tokens_out": spent}
            yield Completion.model_validate({"id": request.id, **used, **_said(request, drawn, dialogue)})

    def _answers(
        self, fit: Sequence[Request], rows: dict[str, DecodingRow], done: Collection[str]
    ) -> Iterator[tuple[Request, DecodedRow]]:
        """Request and answer for all not in ``done``; batches are those of all requests, whatever is done."""
        ordered, longest = [rows[request.id] for request in fit], self._longest_shareable()
        table = [
            BatchRow(row.ids, len(row.ids) - 1 if len(row.ids) + row.max_tokens <= longest else 0) for row in ordered
        ]
        plans = plan_batches(table, self._bounds(), inf if can_join_caches(self.model) else PADDING)
        batches = [[fit[place].id for place in batch] for plan in plans for batch in plan.batches]
        todo = sum(len(batch) for batch in batches if not set(batch) <= set(done))
        self._progress = BatchProgress(todo, self._tell) if todo and self._tell else None
        for plan in plans:
            beginning = SharedBeginning(plan.beginning)
            for batch in plan.batches:
                asked = [fit[place] for place in batch]
                if not all(request.id in done for request in asked):
                    drawn = self._run_within_memory(
                        [rows[request.id] for request in asked],
                        partial(self._decode_batch, beginning),
                        partial(self._decoding, beginning),
                    )
                    yield from (pair for pair in zip(asked, drawn, strict=True) if pair[0].id not in done)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """One log-likelihood per request not in ``done``. Raises EngineError where one (no label) does not fit."""
        if all(request.id in done for request in requests):
            return
        pairs, unread = encode_pairs(requests, self._ensure_loaded(), self._context_length())
        yield from (answer for answer in unread if answer.id not in done)
        requests = [request for request in requests if request.id in pairs]
        passes = plan_passes([pairs[request.id][:2] for request in requests])
        longest, bounds = (
            self._longest_shareable(),
            self._bounds(LOGITS // self.model.config.get_text_config().vocab_size),
        )
        table = [BatchRow(one.ids, one.unread if len(one.ids) <= longest else 0, one.kept) for one in passes]
        for plan in plan_batches(table, bounds):
            beginning = SharedBeginning(plan.beginning)
            for places in plan.batches:
                batch = [passes[place] for place in places]
                if all(requests[span.place].id in done for one in batch for span in one.spans):
                    continue
                work, need = partial(self._weigh, beginning), partial(self._passing, beginning)
                for one, weighed in zip(batch, self._run_within_memory(batch, work, need), strict=True):
                    for span, (value, greedy) in zip(one.spans, weighed, strict=True):
                        id, (_, after, cut) = requests[span.place].id, pairs[requests[span.place].id]
                        if id not in done:
                            yield LogLikelihood(id=id, value=value, tokens=len(after), greedy=greedy, cut=cut)

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
            ends = weights.read_end_tokens(model.generation_config)
            tokenizer = weights.load_tokenizer(self._base_folder(), remote_code=self.options.remote_code)
            self._chat_format = self._speak(tokenizer, ends)
        return self._chat_format  # type: ignore[no-any-return]

    def _speak(self, tokenizer: Any, ends: Sequence[int]) -> ChatFormat:
        style: dict[str, Any] = self.options.model_dump(include={"today", "thoughts"})
        return ChatFormat(tokenizer, ends, self.options.plain, self.options.template, **style)

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
                dialogue.encode_continuation(join_messages(request.messages))[-room:],
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
        grammar = self._reply_grammar(request, dialogue)
        return DecodingRow(ids, min(asked.max_tokens, limit - len(ids)), asked, request.seed, grammar)

    def _reply_grammar(self, request: Request, dialogue: ChatFormat) -> ReplyGrammar | None:
        """What holds the answer to the request's schema; None where nothing does. A thought fits no schema, so models
        that think are left free. Raises ValueError where the schema cannot be kept."""
        if request.response_schema is None or not self.options.reply_schema or dialogue.marks.thinks:
            return None
        if self._grammars is None:
            vocabulary = self.model.config.get_text_config().vocab_size
            self._grammars = ReplyGrammars(dialogue.tokenizer, dialogue.stop_ids, vocabulary)
        return self._grammars.compile_schema(request.response_schema)

    def _run_within_memory(
        self, batch: list[Item], work: BatchFunction[Item, Answer], need: Callable[[list[Item]], int]
    ) -> list[Answer]:
        """The batch's answers; by halves where it needs more memory than there is. Where memory ran out, no larger
        batch is tried again."""
        if len(batch) <= self._batch_limit and (len(batch) == 1 or self._fits(need(batch))):
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
                self._batch_limit = min(self._batch_limit, (len(batch) + 1) // 2)
        half = (len(batch) + 1) // 2
        return self._run_within_memory(batch[:half], work, need) + self._run_within_memory(batch[half:], work, need)

    def _bounds(self, kept: int = 2**62) -> BatchBounds:
        tokens = self.options.batch_tokens or memory.default_batch_tokens(self.device)
        return BatchBounds(self.options.batch_size, tokens, kept)

    def _longest_shareable(self) -> int:
        return longest_shareable_row(self.model) if self.options.share_beginnings else 0

    def _fits(self, needed: int) -> bool:
        """Whether a CPU's memory holds a batch; the kernel would end the process instead of telling."""
        available = memory.read_available() if self.device == "cpu" else None
        return available is None or needed <= memory.USABLE * available

    def _decoding(self, beginning: SharedBeginning, rows: list[DecodingRow]) -> int:
        own, drawn = max(len(row.ids) for row in rows) - len(beginning), max(row.max_tokens for row in rows)
        copied = 0 if beginning.stands_apart(self.model) else len(beginning)
        return memory.estimate_batch(self.model.config, len(rows), own, copied + own + drawn, kept=1)

    def _passing(self, beginning: SharedBeginning, passes: list[ScoringPass]) -> int:
        read, kept = max(len(one.ids) for one in passes), max(one.kept for one in passes)
        own = read - len(beginning)
        cached = (own if beginning.stands_apart(self.model) else read) if beginning else 0
        return memory.estimate_batch(self.model.config, len(passes), own, cached, kept)

    def _weigh(self, beginning: SharedBeginning, passes: list[ScoringPass]) -> list[list[tuple[float, bool]]]:
        return score_passes(self.model, passes, beginning)

    def _decode_batch(self, beginning: SharedBeginning, rows: list[DecodingRow]) -> list[DecodedRow]:
        dialogue = self._ensure_loaded()
        whole = (
            (lambda tokens: dialogue.split_thought(tokens)[1]) if dialogue.form == "template" else dialogue.decode_raw
        )
        ends, progress = RowEnds(dialogue.stop_ids, dialogue.decode_raw, whole), self._progress
        sizes = [len(row.ids) - len(beginning) for row in rows]
        parts = form_batches(sizes, self._bounds(), [1] * len(rows)) if can_join_caches(self.model) else ()
        drawn = decode(self.model, rows, ends, beginning, parts, progress.watch_batch if progress else None)
        if progress:
            progress.end_batch(len(rows), sum(len(row.tokens) for row in drawn))
        return drawn


def _said(request: Request, drawn: DecodedRow, dialogue: ChatFormat) -> dict[str, str]:
    """The answer in what was drawn, and the thought before it; an error where there is a thought and no answer."""
    if request.raw:
        return {"text": dialogue.decode_raw(drawn.tokens) if drawn.text is None else drawn.text, "stop": drawn.stop}
    thought, text = dialogue.split_thought(drawn.tokens)
    text = (text if drawn.text is None else drawn.text).strip()
    if not thought:
        return {"text": text, "stop": drawn.stop}
    if not text:
        spent = f"its thought took all {len(drawn.tokens)} tokens" if drawn.stop == "length" else "a thought alone"
        return {"text": "", "stop": "error", "error": f"no answer: {spent}", "thought": thought}
    return {"text": text, "stop": drawn.stop, "thought": thought}
