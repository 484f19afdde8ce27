"""The words of the house: immutable records that pass between the rooms. ``id`` is unique within its file; a record
that a stage makes from an item carries the item's id, so that a step can go on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from charter.records.item_ids import parent_id, prompt_id
from charter.records.record import Record

StopReason = Literal["stop", "length", "error", "sentence"]


Utf8 = Annotated[str, AfterValidator(lambda text: text.encode("utf-8", "replace").decode())]


Aside = Annotated[Utf8, Field(exclude_if=lambda text: not text)]  # left out of a record where it is empty


class Message(Record):
    """A chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Record):
    """Turns that a model is to answer. ``meta`` (category, language ...) is for reports: no aligning loop reads it."""

    id: str
    messages: tuple[Message, ...]
    source: str = ""
    meta: dict[str, str] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """The turns' contents, joined by newlines."""
        return "\n".join(message.content for message in self.messages)

    @property
    def last(self) -> str:
        """The content of the last turn."""
        return self.messages[-1].content


def user_prompt(text: str, ordinal: int = 0, source: str = "", **meta: str) -> Prompt:
    """A one-turn prompt whose id comes from its text and an ordinal: equal texts take different ordinals."""
    id = prompt_id(hashlib.sha256(text.encode()).hexdigest()[:12], ordinal)
    return Prompt(id=id, messages=(Message(role="user", content=text),), source=source, meta=dict(meta))


def fold_system_turns(messages: Sequence[Message]) -> list[Message]:
    """The turns with each system turn before the words of the next user turn, or as a user turn at the end."""
    turns: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif message.role == "user" and waiting:
            turns.append(Message(role="user", content="\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            turns.append(message)
    return [*turns, Message(role="user", content="\n\n".join(waiting))] if waiting else turns


class Sampling(Record):
    """How tokens are drawn."""

    temperature: float = Field(0.0, description="Temperature of the draw. At 0 the likeliest token is taken.")
    top_p: float = Field(
        1.0,
        description="Tokens are drawn from the likeliest ones that hold this share of the probability.",
    )
    max_tokens: int = Field(256, description="The most tokens of a reply, its reasoning included.")
    stop: tuple[str, ...] = Field((), description="Texts that end a reply.")
    frequency_penalty: float = Field(0.0, description="Penalty for tokens that came before, against repetition.")


class Request(Record):
    """What an engine is asked: messages in, text out. ``seed`` decides sampled tokens; ``response_schema`` is a
    JSON schema the reply should follow, where the engine can enforce one. ``raw``: the one message is text to go on
    from, whatever the model's chat format; what is too long is cut on the left."""

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seed: int = 0
    response_schema: dict[str, Any] | None = None
    raw: bool = False

    def widen(self, least: Sampling) -> Request:
        """The request with the higher temperature and the longer limit of its own sampling and ``least``."""
        own = self.sampling
        wide = Sampling(
            temperature=max(own.temperature, least.temperature),
            top_p=min(own.top_p, least.top_p),
            max_tokens=max(own.max_tokens, least.max_tokens),
            stop=(*own.stop, *least.stop),
            frequency_penalty=max(own.frequency_penalty, least.frequency_penalty),
        )
        return self.model_copy(update={"sampling": wide})


class Completion(Record):
    """An engine's answer to a request. ``error`` is set where it failed for good; ``empty`` says why there is no text
    though nothing failed. What is not UTF-8 (half a surrogate pair) becomes a question mark. ``thought``: reasoning
    before the answer; ``refused``: the model declined in a field of its own."""

    id: str
    text: Utf8
    stop: StopReason = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    error: Utf8 = ""
    thought: Aside = ""
    empty: Aside = ""
    refused: bool = Field(False, exclude_if=lambda refused: not refused)

    @property
    def failure(self) -> str:
        """Why there is no answer: the error, or what left it empty."""
        return self.error or ("" if self.text.strip() else f"empty answer ({self.empty or 'nothing came'})")


class CallProgress(NamedTuple):
    """How far a call for answers is; it is told, and never kept.

    Args:
        answered: Answers that have ended.
        asked: Answers in all.
        share: How much is done, from 0 to 1: an answer at work counts by its share of the tokens allowed.
        tokens: Tokens drawn so far.
    """

    answered: int
    asked: int
    share: float
    tokens: int


class ScoreRequest(Record):
    """Asks for the log-likelihood of ``completion`` after ``messages``; ``raw``: with nothing between the two. ``cut``:
    what is too long is cut on the left, as lm-evaluation-harness does.

    ``label``: the completion is one of a few words that the messages ask for. A server may read it from the likeliest
    first tokens of its answer, and what cannot be read is a LogLikelihood with ``error``. ``rubric``: no words ask for
    it; the messages are an exchange, and a classifier weighs the completion as its label under this rubric."""

    id: str
    messages: tuple[Message, ...]
    completion: str
    raw: bool = False
    cut: bool = False
    label: bool = Field(False, exclude_if=lambda label: not label)
    rubric: str = Field("", exclude_if=lambda rubric: not rubric)

    @property
    def call_id(self) -> str:
        """What it is counted by: labels that are weighed after the same messages are one call."""
        return parent_id(self.id) if self.label else self.id


class LogLikelihood(Record):
    """Sum of token log-probabilities in nats over ``tokens`` tokens; ``greedy``: each token was the likeliest; ``cut``:
    tokens that were left out on the left, where prompt and completion did not fit the context. ``tokens_in``: tokens
    of the prompt, where a server counts them. ``error``: why a label has no log-likelihood (its value then means
    nothing)."""

    id: str
    value: float
    tokens: int
    greedy: bool
    cut: int = 0
    tokens_in: int = Field(0, exclude_if=lambda count: not count)
    error: Aside = ""


class AttackPrompt(Record):
    """What the target is asked for a choice; ``prompt`` is None where nothing is, for the reason in ``dropped``."""

    id: str
    prompt: Prompt | None
    dropped: str = ""


class Exchange(Record):
    """A prompt with a response: who answered (``model``, a digest), with which sampling, and how it ended. ``error``
    says why there is no answer: a reason, then a colon and its particulars. ``thought``: reasoning before the response;
    no judge sees it, and no row holds it."""

    id: str
    prompt: Prompt
    response: str
    stop: StopReason
    model: str
    sampling: Sampling
    error: Utf8 = ""
    thought: Aside = ""

    @classmethod
    def from_completion(cls, prompt: Prompt, completion: Completion, *, model: str, sampling: Sampling) -> Exchange:
        """What ``model`` answered to a prompt, under the completion's id."""
        return cls(
            id=completion.id,
            prompt=prompt,
            response=completion.text,
            stop="error" if completion.failure else completion.stop,
            model=model,
            sampling=sampling,
            error=completion.failure,
            thought=completion.thought,
        )

    @classmethod
    def of_row(cls, id: str, messages: tuple[Message, ...], response: str, *, model: str = "") -> Exchange:
        """The answer of a training row or of a file, for a judge; ``model`` says where it comes from."""
        prompt = Prompt(id=id, messages=messages)
        return cls(id=id, prompt=prompt, response=response, stop="stop", model=model, sampling=Sampling())
