"""What users said of answers: a thumb, a rating, a correction, a choice between two answers, or a comment."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from charter.records.chat import Message
from charter.records.record import Record, digest

FeedbackKind = Literal["thumbs", "rating", "correction", "choice", "comment"]
Consent = Literal["none", "improve", "publish"]
"""What a user allows: nothing; to improve the model; also to publish the row."""
USABLE: tuple[Consent, ...] = ("improve", "publish")
"""What a row must allow so that anything is made of it."""

MAX_CHARACTERS, MAX_TURNS = 50_000, 100
"""Of one text, and of one prompt."""
GOOD_RATING, BAD_RATING = 4, 2
"""From this rating on an answer counts as good, up to that one as bad, of 1 to 5."""
SNAPSHOT_ROWS, SNAPSHOT_ATTEMPTS, SNAPSHOT_PAIRS, SNAPSHOT_RATINGS = (
    f"feedback/{name}.jsonl" for name in ("rows", "attempts", "pairs", "ratings")
)
"""The files of a run that learns from feedback: what it took of a store, and what was made of that."""
MARK = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$"
"""A pseudonym or an id: no space and no @, so that neither a name nor an address stands in one by mistake."""
_OPTIONAL_MARK = r"^([A-Za-z0-9][A-Za-z0-9_.:/-]{0,199})?$"
_LANGUAGE = r"^([A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*)?$"
_NEEDED: dict[FeedbackKind, tuple[str, ...]] = {
    "thumbs": ("answer", "thumbs"),
    "rating": ("answer", "rating"),
    "correction": ("answer", "correction"),
    "choice": ("answer", "other_answer", "choice"),
    "comment": ("answer", "comment"),
}


def _read_prompt(given: Any) -> Any:
    return [{"role": "user", "content": given.strip()}] if isinstance(given, str) else given


def _check_prompt(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise ValueError("must end with words of the user")
    if len(turns) > MAX_TURNS or any(len(turn.content) > MAX_CHARACTERS for turn in turns):
        raise ValueError(f"holds at most {MAX_TURNS} turns of {MAX_CHARACTERS:,} characters")
    return turns


def _check_time(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("must name its time zone")
    return text


FeedbackText = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Feedback(Record):
    """What one user said, as it is sent.

    Args:
        id: The sender's own id of the row. Sent again, it is the same row.
        kind: What was said.
        prompt: What was asked: a text, or turns that end with the user's.
        answer: What the model answered; of a choice the first answer.
        other_answer: Of a choice, the second answer.
        thumbs: Of a thumb, ``up`` or ``down``.
        rating: Of a rating, 1 (worst) to 5.
        correction: Of a correction, the answer as it should have been.
        choice: Of a choice, the better answer.
        comment: Words about it, with any kind.
        model: The digest or the name of the model that answered.
        user: A pseudonym of who said it.
        language: An IETF tag such as ``en``.
        consent: What the user allows.
        created: When it was said, ISO 8601 with its zone.
    """

    id: str = Field(pattern=MARK)
    kind: FeedbackKind
    prompt: Annotated[tuple[Message, ...], BeforeValidator(_read_prompt), AfterValidator(_check_prompt)]
    answer: FeedbackText = ""
    other_answer: FeedbackText = ""
    thumbs: Literal["up", "down"] | None = None
    rating: int | None = Field(None, ge=1, le=5)
    correction: FeedbackText = ""
    choice: Literal["first", "second", "equal"] | None = None
    comment: FeedbackText = ""
    model: str = Field("", pattern=_OPTIONAL_MARK)
    user: str = Field("", pattern=_OPTIONAL_MARK)
    language: str = Field("", pattern=_LANGUAGE)
    consent: Consent = "none"
    created: Annotated[str, AfterValidator(_check_time)] = ""

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> Self:
        missing = [name for name in _NEEDED[self.kind] if getattr(self, name) in (None, "")]
        if missing:
            raise ValueError(f"{self.kind} needs {' and '.join(missing)}")
        return self

    @property
    def is_good(self) -> bool | None:
        """Whether the answer was found good; None where that was not said."""
        if self.kind == "thumbs":
            return self.thumbs == "up"
        if self.kind == "rating" and self.rating is not None:
            return True if self.rating >= GOOD_RATING else False if self.rating <= BAD_RATING else None
        return False if self.kind == "correction" else None


class FeedbackRow(Record):
    """A row of a store.

    Args:
        id: The id that everything made of it names.
        sender: Who sent it: the name of an API key, or what an import was called.
        said: What was said, masked; None once it was erased.
        masked: How many places were masked, by their kind.
        received: When it was taken in, ISO 8601.
        erased: When it was erased; empty where it was not.
    """

    id: str
    sender: str
    said: Feedback | None
    masked: dict[str, int] = Field(default_factory=dict)
    received: str
    erased: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether anything may be made of it."""
        return self.said is not None and self.said.consent in USABLE


class FeedbackCount(Record):
    """How many rows of a store have this kind and this consent; erased rows have the kind that they had."""

    kind: FeedbackKind
    consent: Consent
    rows: int
    erased: int


class FeedbackReceipt(Record):
    """What became of a row that was sent: ``new``, or ``known`` where it was there already; ``changed`` and ``erased``
    were not taken."""

    id: str
    state: Literal["new", "known", "changed", "erased"]
    masked: dict[str, int] = Field(default_factory=dict)


def feedback_id(sender: str, row: str) -> str:
    """The id of a sender's row in every store."""
    return f"f-{digest([sender, row])[:24]}"


def describe_fault(error: ValidationError) -> str:
    """The first fault of what was sent: the field and why, without the text that stands there."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
