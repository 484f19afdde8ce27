"""How much memory a batch takes, and how much this machine has to give: Linux over-commits, so no error says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

USABLE = 0.8
"""The part of the available memory that a batch may take; the rest is for what the estimate leaves out."""
_FLOAT = 4
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def read_available(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that this process can still take: what the kernel calls available, or less where a control group has less
    left. None where nothing tells."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line)
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, LookupError, ValueError):
        return None
    try:
        most, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        found.append(int(most) - int(used) + int(stat["inactive_file"]))
    except (OSError, LookupError, ValueError):
        pass  # there is no control group, or it has no limit
    return max(0, min(found))


def default_batch_tokens(device: str) -> int:
    """Padded prompt tokens of a batch: what keeps two cores busy, or what half of a GPU's memory holds of a model of
    billions of parameters. Where there is less, batches are halved."""
    if not device.startswith("cuda"):
        return 4096
    import torch

    return max(4096, 512 * (torch.cuda.get_device_properties(device).total_memory // 2**30))


def estimate_batch(config: Any, rows: int, read: int, cached: int, kept: int) -> int:
    """Bytes that a batch takes at its height, as float32.

    Args:
        config: the model's own configuration.
        rows: rows of the batch.
        read: tokens of its longest row.
        cached: positions of each row that the cache holds at the end (0: no cache is kept).
        kept: positions of each row whose logits are kept.
    """
    text = config.get_text_config()
    hidden, heads = _size(text, "hidden_size", "n_embd"), _size(text, "num_attention_heads", "n_head")
    inner = _size(text, "intermediate_size", "n_inner") or 4 * hidden
    per_head = _size(text, "head_dim") or hidden // max(1, heads)
    keys = _size(text, "num_key_value_heads") or heads
    layers = _size(text, "num_hidden_layers", "n_layer")
    logits = rows * kept * _size(text, "vocab_size")
    layer = rows * read * (6 * hidden + 3 * inner)
    scores = rows * heads * read * max(read, cached) if getattr(config, "_attn_implementation", "") == "eager" else 0
    cache = 2 * layers * rows * cached * keys * per_head
    return _FLOAT * (2 * logits + layer + scores + cache)


def _size(config: Any, *names: str) -> int:
    found = next((getattr(config, name, None) for name in names if getattr(config, name, None)), 0)
    return found if isinstance(found, int) else 0
