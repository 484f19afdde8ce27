"""What the proposer calls the clusters of failures, and which of them it joined."""

from __future__ import annotations

from collections.abc import Iterator

from charter.records.verdicts import Cluster, ClusterTheme
from charter.runs.reader import RunReader


def tabulate_themes(reading: RunReader) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Every named cluster with its failures, and why clusters were joined; nothing where none was named."""
    rows = []
    for folder in reading.iterations:
        sizes = {c.id: len(c.shown) + len(c.hidden) for c in reading.records(f"{folder}/clusters", Cluster)}
        for theme in reading.records(f"{folder}/themes", ClusterTheme):
            count, joined = sum(sizes.get(id, 0) for id in theme.clusters), len(theme.clusters)
            rows.append((folder, theme.name or "-", str(count), theme.why if joined > 1 else "", str(joined)))
    if rows:
        yield "Failures by theme", [("iteration", "theme", "failures", "why they are one", "clusters"), *rows]
