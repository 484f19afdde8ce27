"""``charter init``: a commented spec with every key and its default, or a shipped recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.spec_comments import KEY_COMMENTS, SPEC_HEAD
from charter.cli.terminal import print_message, print_out
from charter.errors import StoreError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from charter.spec import Spec


def init(
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write this shipped recipe instead.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write; stdout where none is given.", show_default=False),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="List the shipped recipes.")] = False,
) -> None:
    """Write a spec to start from: every key with its default and meaning, for a model and an oracle of your own."""
    from charter import spec as specs

    shipped = specs.list_recipes()
    if names:
        for name, path in shipped.items():
            print_out(f"{name:<20} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        return
    if recipe is not None and recipe not in shipped:
        raise typer.BadParameter(f"{recipe} is not one of {', '.join(shipped)}", param_hint="--recipe")
    text = commented_spec() if recipe is None else shipped[recipe].read_text(encoding="utf-8")
    if out is None:
        print_out(text, data=True)
        return
    if out.exists():
        raise StoreError(f"{out} exists already", "Choose another file with --out.")
    from charter.run import store

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


def commented_spec() -> str:
    """The example as YAML; each key with its meaning."""
    return "\n".join([SPEC_HEAD, *_spec_lines(example_spec(), "", 0)]) + "\n"


def _spec_lines(record: BaseModel, above: str, depth: int) -> Iterator[str]:
    from pydantic import BaseModel

    indent = "  " * depth
    for name in type(record).model_fields:
        value, path = getattr(record, name), f"{above}{name}"
        meaning = f"  # {KEY_COMMENTS.get(path.replace('evaluator.', 'oracle.'), '')}".rstrip(" #")
        if isinstance(value, BaseModel):
            if not depth:
                yield ""
            yield f"{indent}{name}:{meaning}"
            yield from _spec_lines(value, f"{path}.", depth + 1)
        elif isinstance(value, str) and "\n" in value:
            yield f"{indent}{name}: {'|' if value.endswith(chr(10)) else '|-'}{meaning}"
            yield from (f"{indent}  {line}".rstrip() for line in value.splitlines())
        else:
            yield f"{indent}{name}: {_yaml_value(value)}{meaning}"


def _yaml_value(value: object) -> str:
    """A value's YAML on one line."""
    import yaml
    from pydantic import BaseModel

    plain = (
        [v.model_dump(mode="json", exclude_defaults=True) if isinstance(v, BaseModel) else v for v in value]
        if isinstance(value, tuple)
        else value
    )
    return yaml.safe_dump([plain], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()[1:-1]
