"""Methods after one another: each step of a chain is a run of its own, in a folder of the chain's, and goes on from the
one before. A step's spec names the records of the run that it goes on from, so the last HEAD covers them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from charter import spec as specs
from charter.errors import BudgetError, SpecError, StoreError
from charter.reports.costs import read_costs, read_times
from charter.runs import store
from charter.runs.reader import RunReader
from charter.spec import Budget
from charter.wiring import principle_methods, role_models


def create_chain(spec_text: str, directory: Path) -> None:
    """Begins a chain: a folder that holds its spec. Raises StoreError where anything else is in it, SpecError where a
    step cannot begin with what the ones before will leave."""
    _check_steps([specs.parse_spec(text) for _, text in specs.split_chain(spec_text)])
    with store.translate_os_errors(directory, "made"):
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreError(f"{directory} is not an empty folder", "Choose another one.")
        directory.mkdir(parents=True, exist_ok=True)
    store.write_atomic(directory / store.SPEC, spec_text.encode())


def _check_steps(steps: Sequence[specs.Spec]) -> None:
    """Raises SpecError before a chain begins where a later step would: it begins with rules that IterAlign proposed,
    and the shipped exemplars name others."""
    with_rules = (*principle_methods.PRINCIPLE_METHODS, "iteralign")
    for number, spec in enumerate(steps):
        earlier = [step.method for step in steps[:number] if step.method in with_rules]
        if spec.constitution or "iteralign" not in earlier:
            continue
        templates = role_models.build_templates(spec, role_models.load_world(spec))
        if principle_methods.uses_shipped_exemplars(spec) and principle_methods.load_exemplars(spec, templates):
            raise SpecError(
                f"steps.{number}: the shipped exemplars name the shipped rules, and iteralign leaves rules of its own",
                cure="Set `options.self_align.exemplars: ''` there, or `constitution: shipped`.",
            )


def continuation_spec(text: str, old: Path) -> str:
    """A step's spec that goes on from the finished run ``old`` beside it."""
    head = store.expected_head(RunReader(old).events)
    assert head is not None
    value = yaml.safe_load(text)
    value["continue_from"] |= {"run": f"../{old.name}", "head": head.records}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def chain_budget(text: str, changes: Mapping[str, str] | None) -> Budget:
    """The budget of a chain, with the limits that are changed."""
    return specs.parse_spec(
        specs.change_spec(text, {f"budget.{key}": new for key, new in (changes or {}).items()})
    ).budget


def remaining_budget(budget: Budget, before: Sequence[Path]) -> Budget:
    """What the finished steps of a chain leave of its budget. Raises BudgetError where that is nothing."""
    spent = dict.fromkeys(("calls", "tokens", "money", "hours"), 0.0)
    for reading in map(RunReader, before):
        asked = [cost for cost in read_costs(reading) if cost.purpose != "target"]
        spent["calls"] += sum(cost.calls for cost in asked)
        spent["tokens"] += sum(cost.tokens_in + cost.tokens_out for cost in asked)
        spent["money"] += sum(cost.money or 0.0 for cost in asked)
        spent["hours"] += read_times(reading).total / 3600
    rest: dict[str, float | None] = {}
    for key, most in budget.model_dump().items():
        rest[key] = None if most is None else most - spent[key]
        if most is not None and spent[key] >= most:
            cure = f"Everything so far is kept. Go on with more: charter resume RUN --set budget.{key}=N"
            raise BudgetError(f"the budget is spent: {spent[key]:.6g} of {most:g} {key} by the steps before", cure)
    return Budget.model_validate({key: int(v) if v and key in ("calls", "tokens") else v for key, v in rest.items()})
