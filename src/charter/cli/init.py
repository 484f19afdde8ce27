"""``charter init``: a commented spec (what a person needs, or every key), or a shipped recipe."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import print_message, print_out
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
) -> None:
    """Write a spec to start from, for a model and an oracle of your own: the keys that a first run needs, or all."""
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
    own = full_spec() if everything else short_spec()
    text = own if recipe is None else shipped[recipe].read_text(encoding="utf-8")
    if out is None:
        print_out(text, data=True)
        return
    if out.exists():
        raise StoreError(f"{out} exists already", "Choose another file with --out.")
    from charter.runs import store

    store.write_atomic(out, text.encode())
    print_message(f"{out} is written. Mend it, then: charter run {out} --dry-run")


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


def render_value(value: object) -> str:
    """A value's YAML on one line."""
    import yaml
    from pydantic import BaseModel

    plain = (
        [v.model_dump(mode="json", exclude_defaults=True) if isinstance(v, BaseModel) else v for v in value]
        if isinstance(value, tuple)
        else value
    )
    return yaml.safe_dump([plain], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()[1:-1]
