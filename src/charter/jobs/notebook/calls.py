"""The commands of the command line as functions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from charter import spec as specs
from charter.errors import SpecError
from charter.jobs.battery_builder import audit_spec
from charter.jobs.exchange_judging import judge_exchanges_of
from charter.jobs.notebook.loaded_run import LoadedRun
from charter.jobs.run_requests import begin_or_resume, new_run_dir, read_spec_text
from charter.records.chat import Exchange, user_prompt
from charter.records.label_fits import JudgeReading
from charter.records.record import canonical
from charter.reports.progress import ProgressWatcher
from charter.spec import OracleSpec, Spec

if TYPE_CHECKING:
    from charter.records.verdicts import Verdict

Changes = Mapping[str, object]
"""Keys of a spec with dots, such as ``options.draw.batch``, and their new values."""


def run(
    spec: str | Path | Spec | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    changes: Changes | None = None,
    quiet: bool = False,
) -> LoadedRun:
    """Makes a run from a spec and takes it to its end, as ``charter run`` does.

    Args:
        spec: A shipped recipe, a spec file, or a spec as an object or as nested dicts.
        out: The run's folder; ``runs/DATE-NAME`` where none is given. Where it holds a run of the same spec already, a
            finished one is loaded and an unfinished one goes on.
        changes: Keys to change, such as ``{"seed": 1, "options.draw.batch": 60}``.
        quiet: Whether to print no progress.

    Returns:
        The finished run; of a chain its last step.

    Raises:
        SpecError: The spec is not valid.
        StoreError: The folder holds another run.
        CharterError: The run could not be finished. What is done is kept, and the same call goes on with it.
    """
    if isinstance(spec, str | Path):
        text, name = read_spec_text(str(spec), _to_yaml(changes)), Path(spec).stem
    else:
        written = _write_spec(spec)
        text = specs.change_spec(written, _to_yaml(changes))
        name = specs.parse_spec(text).method
    return _take_to_end(text, out, name, quiet)


def load(path: str | Path) -> LoadedRun:
    """A run from its folder, finished or not; of a chain the last step that has begun. Raises StoreError where there is
    no run, DamagedError where it cannot be read."""
    return LoadedRun(path)


def audit(
    model: str | Path | LoadedRun,
    *,
    baseline: str | Path | LoadedRun,
    battery: str | Path | None = None,
    out: str | Path | None = None,
    changes: Changes | None = None,
    quiet: bool = False,
) -> LoadedRun:
    """Audits a model for drift against a baseline, as ``charter audit`` does. What it found stands in ``.audit``.

    Args:
        model: A run (its policy), a folder of weights or of an adapter, or a hub id.
        baseline: The same, or a finished audit, whose answers are taken over.
        battery: A frozen battery's file. None: one is made from the baseline, which then must be a run.
        out: The audit's folder; ``runs/DATE-audit`` where none is given.
        changes: Keys to change in the audit's spec, such as ``{"audit.prompts": 20}``.
        quiet: Whether to print no progress.

    Raises:
        SpecError: No battery can be made, or the spec is not valid.
        CharterError: The audit could not be finished. The same call goes on with it.
    """
    sides = [str(side.path if isinstance(side, LoadedRun) else side) for side in (model, baseline)]
    text = audit_spec(sides[0], sides[1], Path(battery) if battery is not None else None)
    return _take_to_end(specs.change_spec(text, _to_yaml(changes), "audit"), out, "audit", quiet)


def judge(
    exchanges: Iterable[Exchange | tuple[str, str] | Mapping[str, Any]],
    *,
    model: str | OracleSpec | Mapping[str, Any],
    rubric: str = "conduct",
    read: JudgeReading = "rationale",
    world: str = "",
) -> list[Verdict]:
    """Asks a judge about exchanges; nothing is kept but what is returned. To measure a judge, run the method
    ``calibrate``.

    Args:
        exchanges: Exchanges of a run, pairs of prompt and response, or dicts with these keys; other keys are left out.
        model: What stands under ``judge`` in a spec: a model's name, or all of its keys. Its ``calibration`` brings the
            threshold that was learnt.
        rubric: A shipped rubric, or a YAML file of your own.
        read: ``rationale`` reads a reply in words. ``label`` reads how likely each label is: the verdicts have a
            ``probability`` (from 0 to 1, that it violates) and the ``threshold`` from which on it does.
        world: The test world whose oracle is asked, where ``model`` is ``world``.

    Returns:
        A verdict for each exchange, in order. What could not be judged is ``unjudged``, with the reason ``why``.

    Raises:
        SpecError: An exchange, the model or the rubric cannot be used.
        EngineError: The model cannot be loaded or reached, or gives no probabilities of labels.
    """
    asked: Mapping[str, Any] = {"model": model} if isinstance(model, str) else _to_plain(model)
    options = {"judge": {"rubric": rubric, "read": read}}
    found = {"method": "calibrate", "calibrate": {"injections": True}, "options": options, "world": world}
    spec = specs.parse_spec(_write_spec({**found, "judge": asked}), "judge")
    return judge_exchanges_of(_to_exchanges(exchanges), spec)


def _take_to_end(text: str, out: str | Path | None, name: str, quiet: bool) -> LoadedRun:
    """Begins a run, or goes on with it, and loads it."""
    directory = Path(out) if out is not None else new_run_dir(name)
    if quiet:
        begin_or_resume(text, directory)
    else:
        begin_or_resume(text, directory, ProgressWatcher(print), print)
    return LoadedRun(directory)


def _to_plain(value: object) -> Any:
    """The value as JSON holds it; of a record what differs from the defaults."""
    if isinstance(value, Spec | OracleSpec):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return json.loads(canonical(value))


def _write_spec(value: Spec | Mapping[str, Any]) -> str:
    """A spec's text."""
    return yaml.safe_dump({"version": 1, **_to_plain(value)}, sort_keys=False, allow_unicode=True)


def _to_yaml(changes: Changes | None) -> dict[str, str]:
    """Changes as the command line has them: each value as YAML."""
    return {key: yaml.safe_dump(_to_plain(value), allow_unicode=True) for key, value in (changes or {}).items()}


def _to_exchanges(given: Iterable[Exchange | tuple[str, str] | Mapping[str, Any]]) -> Sequence[Exchange]:
    """Each as an exchange; one without an id is named by its place. Raises SpecError."""
    out = []
    for number, one in enumerate(given):
        if not isinstance(one, Exchange):
            match (one.get("prompt"), one.get("response")) if isinstance(one, Mapping) else one:
                case (str(prompt), str(response)):
                    one = Exchange.of_row(f"e{number}", user_prompt(prompt).messages, response, model="given")
                case _:
                    cure = "Give pairs of two texts, dicts with `prompt` and `response`, or exchanges of a run."
                    raise SpecError(f"exchange {number} has no text for prompt and response", cure=cure)
        out.append(one)
    if twice := [id for id, count in Counter(e.id for e in out).items() if count > 1]:
        raise SpecError(f"{twice[0]} is the id of two exchanges", cure="Give each exchange once.")
    return out
