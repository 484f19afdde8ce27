"""``charter chat``: a run's starting model and its aligned one side by side."""

from __future__ import annotations

import json
import sys
from contextlib import closing

from charter.cli.terminal import AsJson, RunFolder, print_message, print_out
from charter.errors import SpecError


def chat(directory: RunFolder, as_json: AsJson = False) -> None:
    """Ask a finished run's starting model and its aligned model the same, one prompt a line from stdin.

    Nothing is kept. With --json each line of stdin is a JSON text, and each line of stdout a JSON object.
    """
    from charter.jobs.chat_job import RunChat

    with closing(RunChat(directory)) as talk:
        if not as_json:
            print_message("One prompt a line; Ctrl-D ends.")
        for line in sys.stdin:
            if not line.strip():
                continue
            found = talk.ask_both(_read_prompt(line) if as_json else line.strip())
            if as_json:
                print_out(json.dumps(found.model_dump()), data=True)
            else:
                print_out(f"starting model: {found.base}\naligned model:  {found.aligned}")
            sys.stdout.flush()


def _read_prompt(line: str) -> str:
    """The text of a line of JSON. Raises SpecError."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise SpecError("a line of stdin is not JSON", cure='Write each prompt as "text".') from error
    if not isinstance(found, str):
        raise SpecError("a line of stdin is no JSON text", cure='Write each prompt as "text".')
    return found
