"""The switches of the methods that begin with rules: ``self_align``, its stages alone, and ``cai``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record


class SelfAlignSpec(Record):
    """The switches of ``self_align``, ``think`` and ``clone``. ``prompts``: the sources' (a batch of red-team prompts
    and ``ordinary`` helpful ones), those that self-instruct writes (``instruct``), or ``both``. ``exemplars``: the
    ``shipped`` ones, a YAML file of your own, or none (empty); they are shown only where ``templates.think_prompt``
    leaves room for turns of a dialogue.

    ``temperature``, ``top_p`` and ``tokens`` of thought and answer. Filters: an answer that ended by itself has at
    least ``shortest`` characters; a clause of three words or more is cut where it comes for the ``repeats``-th time;
    dropped are answers that open with one of ``apologies``, and those that share ``leak`` words in a row with an
    exemplar. ``clone``: verbose cloning after engraving, from answers of at most ``clone_tokens``, drawn at
    ``clone_temperature`` and ``clone_top_p`` with ``clone_penalty``, a frequency penalty against repetition."""

    prompts: Literal["source", "instruct", "both"] = "source"
    ordinary: int = Field(40, ge=0)
    exemplars: str = "shipped"
    temperature: float = Field(0.5, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)
    min_characters: int = Field(160, ge=0)
    max_repeats: int = Field(3, ge=2)
    apologies: tuple[str, ...] = ("i'm sorry", "i am sorry", "sorry", "i apologize", "i apologise", "my apologies")
    leak_words: int = Field(8, ge=3)
    clone: bool = False
    clone_temperature: float = Field(0.3, ge=0)
    clone_top_p: float = Field(0.7, gt=0, le=1)
    clone_tokens: int = Field(512, ge=1)
    clone_penalty: float = Field(0.0, ge=0, le=2)


class EngraveSpec(Record):
    """``rows``: files of chat rows that ``engrave`` trains on, in any columns that ``charter curate`` reads; the loss
    is on the last turn. None: the rows that the step before left. ``self_align`` engraves them beside its answers, such
    as dialogues that say who the model is."""

    rows: tuple[str, ...] = ()


class CaiSpec(Record):
    """The switches of ``cai``. ``rounds`` of critique and revision, each under ``drawn`` principles drawn at random for
    each answer. ``of``: the ``findings`` are revised, or ``all`` answers. ``until``: ``complies``, an answer that the
    judge passes is left alone in later rounds; ``end``: every round revises every answer. ``pretrained``: a folder or
    hub id of the model to be tuned in the target's place; empty: the target itself, which is the helpful model.
    ``samples``: answers to each helpfulness prompt; those after the first are drawn at ``temperature``."""

    rounds: int = Field(4, ge=1)
    principles_per_round: int = Field(1, ge=1)
    revise: Literal["findings", "all"] = "findings"
    until: Literal["complies", "end"] = "complies"
    pretrained: str = ""
    samples: int = Field(1, ge=1)
    temperature: float = Field(1.0, gt=0)
