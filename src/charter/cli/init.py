"""``charter init``: a short spec from a person's answers, a commented one, or a shipped recipe."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import print_message, print_out, print_table
from charter.errors import StoreError

if TYPE_CHECKING:
    from charter.spec import Spec
    from charter.spec.option_reference import Option

SPEC_HEAD = """\
# What to align, with what, and how. Put your own models and files here. Every other key has its default:
# `charter init --all` shows them. Check this file with: charter run FILE --dry-run
"""
FULL_HEAD = """\
# What to align, with what, and how: every key with its default, but for the models and the prompt files. Put your own
# there. A key that is left out has its default. Check this file with: charter run FILE --dry-run
"""
NEEDED_KEYS = (
    *("version", "method", "target", "target.model", "oracle", "oracle.model", "evaluator", "evaluator.model"),
    *("prompts", "prompts.redteam", "prompts.helpful", "budget", "budget.calls"),
)
"""What a person has to think of before a first run."""
COMMENT_WIDTH = 110


def init(
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write this shipped recipe instead.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; stdout where none is given.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Write every key with its default and meaning.")] = False,
    names: Annotated[bool, typer.Option("--list", help="List the shipped recipes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what no option says has its default.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model to align, instead of asking.", show_default=False)
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The oracle, instead of asking; NAME@http://SERVER/v1 is a server's model.",
            show_default=False,
        ),
    ] = None,
    evaluator: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The evaluator, instead of asking.", show_default=False)
    ] = None,
    redteam: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Red-team prompts: FILE, FILE:COLUMN or a published set.", show_default=False
        ),
    ] = None,
    helpful: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Ordinary prompts: FILE, FILE:COLUMN or a published set.", show_default=False
        ),
    ] = None,
    calls: Annotated[
        str | None, typer.Option(metavar="N", help="Most calls of the oracle, instead of asking.", show_default=False)
    ] = None,
) -> None:
    """Write a spec to start from. On a terminal it asks for model, oracle, prompts and budget, writes a short spec,
    checks this machine and says what a run would do.

    Elsewhere it writes the keys that a first run needs with their meaning, or all. With --yes, or with an answer as an
    option, it writes the short spec.
    """
    from charter import spec as specs

    shipped = specs.list_recipes()
    if names:
        for name, path in shipped.items():
            print_out(f"{name:<20} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        return
    if recipe is not None and recipe not in shipped:
        raise typer.BadParameter(f"{recipe} is not one of {', '.join(shipped)}", param_hint="--recipe")
    if recipe is not None and everything:
        raise typer.BadParameter("a recipe is written as it is shipped; leave one of the two out", param_hint="--all")
    given = {"model": model, "oracle": oracle, "evaluator": evaluator, "redteam": redteam, "helpful": helpful}
    given |= {"calls": calls}
    answered = yes or any(answer is not None for answer in given.values())
    if recipe is None and not everything and (answered or _is_terminal()):
        _write_answers(given, not yes and _is_terminal(), out)
        return
    own = full_spec() if everything else short_spec()
    text = own if recipe is None else shipped[recipe].read_text(encoding="utf-8")
    if out is None:
        print_out(text, data=True)
        return
    _write_new(out, text)
    print_message(f"{out} is written. Mend it, then: charter run {out} --dry-run")


def _is_terminal() -> bool:
    """Whether a person can be asked: not where a file or another program reads or writes."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _write_answers(given: Mapping[str, str | None], asks: bool, out: Path | None) -> None:
    """Asks, writes the spec, looks at this machine and says what a run would do."""
    from charter.cli.doctor import check_machine, check_spec
    from charter.cli.run_commands import print_plan
    from charter.cli.spec_questions import ask_questions, write_spec

    path = out or Path("align.yaml")
    _require_free(path)
    text = write_spec(ask_questions(given, asks))
    _write_new(path, text)
    print_message(f"{path} is written:")
    print_out(f"\n{text}")
    print_table([("what", "found", "to mend"), *check_machine()], "This machine (charter doctor)")
    print_table([("what", "found", "to mend"), *check_spec(str(path))], f"The run (charter doctor {path})")
    print_plan(text, as_json=False)
    print_message(f"Begin with: charter run {path} --out runs/first")


def _write_new(out: Path, text: str) -> None:
    from charter.runs import store

    _require_free(out)
    store.write_atomic(out, text.encode())


def _require_free(out: Path) -> None:
    """Raises StoreError where the file is there already."""
    if out.exists():
        raise StoreError(f"{out} exists already", "Choose another file with --out.")


def example_spec() -> Spec:
    """The defaults, with a model, an oracle, an evaluator and prompts of one's own in place of a test world's."""
    from charter.spec import OracleSpec, PromptsSpec, SourceSpec, Spec, TargetSpec

    return Spec(
        target=TargetSpec(model="meta-llama/Llama-3.1-8B-Instruct"),
        oracle=OracleSpec(model="openai/gpt-4o"),
        evaluator=OracleSpec(model="anthropic/claude-sonnet-4-5"),
        prompts=PromptsSpec(redteam=(SourceSpec(path="redteam.jsonl"),), helpful=(SourceSpec(path="helpful.jsonl"),)),
    )


def short_spec() -> str:
    """The keys that a person needs, as YAML, each under its meaning."""
    from charter.spec.option_reference import list_options

    options = [option for option in list_options(example_spec()) if option.path in NEEDED_KEYS]
    return SPEC_HEAD + "".join(map(_option_text, options))


def full_spec() -> str:
    """Every key as YAML, each under its meaning. The evaluator's further keys are those of the oracle."""
    from charter.spec.option_reference import list_options

    options = [
        option
        for option in list_options(example_spec())
        if not option.path.startswith("evaluator.") or option.path == "evaluator.model"
    ]
    return FULL_HEAD + "".join(map(_option_text, options))


def _option_text(option: Option) -> str:
    """A key under its meaning, as YAML; a section has an empty line above."""
    from charter.spec.yaml_text import render_value

    *above, name = option.path.split(".")
    indent = "  " * len(above)
    lines = [] if above else [""]
    lines += [f"{indent}# {line}" for line in textwrap.wrap(option.description, COMMENT_WIDTH - len(indent))]
    value = option.value
    if option.section:
        lines.append(f"{indent}{name}:")
    elif isinstance(value, str) and "\n" in value:
        lines.append(f"{indent}{name}: {'|' if value.endswith(chr(10)) else '|-'}")
        lines += [f"{indent}  {line}".rstrip() for line in value.splitlines()]
    else:
        lines.append(f"{indent}{name}: {render_value(value)}")
    return "\n".join(lines) + "\n"
