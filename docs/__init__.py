"""The generated parts of the pages: ``python -m docs`` renews them, and a test compares them.

A part stands between ``<!-- generated:NAME -->`` and ``<!-- /generated -->``. Tables of evidence have marks of their
own; ``python -m evidence tables`` fills them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from charter.spec.option_reference import Option

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- generated:([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
LONGEST_DEFAULT = 70
"""Characters of a default that a table shows."""


def pages() -> list[Path]:
    """Every page: those in the root, and those in docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A page with its marked parts made anew. Raises KeyError where a mark names no part."""
    return MARK.sub(lambda found: f"{found[1]}{parts[found[2]].strip()}\n{found[3]}", text)


def generated() -> dict[str, str]:
    """Every generated part by name."""
    return {"cli": _cli(), "spec": _spec(), "spec-short": _short_spec(), "switches": _switches()}


def _cli() -> str:
    from charter.cli.reference import render_reference

    return render_reference()


def _spec() -> str:
    """A table for each section of the spec, and one for each kind of item that a list holds."""
    from charter.spec import BenchmarkSpec, ClassifierSpec, Columns, ContinueFrom, SourceSpec, Spec
    from charter.spec.option_reference import list_options

    options = list(list_options(Spec()))
    lines = _option_table(o for o in options if not o.section and "." not in o.path)
    for section in (o for o in options if o.section):
        inside = [o for o in options if not o.section and o.path.rpartition(".")[0] == section.path]
        lines += [f"### {section.path}", "", section.description, "", *(_option_table(inside) if inside else ())]
    items: dict[str, type[BaseModel]] = {
        "A source of prompts": SourceSpec,
        "The columns of a source": Columns,
        "A benchmark": BenchmarkSpec,
        "A classifier": ClassifierSpec,
        "continue_from": ContinueFrom,
    }
    for title, model in items.items():
        lines += [f"### {title}", "", " ".join((model.__doc__ or "").split()), "", *_option_table(_fields(model))]
    return "\n".join(lines)


def _short_spec() -> str:
    from charter.cli.init import short_spec

    return f"```yaml\n{short_spec().strip()}\n```"


def _fields(model: type[BaseModel]) -> Iterator[Option]:
    """The options of a record that no spec holds by default."""
    from charter.spec.option_reference import Option, describe_field

    for name, field in model.model_fields.items():
        default = "" if field.is_required() else field.get_default(call_default_factory=True)
        yield Option(name, default, describe_field(model, name))


def _option_table(options: Iterable[Option]) -> list[str]:
    """A table of options: key, default, meaning."""
    from charter.spec.yaml_text import render_value

    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for option in options:
        inner = isinstance(option.value, BaseModel)
        value = "" if inner else render_value(option.value)
        shown = f"`{value}`" if 0 < len(value) <= LONGEST_DEFAULT else "`charter init --all`" if value else "its keys"
        rows.append(f"| `{option.path}` | {shown} | {option.description} |")
    return [*rows, ""]


def _switches() -> str:
    """Every switch in which the two recipes differ, with both values."""
    from charter.spec import list_recipes, read_spec

    ours, paper = (dict(leaves(read_spec(list_recipes()[name])[0])) for name in ("iteralign", "iteralign-paper"))
    rows = [f"| `{key}` | `{ours[key]}` | `{paper[key]}` |" for key in ours if ours[key] != paper.get(key)]
    return "\n".join(["| switch | `iteralign` | `iteralign-paper` |", "|---|---|---|", *rows])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Key path and value of everything in a record that is not itself a record."""
    if not isinstance(value, BaseModel):
        yield path, list(value) if isinstance(value, tuple) else value
        return
    for name in type(value).model_fields:
        yield from leaves(getattr(value, name), f"{path}.{name}" if path else name)
