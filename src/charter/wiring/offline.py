"""A run that is offline: whatever reaches for another machine is stopped where it opens a connection."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from charter.errors import OfflineError

HUB_OFFLINE_VARS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that tell the hub's libraries, here and in child processes, to look at their caches alone."""

TELEMETRY_OFF = ("HF_HUB_DISABLE_TELEMETRY", "1")
"""Keeps the hub's library, and trainers that use it, from telling that they were used; the user's own value stays."""


@contextmanager
def block_network(wanted: bool) -> Iterator[None]:
    """While it lasts, connecting or looking up a name that is not on this machine's loopback raises OfflineError, in
    every thread of this process. Where it is not ``wanted``, libraries are kept from counting their use, no more."""
    os.environ.setdefault(*TELEMETRY_OFF)
    if not wanted:
        yield
        return
    owners: tuple[tuple[Any, str], ...] = (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket, "getaddrinfo"),
    )
    real = [getattr(owner, name) for owner, name in owners]
    before = {name: os.environ.get(name) for name in HUB_OFFLINE_VARS}
    os.environ.update(dict.fromkeys(HUB_OFFLINE_VARS, "1"))
    socket.socket.connect = _guard_connect(real[0])  # type: ignore[method-assign]
    socket.socket.connect_ex = _guard_connect(real[1])  # type: ignore[method-assign]
    socket.getaddrinfo = _guard_lookup(real[2])
    try:
        yield
    finally:
        for (owner, name), function in zip(owners, real, strict=True):
            setattr(owner, name, function)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _guard_connect(real: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _require_loopback(address[0])
        return real(self, address)

    return connect


def _guard_lookup(real: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host is not None:
            _require_loopback(host.decode() if isinstance(host, bytes) else host)
        return real(host, *args, **options)

    return getaddrinfo


def _require_loopback(host: str) -> None:
    try:
        known = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        known = host in ("localhost", "", socket.gethostname())
    if not known:
        raise OfflineError(
            f"{host} was to be reached, and this run is offline.",
            "Name a local model, a cached one or a server on 127.0.0.1; or set `offline: false` in a new run.",
        )
