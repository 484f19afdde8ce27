"""The model that is to be trained, and what is left of it on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from charter.errors import TuningError
from charter.models import weights
from charter.models.tuners.tuner_options import TuneOptions
from charter.records.model_refs import ModelRef

_SHARDING_VARIABLES = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""Variables by which accelerate's launcher says that weights are spread over processes."""


def load_trainable_model(start: ModelRef, options: TuneOptions) -> tuple[Any, Any]:
    """The model to be trained (a PEFT model for LoRA), and its tokenizer."""
    base = weights.model_folder(start, offline=options.offline, remote_code=options.remote_code)
    earlier = weights.verify_files(start) if start.adapter else None
    full = earlier is not None and not weights.is_adapter(earlier)
    if full and options.kind == "lora":
        raise TuningError(
            "The starting policy is a full checkpoint, and a LoRA cannot be kept apart from it.",
            "Use kind `full`, or start from the base model.",
        )
    dtype: weights.Dtype = "float32" if options.dtype == "auto" and options.kind == "full" else options.dtype
    source = earlier if full and earlier else base
    if options.quantize == "4bit":
        model = _load_quantized(source, options)
    else:
        model = weights.load_model(source, pick_training_device(options.device), dtype, remote_code=options.remote_code)
    if earlier is not None and not full:
        model = weights.attach_adapter(model, earlier, trainable=options.kind == "lora")
        if options.kind == "lora":
            _check_same_shape(model.peft_config["default"], options)
    if options.kind == "lora" and earlier is None:
        model = add_lora(model, options)
    elif options.kind == "full" and earlier is not None and not full:
        model = model.merge_and_unload().requires_grad_(True)
    return model, weights.load_tokenizer(base, remote_code=options.remote_code)


def pick_training_device(wanted: str) -> str:
    """Where what is to be trained is loaded: on a CPU where its weights are spread over processes afterwards."""
    sharded = any(os.environ.get(name) == "true" for name in _SHARDING_VARIABLES)
    return "cpu" if sharded else pick_process_device(wanted)


def pick_process_device(wanted: str) -> str:
    """The device, by ``weights.pick_device``: of several CUDA devices the one that a launcher gave to this process."""
    device, rank = weights.pick_device(wanted), os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if device == "cuda" and rank is not None else device


def _load_quantized(source: Path, options: TuneOptions) -> Any:
    """The base in 4 bits, ready for LoRA. Raises TuningError where this machine cannot do it."""
    from importlib.util import find_spec

    import torch

    if options.kind != "lora":
        raise TuningError("Weights of 4 bits cannot be tuned in full.", "Set options.tune.kind: lora.")
    if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        lacking = "bitsandbytes is not installed" if find_spec("bitsandbytes") is None else "there is no CUDA device"
        raise TuningError(
            f"Training in 4 bits is not possible here: {lacking}.",
            "pip install bitsandbytes on a machine with an NVIDIA GPU, or set tuner.quantize: none.",
        )
    import peft

    device = pick_process_device("cuda")
    model = weights.load_model(source, device, "bfloat16", remote_code=options.remote_code, quantize=True)
    prepare: Any = peft.prepare_model_for_kbit_training
    return prepare(model, use_gradient_checkpointing=options.gradient_checkpointing)


def add_lora(model: Any, options: TuneOptions) -> Any:
    """A new LoRA around ``model``; its start is drawn from torch's generator."""
    from peft import LoraConfig, TaskType, get_peft_model

    if tied := weights.list_tied_targets(model, () if options.targets == "auto" else options.targets):
        raise TuningError(f"LoRA on {', '.join(tied)}: its weights are tied to another layer's.", weights.TIED_CURE)
    fused = [t for t in options.targets if options.targets != "auto" and _is_weight(model, t)]
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear" if options.targets == "auto" else [t for t in options.targets if t not in fused],
        target_parameters=fused or None,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise TuningError(
            f"LoRA does not fit this model: {str(error).splitlines()[0][:300]}",
            "Use `targets: auto`, or name layers that it has; fused experts take no `dropout`.",
        ) from error


def _is_weight(model: Any, name: str) -> bool:
    """Whether a target is a weight itself, such as the fused ones of experts, and no layer."""
    return any(key == name or key.endswith(f".{name}") for key, _ in model.named_parameters())


def _check_same_shape(config: Any, options: TuneOptions) -> None:
    if (config.r, config.lora_alpha) != (options.r, options.alpha):
        raise TuningError(
            f"The starting adapter has r {config.r} and alpha {config.lora_alpha}; asked for are r {options.r} and "
            f"alpha {options.alpha}.",
            "Give the tuner the adapter's own r and alpha, or start from the base model.",
        )


def load_policy_weights(model: Any, policy: ModelRef, options: TuneOptions) -> None:
    """Gives ``model``, made from what the policy was made from, the policy's weights."""
    where = weights.verify_files(policy)
    if options.kind == "full":
        own = weights.load_model(where, str(model.device), options.dtype, remote_code=options.remote_code)
        model.load_state_dict(own.state_dict())
        return
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(where / weights.ADAPTER_WEIGHTS), adapter_name="default")


def save_policy(trainer: Any, tokenizer: Any, directory: Path, start: ModelRef, options: TuneOptions) -> None:
    """Writes safetensors and what is needed to load them, and nothing that varies from machine to machine."""
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    whole = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else None  # by all processes together
    if not trainer.is_world_process_zero():
        return
    own = {} if options.kind == "full" else {"selected_adapters": ["default"]}  # others only say what it is held to
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(directory), state_dict=whole, **own)
    (directory / "README.md").unlink(missing_ok=True)
    if options.kind == "full":
        tokenizer.save_pretrained(str(directory))
        return
    path = directory / weights.ADAPTER_CONFIG
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = start.base if start.revision else Path(start.base).name
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
