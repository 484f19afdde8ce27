"""What each kind of journal line must hold. A line that does not is damage, whoever wrote its hash."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from charter.records.step_names import is_inner_name


def _check_name(name: str) -> str:
    if not is_inner_name(name):
        raise ValueError("a name that leads out of the run")
    return name


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


Name = Annotated[str, AfterValidator(_check_name)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EventShape(BaseModel):
    """Any line."""

    model_config = ConfigDict(strict=True)
    event: str
    at: Annotated[str, AfterValidator(_check_time)]
    n: Count
    previous: str
    hash: str


class CreatedShape(EventShape):
    """The first line."""

    seed: int
    spec: str
    environment: str


class ForkedShape(EventShape):
    """Where a fork comes from."""

    last: str
    records: str
    steps: list[Name]


class ResumedShape(EventShape):
    """Work goes on."""

    may_repeat: dict[str, Count]


class OpenedShape(EventShape):
    """A step begins."""

    step: Name
    inputs: dict[str, str]
    items: Count | None


class AskedShape(EventShape):
    """Calls are about to be made."""

    step: Name
    role: str
    purpose: str
    calls: Count
    ids: list[str]


class AnsweredShape(EventShape):
    """Calls came back."""

    step: Name
    role: str
    purpose: str
    calls: Count
    tokens_in: Count
    tokens_out: Count
    seconds: Amount
    money: Amount | None


class PartPassedShape(EventShape):
    """A part of a long step is finished: the calls planned in the step so far."""

    step: Name
    part: Count
    calls: dict[str, dict[str, Count]]


class SealedShape(EventShape):
    """A step is finished; ``parquet``: the digest of its Parquet file, where its records lie in one."""

    step: Name
    seal: str
    parquet: str | None = None


class PublishedShape(EventShape):
    """Results are written."""

    files: dict[Name, str]
    derived: bool


class FinishedShape(EventShape):
    """The run is finished."""

    records: str


class HumanShape(EventShape):
    """A human decision."""

    decision: str
    fields: dict[str, Any]


class EndedShape(EventShape):
    """A step stopped before its end."""

    step: Name
    error: str


_SHAPES: dict[str, type[EventShape]] = {
    "created": CreatedShape,
    "forked": ForkedShape,
    "resumed": ResumedShape,
    "opened": OpenedShape,
    "asked": AskedShape,
    "answered": AnsweredShape,
    "passed": PartPassedShape,
    "sealed": SealedShape,
    "published": PublishedShape,
    "finished": FinishedShape,
    "human": HumanShape,
    **dict.fromkeys(("paused", "interrupted", "failed"), EndedShape),
}


def find_shape_fault(event: dict[str, Any]) -> str:
    """What is wrong with the fields of a journal line; empty where nothing is."""
    try:
        _SHAPES.get(str(event.get("event")), EventShape).model_validate(event)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""
