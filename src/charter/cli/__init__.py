"""The command line: one module for each group of commands; heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command (``sys.argv`` where none is given) and exits: 0, or the code of the error's class."""
    from charter.cli.app import app
    from charter.cli.terminal import print_error
    from charter.errors import CharterError

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before a library reads it; the user's own value stays
    try:
        app(args=None if arguments is None else list(arguments), prog_name="charter")
    except CharterError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
