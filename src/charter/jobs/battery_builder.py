"""Batteries: made from a finished run, read from a file, or taken from a finished audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from charter import spec as specs
from charter.constitution import document as articles
from charter.constitution.run_state import RunState
from charter.errors import DamagedError, SpecError, StoreError
from charter.jobs.battery_cases import list_reported_texts, make_cases, note_consent
from charter.jobs.erasure import require_without_erased
from charter.judging.audit_battery import AuditedModel, Battery, Probe, ProbeResult, battery_to_text, read_battery
from charter.records.chat import Exchange, Message, Prompt
from charter.records.measurements import Measurement
from charter.records.record import Step
from charter.records.rules import Principle
from charter.records.verdicts import Finding
from charter.runs import store
from charter.similarity.splits import LeakageFilter
from charter.spec import AuditSpec, BenchmarkSpec, Spec
from charter.statistics import pairs_needed
from charter.wiring import attack_styles, role_models
from charter.wiring.components import Components

if TYPE_CHECKING:
    from charter.runs.reader import RunReader

_BATTERY_STEP = "000/battery"


def build_audit_spec(spec: Spec, asked: AuditSpec) -> str:
    """The spec of an audit: who plays which part as in a run's ``spec``, and what is audited. Who decides about rules
    is left out, for an audit discovers none."""
    value = spec.model_dump(
        mode="json", exclude_defaults=True, exclude={"continue_from", "steps", "calibrate", "method", "audit"}
    )
    value.get("options", {}).pop("ratify", None)
    value |= {"version": 1, "method": "audit", "audit": asked.model_dump(mode="json", exclude_defaults=True)}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def audit_spec(model: str, baseline: str, battery: Path | None, benchmarks: Sequence[Mapping[str, Any]] = ()) -> str:
    """The spec of the audit of a model. ``benchmarks``: further ones of a battery that is made. Raises SpecError,
    StoreError."""
    asked = AuditSpec(
        model=absolute_name(model), baseline=absolute_name(baseline), battery=str(battery.resolve()) if battery else ""
    )
    if benchmarks:
        if battery is not None or (_is_run(baseline) and _open_run(baseline).spec.method == "audit"):
            raise SpecError(
                f"{battery or baseline} has a battery, and a battery is frozen: it takes no further benchmarks",
                cure="Make another one and audit both sides with it: charter battery RUN --out FILE --benchmark FILE",
            )
        asked = asked.model_copy(update={"benchmarks": parse_benchmarks(benchmarks)})
    if battery is not None:
        spec = specs.parse_spec(read_battery(battery).spec, str(battery))
    elif _is_run(baseline):
        reading = _open_run(baseline)
        spec = specs.place_files(reading.spec, reading.directory.resolve())
    else:
        raise SpecError(
            f"the baseline {baseline} is no run, so no battery can be made from it",
            cure="Give a battery with --battery; to make one: charter battery RUN --out FILE",
        )
    if battery is None and spec.method == "audit":
        asked = spec.audit.model_copy(update=asked.model_dump(include={"model", "baseline", "battery"}))
    return build_audit_spec(spec, asked)


def parse_benchmarks(given: Sequence[Mapping[str, Any]]) -> tuple[BenchmarkSpec, ...]:
    """Benchmarks as a file gives them. Raises SpecError."""
    asked = {"version": 1, "method": "evaluate", "world": "village", "benchmarks": [dict(b) for b in given]}
    return specs.parse_spec(yaml.safe_dump(asked), "--benchmark").benchmarks


def absolute_name(name: str) -> str:
    """A folder by its whole path, so that the audit can go on from elsewhere; another name as it is."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_dir() else name


def load_battery(asked: AuditSpec) -> Battery:
    """The battery that an audit asks for. Raises SpecError, StoreError."""
    if not _is_run(asked.baseline):
        if not asked.battery:
            raise SpecError("audit.battery: is missing: the baseline is no run that one can be made from")
        return read_battery(Path(asked.battery))
    reading = _open_run(asked.baseline)
    if reading.spec.method != "audit":
        return read_battery(Path(asked.battery)) if asked.battery else build_battery(Path(asked.baseline), asked)
    before = reading.records(_BATTERY_STEP, Battery)[0]
    if asked.battery and (given := read_battery(Path(asked.battery))).digest != before.digest:
        raise SpecError(
            f"{asked.battery} is not the battery of {asked.baseline}: {given.digest[:12]}, {before.digest[:12]}",
            cure="Results of different batteries cannot be compared. Audit the baseline with this battery first.",
        )
    return before


def reuse_audit(name: str, battery: Battery) -> tuple[AuditedModel, Sequence[ProbeResult]] | None:
    """What a finished audit of the same battery found of its model; None where ``name`` is no audit. Raises StoreError,
    SpecError."""
    if not _is_run(name) or _open_run(name).spec.method != "audit":
        return None
    from charter.reports.audit_answers import read_answers

    reading = _open_run(name)
    measured = reading.records("model/measured", AuditedModel)
    if reading.head is None or not measured:
        raise StoreError(f"the audit {name} is not finished", f"Go on with it: charter resume {name}")
    if measured[0].battery != battery.digest:
        raise SpecError(f"the audit {name} was made with another battery", cure="Audit it with this battery first.")
    return measured[0].model_copy(update={"source": reading.head}), read_answers(reading, "model")


def build_battery(directory: Path, asked: AuditSpec, seed: int | None = None, labelled: Sequence[Path] = ()) -> Battery:
    """A battery from a finished run, drawn by its seed or another one. ``labelled``: files of exchanges that people
    labelled. What users reported to the run are cases too. No model answers; one may place texts by their meaning.
    Raises StoreError, DamagedError, SpecError."""
    reading = _open_run(str(directory))
    require_without_erased(reading)
    left = _read_handover(reading, directory)
    with closing(_audit_components(reading, asked)) as components:
        step = Step("battery", reading.spec.seed if seed is None else seed)
        return _draw_battery(reading, left, components, asked, labelled, step=step)


def _draw_battery(
    reading: RunReader,
    left: RunState,
    components: Components,
    asked: AuditSpec,
    labelled: Sequence[Path],
    *,
    step: Step,
) -> Battery:
    rules, spec, evaluator = reading.constitution, components.spec, components.build_evaluators(None)["heldout"]
    measured = [
        Probe(id=q.id, about=evaluator.identity, part="benchmark", group=q.id, prompt=q.prompt)
        for q in evaluator.questions()
    ]
    causes = {f.id: f for folder in reading.iterations for f in reading.records(f"{folder}/findings", Finding)}
    causes |= {f.id: f for f in left.findings}
    from charter.stages.battery_probes import draw_probes, make_tagged_probes

    embedder = components.embedder
    ruled = draw_probes(
        rules.active,
        list(causes.values()),
        _fresh_prompts(reading, left, {p.prompt.text for p in measured} | list_reported_texts(reading.feedback)),
        attack_styles.build_fixed_attacks(spec, components.world, asked.styles),
        asked,
        embedder,
        step=step,
    )
    tagged = make_tagged_probes(rules.active, reading.rule_decisions)
    cases, told = make_cases(reading, labelled, components, list(causes.values()))
    probes = tuple([*ruled, *tagged, *cases, *measured])
    notes = (*told, *note_consent(reading.feedback, probes), *_power_notes(rules.active, probes, asked.margin))
    if embedder is not None:
        notes = (f"prompts like the failures were found by meaning: {embedder.identity}", *notes)
    if asked.styles is None and not any(p.part == "attack" for p in ruled):
        place = f"the world {components.world.name} has no styles of its own" if components.world else "none fits"
        notes = (f"no attacks on own failures: {place}; name styles with --style", *notes)
    return Battery(
        run=reading.name,
        head=reading.head or "",
        spec=build_audit_spec(spec, AuditSpec(baseline="-")),
        principles=rules.active,
        rubric=components.rubric_of("evaluator"),
        judging=spec.options.judge,
        answer_sampling=role_models.answer_sampling(spec),
        evaluator=evaluator.identity,
        benchmarks=_benchmark_identities(components),
        probes=probes,
        notes=notes,
    )


def _read_handover(reading: RunReader, directory: Path) -> RunState:
    """What a finished run left. Raises DamagedError, StoreError."""
    from charter.reports.integrity import verify_run

    if reading.head is not None and (faults := verify_run(directory).faults):
        cure = f"Restore it; all faults: charter verify {directory}"
        raise DamagedError(f"{directory} is damaged, so no battery is made from it: {faults[0]}", cure)
    left = reading.records("final/handover", RunState)
    if reading.head is None or not left:
        raise StoreError(f"{directory} left no constitution to audit", "Finish it: charter resume; or name another run")
    return left[0]


def _audit_components(reading: RunReader, asked: AuditSpec) -> Components:
    """What a run's spec names, with the prompts and benchmarks of the audit and the run's norms."""
    old = specs.place_files(reading.spec, reading.directory.resolve())
    prompts = old.prompts.model_copy(update={"heldout": asked.prompts})
    changes = {"prompts": prompts, "benchmarks": asked.merge_benchmarks(old.benchmarks)}
    components = Components(
        old.model_copy(update={**changes, "continue_from": None, "method": "audit", "audit": AuditSpec()})
    )
    components.decided = articles.extract_norms(reading.constitution)
    return components


def write_battery(directory: Path, out: Path, asked: AuditSpec, labelled: Sequence[Path] = ()) -> Battery:
    """Makes a battery from a run, and from exchanges that people labelled, and writes it into a file that is not there
    yet. Raises StoreError, SpecError."""
    if out.exists():
        raise StoreError(f"{out} is there already, and a battery is frozen", "Choose another file with --out.")
    battery = build_battery(directory, asked, labelled=labelled)
    store.write_atomic(out, battery_to_text(battery).encode())
    return battery


def _fresh_prompts(reading: RunReader, left: RunState, asked: set[str]) -> list[Prompt]:
    """Red-team prompts that nothing was trained on and nothing like them, and that are not ``asked`` already: train
    prompts that were never drawn, and held-out ones."""
    held = {m.id for m in reading.records("000/heldout_measurements", Measurement) if "harmlessness" in m.outcomes}
    drawn = set(left.probed_prompt_ids)
    found = [p for p in reading.records("000/prompts", Prompt) if p.id not in drawn]
    found += [e.prompt for e in reading.records("000/heldout_exchanges", Exchange) if e.id in held]
    source = next((p.source for p in found), "")  # rows of a world's run are its sentences
    trained = (*left.examples, *left.replay_rows)
    rows = [Prompt(id=row.id, messages=_prompt_turns(row.messages), source=source) for row in trained]
    clear = LeakageFilter(rows, reading.spec.prompts.near_duplicate).remove_leaked(
        p for p in found if p.text not in asked
    )
    return list({p.text: p for p in clear}.values())


def _prompt_turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(m for m in messages if m.role == "user") or messages


def _benchmark_identities(components: Components) -> dict[str, str]:
    """The benchmarks that the spec names, by name with their identities."""
    asked = components.benchmarks.judge
    judge = role_models.connect_oracle(asked, components.world, components.spec.offline) if asked is not None else None
    return {b.name: b.identity for b in components.benchmarks.build_benchmarks(judge)}


def _power_notes(principles: Sequence[Principle], probes: Sequence[Probe], margin: float) -> tuple[str, ...]:
    """Principles with fewer independent prompts than can show that a drop is within the margin."""
    least, notes = pairs_needed(margin), []
    for p in principles:
        count = len({probe.group for probe in probes if probe.about == p.id})
        if count < least:
            notes.append(f"{p.id}: {count} independent prompts; {least} are needed to show that it is kept")
    return tuple(notes)


def _is_run(name: str) -> bool:
    return (Path(name) / store.JOURNAL).exists()


def _open_run(name: str) -> RunReader:
    from charter.runs.reader import RunReader

    return RunReader(name)
