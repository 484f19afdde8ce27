"""A PostgreSQL of its own on a socket in a folder: Debian's package, started and ended by whoever asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

OWNER = "postgres"
"""As whom it runs where the tests run as root, which it refuses."""


def is_installed() -> bool:
    """Whether the server's programs are there."""
    return shutil.which("pg_ctl") is not None and shutil.which("initdb") is not None


def make_database(url: str, name: str) -> str:
    """A new database of a server; its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return url.replace("/postgres?", f"/{name}?")


@contextmanager
def serve_postgres() -> Iterator[str]:
    """The URL of a fresh server. It listens on no port, and nothing of it stays."""
    as_owner = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short name: that of a socket is bounded
    if as_owner:
        shutil.chown(folder, OWNER, OWNER)

    def call(*words: str) -> None:
        subprocess.run([*as_owner, *words], check=True, capture_output=True, timeout=120, cwd=folder)

    data = folder / "data"
    try:
        call("initdb", "-D", str(data), "-A", "trust", "-U", "charter", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        call("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://charter@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
