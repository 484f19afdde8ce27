"""Batteries: made from a finished run, read from a file, or taken from a finished audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from charter import constitution as articles
from charter import spec as specs
from charter import store
from charter.battery import Battery, Measured, Probe, Result, read, to_text
from charter.errors import DamagedError, SpecError, StoreError
from charter.handover import Handover
from charter.nouns import Exchange, Finding, Measurement, Message, Principle, Prompt, Step
from charter.similarity import Guard
from charter.spec import AuditSpec, BenchmarkSpec, Spec
from charter.statistics import pairs_needed
from charter.wiring import attacks, models
from charter.wiring.assembly import Assembly

if TYPE_CHECKING:
    from charter.reports.reading import Reading

_AUDIT = "000/battery"


def spec_text(spec: Spec, asked: AuditSpec) -> str:
    """The spec of an audit: who plays which part as in a run's ``spec``, and what is audited."""
    value = spec.model_dump(
        mode="json", exclude_defaults=True, exclude={"go_on", "steps", "calibrate", "method", "audit"}
    )
    value |= {"version": 1, "method": "audit", "audit": asked.model_dump(mode="json", exclude_defaults=True)}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def asked_for(model: str, baseline: str, battery: Path | None, benchmarks: Sequence[Mapping[str, Any]] = ()) -> str:
    """The spec of the audit of a model. ``benchmarks``: further ones of a battery that is made. Raises SpecError,
    StoreError."""
    asked = AuditSpec(model=placed(model), baseline=placed(baseline), battery=str(battery.resolve()) if battery else "")
    if benchmarks:
        if battery is not None or (_is_run(baseline) and _reading(baseline).spec.method == "audit"):
            raise SpecError(
                f"{battery or baseline} has a battery, and a battery is frozen: it takes no further benchmarks",
                cure="Make another one and audit both sides with it: charter battery RUN --out FILE --benchmark FILE",
            )
        asked = asked.model_copy(update={"benchmarks": further(benchmarks)})
    if battery is not None:
        spec = specs.parse(read(battery).spec, str(battery))
    elif _is_run(baseline):
        spec = _reading(baseline).spec
    else:
        raise SpecError(
            f"the baseline {baseline} is no run, so no battery can be made from it",
            cure="Give a battery with --battery; to make one: charter battery RUN --out FILE",
        )
    if battery is None and spec.method == "audit":
        asked = spec.audit.model_copy(update=asked.model_dump(include={"model", "baseline", "battery"}))
    return spec_text(spec, asked)


def further(given: Sequence[Mapping[str, Any]]) -> tuple[BenchmarkSpec, ...]:
    """Benchmarks as a file gives them. Raises SpecError."""
    asked = {"version": 1, "method": "evaluate", "world": "village", "benchmarks": [dict(b) for b in given]}
    return specs.parse(yaml.safe_dump(asked), "--benchmark").benchmarks


def placed(name: str) -> str:
    """A folder by its whole path, so that the audit can go on from elsewhere; another name as it is."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_dir() else name


def taken(asked: AuditSpec, *, step: Step) -> Battery:
    """The battery that an audit asks for. Raises SpecError, StoreError."""
    del step
    if not _is_run(asked.baseline):
        if not asked.battery:
            raise SpecError("audit.battery: is missing: the baseline is no run that one can be made from")
        return read(Path(asked.battery))
    reading = _reading(asked.baseline)
    if reading.spec.method != "audit":
        return read(Path(asked.battery)) if asked.battery else made(Path(asked.baseline), asked)
    before = reading.records(_AUDIT, Battery)[0]
    if asked.battery and (given := read(Path(asked.battery))).digest != before.digest:
        raise SpecError(
            f"{asked.battery} is not the battery of {asked.baseline}: {given.digest[:12]}, {before.digest[:12]}",
            cure="Results of different batteries cannot be compared. Audit the baseline with this battery first.",
        )
    return before


def finished(name: str, battery: Battery) -> tuple[Measured, Sequence[Result]] | None:
    """What a finished audit of the same battery found of its model; None where ``name`` is no audit. Raises StoreError,
    SpecError."""
    if not _is_run(name) or _reading(name).spec.method != "audit":
        return None
    from charter.reports.audit_sides import answers

    reading = _reading(name)
    measured = reading.records("model/measured", Measured)
    if reading.head is None or not measured:
        raise StoreError(f"the audit {name} is not finished", f"Go on with it: charter resume {name}")
    if measured[0].battery != battery.digest:
        raise SpecError(f"the audit {name} was made with another battery", cure="Audit it with this battery first.")
    return measured[0].model_copy(update={"source": reading.head}), answers(reading, "model")


def made(directory: Path, asked: AuditSpec, seed: int | None = None) -> Battery:
    """A battery from a finished run, drawn by its seed or another one. Nothing is asked of any model.
    Raises StoreError, DamagedError, SpecError."""
    from charter.reports.verify import verify

    reading = _reading(str(directory))
    if reading.head is not None and (faults := verify(directory).faults):
        cure = f"Restore it; all faults: charter verify {directory}"
        raise DamagedError(f"{directory} is damaged, so no battery is made from it: {faults[0]}", cure)
    left = reading.records("final/handover", Handover)
    if reading.head is None or not left:
        raise StoreError(f"{directory} left no constitution to audit", "Finish it: charter resume; or name another run")
    old, rules = reading.spec, reading.constitution
    prompts = old.prompts.model_copy(update={"heldout": asked.prompts})
    changes = {"prompts": prompts, "benchmarks": asked.beside(old.benchmarks)}
    spec = old.model_copy(update={**changes, "go_on": None, "method": "audit", "audit": AuditSpec()})
    assembly = Assembly(spec)
    assembly.decided = articles.norms(rules)
    benchmark = assembly.benchmark(None)
    measured = [
        Probe(id=p.id, about=benchmark.identity, part="benchmark", group=p.id, prompt=p)
        for p in benchmark.prompts("heldout")
    ]
    causes = {f.id: f for folder in reading.iterations for f in reading.records(f"{folder}/findings", Finding)}
    causes |= {f.id: f for f in left[0].causes}
    from charter.stages.battery import about_principles

    ruled = about_principles(
        rules.active,
        list(causes.values()),
        _fresh(reading, left[0], {p.prompt.text for p in measured}),
        attacks.fixed(spec, assembly.world, asked.styles),
        asked,
        step=Step("battery", reading.spec.seed if seed is None else seed),
    )
    probes = tuple([*ruled, *measured])
    notes = _notes(rules.active, probes, asked.margin)
    if asked.styles is None and not any(p.part == "attack" for p in ruled):
        place = f"the world {assembly.world.name} has no styles of its own" if assembly.world else "none fits"
        notes = (f"no attacks on own failures: {place}; name styles with --style", *notes)
    return Battery(
        run=reading.name,
        head=reading.head,
        spec=spec_text(spec, AuditSpec(baseline="-")),
        principles=rules.active,
        rubric=assembly.ruled,
        judging=spec.options.judge,
        answers=models.answers(spec),
        benchmarks=(benchmark.identity,),
        exams=_exams(assembly),
        probes=probes,
        notes=notes,
    )


def write_battery(directory: Path, out: Path, asked: AuditSpec) -> Battery:
    """Makes a battery from a run and writes it into a file that is not there yet. Raises StoreError, SpecError."""
    if out.exists():
        raise StoreError(f"{out} is there already, and a battery is frozen", "Choose another file with --out.")
    battery = made(directory, asked)
    store.write_atomic(out, to_text(battery).encode())
    return battery


def _fresh(reading: Reading, left: Handover, asked: set[str]) -> list[Prompt]:
    """Red-team prompts that nothing was trained on and nothing like them, and that are not ``asked`` already: train
    prompts that were never drawn, and held-out ones."""
    held = {m.id for m in reading.records("000/heldout_measurements", Measurement) if "harmlessness" in m.outcomes}
    drawn = set(left.probed)
    found = [p for p in reading.records("000/prompts", Prompt) if p.id not in drawn]
    found += [e.prompt for e in reading.records("000/heldout_exchanges", Exchange) if e.id in held]
    rows = [Prompt(id=row.id, messages=_asked(row.messages)) for row in (*left.examples, *left.replayed)]
    clear = Guard(rows, reading.spec.prompts.near_duplicate).clear(p for p in found if p.text not in asked)
    return list({p.text: p for p in clear}.values())


def _asked(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(m for m in messages if m.role == "user") or messages


def _exams(assembly: Assembly) -> dict[str, str]:
    """The benchmarks that the spec names, by name with their identities."""
    asked = assembly.exams.judge
    judge = models.oracle(asked, assembly.world, assembly.spec.offline) if asked is not None else None
    return {exam.name: exam.identity for exam in assembly.exams.made(judge)}


def _notes(principles: Sequence[Principle], probes: Sequence[Probe], margin: float) -> tuple[str, ...]:
    """Principles with fewer independent prompts than can show that a drop is within the margin."""
    least, notes = pairs_needed(margin), []
    for p in principles:
        count = len({probe.group for probe in probes if probe.about == p.id})
        if count < least:
            notes.append(f"{p.id}: {count} independent prompts; {least} are needed to show that it is kept")
    return tuple(notes)


def _is_run(name: str) -> bool:
    return (Path(name) / "journal.jsonl").exists()


def _reading(name: str) -> Reading:
    from charter.reports.reading import Reading

    return Reading(name)
