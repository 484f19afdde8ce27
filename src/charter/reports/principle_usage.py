"""Methods that begin with rules: what people wrote, what thoughts name, what was dropped, what rows are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from charter.constitution.document import Constitution
from charter.constitution.exemplars import HumanLines
from charter.records.decisions import Decision
from charter.records.record import Record
from charter.records.revisions import FilteredAnswer, ReasonedAnswer, RevisionTrial
from charter.records.training_rows import Example
from charter.runs.reader import RunReader


class RuleUse(Record):
    """A rule, and how often it was used: named by a thought, or drawn for a critique."""

    id: str
    title: str
    times: int


class PrincipleUsage(Record):
    """``lines`` that people wrote, by kind and in all; ``prompts`` of sources, which are data. ``answers`` under the
    rules, of which ``thoughts`` could be read; ``dropped`` by the filters, by reason; ``rules`` by use. ``shares`` of
    the rows of the policy that stayed (or that the run leaves), by origin; empty where there are none."""

    lines: dict[str, int]
    prompts: int
    answers: int
    thoughts: int
    dropped: dict[str, int]
    cut: int
    rules: list[RuleUse]
    shares: dict[str, float]


def read_principle_usage(reading: RunReader) -> PrincipleUsage | None:
    """None for other methods, and before the rules are on record."""
    given = reading.records("000/supervision", HumanLines)
    founded = reading.records("000/constitution", Constitution)
    if not given or not founded:
        return None
    wrote, (constitution,) = given[0], founded
    reasoned = reading.records("001/reasoned", ReasonedAnswer)
    sifted = reading.records("001/sifted", FilteredAnswer)
    used = Counter(rule for r in reasoned for rule in r.rules)
    active = [p.id for p in constitution.active]
    for step in reading.steps:
        if step.endswith("_trials") and step.startswith("001/round"):
            for trial in reading.records(step, RevisionTrial):
                used.update(set(active) - set(trial.omitted))
    rows = Counter(e.origin for e in _final_rows(reading))
    seen = {"seeds": wrote.seeds, "principles": wrote.principles, "exemplars": wrote.exemplars, "in all": wrote.total}
    seen = {"question types": wrote.types, **seen} if wrote.types else seen
    return PrincipleUsage(
        lines=seen,
        prompts=wrote.prompts,
        answers=len(reasoned),
        thoughts=sum(bool(r.thought) for r in reasoned),
        dropped=dict(Counter(reason for s in sifted for reason in s.reasons).most_common()),
        cut=sum(s.repetition_cut for s in sifted),
        rules=[RuleUse(id=p.id, title=p.title or p.id, times=used[p.id]) for p in constitution.active],
        shares={origin: round(n / rows.total(), 4) for origin, n in sorted(rows.items())},
    )


def _final_rows(reading: RunReader) -> Sequence[Example]:
    """The rows of the last policy that was tuned and not rolled back; those of a run that tunes nothing."""
    for folder in reversed(reading.iterations):
        decided = reading.records(f"{folder}/decision", Decision)
        rows = reading.records(f"{folder}/rows", Example)
        stayed = decided[0].action not in ("roll_back", "give_up") if decided else reading.head is not None
        if rows and stayed:
            return rows
    return []
