"""Prompts that a model wrote: what each filter dropped, how varied the kept ones are, and their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.data.instructing.instruction_records import Yield
from charter.runs.reader import RunReader

TableRows = list[tuple[str, ...]]
YIELD_NAMES = ("seeds", "general", "topics", "questions")


def read_yields(reading: RunReader) -> list[Yield]:
    """What each part of self-instruct brought, in the parts' order; none in a run without it."""
    found = [one for step in reading.steps if step.endswith("_yield") for one in reading.records(step, Yield)]
    return sorted(found, key=lambda one: YIELD_NAMES.index(one.id))


def build_yield_tables(found: Sequence[Yield]) -> Iterator[tuple[str, TableRows]]:
    """Counts by filter and variety, then the kept questions by type."""
    if found:
        yield (
            "Prompts written by a model; variety over as many texts as there are seeds",
            [
                ("part", "calls", "written", "kept", "dropped, by filter", "distinct 1-, 2-, 3-grams"),
                *map(_yield_row, found),
            ],
        )
    typed = {one.id: one.by_type for one in found if one.by_type}
    if typed:
        names = list(dict.fromkeys(name for counts in typed.values() for name in counts))
        rows = [(name, *(str(counts.get(name, 0)) for counts in typed.values())) for name in names]
        yield "Kept, by type of question", [("type", *typed), *rows]


def _yield_row(one: Yield) -> tuple[str, ...]:
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(one.dropped.items(), key=lambda i: -i[1]))
    varied = " ".join(f"{one.distinct_n[n]:.2f}" for n in sorted(one.distinct_n))
    share = f"{one.kept} ({one.kept / one.written:.0%})" if one.written else str(one.kept)
    return one.id, str(one.calls), str(one.written), share, dropped or "nothing", varied
