"""Numbers that depend on the target's size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record


class ScaleSpec(Record):
    """Numbers that depend on the model's size. A name stands for a shipped block: `organism`, `135m`, `1b`, `8b` or
    `70b`. Without a scale the target's own size chooses one."""

    answer_tokens: int = Field(512, ge=1, description="The most tokens of an answer.")
    critique_tokens: int = Field(256, ge=1, description="The most tokens of a critique.")
    stop: tuple[str, ...] = Field((), description="Texts that end an answer.")
    frequency_penalty: float = Field(0.0, description="Penalty for tokens that came before, in the target's answers.")
    temperature: float = Field(0.0, ge=0, description="Temperature of the target. At 0 the likeliest token is taken.")
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The target draws from the likeliest tokens that hold this share of the probability.",
    )
    row_tokens: int = Field(
        2048,
        ge=8,
        description="The most tokens of a training row. A longer row is left out and named.",
    )
    learning_rate: float = Field(
        1e-4, gt=0, description="Peak learning rate of supervised tuning, where `options.tune` names none."
    )
    row_order: Literal["random", "length"] = Field(
        "length",
        description="How supervised training puts rows into batches: `random`, or by `length`, with less padding.",
    )
