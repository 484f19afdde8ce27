"""A spec that chains methods, taken apart: one spec for each of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAIN_KEYS = ("version", "seed", "world", "offline", "budget", "continue_from", "steps")
"""Keys that hold for the whole chain: no step changes them."""
ENDING_METHODS = ("red_team", "calibrate")
"""Methods that leave no model to go on from."""
PROMPT_METHOD = "self_instruct"
"""The method that leaves prompts and no model, so that it can only be the first step."""


def expand_steps(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The spec of each step: the whole with what the step changes, mappings key by key. The first goes on from what the
    whole goes on from, each other from the one before it."""
    whole = {key: part for key, part in value.items() if key != "steps"}
    steps: list[Mapping[str, Any]] = value["steps"]
    made = [merge_mappings(whole, step) for step in steps]
    for number, before in enumerate(made[:-1], 1):
        made[number]["continue_from"] = {"run": f"../{step_folder(number, before['method'])}"} | inherited_part(
            before["method"]
        )
    return made


def step_folder(number: int, method: str) -> str:
    """The folder of a step, counted from 1."""
    return f"{number}-{method}"


def inherited_part(method: str) -> dict[str, str]:
    """What a run after one of this method takes over, where that is not its policy."""
    return {"inherit": "prompts"} if method == PROMPT_METHOD else {}


def merge_mappings(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the values of ``above``; mappings are merged, anything else is replaced."""
    out = dict(below)
    for key, new in above.items():
        old = out.get(key)
        out[key] = merge_mappings(old, new) if isinstance(old, Mapping) and isinstance(new, Mapping) else new
    return out


def find_step_faults(steps: object) -> list[str]:
    """What no step may say, one line each."""
    found: list[str] = []
    given = steps if isinstance(steps, list) else []
    for number, step in enumerate(given):
        at = f"steps.{number}"
        if not isinstance(step, Mapping):
            found.append(f"{at}: is no mapping; write method and the keys that it changes")
            continue
        found += [f"{at}.{key}: holds for the whole chain; set it beside steps" for key in CHAIN_KEYS if key in step]
        if "method" not in step:
            found.append(f"{at}.method: is missing")
        elif step["method"] in ENDING_METHODS:
            found.append(f"{at}.method: {step['method']} leaves no model for a chain")
        elif step["method"] == PROMPT_METHOD and number:
            found.append(f"{at}.method: {PROMPT_METHOD} leaves prompts and no model, so it can only be the first step")
    if isinstance(steps, list) and len(steps) == 1:
        found.append("steps: a chain has two steps or more")
    return found
