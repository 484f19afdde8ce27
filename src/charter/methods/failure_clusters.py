"""Failures put together, and named by the proposer where it is asked. A part of methods."""

from __future__ import annotations

from collections.abc import Sequence

from charter.methods.inputs import Inputs
from charter.ports import Roles
from charter.records.verdicts import Cluster, Finding
from charter.runs import Steps
from charter.stages.clustering import cluster, join_clusters, name_clusters


def cluster_failures(run: Steps, findings: Sequence[Finding], roles: Roles, inputs: Inputs) -> list[Cluster]:
    """The clusters; with ``options.cluster.names`` under the proposer's names, those of one theme joined."""
    options = inputs.options.cluster
    clusters = run.once("clusters", cluster, findings, options, roles.embedder)
    if not options.names:
        return clusters
    themes = run.once("themes", name_clusters, clusters, roles.proposer, inputs.templates)
    named_clusters = run.once("named_clusters", join_clusters, clusters, themes)
    return named_clusters
