"""YAML that people and others write, within bounds: depth, and size with every alias written out."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from charter.errors import SpecError

MAX_YAML_DEPTH = 40
"""Levels of a document; a spec has six."""
MAX_YAML_VALUES = 1_000_000
"""Values of a document, each alias counted as all that it repeats."""


def load_yaml(text: str, name: str, cure: str) -> Any:
    """The value of a YAML text. Raises SpecError naming the file where it is no YAML or leaves the bounds."""
    try:
        check_yaml_bounds(text, name)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"{name} is not YAML: {error!s:.500}", cure=cure) from error


def check_yaml_bounds(text: str, name: str) -> None:
    """Reads a YAML text event by event, and builds nothing of it. Raises SpecError naming file and line, YAMLError."""
    sizes: dict[str, int] = {}
    open_anchors: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}: line {event.start_mark.line + 1 if event.start_mark else 0}"
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_anchors.pop()
            if anchor is not None:
                sizes[anchor] = values - before
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        values += sizes.get(event.anchor or "", 1) if isinstance(event, yaml.AliasEvent) else 1
        if values > MAX_YAML_VALUES:
            raise SpecError(f"{where}: it holds more than {MAX_YAML_VALUES:,} values", cure=_SIZE_CURE)
        if isinstance(event, yaml.AliasEvent) and any(anchor == event.anchor for anchor, _ in open_anchors):
            raise SpecError(f"{where}: *{event.anchor} stands within what it repeats", cure="Write it out.")
        if isinstance(event, yaml.CollectionStartEvent):
            open_anchors.append((event.anchor, values - 1))
            if len(open_anchors) > MAX_YAML_DEPTH:
                raise SpecError(f"{where}: it is nested more than {MAX_YAML_DEPTH} levels deep", cure=_DEPTH_CURE)


_DEPTH_CURE = "No key of charter lies so deep. Check the brackets and the indentation."
_SIZE_CURE = "Write aliases out, or make the file smaller."


def render_value(value: object) -> str:
    """A value's YAML on one line."""
    plain = (
        [v.model_dump(mode="json", exclude_defaults=True) if isinstance(v, BaseModel) else v for v in value]
        if isinstance(value, tuple)
        else value
    )
    return yaml.safe_dump([plain], default_flow_style=True, width=float("inf"), allow_unicode=True).strip()[1:-1]
