"""charter: constitution-driven alignment of language models, measured.

In Python, ``charter.run``, ``load``, ``audit`` and ``judge`` do what the commands of these names do; ``plots`` draws
what they give. They are imported when they are first asked for, so that ``import charter`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charter.jobs.notebook import plots
    from charter.jobs.notebook.calls import audit, judge, load, run
    from charter.jobs.notebook.frames import frame
    from charter.jobs.notebook.loaded_run import LoadedRun

__version__ = "0.1.0"
__all__ = ["LoadedRun", "__version__", "audit", "frame", "judge", "load", "plots", "run"]

_HOMES = {
    "LoadedRun": "charter.jobs.notebook.loaded_run",
    "audit": "charter.jobs.notebook.calls",
    "frame": "charter.jobs.notebook.frames",
    "judge": "charter.jobs.notebook.calls",
    "load": "charter.jobs.notebook.calls",
    "plots": "charter.jobs.notebook.plots",
    "run": "charter.jobs.notebook.calls",
}
"""Where each name of ``__all__`` is defined."""


def __getattr__(name: str) -> object:
    """A name of ``__all__``, imported now. Raises AttributeError."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if name == "plots" else getattr(home, name)


def __dir__() -> list[str]:
    """The names that are promised."""
    return __all__
