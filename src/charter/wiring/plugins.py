"""Objects of the user's own (``python:package.module:Object``), for every port: whatever their code raises is an
EngineError that names them."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

from charter.errors import CharterError, EngineError, SpecError
from charter.spec import PROGRAM_PREFIX

T = TypeVar("T")


def is_plugin(name: str) -> bool:
    """Whether a name in a spec stands for an object of the user's own."""
    return name.startswith(PROGRAM_PREFIX)


def load_object(reference: str, kind: type[T]) -> T:
    """The object that a reference names, or what it gives when it is called. Its code runs in this process.

    Args:
        reference: ``python:package.module:Object``.
        kind: The port that the object must have: a protocol that can be checked at run time.

    Returns:
        The object, whose members raise EngineError where its own code raises.

    Raises:
        SpecError: where the module or the object is missing, or the object lacks members of the port.
        EngineError: where the user's own code raises.
    """
    module, _, name = reference.removeprefix(PROGRAM_PREFIX).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        is_ready = not isinstance(found, type) and isinstance(found, kind)
        made: object = found if is_ready or not callable(found) else found()
        if isinstance(made, kind):
            return guard_object(reference, made)
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise SpecError(
            f"{reference} cannot be had: {error}",
            cure="Write python:package.module:Object, with the package where Python finds it (PYTHONPATH).",
        ) from error
    except CharterError:
        raise
    except Exception as error:  # whatever a user's own code raises
        raise translate_error(reference, error) from error
    members = ", ".join(name for name in dir(kind) if not name.startswith("_"))
    raise SpecError(f"{reference} gives no {kind.__name__.lower()}", cure=f"Give it {members}.")


class GuardedObject:
    """An object of the user's own behind its members."""

    def __init__(self, reference: str, own: object) -> None:
        self._reference, self._own = reference, own

    def read(self, name: str) -> Any:
        """A member; what a method raises is translated when it is called."""
        with translate_failures(self._reference):
            value = getattr(self._own, name)
        return self._guard_call(value) if callable(value) else value

    def _guard_call(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            with translate_failures(self._reference):
                result = function(*args, **options)
            if isinstance(result, type(self._own)):
                return guard_object(self._reference, result)
            return self._guard_items(result) if isinstance(result, Iterator) else result

        return call

    def _guard_items(self, items: Iterator[Any]) -> Iterator[Any]:
        with translate_failures(self._reference):
            yield from items


def guard_object(reference: str, own: T) -> T:
    """The same object, each of whose public members translates what it raises. It has the ports that ``own`` has."""
    names = [name for name in dir(own) if not name.startswith("_")]
    members = {name: property(partial(_read_member, name=name)) for name in names}
    return cast(T, type(type(own).__name__, (GuardedObject,), members)(reference, own))


def _read_member(guarded: GuardedObject, name: str) -> Any:
    return guarded.read(name)


@contextmanager
def translate_failures(reference: str) -> Iterator[None]:
    """While it lasts, whatever the code of a user's own object raises is an EngineError with its place; an error of
    ours stays what it is."""
    try:
        yield
    except CharterError:
        raise
    except Exception as error:
        raise translate_error(reference, error) from error


def translate_error(name: str, error: Exception) -> EngineError:
    """An exception of a user's own code as an EngineError with its place."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())[:300]
    return EngineError(
        f"{name} failed: {type(error).__name__}: {said}{where}",
        "Mend the program that the spec names; what was answered before is kept: charter resume RUN",
    )
