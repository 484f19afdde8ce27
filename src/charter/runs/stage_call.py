"""A stage with its arguments: what kind of record it makes, and a digest of everything that it is given."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from charter.errors import StoreError
from charter.records.record import Record, Step, canonical, digest
from charter.records.templates import Templates

V = TypeVar("V")


@dataclass(frozen=True)
class StageCall(Generic[V]):
    """``kind`` is the type of one record; ``shape`` the container that the stage returns (None: one record alone).
    ``inputs`` holds a digest for each argument by name, ``templates`` one for each template among them."""

    stage: functools.partial[V]
    kind: type[BaseModel]
    shape: type | None
    inputs: dict[str, str]
    templates: dict[str, str]
    takes_step: bool

    @property
    def type(self) -> str:
        """The result's type as the seal names it, e.g. ``list[Exchange]``."""
        return self.kind.__name__ if self.shape is None else f"{self.shape.__name__}[{self.kind.__name__}]"

    def with_items(self, first: int, items: Sequence[Any], total: int) -> StageCall[V]:
        """The same call for ``items``, those from number ``first`` on of all ``total``. Another argument that holds one
        thing for each item, under the items' ids, is given for these items alone."""
        rest = (_slice_along(value, first, items, total) for value in self.stage.args[1:])
        stage = functools.partial(self.stage.func, items, *rest, **self.stage.keywords)
        return dataclasses.replace(self, stage=stage)

    def __call__(self, step: Step) -> V:
        """Calls the stage, with the step where it takes one."""
        return self.stage(step=step) if self.takes_step else self.stage()


def bind_stage(stage: Callable[..., V], *args: Any, **options: Any) -> StageCall[V]:
    """Fixes a stage's arguments. Raises StoreError where its result's type, or an argument, cannot be kept."""
    function: Callable[..., V] = stage
    while isinstance(function, functools.partial):
        args, options = function.args + args, {**function.keywords, **options}
        function = function.func
    signature = inspect.signature(function)
    takes_step = "step" in signature.parameters
    given = signature.bind(*args, **options, **({"step": None} if takes_step else {}))
    given.apply_defaults()
    values = {name: value for name, value in given.arguments.items() if name != "step"}
    if (owner := getattr(function, "__self__", None)) is not None:
        values["self"] = owner
    kind, shape = _result_type(function)
    return StageCall(
        stage=functools.partial(function, *args, **options),
        kind=kind,
        shape=shape,
        inputs={name: _digest_value(value, name) for name, value in values.items()} | {"(stage)": function.__name__},
        templates=_template_digests(values.values()),
        takes_step=takes_step,
    )


def bind_value(value: V) -> StageCall[V]:
    """A call that gives ``value``: a record, or a list or tuple of records of one kind."""
    first = next(iter(value), None) if isinstance(value, list | tuple) else value
    kind = type(first) if isinstance(first, BaseModel) else Record
    inputs = {"value": _digest_value(value, "value"), "(stage)": "record"}
    shape = type(value) if isinstance(value, list | tuple) else None
    return StageCall(functools.partial(lambda: value), kind, shape, inputs, {}, takes_step=False)


def _slice_along(value: Any, first: int, items: Sequence[Any], total: int) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != total:
        return value
    part = value[first : first + len(items)]
    ids = [getattr(one, "id", None) for one in part]
    return part if ids == [item.id for item in items] else value


def _result_type(function: Callable[..., Any]) -> tuple[type[BaseModel], type | None]:
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    annotations = {"return": getattr(function, "__annotations__", {}).get("return")}
    spaces = getattr(inspect.unwrap(function), "__globals__", {})
    hint = typing.get_type_hints(SimpleNamespace(__annotations__=annotations), globalns=spaces)["return"]
    shape = typing.get_origin(hint)
    kind = typing.get_args(hint)[0] if shape is not None and typing.get_args(hint) else hint
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise StoreError(f"{name} returns {hint}, which a run cannot keep", "Annotate it as R, list[R] or Iterator[R].")
    return kind, shape


def _digest_value(value: Any, name: str) -> str:
    """The digest of an argument's JSON form. A sequence is taken a member at a time, for it may be long."""
    if not isinstance(value, Sequence) or isinstance(value, str) or dataclasses.is_dataclass(value):
        return digest(_to_plain(value, name))
    if any(isinstance(getattr(value, key, None), str) for key in ("identity", "digest")):
        return digest(_to_plain(value, name))
    found, comma = hashlib.sha256(b"["), b""
    for item in value:
        found.update(comma + canonical(_to_plain(item, name)).encode())
        comma = b","
    found.update(b"]")
    return found.hexdigest()


def _to_plain(value: Any, name: str) -> Any:
    """A JSON form of an argument. Whatever names itself (engines, tuners, benchmarks) stands for its name."""
    if value is None or isinstance(value, BaseModel | str | int | float):
        return value
    for key in ("identity", "digest"):
        if isinstance(getattr(value, key, None), str):
            return {key: getattr(value, key)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item, name) for key, item in value.items()}
    if isinstance(value, Sequence | Set):
        items = [_to_plain(item, name) for item in value]
        return items if isinstance(value, Sequence) else sorted(items, key=canonical)
    return _stable_name(value, name)


def _stable_name(value: Any, name: str) -> str:
    if isinstance(value, Path):
        return str(value)
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return f"{value.__module__}:{value.__qualname__}"
    raise StoreError(
        f"argument {name} is a {type(value).__name__}, which has no digest",
        "Pass records, plain data or a function of a module, or give the object an `identity`.",
    )


def _template_digests(values: typing.Iterable[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        templates = value if isinstance(value, Templates) else getattr(value, "templates", None)
        if isinstance(templates, Templates):
            found |= {name: digest(text) for name, text in templates.model_dump().items()}
    return found
