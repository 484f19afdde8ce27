"""What a record is: frozen, strict, with one JSON text and one digest; and what a stage is told of its step."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8 kept."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return _ENCODER.encode(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_jsonable)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class Record(BaseModel):
    """Anything that is kept: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


@dataclass(frozen=True)
class Step:
    """What Run hands to a stage: seeds, what is done already, and (for tuning) a directory to write in."""

    path: str
    run_seed: int
    done: frozenset[str] = field(default_factory=frozenset)
    directory: Path | None = None

    def seed(self, item: str = "") -> int:
        """63-bit seed that depends on (run seed, step, item) and on nothing else."""
        return int.from_bytes(hashlib.sha256(f"{self.run_seed}|{self.path}|{item}".encode()).digest()[:8], "big") >> 1

    def random(self, item: str = "") -> random.Random:
        """A generator seeded from (run seed, step, item)."""
        return random.Random(self.seed(item))
