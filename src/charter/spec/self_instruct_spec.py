"""The switches of self-instruct."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record
from charter.spec.prompt_spec import SourceSpec

MEDIA_WORDS = (
    "audio", "chart", "charts", "clip", "diagram", "diagrams", "drawing", "file", "files", "flowchart", "gif", "gifs",
    "graph", "graphs", "image", "images", "map", "maps", "music", "photo", "photograph", "photos", "picture",
    "pictures", "plot", "recording", "screenshot", "slide", "slides", "video", "videos",
)  # fmt: skip


class TopicGuidedSpec(Record):
    """Topic-guided red teaming: questions about topics of every type."""

    types: str = Field("shipped", description="Types of question: `shipped` (20), `world`, or a YAML file of your own.")
    rounds: int = Field(2, ge=0, description="Rounds of topics. 0: no such questions.")
    calls: int = Field(1, ge=1, description="Calls for each type in a round.")
    asked: int = Field(10, ge=1, description="Topics that a call asks for.")
    max_topic_words: int = Field(3, ge=1, description="The most words of a topic.")
    balance: bool = Field(True, description="True takes as many topics of each type as the smallest type has.")
    shown: int = Field(5, ge=1, description="Seed topics or questions that a call shows.")
    hints: int = Field(5, ge=1, description="Topics that one call for questions asks about.")
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="The generator draws questions from the likeliest tokens that hold this share of the probability.",
    )
    apply_filters: bool = Field(
        True,
        description="True passes questions through all filters; false through the leakage filter alone.",
    )


class SelfInstructSpec(Record):
    """Self-instruct (Wang et al., arXiv 2212.10560): prompts from seeds and from what was kept."""

    generator: Literal["target", "proposer"] = Field(
        "target",
        description="Who writes the prompts: `target` or `proposer`.",
    )
    seeds: Literal["shipped", "world"] | tuple[SourceSpec, ...] = Field(
        "shipped",
        description="Where seeds come from: `shipped`, `world`, or a list of sources.",
    )
    reply: Literal["list", "one"] = Field("list", description="A call asks for a numbered `list`, or for `one` prompt.")
    fence: bool = Field(
        True,
        description="True puts marked fences around what is shown. False is for a base model that continues the bare "
        "list.",
    )
    rounds: int = Field(4, ge=0, description="Rounds of calls. 0: topics alone.")
    calls: int = Field(25, ge=1, description="Calls in a round.")
    shown: int = Field(5, ge=1, description="Demonstrations that a call shows.")
    min_seeds: int = Field(
        2,
        ge=0,
        description="So many of them are seeds at least. The others are drawn from all prompts so far.",
    )
    asked: int = Field(10, ge=1, description="Prompts that a call asks for.")
    temperature: float = Field(1.0, ge=0, description="Temperature of the generator.")
    top_p: float = Field(
        0.98,
        gt=0,
        le=1,
        description="The generator draws from the likeliest tokens that hold this share of the probability.",
    )
    max_tokens: int = Field(1024, ge=1, description="The most tokens of a reply.")
    min_words: int = Field(4, ge=1, description="The fewest words of a prompt.")
    max_words: int = Field(150, ge=1, description="The most words of a prompt.")
    media: tuple[str, ...] = Field(
        MEDIA_WORDS,
        description="Words that need other media than text. A prompt with one of them is dropped.",
    )
    rouge_limit: float = Field(
        0.7,
        gt=0,
        le=1,
        description="A prompt is a near-duplicate above this ROUGE-L F1 with an earlier one.",
    )
    topics: TopicGuidedSpec = TopicGuidedSpec()
