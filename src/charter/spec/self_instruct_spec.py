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
    """Topic-guided red teaming. ``types``: the ``shipped`` 20 question types, the ``world``'s, or a YAML file of your
    own; ``rounds`` of topics (0: no such questions), each with ``calls`` for every type that ask for ``asked`` topics
    of at most ``words`` words. ``balance``: as many topics of every type as of the smallest. Each call for questions
    shows ``shown`` seed questions and asks about ``hints`` topics. ``sift``: questions pass all filters that other
    prompts pass, not that for a second question about one topic alone."""

    types: str = "shipped"
    rounds: int = Field(2, ge=0)
    calls: int = Field(1, ge=1)
    asked: int = Field(10, ge=1)
    max_topic_words: int = Field(3, ge=1)
    balance: bool = True
    shown: int = Field(5, ge=1)
    hints: int = Field(5, ge=1)
    top_p: float = Field(0.95, gt=0, le=1)
    apply_filters: bool = True


class SelfInstructSpec(Record):
    """The switches of self-instruct. ``generator``: the role that writes. ``seeds``: our own ``shipped`` tasks, some of
    the ``world``'s prompts, or sources of yours. ``reply``: a numbered ``list``, or ``one`` prompt. ``fence``: what is
    shown stands between marked fences (false for a base model, which continues the bare list).

    ``rounds`` of ``calls`` (0 rounds: topics alone); each shows ``shown`` demonstrations, of which at least
    ``from_seeds`` are seeds and the others anything kept in earlier rounds, and asks for ``asked`` more. A prompt needs
    ``least`` to ``most`` words and none of ``media`` (words, or several words in a row); ``near``: ROUGE-L F above
    which it is a near-duplicate."""

    generator: Literal["target", "proposer"] = "target"
    seeds: Literal["shipped", "world"] | tuple[SourceSpec, ...] = "shipped"
    reply: Literal["list", "one"] = "list"
    fence: bool = True
    rounds: int = Field(4, ge=0)
    calls: int = Field(25, ge=1)
    shown: int = Field(5, ge=1)
    min_seeds: int = Field(2, ge=0)
    asked: int = Field(10, ge=1)
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(0.98, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    min_words: int = Field(4, ge=1)
    max_words: int = Field(150, ge=1)
    media: tuple[str, ...] = MEDIA_WORDS
    rouge_limit: float = Field(0.7, gt=0, le=1)
    topics: TopicGuidedSpec = TopicGuidedSpec()
