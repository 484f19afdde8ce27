"""charter's commands as processes of their own that import next to nothing: each is forked from one warm process.

To import torch, transformers and trl takes a process five seconds and more, which is most of what a small run takes.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from unittest.mock import patch

PRELOADED = (
    *("charter.cli.app", "charter.cli.run_commands", "charter.jobs", "charter.wiring"),
    *("torch", "transformers.modeling_utils", "transformers.models.llama.modeling_llama", "peft", "datasets"),
    *("trl.trainer.sft_trainer", "sklearn.cluster", "sklearn.feature_extraction.text", "scipy.stats", "jinja2"),
)
"""What a run imports sooner or later. What cannot be imported is passed over, and is imported by each."""


def start_charter(*words: str, stdout: Path | None = None) -> ForkServerProcess:
    """Starts a command, whose standard output goes to a file, or where that of the tests goes. It can be waited for,
    killed and asked for its exit code, as any process of ``multiprocessing``."""
    process = _open_context().Process(target=_enter_charter, args=(words, stdout))
    process.start()
    return process


def run_charter(*words: str) -> tuple[int, str]:
    """A command's exit code, and what it says on stdout."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "stdout"
        process = start_charter(*words, stdout=said)
        process.join()
        assert process.exitcode is not None
        return process.exitcode, said.read_text(encoding="utf-8")


@cache
def _open_context() -> ForkServerContext:
    """The warm process, which lives as long as this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with patch.dict(os.environ, OMP_NUM_THREADS="1"):
        forkserver.ensure_running()
    return context


def _enter_charter(words: Sequence[str], stdout: Path | None) -> None:
    from charter.cli import main

    if stdout is not None:
        with stdout.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
    main(words)
