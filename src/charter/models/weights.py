"""Models on disk: find them, name them by a digest, load them with transformers and PEFT.

Engines and tuners share this room. Weights are read from safetensors only; code that comes with a model is not run
unless the caller says so. Whatever goes wrong in a library becomes an EngineError here, with its cure.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from charter.errors import EngineError
from charter.models.gguf_files import forget_quantisation, is_gguf, reader_arguments
from charter.records.model_refs import ModelRef
from charter.records.record import digest

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
)
"""The files of a folder that decide what a model answers; all else (cards, notes) is left out of its digest."""


def resolve_model(base: str, revision: str = "", *, offline: bool = False, remote_code: bool = False) -> ModelRef:
    """Names a base model: a folder, a GGUF file, or a hub id (fetched, and pinned to the commit that ``revision`` means
    today).

    ``base_digest`` is the SHA-256 over the names and digests of the files that decide its answers. Raises EngineError.
    """
    found = Path(base).expanduser()
    if is_gguf(found):
        name = digest(file_digests(found.parent, (found.name,)))
        return ModelRef(base=base, base_digest=name, digest=name)
    if not found.is_dir():
        found, revision = _from_hub(base, revision, offline=offline, remote_code=remote_code)
    files = file_digests(found, (*MODEL_FILES, "*.py") if remote_code else MODEL_FILES)
    if "config.json" not in files:
        raise EngineError(
            f"{base} has no config.json, so it is not a model that transformers can load.",
            "Name the folder that holds config.json, the tokenizer and the *.safetensors files.",
        )
    name = digest(files)
    return ModelRef(base=base, base_digest=name, revision=revision, digest=name)


def model_folder(model: ModelRef, *, offline: bool = False, remote_code: bool = False) -> Path:
    """The folder with the base model's files, or its GGUF file; fetches a hub model that is not in the cache. Raises
    EngineError."""
    found = Path(model.base).expanduser()
    if found.is_dir() or is_gguf(found):
        return found
    return _from_hub(model.base, model.revision, offline=offline, remote_code=remote_code)[0]


def _from_hub(base: str, revision: str, *, offline: bool, remote_code: bool) -> tuple[Path, str]:
    """Folder and commit of a hub model. The folder is the hub's own cache, whose last part is the commit."""
    if base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise EngineError(f"There is no model folder {base}.", "Check the path, or name a hub model as owner/name.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*MODEL_FILES, "*.py"] if remote_code else list(MODEL_FILES)
    try:
        where = huggingface_hub.snapshot_download(
            base, revision=revision or None, allow_patterns=patterns, local_files_only=offline
        )
    except HFValidationError as error:
        raise EngineError(
            f"{base!r} is neither a folder nor a hub id: {_first_line(error)}", "Check the name."
        ) from error
    except LocalEntryNotFoundError as error:
        raise EngineError(
            f"The model {base} is not in the local cache, and the hub cannot be reached.",
            "Fetch it once while online (`hf download`), or name a folder.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise EngineError(
            f"The hub did not give the model {base}: {_first_line(error)}",
            "Check name and revision; for a gated model accept its terms and set HF_TOKEN.",
        ) from error
    return Path(where), Path(where).name


def file_digests(where: Path, patterns: Iterable[str] = ("**/*",)) -> dict[str, str]:
    """SHA-256 of each file under ``where`` that matches, by its path relative to ``where``, sorted."""
    paths = {path for pattern in patterns for path in where.glob(pattern) if path.is_file()}
    sums = {}
    for path in sorted(paths):
        with path.open("rb") as stream:
            sums[path.relative_to(where).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return sums


def verify_files(model: ModelRef) -> Path:
    """The folder of the model's adapter or checkpoint, after its files were compared with ``model.files``."""
    where = Path(model.adapter or "")
    if not model.adapter or not where.is_dir():
        raise EngineError(
            f"The adapter {model.adapter} is missing.", "Restore the run's policy folder, or fork the run before it."
        )
    for name, expected in model.files.items():
        path = where / name
        if not path.is_file() or file_digests(where, (name,))[name] != expected:
            state = "has changed since it was made" if path.is_file() else "is missing"
            raise EngineError(f"{path} {state}.", "Restore the file, or fork the run before this policy.")
    return where


def is_adapter(where: Path) -> bool:
    """Whether a policy's folder holds an adapter; otherwise it holds a full checkpoint."""
    return (where / ADAPTER_CONFIG).is_file()


def pick_device(wanted: str) -> str:
    """The torch device: as asked, or for ``auto`` the first of cuda, mps and cpu that is there."""
    import torch

    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def device_name(device: str) -> str:
    """A device in words: its name and memory, and whether it knows bfloat16."""
    import torch

    if not device.startswith("cuda"):
        return device
    found = torch.cuda.get_device_properties(torch.device(device))
    exact = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
    return f"{device} ({found.name}, {found.total_memory / 2**30:.0f} GiB, {exact})"


def load_config(where: Path, *, remote_code: bool = False) -> Any:
    """The configuration of a model folder. Raises EngineError."""
    from transformers import AutoConfig

    with (
        translate_load_errors(where, "Name a folder with the config.json of a causal language model."),
        quiet_libraries(),
    ):
        return AutoConfig.from_pretrained(
            **reader_arguments(where), trust_remote_code=remote_code, local_files_only=True
        )


def context_length(config: Any) -> int | None:
    """Most tokens that a model reads, as its configuration says; None where it says nothing."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def read_end_tokens(known: Any) -> list[int]:
    """The end tokens of a generation config (or a model's own): none, one or several."""
    ends = getattr(known, "eos_token_id", None)
    return [ends] if isinstance(ends, int) else list(ends or ())


def load_end_tokens(where: Path, config: Any) -> list[int]:
    """The tokens that end an answer of a model folder, without its weights; ``config`` is its configuration."""
    from transformers import GenerationConfig

    with quiet_libraries():
        try:
            if is_gguf(where):
                raise FileNotFoundError(f"{where} holds no generation config")
            return read_end_tokens(GenerationConfig.from_pretrained(str(where), local_files_only=True))
        except OSError:
            return read_end_tokens(config.get_text_config())


def count_parameters(where: Path) -> int | None:
    """Numbers in the safetensors files of a model folder, read off their heads; None where there are none."""
    from safetensors import safe_open

    total = 0
    for path in sorted(where.glob("*.safetensors")):
        with translate_load_errors(path, "Fetch the file again."), safe_open(path, "pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total or None


def asks_date(where: Path) -> bool:
    """Whether a model's chat template may write the date; told by a text, without a library. A GGUF file's may."""
    if is_gguf(where):
        return True
    files = [*where.glob("chat_template*"), *where.glob("tokenizer_config.json")]
    return any("strftime_now" in path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())


def pick_dtype(wanted: str, device: str, config: Any) -> str:
    """The precision of the weights: as asked, or for ``auto`` float32 on a CPU, else the checkpoint's own."""
    if wanted != "auto":
        return wanted
    own = getattr(config, "dtype", None) or "float32"
    return "float32" if device == "cpu" else str(own).removeprefix("torch.")


def load_tokenizer(where: Path, *, remote_code: bool = False) -> Any:
    """The tokenizer of a model folder; padding takes the end token where there is no padding token."""
    from transformers import AutoTokenizer

    with translate_load_errors(
        where, "Put the tokenizer's files beside the weights (tokenizer.json, tokenizer_config.json)."
    ):
        tokenizer = AutoTokenizer.from_pretrained(
            **reader_arguments(where), trust_remote_code=remote_code, local_files_only=True
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    where: Path, device: str, dtype: Dtype = "auto", *, remote_code: bool = False, quantize: bool = False
) -> Any:
    """A causal language model in evaluation mode. ``dtype`` auto: float32 on a CPU, else the checkpoint's own.
    ``quantize``: layers in 4 bits (NF4), which need bitsandbytes and CUDA.

    Weights that the files do not hold are an error here, where transformers would draw them at random.
    """
    import torch
    from transformers import AutoModelForCausalLM

    chosen = "float32" if dtype == "auto" and device == "cpu" else dtype
    cure = "Name a folder with config.json and *.safetensors weights of a causal language model."
    with translate_load_errors(where, cure), quiet_libraries():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **reader_arguments(where),
            dtype=chosen if chosen == "auto" else getattr(torch, chosen),
            use_safetensors=True,
            trust_remote_code=remote_code,
            local_files_only=True,
            output_loading_info=True,
            **(_four_bit_arguments(device) if quantize else {}),
        )
    model, report = loaded
    if is_gguf(where):
        model = forget_quantisation(model)
    check_complete(where, report)
    with translate_load_errors(where, f"Choose another device than {device}."):
        return model.eval() if quantize else model.to(device).eval()


def check_complete(where: Path, report: Any) -> None:
    """Raises EngineError where transformers' ``report`` of a loading names tensors that the files do not hold."""
    lacking = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if lacking:
        raise EngineError(
            f"The weights in {where} do not fit its config.json: {len(lacking)} tensors are missing or "
            f"of another shape (first: {lacking[0]}).",
            "Use the config.json that belongs to these weights.",
        )


def _four_bit_arguments(device: str) -> dict[str, Any]:
    """What transformers is told to load weights in 4 bits, as QLoRA has them (Dettmers et al., arXiv 2305.14314)."""
    import torch
    import transformers

    make: Any = transformers.BitsAndBytesConfig
    config = make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def attach_adapter(model: Any, where: Path, *, trainable: bool = False) -> Any:
    """The PEFT model: ``model`` with the adapter in ``where``. Raises EngineError where they do not fit;
    then ``model`` is spoilt and must be loaded anew."""
    from peft import PeftModel

    if not (where / ADAPTER_WEIGHTS).is_file():
        raise EngineError(
            f"{where} holds no {ADAPTER_WEIGHTS}.", "Restore the folder; adapters are read from safetensors only."
        )
    cure = "Use an adapter made for this base model, undamaged."
    with translate_load_errors(where, cure), quiet_libraries(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapped = PeftModel.from_pretrained(model, str(where), is_trainable=trainable)
    lacking = [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    if lacking:
        raise EngineError(f"The adapter in {where} does not fit the base model: {lacking[0][:200]}", cure)
    return wrapped if trainable else wrapped.eval()


def find_tied(where: Path, targets: Iterable[str], *, remote_code: bool = False) -> list[str]:
    """Those of ``targets`` (ends of layers' or weights' names) that hit an input or output layer which shares its
    weights with the other. Loads no weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(where, remote_code=remote_code)
    if not getattr(config.get_text_config(), "tie_word_embeddings", getattr(config, "tie_word_embeddings", True)):
        return []
    make: Any = AutoModelForCausalLM.from_config
    with translate_load_errors(where, "Check its config.json."), quiet_libraries(), torch.device("meta"):
        model = make(config, trust_remote_code=remote_code)
    return list_tied_targets(model, targets)


def list_tied_targets(model: Any, targets: Iterable[str]) -> list[str]:
    """As ``find_tied``, of a model in memory."""
    layers = {model.get_input_embeddings(), model.get_output_embeddings()} - {None}
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", True) or len(layers) < 2:
        return []
    names = [name for name, layer in model.named_modules() if layer in layers]
    bare = ((target, target.removesuffix(".weight")) for target in targets)
    return sorted({target for target, end in bare if any(name == end or name.endswith(f".{end}") for name in names)})


TIED_CURE = "Name other layers, or leave options.tune.targets at auto."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out, on any device."""
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(w in str(error).lower() for w in words)


@contextmanager
def translate_load_errors(where: Path, cure: str) -> Iterator[None]:
    """Turns what libraries raise while they load ``where`` into an EngineError."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise EngineError(f"{where} holds a damaged safetensors file: {_first_line(error)}", cure) from error
    except (
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
        ImportError,
        AttributeError,
        TypeError,
        ArithmeticError,
        struct.error,
    ) as error:
        raise EngineError(f"Could not load {where}: {_first_line(error)}", cure) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps transformers' and datasets' bars and notices off the terminal inside the block, and only there."""
    from transformers.utils import logging as notices

    logging: Any = notices
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    """An exception's first line, at most 300 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].replace(os.environ.get("HF_TOKEN") or "\0", "***")
