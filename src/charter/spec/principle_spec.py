"""The switches of the methods that begin with rules: ``self_align``, its stages alone, and ``cai``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record


class SelfAlignSpec(Record):
    """The switches of `self_align`, `think` and `clone` (Sun et al., arXiv 2305.03047)."""

    prompts: Literal["source", "instruct", "both"] = Field(
        "source",
        description="What is answered: the prompts of `source`, those that self-`instruct` writes, or `both`.",
    )
    ordinary: int = Field(40, ge=0, description="Helpful prompts of the sources, beside a batch of red-team prompts.")
    exemplars: str = Field(
        "shipped",
        description="Dialogues that show how to think: `shipped`, or a YAML file of your own. Empty: none.",
    )
    temperature: float = Field(0.5, ge=0, description="Temperature of thought and answer.")
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Thought and answer are drawn from the likeliest tokens that hold this share of the probability.",
    )
    max_tokens: int = Field(512, ge=1, description="The most tokens of thought and answer together.")
    min_characters: int = Field(160, ge=0, description="The fewest characters of an answer that ended by itself.")
    max_repeats: int = Field(
        3,
        ge=2,
        description="A clause of three words or more is cut when it comes for the so-many-th time.",
    )
    apologies: tuple[str, ...] = Field(
        ("i'm sorry", "i am sorry", "sorry", "i apologize", "i apologise", "my apologies"),
        description="An answer with one of these openings is dropped.",
    )
    leak_words: int = Field(
        8,
        ge=3,
        description="An answer that shares so many words in a row with an exemplar is dropped.",
    )
    clone: bool = Field(False, description="True adds verbose cloning after engraving.")
    clone_temperature: float = Field(0.3, ge=0, description="Temperature of the longer answers.")
    clone_top_p: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Longer answers are drawn from the likeliest tokens that hold this share of the probability.",
    )
    clone_tokens: int = Field(512, ge=1, description="The most tokens of a longer answer.")
    clone_penalty: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Frequency penalty of the longer answers, against repetition.",
    )


class EngraveSpec(Record):
    """Principle engraving: what `engrave` and `self_align` tune on."""

    rows: tuple[str, ...] = Field(
        (),
        description="Files of chat rows. `engrave` tunes on them alone (none: rows of the step before), `self_align` "
        "beside its answers.",
    )
    skip: int = Field(0, ge=0, description="Rows of each of `rows` that cannot be used and may be left out.")


class CaiSpec(Record):
    """Constitutional AI, its supervised stage (Bai et al., arXiv 2212.08073)."""

    rounds: int = Field(4, ge=1, description="Rounds of critique and revision.")
    principles_per_round: int = Field(
        1,
        ge=1,
        description="Principles that are drawn at random for each answer in each round.",
    )
    revise: Literal["findings", "all"] = Field(
        "findings",
        description="What is revised: `findings`, or `all` answers, as in the paper.",
    )
    until: Literal["complies", "end"] = Field(
        "complies",
        description="`complies` leaves an answer alone once the judge passes it; `end` revises all answers in all "
        "rounds, as in the paper.",
    )
    pretrained: str = Field(
        "",
        description="A folder or hub id of the model that is tuned in the target's place. Empty: the target.",
    )
    samples: int = Field(1, ge=1, description="Answers to each helpfulness prompt. The paper has 2.")
    temperature: float = Field(1.0, gt=0, description="Temperature of those answers after the first.")
