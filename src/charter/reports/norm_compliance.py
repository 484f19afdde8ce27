"""What people decided in a run that goes on from another one, and whether it is followed: the same prompts before and
after, which no row was made of."""

from __future__ import annotations

from charter.constitution.document import extract_norms
from charter.constitution.run_state import RunState
from charter.records.record import Record
from charter.records.rules import NormPrompts
from charter.records.verdicts import Verdict
from charter.runs.reader import RunReader
from charter.statistics import mcnemar


class NormCompliance(Record):
    """``before`` and ``after``: of ``n`` prompts that the rule decides about and that were judged both times, how many
    answers follow the decision. ``p``: exact McNemar; None while the run is not finished."""

    id: str
    text: str
    holds: bool
    n: int
    before: int
    after: int | None
    p: float | None


def read_norm_compliance(reading: RunReader) -> list[NormCompliance]:
    """Every decision of people that the run began with; empty where there was none."""
    given = reading.records("inherited/handover", RunState)
    written = {found.id: found for found in reading.records("000/norm_prompts", NormPrompts)}
    before, after = (_follows_by_prompt(reading, folder) for folder in ("000", "final"))
    out = []
    for norm in extract_norms(given[0].constitution) if given else ():
        ids = [p.id for p in written[norm.id].check if p.id in before] if norm.id in written else []
        done = bool(after)
        pairs = [(before[i], after[i]) for i in ids if i in after] if done else [(before[i], False) for i in ids]
        gained, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
        out.append(
            NormCompliance(
                id=norm.id,
                text=norm.text,
                holds=norm.holds,
                n=len(pairs),
                before=sum(a for a, _ in pairs),
                after=sum(b for _, b in pairs) if done else None,
                p=mcnemar(gained, lost) if done and pairs else None,
            )
        )
    return out


def _follows_by_prompt(reading: RunReader, folder: str) -> dict[str, bool]:
    """Whether each answer follows what was decided; what could not be judged is left out."""
    steps = (f"{folder}/norms_held_verdicts", f"{folder}/norms_withdrawn_verdicts")
    found = [v for step in steps for v in reading.records(step, Verdict)]
    return {v.id: v.outcome == "complies" for v in found if v.outcome != "unjudged"}
