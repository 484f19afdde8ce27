"""Commands in a spec: the names in braces that charter fills in."""

from __future__ import annotations

import re
import shlex


def parse_placeholders(command: str, known: tuple[str, ...]) -> set[str] | list[str]:
    """The names in braces of a command; or a list of faults."""
    try:
        names = {name for word in shlex.split(command) for name in re.findall(r"\{(\w+)\}", word)}
    except ValueError as error:
        return [f"its quotes do not match ({error})"]
    unknown = [f"{{{name}}} is not known; there are {', '.join(known)}" for name in sorted(names - set(known))]
    return unknown or names
