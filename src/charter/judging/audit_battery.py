"""What an audit asks: a frozen battery, kept in a file with its digest, and what an answer to it is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from charter.errors import SpecError
from charter.judging.rubrics import Rubric
from charter.records.chat import Prompt, Sampling
from charter.records.record import Record, digest
from charter.records.rules import Principle
from charter.spec import JudgingSpec

ProbePart = Literal["own", "attack", "fresh", "tagged", "labelled", "reported", "benchmark"]
BATTERY_VERSION = 1


class Probe(Record):
    """A prompt of a battery. ``about``: the id of a principle, or the identity of a benchmark. ``part``: a failure that
    caused the principle (``own``), an attack on one, a prompt like them that nothing was trained on (``fresh``),
    one that people tagged it with (``tagged``), or one whose answer raters (``labelled``) or users (``reported``) found
    bad. Probes of one ``group`` (a failure with its attacks) count as one."""

    id: str
    about: str
    part: ProbePart
    group: str
    prompt: Prompt
    style: str = ""


class Battery(Record):
    """Which probes, and everything that a verdict on an answer depends on but the judge's model: rubric, way of asking,
    sampling of the answers. ``principles``: those in force. ``run`` and ``head``: what it was made from; ``spec``: that
    run's. ``evaluator``: its identity, where its prompts are probes; ``benchmarks``: the identities of those that the
    spec names, by name. ``notes``: what it cannot show."""

    id: str = "battery"
    version: Literal[1] = 1
    run: str
    head: str
    spec: str
    principles: tuple[Principle, ...]
    rubric: Rubric
    judging: JudgingSpec
    answer_sampling: Sampling
    evaluator: str = ""
    benchmarks: dict[str, str] = Field(default_factory=dict)
    probes: tuple[Probe, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the whole."""
        return digest(self)

    def probes_about(self, about: str) -> list[Probe]:
        """The probes about a principle, or of a benchmark."""
        return [probe for probe in self.probes if probe.about == about]

    @property
    def principle_probes(self) -> list[Probe]:
        """The probes about principles."""
        return [probe for probe in self.probes if probe.part != "benchmark"]


class ProbeResult(Record):
    """What an answer to a probe, or to a benchmark's item, is worth: line (a principle's id, or a benchmark's metric)
    -> passed, or a figure between 0 and 1 of which more is better (None: not judged). ``group``: what an item of a
    benchmark counts with as one, where that is not itself."""

    id: str
    passed: dict[str, bool | float | None] = Field(default_factory=dict)
    group: str = ""


class AuditedModel(Record):
    """Who answered a battery and who judged: ``model`` and ``judge`` are identities, ``asked`` a digest of how the
    judge was asked. ``name`` is what the user called it; ``source``: the HEAD of the audit whose answers were taken
    over."""

    id: str = "measured"
    name: str
    model: str
    judge: str
    judging_digest: str
    battery: str
    source: str = ""

    @property
    def short_name(self) -> str:
        """The name without the folders of the machine on which it was given: of a whole path its last two parts."""
        path = Path(self.name)
        return "/".join(path.parts[-2:]) if path.is_absolute() else self.name


def battery_to_text(battery: Battery) -> str:
    """A battery as its file: its digest, then the whole."""
    return json.dumps({"digest": battery.digest, **battery.model_dump(mode="json")}, indent=1, ensure_ascii=True) + "\n"


def read_battery(path: Path) -> Battery:
    """A battery's file. Raises SpecError where it cannot be read, was changed, or is of another version."""
    cure = "Make one: charter battery RUN --out FILE"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"the battery {path} cannot be read: {error}", cure=cure) from error
    if not isinstance(value, dict) or "digest" not in value:
        raise SpecError(f"{path} holds no battery", cure=cure)
    if value.get("version") != BATTERY_VERSION:
        found = f"{path} is a battery of version {value.get('version')}"
        raise SpecError(f"{found}, and this charter reads version {BATTERY_VERSION}", cure=cure)
    named = value.pop("digest")
    try:
        battery = Battery.model_validate_json(json.dumps(value))
    except ValidationError as error:
        faults = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)[:5])
        raise SpecError(f"{path} holds no battery", faults, cure) from error
    if battery.digest != named:
        raise SpecError(
            f"the battery {path} was changed: its digest is {battery.digest[:12]}, and the file says {str(named)[:12]}",
            cure="Restore it; results of different batteries cannot be compared.",
        )
    return battery
