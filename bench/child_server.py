"""A server in a process of its own, for what is measured against one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.page import ROOT


@contextmanager
def serve_module(module: str, *words: str) -> Iterator[str]:
    """The URL of a server that prints it first: ``python -m MODULE WORDS``. It is ended at the end."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
