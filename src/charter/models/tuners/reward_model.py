"""A model that says what an answer is worth: loaded to be trained, asked behind ``ports.Rewarder``, and practised
toward."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from charter.errors import EngineError, TuningError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.tuners.isolation import free_memory
from charter.models.tuners.model_setup import pick_process_device, pick_training_device
from charter.models.tuners.tuner_options import TuneOptions
from charter.ports import Rewarder
from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.preferences import ExchangeReward

BATCH_SIZE = 64


def load_trainable_reward_model(start: ModelRef, options: TuneOptions) -> tuple[Any, Any]:
    """A model with one output, on the start's own weights, and its tokenizer. A LoRA's start is the base without the
    policy's adapter, so that the adapter made here says all."""
    base = weights.model_folder(start, offline=options.offline, remote_code=options.remote_code)
    if options.quantize != "none":
        raise TuningError("A reward model is not trained over weights of 4 bits.", "Set tuner.quantize: none.")
    policy = weights.verify_files(start) if start.adapter else None
    device = pick_training_device(options.device)
    model = _load_with_one_output(base, device, options)
    if options.kind == "full" and policy is not None:
        if weights.is_adapter(policy):
            spoken = weights.attach_adapter(
                weights.load_model(base, device, "float32", remote_code=options.remote_code), policy
            ).merge_and_unload()
        else:
            spoken = weights.load_model(policy, device, "float32", remote_code=options.remote_code)
        model.base_model.load_state_dict(spoken.base_model.state_dict())
    if options.kind == "lora":
        from peft import LoraConfig, TaskType, get_peft_model

        model = get_peft_model(
            model,
            LoraConfig(
                task_type=TaskType.SEQ_CLS,
                r=options.r,
                lora_alpha=options.alpha,
                lora_dropout=options.dropout,
                target_modules="all-linear" if options.targets == "auto" else list(options.targets),
                modules_to_save=["score"],
            ),
        )
    return model, weights.load_tokenizer(base, remote_code=options.remote_code)


def _load_with_one_output(where: Path, device: str, options: TuneOptions) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    cure = "Name a base whose architecture transformers has as a sequence classifier."
    with weights.translate_load_errors(where, cure), weights.quiet_libraries():
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            where,
            num_labels=1,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=options.remote_code,
            local_files_only=True,
        )
        return model.to(device).eval()


class RewardModel:
    """What a reward model says; it loads when it is first asked. With ``keep_loaded`` off it is in memory only while it
    is asked: between two rounds the memory belongs to the policy in training."""

    def __init__(self, model: ModelRef, options: TuneOptions, keep_loaded: bool = True) -> None:
        self._ref, self._options, self._keep_loaded = model, options, keep_loaded
        self._model: Any = None

    @property
    def identity(self) -> str:
        """The model's digest."""
        return f"reward model {self._ref.digest[:16]}"

    def rewards(self, exchanges: Sequence[Exchange], done: Collection[str] = ()) -> Iterator[ExchangeReward]:
        """The model's output at the end of each answer; None for an answer that failed or does not fit the context.
        Batches are made of all exchanges, whatever is done."""
        try:
            yield from self._score(exchanges, done)
        finally:
            if not self._keep_loaded:
                self.close()

    def _score(self, exchanges: Sequence[Exchange], done: Collection[str]) -> Iterator[ExchangeReward]:
        import torch

        model, read = self._ensure_loaded(), self._encode(exchanges)
        *batches, unfit = self._form_batches(exchanges, read)
        yield from (ExchangeReward(id=e.id, value=None) for e in unfit if e.id not in done)
        for batch in batches:
            if all(e.id in done for e in batch):
                continue
            longest, pad = len(read[batch[0].id]), model.config.get_text_config().pad_token_id
            rows = [read[e.id] + [pad] * (longest - len(read[e.id])) for e in batch]
            mask = [[1] * len(read[e.id]) + [0] * (longest - len(read[e.id])) for e in batch]
            with torch.inference_mode():
                given = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
                found = model(**{k: v.to(model.device) for k, v in given.items()}).logits[:, 0].float().tolist()
            yield from (ExchangeReward(id=e.id, value=v) for e, v in zip(batch, found, strict=True) if e.id not in done)

    def form_batches(self, exchanges: Sequence[Exchange]) -> list[list[Exchange]]:
        """The answers that are rated together, which would be so too if these alone were given; last those that have no
        worth. No weights load."""
        return self._form_batches(exchanges, self._encode(exchanges))

    def _form_batches(self, exchanges: Sequence[Exchange], read: Mapping[str, list[int]]) -> list[list[Exchange]]:
        options = self._options
        base = weights.model_folder(self._ref, offline=options.offline, remote_code=options.remote_code)
        known = weights.context_length(weights.load_config(base, remote_code=options.remote_code))
        limit = known or options.max_length
        fit = sorted((e for e in exchanges if 0 < len(read[e.id]) <= limit), key=lambda e: (-len(read[e.id]), e.id))
        kept = {e.id for e in fit}
        batches = [fit[at : at + BATCH_SIZE] for at in range(0, len(fit), BATCH_SIZE)]
        return [*batches, [e for e in exchanges if e.id not in kept]]

    def _encode(self, exchanges: Sequence[Exchange]) -> dict[str, list[int]]:
        """What is read of each answer; nothing of one that cannot be read."""
        return {e.id: _encode_exchange(e, self._chat_format) for e in exchanges}

    @cached_property
    def _chat_format(self) -> ChatFormat:
        options = self._options
        base = weights.model_folder(self._ref, offline=options.offline, remote_code=options.remote_code)
        tokenizer = weights.load_tokenizer(base, remote_code=options.remote_code)
        return ChatFormat(tokenizer, (), options.plain, options.template, today=options.today)

    def close(self) -> None:
        """Frees the model's memory; the next call loads it anew."""
        self._model = None
        free_memory()

    def _ensure_loaded(self) -> Any:
        if self._model is None:
            self._load()
        return self._model

    def _load(self) -> None:
        """Loads; what new layers are drawn from on the way is no draw of the training that asks: one that goes on from
        a checkpoint loads later in its draws than one left in peace."""
        import torch

        options = self._options
        where = weights.verify_files(self._ref)
        base = weights.model_folder(self._ref, offline=options.offline, remote_code=options.remote_code)
        adapter = weights.is_adapter(where)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = _load_with_one_output(base if adapter else where, pick_process_device(options.device), options)
            self._model = weights.attach_adapter(model, where) if adapter else model
        self._model.config.get_text_config().pad_token_id = self._chat_format.tokenizer.pad_token_id


def _encode_exchange(exchange: Exchange, dialogue: ChatFormat) -> list[int]:
    """What the model reads: prompt and answer, with the end token where the answer came to its end."""
    if exchange.stop == "error":
        return []
    try:
        if exchange.stop == "length":
            before, after = dialogue.encode_scored(exchange.prompt.messages, exchange.response)
        else:
            before, after = dialogue.encode_training(exchange.prompt.messages, exchange.response)
    except ValueError:
        return []
    return before + after


def make_reward_function(
    prompts: Sequence[Prompt], rewarder: Rewarder, dialogue: ChatFormat
) -> Callable[..., list[float | None]]:
    """What a trainer asks of the answers that it drew: ``prompts`` (places in the list, as text) and the answers'
    tokens go in, what they are worth comes out."""

    def worth(prompts_: Sequence[str], completion_ids: Sequence[Sequence[int]]) -> list[float | None]:
        drawn = [
            Exchange(
                id=f"{number}",
                prompt=prompts[int(place)],
                response=dialogue.decode_answer(list(ids)),
                stop="stop" if ids and ids[-1] in dialogue.stop_ids else "length",
                model="policy",
                sampling=Sampling(temperature=1.0),
            )
            for number, (place, ids) in enumerate(zip(prompts_, completion_ids, strict=True))
        ]
        try:
            found = {reward.id: reward.value for reward in rewarder.rewards(drawn)}
        except EngineError as error:
            raise TuningError(error.message, error.cure) from error
        return [found.get(e.id) for e in drawn]

    return lambda prompts, completion_ids, **_: worth(prompts, completion_ids)
