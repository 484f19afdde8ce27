"""Who plays which part: the model to align, and the oracles."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from charter.records.chat import Sampling
from charter.records.record import Record, digest
from charter.spec.command_words import parse_placeholders

PROGRAM_PREFIX = "python:"
"""A model string that begins with this names an engine of the user's own, as package.module:Object."""
NO_MODEL = "none"
"""The model string of a role in which nothing answers in words."""
ADAPTER_PLACEHOLDERS = ("adapter", "adapter_gguf")
"""The names that stand for a policy's adapter, which a starting model lacks."""
SERVE_PLACEHOLDERS = ("base", *ADAPTER_PLACEHOLDERS, "merged_dir", "name", "port", "replica")
"""The names that a command in ``target.serve`` may hold in braces."""
SERVED_CONNECTIONS, OTHER_CONNECTIONS = 256, 16
"""The most requests at once to a server that charter starts (bench/RESULTS.md), and to another one."""


class ModelSpec(Record):
    """A model, and how its weights are run where they are at hand."""

    model: str
    revision: str = Field(
        "",
        description="A branch, tag or commit of a hub id. Empty: the newest one, which is pinned when the run begins.",
    )
    device: str = Field("auto", description="Where the model runs: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")
    dtype: str = Field("auto", description="Precision of the weights: `auto`, `float32`, `bfloat16` or `float16`.")
    batch: int = Field(64, ge=1, description="The most conversations that are generated at once.")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="The most prompt tokens of a batch, padding too. Null: 4,096 on a CPU, 512 for each GiB of a GPU's "
        "memory.",
    )
    template: dict[str, bool | int | str] = Field(
        default_factory=dict,
        description="Arguments for the chat template, such as `{enable_thinking: false}`.",
    )
    context: int | None = Field(
        None,
        ge=2,
        description="The most tokens of prompt and answer together. Null: as many as the model reads.",
    )
    remote_code: bool = Field(
        False,
        description="True runs code that comes with the model. Use it only for models that you trust.",
    )
    serve: str = Field(
        "",
        description="A command that serves the model over HTTP, for each policy anew. It fills in {base}, {adapter}, "
        "{adapter_gguf}, {merged_dir}, {name}, {port} and {replica}. Empty: in this process.",
    )
    serve_ready_s: float = Field(600.0, gt=0, description="Seconds within which a server must be ready.")
    serve_replicas: int = Field(
        1,
        ge=1,
        description="Servers that `serve` starts at once, one port each. A request goes to the least busy. {replica} "
        "is a server's number, from 0.",
    )

    @model_validator(mode="after")
    def _replicas(self) -> Self:
        if self.serve_replicas > 1 and not self.serve:
            raise ValueError("serve_replicas: is for the servers that `serve` starts, which is not set")
        return self


class TargetSpec(ModelSpec):
    """The model to align: where its weights are, how it answers, and who serves it."""

    model: str = Field(
        "organism",
        description="A folder of weights, a GGUF file, a hub id, or `organism`: the model built for the test world. A "
        "server knows its model by this name.",
    )
    plain: bool = Field(
        False,
        description="True sends raw text instead of the model's chat format. A server uses its own format, so it "
        "cannot be plain.",
    )
    thoughts: Literal["drop", "keep"] = Field(
        "drop",
        description="A reasoning model's thoughts in training rows: `drop` gives them no loss, `keep` trains on them. "
        "No judge reads them.",
    )
    today: str = Field(
        "", description="The date that a chat template writes, such as 2026-01-31. Empty: the date of the run's start."
    )
    serve_start: str = Field("", description="The command for the starting model, where `serve` holds {adapter}.")
    base_url: str = Field(
        "",
        description="Address of an OpenAI-compatible server that has the model. Its weights are not at hand, so it "
        "can be red teamed and not tuned.",
    )
    hosted: bool = Field(
        False,
        description="True: `model` names a hosted model as provider/name. It can be red teamed and not tuned.",
    )
    connections: int | None = Field(
        None,
        ge=1,
        description="The most requests to a server at once. Null: 256 to one that `serve` starts, which queues by "
        "itself, and 16 to others.",
    )

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

    @property
    def most_connections(self) -> int:
        """The most requests to a server at once."""
        return self.connections or (SERVED_CONNECTIONS if self.serve else OTHER_CONNECTIONS)

    def find_faults(self) -> list[str]:
        """What does not fit together, one line each."""
        found = []
        if self.by_http and self.serve:
            found.append("target.serve: serves weights, and this target is only reached by HTTP; set one of the two")
        if (self.by_http or self.serve) and self.plain:
            found.append("target.plain: servers are asked in their own chat format only")
        for key, command in (("serve", self.serve), ("serve_start", self.serve_start)):
            found += [f"target.{key}: {fault}" for fault in _serve_faults(command)] if command else []
        lacking = _adapter_names(self.serve)
        if not found and lacking and not self.serve_start:
            found.append(f"target.serve_start: is missing: the starting model has no {lacking[0]} for target.serve")
        found += [f"target.serve_start: the starting model has no {name}" for name in _adapter_names(self.serve_start)]
        return found


def _adapter_names(command: str) -> list[str]:
    """What stands for an adapter in a command, in its braces."""
    return [f"{{{name}}}" for name in ADAPTER_PLACEHOLDERS if f"{{{name}}}" in command]


def _serve_faults(command: str) -> list[str]:
    """What is wrong with a command of ``target.serve``."""
    names = parse_placeholders(command, SERVE_PLACEHOLDERS)
    if isinstance(names, list):
        return names
    lacking = [] if "port" in names else ["holds no {port}"]
    if not names & {"base", *ADAPTER_PLACEHOLDERS, "merged_dir"}:
        lacking.append("names no weights: {base}, {adapter}, {adapter_gguf} or {merged_dir}")
    if not names & {"name", "merged_dir"}:
        lacking.append("holds no {name}, by which stale weights are told apart")
    return lacking


class ErrorsSpec(Record):
    """How a test world's oracle errs on purpose. The shares are of its replies."""

    wrong_verdicts: float = Field(0.0, ge=0, le=1, description="Share of the verdicts that are turned round.")
    off_target: float = Field(0.0, ge=0, le=1, description="Share of the proposals that speak of something else.")
    echo: float = Field(0.0, ge=0, le=1, description="Share of the proposals that repeat a failing answer.")
    advise: float = Field(0.0, ge=0, le=1, description="Share of the other proposals that give advice to users.")
    quote: float = Field(0.0, ge=0, le=1, description="Share of the rest that quotes the request for a rule.")
    invalid_json: float = Field(0.0, ge=0, le=1, description="Share of the replies that cannot be read.")
    refusals: float = Field(0.0, ge=0, le=1, description="Share of the replies that refuse.")
    delay: float = Field(0.0, ge=0, description="Seconds that each reply takes.")


class ClassifierSpec(Record):
    """A sequence classifier of transformers that judges in this process: of harm, toxicity or refusals, or a reward
    model. Weights are read from safetensors alone, and no code that comes with the model is run."""

    model: str = Field(min_length=1, description="A folder of weights, or a hub id.")
    rubrics: dict[str, dict[str, str]] = Field(
        min_length=1,
        description="For each rubric that it judges by, the label of each of its classes, as `{harm: {toxic: harmful, "
        "neutral: harmless}}`. The classes of a model with one output are `high` and `low`.",
    )
    reads: Literal["auto", "response", "pair", "chat"] = Field(
        "auto",
        description="What it reads: the `response` alone, prompt and response as a `pair` of texts, or both in its "
        "`chat` template. `auto`: the chat where it has a template, else the response (one score: the pair).",
    )
    revision: str = Field("", description="A branch, tag or commit of a hub id. Empty: the newest one.")
    device: str = Field("auto", description="Where it runs: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="Precision of its weights.")
    batch: int = Field(64, ge=1, description="The most exchanges that are read at once.")
    batch_tokens: int | None = Field(
        None, ge=1, description="The most tokens of a batch, padding too. Null: as for other models."
    )


class OracleSpec(ModelSpec):
    """A stronger model that judges, proposes, attacks or evaluates."""

    model: str = Field(
        "world",
        description="A hosted model as provider/name; a folder of weights (`./name`) or a GGUF file, in this process; "
        "`world` (the test world's own oracle); or `python:package.module:Object` (an engine of your own). `none`: its "
        "classifiers alone judge.",
    )
    classifiers: tuple[ClassifierSpec, ...] = Field(
        (),
        description="Sequence classifiers that judge in this model's place, each by the rubrics that it names. The "
        "model is asked for all else.",
        exclude_if=lambda classifiers: not classifiers,
    )
    in_process: bool = Field(
        False,
        description="True: `model` is a hub id whose weights run in this process. Paths do so by themselves.",
    )
    base_url: str = Field("", description="Address of an OpenAI-compatible server of your own. Empty: the provider's.")
    more_urls: tuple[str, ...] = Field(
        (), description="Further addresses of the same model, beside `base_url`. A call goes to the least busy."
    )
    key_env: str = Field(
        "",
        description="The name of the environment variable that holds the key. Empty: the provider's usual one.",
    )
    connections: Annotated[int, Field(ge=1)] | Literal["adaptive"] = Field(
        8,
        description="The most calls at once. `adaptive`: as many as go well.",
    )
    reply_schema: bool = Field(
        True,
        description="True holds replies to a JSON schema: in this process token by token, over HTTP by the server. A "
        "server that refuses schemas is asked without them.",
    )
    overlap: bool = Field(
        True,
        description="True asks it for verdicts while the target is still answering, where it is reached over HTTP; the "
        "records are the same. False suits a server that shares its accelerator with the target.",
    )
    timeout_s: int = Field(120, ge=1, description="Seconds that one attempt of a call may take.")
    retries: int = Field(
        8,
        ge=0,
        description="How often a failed call is made again before it counts as an error of its item.",
    )
    give_up_after_s: float = Field(600.0, ge=0, description="Seconds without any answer after which the run pauses.")
    price_in: float | None = Field(
        None,
        ge=0,
        description="Price of a million tokens read, in the currency of `budget.money`. Null: the known price.",
    )
    price_out: float | None = Field(
        None,
        ge=0,
        description="Price of a million tokens written, in the currency of `budget.money`. Null: the known price.",
    )
    sampling: Sampling = Field(
        Sampling(max_tokens=1024),
        description="How replies are drawn. Where a step asks for more, the higher temperature and the longer limit "
        "count.",
    )
    errors: ErrorsSpec = ErrorsSpec()
    calibration: str = Field(
        "",
        description="The run of `charter judge calibrate` that measured this judge or evaluator, or its "
        "`calibration.json`.",
    )
    unproven: bool = Field(
        False,
        description="True accepts this judge or evaluator without proof: no probe is asked, and a calibration that "
        "shows no discrimination stops nothing.",
    )

    @field_validator("key_env")
    @classmethod
    def _name(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("is the name of an environment variable, such as MY_API_KEY; a key stands in no spec")
        return name

    @field_validator("base_url", "more_urls")
    @classmethod
    def _place(cls, urls: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for url in (urls,) if isinstance(urls, str) else urls:
            found = urlsplit(url)
            if (url or urls) and (found.scheme not in ("http", "https") or not found.hostname):
                raise ValueError("is the address of a server, such as http://127.0.0.1:8000/v1")
            if "@" in found.netloc or found.query or found.fragment:
                raise ValueError("holds a user, a password or a query; a key goes into the variable that key_env names")
        return urls

    @model_validator(mode="after")
    def _one_place(self) -> OracleSpec:
        places = [key for key in ("in_process", "serve", "base_url") if getattr(self, key)]
        if len(places) > 1:
            raise ValueError(f"{' and '.join(places)}: the model runs in one place; set one of them")
        named = [name for classifier in self.classifiers for name in classifier.rubrics]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"classifiers: {', '.join(twice)}: one classifier judges by a rubric")
        if self.model == NO_MODEL and not self.classifiers:
            raise ValueError("model: `none` is for a judge with classifiers; name a model, or give classifiers")
        if self.more_urls and not self.base_url:
            raise ValueError("more_urls: the first address of the model stands in base_url")
        if lacking := _adapter_names(self.serve):
            raise ValueError(f"serve: an oracle has no {lacking[0]}")
        if faults := _serve_faults(self.serve) if self.serve else []:
            raise ValueError(f"serve: {'; '.join(faults)}")
        return self

    @property
    def has_weights(self) -> bool:
        """Whether its weights are at hand, so that they run in this process or behind ``serve``."""
        path = self.model.startswith(("./", "../", "/", "~")) or self.model.endswith(".gguf")
        return self.in_process or bool(self.serve) or (path and not self.base_url)

    @property
    def display_name(self) -> str:
        """What reports call it: its classifiers, and its model."""
        own = () if self.model == NO_MODEL else (self.model,)
        return " + ".join((*(each.model for each in self.classifiers), *own))

    @property
    def model_names(self) -> frozenset[str]:
        """Every model that answers for it."""
        return frozenset({self.model, *(each.model for each in self.classifiers)} - {NO_MODEL})

    @property
    def is_shared(self) -> bool:
        """Whether something of it stays in memory, so that roles that name the same share it."""
        return self.has_weights or bool(self.classifiers)

    @property
    def in_words(self) -> OracleSpec:
        """The same without its classifiers."""
        return self.model_copy(update={"classifiers": ()})

    @property
    def weights_digest(self) -> str:
        """What decides which weights are loaded and how they answer: roles with the same one share them."""
        told = {*ModelSpec.model_fields, "in_process", "sampling", "reply_schema", "connections"}
        if self.classifiers:
            told = set(OracleSpec.model_fields) - {"calibration", "unproven", "price_in", "price_out", "overlap"}
        return digest(self.model_dump(include=told, mode="json"))[:16]
