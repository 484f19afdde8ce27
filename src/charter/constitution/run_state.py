"""What a finished run hands to one that goes on from it, so that the new run needs nothing of the old one's folder."""

from __future__ import annotations

from charter.constitution.document import Constitution
from charter.records.model_refs import ModelRef
from charter.records.record import Record
from charter.records.training_rows import Example
from charter.records.verdicts import Finding


class RunState(Record):
    """Policy and constitution as the run left them; its accepted rows (``examples``) and replay; the ids of prompts
    that were ``rehearsed`` and ``probed``; and the findings that caused the rules."""

    id: str = "handover"
    policy: ModelRef
    constitution: Constitution
    examples: tuple[Example, ...] = ()
    replay_rows: tuple[Example, ...] = ()
    replay_prompt_ids: tuple[str, ...] = ()
    probed_prompt_ids: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
