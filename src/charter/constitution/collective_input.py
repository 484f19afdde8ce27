"""Rules out of what many people said and voted on: an export of Polis (comments, and the votes of each participant).

Polis puts participants into groups by how they vote. A comment that a majority of every group agrees with is common
ground (Small and others 2021, "Polis: Scaling deliberation by mapping high dimensional opinion spaces", group-aware
consensus). It becomes a rule in force; any other comment is proposed, and not in force."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.errors import RowError, SpecError
from charter.statistics.shares import wilson

COMMENTS, VOTES = "comments.csv", "participants-votes.csv"
MIN_VOTES = 5
"""Fewest votes of a group on a comment for a share of it to be stated."""
_AGREES, _VOTES = "1", ("1", "0", "-1")


@dataclass(frozen=True)
class GroupSupport:
    """How many of a group's voters agree with a comment."""

    group: str
    agree: int
    voted: int

    @property
    def share(self) -> float:
        """The share that agrees, with one vote for and one against added, as Polis estimates it."""
        return (self.agree + 1) / (self.voted + 2)

    def __str__(self) -> str:
        low, high = wilson(self.agree, self.voted)
        return f"group {self.group}: {self.agree} of {self.voted} agree ({low:.0%} to {high:.0%})"


def import_polis(folder: Path) -> dict[str, Any]:
    """A constitution as a plain value, from a folder with ``comments.csv`` and ``participants-votes.csv``.

    Comments that were moderated out are left out. Support stands in each rule's amendment, by group. Raises SpecError
    where a file is missing or is no such export, RowError naming its line."""
    comments = {row["comment-id"]: row for row in _read_rows(folder / COMMENTS, ("comment-id", "comment-body"))}
    support = _count_support(folder / VOTES, comments)
    rules, changes = [], []
    for key, row in comments.items():
        text = " ".join(row["comment-body"].split())
        if row.get("moderated", "").strip() == "-1" or not text:
            continue
        groups = support[key]
        common = len(groups) > 1 and all(g.voted >= MIN_VOTES and g.share > 0.5 for g in groups)
        rule = f"polis-{key}"
        rules.append({"id": rule, "title": "", "text": text, "by": "people"})
        rules[-1]["status"] = "approved" if common else "proposed"
        said = "; ".join(map(str, groups)) or "no group voted on it"
        changes.append({"id": f"added/{rule}", "action": "added", "principles": [rule], "reason": said, "by": "people"})
    if not rules:
        raise SpecError(f"{folder} holds no comment that was let through", cure="Give another export.")
    content = b"".join((folder / name).read_bytes() for name in (COMMENTS, VOTES))
    source = f"{folder.name}@sha256:{hashlib.sha256(content).hexdigest()}"
    return {"source": source, "principles": rules, "amendments": changes}


def _count_support(path: Path, comments: Mapping[str, Any]) -> dict[str, list[GroupSupport]]:
    """By comment: the support of each group that voted on it. Who is in no group counts in none."""
    counts: dict[str, dict[str, list[int]]] = {key: {} for key in comments}
    for line, row in enumerate(_read_rows(path, ("participant", "group-id")), 2):
        group = row["group-id"].strip()
        for key in comments if group else ():
            vote = (row.get(key) or "").strip()
            if vote and vote not in _VOTES:
                raise RowError(f"{path}, line {line}", f"the vote on comment {key} is {vote[:20]!r}")
            if vote:
                counted = counts[key].setdefault(group, [0, 0])
                counted[0] += vote == _AGREES
                counted[1] += 1
    return {key: [GroupSupport(g, *groups[g]) for g in sorted(groups)] for key, groups in counts.items()}


def _read_rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in needed if name not in (rows.fieldnames or ())]
            if missing:
                raise SpecError(f"{path} has no column {', '.join(missing)}", cure="Give an export of Polis.")
            yield from ({key: value or "" for key, value in row.items() if key} for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cure = f"Give a folder with {COMMENTS} and {VOTES}, as Polis exports them."
        raise SpecError(f"{path} cannot be read: {error}", cure=cure) from error
