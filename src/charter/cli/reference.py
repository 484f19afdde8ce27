"""Every command's help as Markdown, for the docs: ``python -m charter.cli.reference``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def render_reference() -> str:
    """A section for each command: what it does, its usage, its arguments and options with their defaults."""
    from typer.main import get_command

    from charter.cli.app import app

    return "\n".join(_command_sections(get_command(app), "charter"))


def _command_sections(command: Any, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children is None:
        yield from _command_section(command, path)
        return
    for name, child in children.items():
        yield from _command_sections(child, f"{path} {name}")


def _command_section(command: Any, path: str) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    words = [path, *(_parameter_name(p) for p in arguments), *(["[OPTIONS]"] if options else [])]
    yield from (f"## {path}", "", f"`{' '.join(words)}`", "")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    if arguments or options:
        yield from ("| | meaning | default |", "| --- | --- | --- |")
        yield from (
            f"| `{_parameter_name(p)}` | {_escape_cell(p.help)} | {_default_text(p)} |" for p in (*arguments, *options)
        )
        yield ""


def _parameter_name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    names = ", ".join(parameter.opts)
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar}"


def _default_text(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value is None or value is False or value == "":
        return "required" if parameter.required else ""
    return f"`{getattr(value, 'value', value)}`"


def _escape_cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    print(render_reference(), end="")
