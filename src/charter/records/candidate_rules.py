"""Candidates for rules: what is asked of the proposer, how each wording is tried, and what became of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from charter.records.record import Record
from charter.records.rules import Principle
from charter.records.verdicts import Cluster, Finding

RefusalReason = Literal[
    "unread", "repeated", "form", "copied", "addresses others", "unjudged", "mends nothing", "mends too few"
]
"""Why a wording is no rule: the proposer's reply could not be read; it was refused before, or stands twice; its form;
it copies the template, a failing prompt or an answer; the judge says that it does not tell the assistant what to do, or
gave no verdict; under it the target mends none of the failures, or fewer than the clusters whose rules it unites."""


class CandidateCheck(Record):
    """What became of one wording: refused for ``reason``, in words ``why``; or no reason, where it passed. ``mended``:
    findings, of ``tried``, that the target mends under it."""

    id: str
    cluster: str
    principle: Principle | None
    reason: RefusalReason | None = None
    why: str = ""
    mended: tuple[str, ...] = ()
    tried: int = 0

    @property
    def text(self) -> str:
        """The wording; empty where there is none."""
        return self.principle.text if self.principle is not None else ""


class CandidateRequest(Record):
    """One wording to be asked for. ``refused``: what was refused for this cluster before. ``number``: its place among
    the candidates, from 1."""

    id: str
    cluster: Cluster
    number: int
    refused: tuple[CandidateCheck, ...] = ()


class Candidate(Record):
    """A wording that may become a rule. ``failures``: those that the proposer was shown, of which it must mend one;
    ``earlier``: wordings that were refused before; ``request``: what its proposer was told besides."""

    id: str
    cluster: str
    principle: Principle | None
    failures: tuple[Finding, ...]
    earlier: tuple[str, ...] = ()
    request: tuple[str, ...] = Field((), exclude_if=lambda texts: not texts)


class RuleTrial(Record):
    """A failure, to be answered again under one rule alone."""

    id: str
    candidate: str
    rule: str
    finding: Finding
