"""The engines of an oracle: over HTTP, in this process, or behind a server that is started for it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from charter.models.engines.local_options import LocalOptions
from charter.models.engines.ray_cluster import RayCluster
from charter.models.engines.ray_engine import RayEngine
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.served_engine import ServedEngine, ServedOptions
from charter.models.weights import resolve_model
from charter.ports import Engine
from charter.spec import OracleSpec
from charter.wiring.cluster_engines import LocalOracle, LocalReplica


def open_oracle_weights(
    asked: OracleSpec, offline: bool = False, folder: Path | None = None, cluster: RayCluster | None = None
) -> Engine:
    """The engine; it loads, or starts its server, when it is first asked. ``folder`` is for the server's log and lock
    (None: one below the system's temporary folder). Raises EngineError."""
    model = resolve_model(asked.model, asked.revision, offline=offline, remote_code=asked.remote_code)
    if not asked.serve:
        told = {"device", "dtype", "batch_tokens", "template", "context", "remote_code", "reply_schema"}
        options = asked.model_dump(include=told)
        how = LocalOptions.model_validate(options | {"batch_size": asked.batch, "offline": offline})
        if cluster is not None:
            return RayEngine(LocalReplica(model, how, asked.sampling), cluster)
        return LocalOracle(model, how, asked.sampling)

    serving = ServedOptions(
        command=asked.serve,
        ready_s=asked.serve_ready_s,
        replicas=asked.serve_replicas,
        offline=offline,
        remote_code=asked.remote_code,
        section="",
    )
    place = folder or Path(tempfile.mkdtemp(prefix="charter-oracle-"))
    return ServedEngine(model, serving, place, lambda urls, name: connect_remote(asked, name, urls, offline))


def connect_remote(asked: OracleSpec, name: str, urls: Sequence[str], offline: bool = False) -> RemoteEngine:
    """The model ``name`` over HTTP: at ``urls``, or where its provider has it (none). Raises EngineError."""
    options = RemoteOptions(
        base_url=urls[0] if urls else None,
        more_urls=tuple(urls[1:]),
        key_env=asked.key_env,
        max_connections=asked.connections,
        max_retries=asked.retries,
        give_up_after=asked.give_up_after_s,
        timeout=asked.timeout_s,
        sampling=asked.sampling,
        reply_schema=asked.reply_schema,
        overlap=asked.overlap,
        offline=offline,
    )
    return RemoteEngine(name, options)
