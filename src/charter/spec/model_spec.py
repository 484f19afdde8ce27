"""Who plays which part: the model to align, and the oracles."""

from __future__ import annotations

import re
import shlex
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from charter.records.chat import Sampling
from charter.records.record import Record

PROGRAM_PREFIX = "python:"
"""A model string that begins with this names an engine of the user's own, as package.module:Object."""
SERVE_PLACEHOLDERS = ("base", "adapter", "merged_dir", "name", "port")
"""The names that a command in ``target.serve`` may hold in braces."""
LAUNCH_PLACEHOLDERS = ("script", "job")
"""The names that a command in ``tuner.launch`` must hold in braces."""


class TargetSpec(Record):
    """The model to align: ``organism`` (the world's built model), a folder, or a hub id. ``plain``: raw text instead of
    the chat format; ``template``: arguments for the chat template; ``context``: most tokens of prompt and answer, where
    it is to be less than the model reads. ``thoughts``: whether a reasoning model's thoughts are learnt (keep) or carry
    no loss; nobody judges them. ``today``: the date that a chat template writes (empty: of the run's start).

    ``serve``: a command that serves it over HTTP, one server per policy, where it does not fit into this process:
    {base} and {adapter} are folders, {merged_dir} both in one, {name} what to call it, {port} where to listen.
    ``serve_start`` serves the starting model, where ``serve`` holds {adapter}. ``base_url``, ``hosted`` and model
    strings such as ``openai-api/...`` name a model whose weights are not at hand: it can be red teamed, not tuned."""

    model: str = "organism"
    revision: str = ""
    device: str = "auto"
    dtype: str = "auto"
    batch: int = Field(64, ge=1)
    plain: bool = False
    template: dict[str, bool | int | str] = Field(default_factory=dict)
    context: int | None = Field(None, ge=2)
    thoughts: Literal["drop", "keep"] = "drop"
    today: str = ""
    remote_code: bool = False
    serve: str = ""
    serve_start: str = ""
    serve_ready_s: float = Field(600.0, gt=0)
    base_url: str = ""
    hosted: bool = False
    connections: int = Field(16, ge=1)

    @field_validator("today")
    @classmethod
    def _day(cls, today: str) -> str:
        if today:
            try:
                date.fromisoformat(today)
            except ValueError as error:
                raise ValueError("is a date such as 2026-01-31, in quotes") from error
        return today

    @property
    def by_http(self) -> bool:
        """Whether it is only reached by HTTP: its weights, and so its identity, cannot be verified."""
        return self.hosted or bool(self.base_url) or self.model.startswith("openai-api/")

    def find_faults(self) -> list[str]:
        """What does not fit together, one line each."""
        found = []
        if self.by_http and self.serve:
            found.append("target.serve: serves weights, and this target is only reached by HTTP; set one of the two")
        if (self.by_http or self.serve) and self.plain:
            found.append("target.plain: servers are asked in their own chat format only")
        for key, command in (("serve", self.serve), ("serve_start", self.serve_start)):
            found += [f"target.{key}: {fault}" for fault in _serve_faults(command)] if command else []
        if not found and "{adapter}" in self.serve and not self.serve_start:
            found.append("target.serve_start: is missing: the starting model has no {adapter} for target.serve")
        if "{adapter}" in self.serve_start:
            found.append("target.serve_start: the starting model has no {adapter}")
        return found


class TunerSpec(Record):
    """Where training runs. ``launch``: a command that runs {script} with {job} in processes of its own, such as
    ``accelerate launch {script} {job}``; empty: in this process. ``save_steps``: steps between its checkpoints, which
    is what a kill costs at most. ``micro_batch``: rows at a time in one process (null: a step's rows at once).
    ``quantize`` 4bit: LoRA over a base in 4 bits. ``program``: a tuner of your own (``python:package.module:Object``),
    for which ``tuner: python:...`` is short."""

    program: str = ""
    launch: str = ""
    save_steps: int = Field(50, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    quantize: Literal["none", "4bit"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        """A name alone is that of a tuner of one's own."""
        return {"program": given} if isinstance(given, str) else given

    def find_faults(self) -> list[str]:
        """What does not fit together, one line each."""
        if self.program and not self.program.startswith(PROGRAM_PREFIX):
            return ["tuner.program: names no object; write python:package.module:Object"]
        if self.program and (self.launch or self.quantize != "none"):
            return ["tuner.program: a tuner of your own cannot be launched or quantized; leave launch and quantize"]
        if not self.launch:
            return ["tuner.micro_batch: is for tuner.launch, which is not set"] if self.micro_batch else []
        found = _parse_placeholders(self.launch, LAUNCH_PLACEHOLDERS)
        if isinstance(found, list):
            return [f"tuner.launch: {fault}" for fault in found]
        return [f"tuner.launch: holds no {{{name}}}" for name in LAUNCH_PLACEHOLDERS if name not in found]


def _parse_placeholders(command: str, known: tuple[str, ...]) -> set[str] | list[str]:
    """The names in braces of a command; or a list of faults."""
    try:
        names = {name for word in shlex.split(command) for name in re.findall(r"\{(\w+)\}", word)}
    except ValueError as error:
        return [f"its quotes do not match ({error})"]
    unknown = [f"{{{name}}} is not known; there are {', '.join(known)}" for name in sorted(names - set(known))]
    return unknown or names


def _serve_faults(command: str) -> list[str]:
    """What is wrong with a command of ``target.serve``."""
    names = _parse_placeholders(command, SERVE_PLACEHOLDERS)
    if isinstance(names, list):
        return names
    lacking = [] if "port" in names else ["holds no {port}"]
    if not names & {"base", "adapter", "merged_dir"}:
        lacking.append("names no weights: {base}, {adapter} or {merged_dir}")
    if not names & {"name", "merged_dir"}:
        lacking.append("holds no {name}, by which stale weights are told apart")
    return lacking


class ErrorsSpec(Record):
    """How often a world's oracle errs on purpose (shares), and how long it waits (seconds)."""

    wrong_verdicts: float = Field(0.0, ge=0, le=1)
    off_target: float = Field(0.0, ge=0, le=1)
    invalid_json: float = Field(0.0, ge=0, le=1)
    refusals: float = Field(0.0, ge=0, le=1)
    delay: float = Field(0.0, ge=0)


class OracleSpec(Record):
    """A stronger model: ``world`` (the world's own oracle), ``python:package.module:Object`` (an engine of your own, in
    this process), or a model string such as ``openai/gpt-4o`` with its key
    in the environment; ``base_url`` names a self-served OpenAI-compatible server. ``key_env``: the NAME of the variable
    with the key. ``sampling`` goes beyond what a step asks: the higher temperature and the longer limit count.
    ``price_in`` and ``price_out``: of a million tokens read and written, in the currency of ``budget.money``.
    ``calibration``: of a judge or evaluator, the run (or its ``calibration.json``) that measured it."""

    model: str = "world"
    base_url: str = ""
    key_env: str = ""
    connections: Annotated[int, Field(ge=1)] | Literal["adaptive"] = 8
    structured: bool = True
    timeout_s: int = Field(120, ge=1)
    retries: int = Field(8, ge=0)
    give_up_after_s: float = Field(600.0, ge=0)
    price_in: float | None = Field(None, ge=0)
    price_out: float | None = Field(None, ge=0)
    sampling: Sampling = Sampling(max_tokens=1024)
    errors: ErrorsSpec = ErrorsSpec()
    calibration: str = ""

    @field_validator("key_env")
    @classmethod
    def _name(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("is the name of an environment variable, such as MY_API_KEY; a key stands in no spec")
        return name

    @field_validator("base_url")
    @classmethod
    def _place(cls, url: str) -> str:
        found = urlsplit(url)
        if url and (found.scheme not in ("http", "https") or not found.hostname):
            raise ValueError("is the address of a server, such as http://127.0.0.1:8000/v1")
        if "@" in found.netloc or found.query or found.fragment:
            raise ValueError("holds a user, a password or a query; a key goes into the variable that key_env names")
        return url
