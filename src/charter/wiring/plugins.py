"""Objects of the user's own (``python:package.module:Object``), for every port."""

from __future__ import annotations

import importlib
import traceback
from typing import TypeVar

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
        The object.

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
            return made
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise SpecError(
            f"{reference} cannot be had: {error}",
            cure="Write python:package.module:Object, with the package where Python finds it (PYTHONPATH).",
        ) from error
    except Exception as error:  # whatever a user's own code raises
        raise translate_error(reference, error) from error
    members = ", ".join(name for name in dir(kind) if not name.startswith("_"))
    raise SpecError(f"{reference} gives no {kind.__name__.lower()}", cure=f"Give it {members}.")


def translate_error(name: str, error: Exception) -> CharterError:
    """An exception of a user's own code as an EngineError with its place; an error of ours stays what it is."""
    if isinstance(error, CharterError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())[:300]
    return EngineError(
        f"{name} failed: {type(error).__name__}: {said}{where}",
        "Mend the program that the spec names; what was answered before is kept: charter resume RUN",
    )
