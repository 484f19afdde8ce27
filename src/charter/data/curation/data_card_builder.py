"""The data card: what is counted while rows pass, and how they were sifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from charter.data.curation.balance import length_group
from charter.data.curation.curation_records import CurationTools, DataCard, FilterCount, FilterResult, GroupCount
from charter.spec.curation_spec import CurationSpec

EARLY_FILTERS = ("contaminated", "exact duplicate", "near duplicate")
FILTER_NAMES = (*EARLY_FILTERS, "target", "language share", "length share")
"""The filters in their order; a row is left out by the first that takes it."""
REJUDGED = "judged again"
MAX_GROUPS, MAX_LISTED_GROUPS = 2_000, 50
"""At most so many groups of rows are counted at once, and so many are listed: those of the most rows."""
OTHER_GROUPS = "(others)"
_UNKNOWN = "unknown"
_GROUPS = ("sources", "languages", "lengths")


class GroupTable:
    """Rows before and after by group. Where there are too many groups, those of the fewest rows become others, so that
    what is said of a group is at least true of those that are many; all together they are every row."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._others = [0, 0]

    def add(self, key: tuple[str, str], stays: bool) -> None:
        """One row more."""
        counted = self._counts.setdefault(key, [0, 0])
        counted[0] += 1
        counted[1] += stays
        if len(self._counts) > MAX_GROUPS:
            self._merge_small_groups(MAX_GROUPS // 2)

    def to_groups(self) -> tuple[GroupCount, ...]:
        """The groups by name, others last."""
        self._merge_small_groups(MAX_LISTED_GROUPS)
        found = [
            GroupCount(id=name, licence=licence, before=before, after=after)
            for (name, licence), (before, after) in sorted(self._counts.items())
        ]
        if self._others[0]:
            found.append(GroupCount(id=OTHER_GROUPS, licence="several", before=self._others[0], after=self._others[1]))
        return tuple(found)

    def _merge_small_groups(self, most: int) -> None:
        ranked = sorted(self._counts, key=lambda key: (-self._counts[key][0], key))
        for key in ranked[most:]:
            before, after = self._counts.pop(key)
            self._others = [self._others[0] + before, self._others[1] + after]


@dataclass
class DataCardCounts:
    """What a card counts, filled while the rows pass; it does not grow with them."""

    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    rows_masked: int = 0
    judged: int = 0
    groups: dict[str, GroupTable] = field(default_factory=lambda: {name: GroupTable() for name in _GROUPS})

    def add(self, sifted: FilterResult) -> None:
        """One row more."""
        self.rows += 1
        if sifted.dropped:
            self.dropped[_filter_name(sifted.dropped)] += 1
        self.masked.update(sifted.masked)
        self.rows_masked += bool(sifted.masked)
        self.judged += sifted.judged
        of = ((sifted.source, sifted.licence), (sifted.language, ""), (length_group(sifted.words), ""))
        for group, key in zip(_GROUPS, of, strict=True):
            self.groups[group].add((key[0] or _UNKNOWN, key[1]), not sifted.dropped)

    def build_card(self, settings: dict[str, str]) -> DataCard:
        """The card."""
        left, filters = self.rows, []
        for name in FILTER_NAMES:
            filters.append(FilterCount(id=name, rows=left, dropped=self.dropped[name]))
            left -= self.dropped[name]
        if settings.get("targets") == REJUDGED:
            settings = settings | {"targets": f"{REJUDGED}: {self.judged:,} rows; a row without a target is not judged"}
        tables = {name: found.to_groups() for name, found in self.groups.items()}
        return DataCard(
            rows=self.rows,
            kept=left,
            filters=tuple(filters),
            masked=dict(sorted(self.masked.items())),
            rows_masked=self.rows_masked,
            sources=tables["sources"],
            languages=tables["languages"],
            lengths=tuple(sorted(tables["lengths"], key=lambda g: int(g.id.split()[2]))),
            settings=settings,
        )


def build_data_card(
    sifted: Iterable[FilterResult],
    options: CurationSpec,
    tools: CurationTools,
    against: Mapping[str, int],
    uncovered: Mapping[str, str] = MappingProxyType({}),
) -> DataCard:
    """The card of what was sifted. ``against``: how many texts each benchmark in use gave; ``uncovered``: why nothing
    is known of one."""
    counts = DataCardCounts()
    for one in sifted:
        counts.add(one)
    return counts.build_card(describe_settings(options, tools, against, uncovered))


def describe_settings(
    options: CurationSpec,
    tools: CurationTools,
    against: Mapping[str, int],
    uncovered: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """How rows are sifted, in words."""
    texts = ", ".join(f"{name} ({count} texts)" for name, count in against.items() if count)
    missing = {name: "it has no text" for name, count in against.items() if not count} | dict(uncovered)
    said = {
        "contaminated": f"{texts}; runs of {options.ngram} words, one word in {options.words_per_change} altered"
        if options.decontaminate and texts
        else "not looked for",
        "not covered": "; ".join(f"{name}: {why}" for name, why in missing.items()) if options.decontaminate else "",
        "duplicates": " and ".join(
            filter(None, ("exact" * options.exact, f"near (Jaccard {options.near:g})" if options.near else ""))
        )
        or "kept",
        "targets": REJUDGED if options.rejudge else "not judged again",
        "masked by": "; ".join(r.identity for r in tools.detectors) if options.mask else "",
        "languages": tools.language_detector.identity if tools.language_detector else "as the rows say",
        "shares": f"language at most {options.language_share:g}, length at most {options.length_share:g}",
    }
    return {name: value for name, value in said.items() if value}


def _filter_name(dropped: str) -> str:
    return "target" if dropped.startswith("target:") else dropped
