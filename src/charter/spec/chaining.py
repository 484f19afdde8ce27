"""A spec that chains methods, taken apart: one spec for each of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WHOLE = ("version", "seed", "world", "offline", "budget", "go_on", "steps")
"""Keys that hold for the whole chain: no step changes them."""
LAST = ("red_team", "calibrate", "self_instruct")
"""Methods that leave no model to go on from."""


def taken_apart(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The spec of each step: the whole with what the step changes, mappings key by key. Only the first goes on from
    what the whole goes on from."""
    whole = {key: part for key, part in value.items() if key != "steps"}
    steps: list[Mapping[str, Any]] = value["steps"]
    made = [merged(whole, step) for step in steps]
    return [{key: part for key, part in step.items() if key != "go_on" or not n} for n, step in enumerate(made)]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the values of ``above``; mappings are merged, anything else is replaced."""
    out = dict(below)
    for key, new in above.items():
        old = out.get(key)
        out[key] = merged(old, new) if isinstance(old, Mapping) and isinstance(new, Mapping) else new
    return out


def faults(steps: object) -> list[str]:
    """What no step may say, one line each."""
    found: list[str] = []
    given = steps if isinstance(steps, list) else []
    for number, step in enumerate(given):
        at = f"steps.{number}"
        if not isinstance(step, Mapping):
            found.append(f"{at}: is no mapping; write method and the keys that it changes")
            continue
        found += [f"{at}.{key}: holds for the whole chain; set it beside steps" for key in WHOLE if key in step]
        if "method" not in step:
            found.append(f"{at}.method: is missing")
        elif step["method"] in LAST:
            found.append(f"{at}.method: {step['method']} leaves no model for a chain")
    if isinstance(steps, list) and len(steps) == 1:
        found.append("steps: a chain has two steps or more")
    return found
