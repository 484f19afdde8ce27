"""How the engine in this process loads a model and asks it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.models.chat_format import Thoughts
from charter.records.record import Record


class LocalOptions(Record):
    """How a model is loaded and asked. In float32 only ``plain``, ``template``, ``context``, ``today`` and
    ``reply_schema`` change an answer."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on a CPU, else the checkpoint's own."""
    batch_size: int = Field(default=64, ge=1)
    """Most rows of a batch; halved where memory runs out."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Most padded prompt tokens of a batch. None: 4,096 on a CPU, on a GPU 512 for each GiB of its memory. A prompt
    that is longer alone has a batch of its own."""
    share_beginnings: bool = True
    """Read the beginning that many prompts share once and reuse its cache."""
    plain: bool = False
    """Raw text without the chat template."""
    template: dict[str, bool | int | str] = Field(default_factory=dict)
    """Arguments for the chat template, such as ``enable_thinking``."""
    today: str = ""
    """The date that a chat template writes, as 2026-01-31; empty: today's."""
    thoughts: Thoughts = "drop"
    """Whether thoughts are learnt; decides no answer."""
    reply_schema: bool = False
    """Hold an answer to its request's schema, token by token, unless the chat template knows thoughts."""
    context: int | None = Field(default=None, ge=1)
    """Most tokens of prompt and answer together; default: what the model's configuration says."""
    remote_code: bool = False
    """Run code that comes with the model."""
    offline: bool = False
    """Never ask the hub: the model must be a folder or in the cache."""
