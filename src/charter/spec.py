"""What a user asks for: one YAML file, validated whole before anything runs.

Every fault is reported at once, with its key path and, for an unknown key, the nearest valid one.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError

from charter.errors import SpecError
from charter.nouns import Record, Sampling
from charter.templates import Templates


class TargetSpec(Record):
    """The model to align: ``organism`` (the world's built model), a folder, or a hub id."""

    model: str = "organism"
    revision: str = ""
    device: str = "auto"
    dtype: str = "auto"
    batch: int = Field(64, ge=1)
    plain: bool = False
    remote_code: bool = False


class ErrorsSpec(Record):
    """How often a world's oracle errs on purpose (shares), and how long it waits (seconds)."""

    wrong_verdicts: float = Field(0.0, ge=0, le=1)
    off_target: float = Field(0.0, ge=0, le=1)
    invalid_json: float = Field(0.0, ge=0, le=1)
    refusals: float = Field(0.0, ge=0, le=1)
    delay: float = Field(0.0, ge=0)


class OracleSpec(Record):
    """A stronger model: ``world`` (the world's own oracle) or a model string such as ``openai/gpt-4o`` with its key
    in the environment;
    ``base_url`` names a self-served OpenAI-compatible server."""

    model: str = "world"
    base_url: str = ""
    connections: int = Field(8, ge=1)
    sampling: Sampling = Sampling(max_tokens=1024)
    errors: ErrorsSpec = ErrorsSpec()


class FileSpec(Record):
    """Prompts from a JSONL or CSV file: ``column`` holds the prompt."""

    path: str
    column: str = "prompt"


class PromptsSpec(Record):
    """Where prompts come from: ``world``, or a list of files. Splits go by near-duplicate cluster with a fixed salt."""

    redteam: Literal["world"] | tuple[FileSpec, ...] = "world"
    helpful: Literal["world"] | tuple[FileSpec, ...] = "world"
    gate: int | None = Field(None, ge=1, description="prompts per kind on gate; null: all")
    heldout: int | None = Field(None, ge=1, description="prompts per kind on held-out; null: all")
    near_duplicate: float = Field(0.8, gt=0, le=1)


class Draw(Record):
    """Batches for red teaming: how many prompts in the first iteration, how many in each ``later`` one, in which
    order."""

    batch: int = Field(160, ge=1)
    later: int = Field(110, ge=1)
    order: Literal["uniform", "file"] = "uniform"


class Judging(Record):
    """``exchange``: prompt and response under a closed menu. ``response``: the response alone, a finding where the
    reply holds "Negative"."""

    sees: Literal["exchange", "response"] = "exchange"


class Clustering(Record):
    """``text``: findings grouped by what they say (TF-IDF, average linkage, cosine ``distance``); ``batch``: all in
    one.
    ``hide``: share of each cluster, by hash, that the proposer never sees. ``show``: most failures in one call."""

    by: Literal["text", "batch"] = "text"
    distance: float = Field(0.8, gt=0, le=1)
    hide: float = Field(0.5, ge=0, lt=1)
    show: int = Field(12, ge=1)


class Proposing(Record):
    """``rule``: one structured rule for each cluster. ``last_paragraph``: of a free reply, its last paragraph."""

    reply: Literal["rule", "last_paragraph"] = "rule"


class Amending(Record):
    """``merge``: new rules join the constitution and rules that say the same become one; ``replace``: only this
    batch's rules."""

    mode: Literal["merge", "replace"] = "merge"


class Contrasting(Record):
    """Look-alikes asked for in each cluster; 0 asks for none."""

    count: int = Field(10, ge=0)


class Reflecting(Record):
    """``critique``: critique, then revision, as turns of a conversation. ``direct``: the rules appended to the
    prompt."""

    turns: Literal["critique", "direct"] = "critique"


class Keeping(Record):
    """Which revisions become rows. ``verify`` off keeps them all. Lengths are in characters."""

    verify: bool = True
    longest: int = Field(4000, ge=1)
    opening_share: float = Field(0.2, gt=0, le=1)
    exempt_openings: tuple[str, ...] = ()


class Replaying(Record):
    """Rows that keep what was good: at least ``ratio`` for each revision; at most ``fresh`` new ordinary prompts an
    iteration
    (rows are repeated where there are too few)."""

    ratio: float = Field(4.0, ge=0)
    fresh: int = Field(48, ge=0)
    lookalikes: bool = True
    complied: bool = True


class Measuring(Record):
    """Efficacy of each new principle on failures that its proposer never saw."""

    efficacy: bool = True


class Tuning(Record):
    """``start``: each policy anew from the starting model on all rows so far; ``previous``: on from the last policy
    on this batch's rows."""

    start: Literal["start", "previous"] = "start"
    kind: Literal["lora", "full"] = "lora"
    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(2.0, gt=0)
    batch: int = Field(8, ge=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class Stopping(Record):
    """``confident``: when the prompts drawn since the last tuning (at least ``least``) bound violations under ``below``
    (upper 95 % Wilson); ``data``: only at the end of the data. ``patience``: accepted policies without progress on gate
    before it stops. ``roll_back``: a policy that is worse on gate is not used; its rows are tried again with more
    replay, ``retries`` times."""

    rule: Literal["confident", "data"] = "confident"
    least: int = Field(100, ge=1)
    below: float = Field(0.05, gt=0, lt=1)
    patience: int = Field(2, ge=1)
    iterations: int = Field(8, ge=1)
    roll_back: bool = True
    retries: int = Field(2, ge=0)


class Options(Record):
    """The switches of the method ``iteralign``; each departure from the paper is one of them."""

    draw: Draw = Draw()
    judge: Judging = Judging()
    cluster: Clustering = Clustering()
    propose: Proposing = Proposing()
    amend: Amending = Amending()
    contrast: Contrasting = Contrasting()
    reflect: Reflecting = Reflecting()
    keep: Keeping = Keeping()
    replay: Replaying = Replaying()
    measure: Measuring = Measuring()
    tune: Tuning = Tuning()
    stop: Stopping = Stopping()


class Scale(Record):
    """Numbers that depend on the model's size, shared by recipes: token limits, the grid from which learning rates
    are chosen, the longest row."""

    answer_tokens: int = Field(512, ge=1)
    critique_tokens: int = Field(256, ge=1)
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    row_tokens: int = Field(2048, ge=8)
    learning_rates: tuple[float, ...] = (1e-5, 5e-5, 1e-4, 2e-4)


class Budget(Record):
    """Limits of the whole run; at a limit the run pauses and can be resumed with a larger one."""

    calls: int | None = Field(None, ge=1)


class Spec(Record):
    """The whole of what is asked."""

    version: Literal[1] = 1
    method: Literal["iteralign"] = "iteralign"
    seed: int = Field(0, ge=0)
    world: str = ""
    target: TargetSpec = TargetSpec()
    oracle: OracleSpec = OracleSpec()
    proposer: OracleSpec | None = None
    judge: OracleSpec | None = None
    evaluator: Literal["world"] | OracleSpec = "world"
    prompts: PromptsSpec = PromptsSpec()
    options: Options = Options()
    scale: Scale = Scale()
    templates: Literal["world"] | Templates = Templates()
    budget: Budget = Budget()


def parse(text: str, name: str = "spec") -> Spec:
    """Reads a spec. Raises SpecError with every fault: its key path, what is wrong, and the nearest valid key."""
    value = _mapping(text, name)
    if isinstance(value.get("scale"), str):
        value = {**value, "scale": _shipped_scale(value["scale"])}
    faults: list[str] = []
    spec: Spec | None = None
    try:
        spec = Spec.model_validate(dict(value))
    except ValidationError as error:
        faults += [
            line for e in error.errors() if (line := _fault(e.get("loc", ()), e["type"], e["msg"], e.get("input")))
        ]
    if spec is not None:
        faults += _together(spec)
    if faults or spec is None:
        raise SpecError(
            f"{name} is not valid",
            tuple(dict.fromkeys(faults)),
            "Mend these keys; `charter init` shows every key with its default.",
        )
    return spec


def _yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(
            f"{name} is not YAML: {error}", cure="Mend it; `charter init` writes a commented spec."
        ) from error


def _mapping(text: str, name: str) -> dict[Any, Any]:
    value = _yaml(text, name)
    if not isinstance(value, dict):
        raise SpecError(f"{name} holds no mapping", cure="`charter init` writes a commented spec to start from.")
    return value


def recipes() -> dict[str, Path]:
    """The shipped recipes by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _shipped_scale(name: str) -> object:
    """A shipped ``scale`` block; the name itself where there is none, so that validation reports it."""
    path = Path(__file__).parent / "recipes" / "scales" / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else name


def read(path: Path) -> tuple[Spec, str]:
    """A spec file, parsed, with its text. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path} cannot be read: {error}",
            cure="Give the path of a spec, or the name of a shipped recipe (`charter init --list`).",
        ) from error
    return parse(text, str(path)), text


def changed(text: str, changes: Mapping[str, str], name: str = "spec") -> str:
    """A spec's text with ``key.path=value`` changes (values are YAML), validated. Raises SpecError."""
    value = _mapping(text, name)
    for path, new in changes.items():
        *parents, last = path.split(".")
        place = value
        if parents and isinstance(value.get("scale"), str):
            value["scale"] = _shipped_scale(value["scale"])
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = _yaml(new, path)
    out = yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if changes else text
    parse(out, name)
    return out


def _together(spec: Spec) -> list[str]:
    """Faults of keys that must fit one another."""
    uses = {
        "target.model": spec.target.model == "organism",
        "oracle.model": spec.oracle.model == "world" and (spec.judge is None or spec.proposer is None),
        "judge.model": spec.judge is not None and spec.judge.model == "world",
        "proposer.model": spec.proposer is not None and spec.proposer.model == "world",
        "evaluator": spec.evaluator == "world",
        "prompts.redteam": spec.prompts.redteam == "world",
        "prompts.helpful": spec.prompts.helpful == "world",
        "templates": spec.templates == "world",
    }
    if spec.world:
        return []
    return [f"{key}: refers to a test world, but `world` is not set" for key, used in uses.items() if used]


def _fault(place: tuple[int | str, ...], kind: str, message: str, given: object) -> str:
    names = [str(part) for part in place]
    unknown = kind == "extra_forbidden"
    tagged = names[:-1] if unknown else names
    path = ".".join([*(n for n in tagged if not n.endswith(("]", "Spec", "Templates"))), *names[len(tagged) :]])
    if unknown:
        near = get_close_matches(names[-1], _keys(place[:-1]), n=1, cutoff=0.5)
        return f"{path}: unknown key" + (f"; did you mean `{near[0]}`?" if near else "")
    if kind == "literal_error" and names[-1].startswith("literal[") and isinstance(given, Mapping):
        return ""
    return f"{path}: {message[0].lower()}{message[1:]} (given: {given!r:.60})"


def _keys(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Spec
    for part in place:
        if not isinstance(part, str) or part not in model.model_fields:
            continue
        found = _model(model.model_fields[part].annotation)
        model = found if found is not None else model
    return list(model.model_fields)


def _model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model(part)) is not None), None)
