"""The words of the house: immutable records that pass between the rooms.

Every record is a frozen pydantic model. ``id`` is unique within its file; a record that a stage makes
from an item carries the item's id, so that a step can go on where it stopped.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from charter.records import Record as Record
from charter.records import Step as Step
from charter.records import canonical as canonical
from charter.records import digest as digest

Outcome = Literal["violates", "complies", "unjudged"]
Split = Literal["train", "gate", "heldout"]
StopReason = Literal["stop", "length", "error"]
Status = Literal["proposed", "approved", "rejected", "retired"]
Origin = Literal["revision", "given", "lookalike", "helpful", "complied"]
Utf8 = Annotated[str, AfterValidator(lambda text: text.encode("utf-8", "replace").decode())]

ENOUGH = 8
"""Fewest pairs on which a principle's efficacy is stated."""


class Message(Record):
    """A chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(Record):
    """One or more turns that a model is to answer. ``meta`` (category, language, licence ...) is for reports:
    nothing in an aligning loop may read it."""

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
    mark = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Prompt(
        id=f"{mark}-{ordinal}", messages=(Message(role="user", content=text),), source=source, meta=dict(meta)
    )


class Sampling(Record):
    """How tokens are drawn. ``temperature`` 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0


class Request(Record):
    """What an engine is asked: messages in, text out. ``seed`` decides sampled tokens; ``response_schema`` is a
    JSON schema the reply should follow, where the engine can enforce one. ``raw``: the one message is text to go on
    from, whatever the model's chat format; what is too long is cut on the left."""

    id: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    seed: int = 0
    response_schema: dict[str, Any] | None = None
    raw: bool = Field(False, exclude_if=lambda raw: not raw)


class Completion(Record):
    """An engine's answer to a request. ``error`` is set, and ``text`` empty, where the answer failed for good. What is
    not UTF-8 (half a surrogate pair) becomes a question mark."""

    id: str
    text: Utf8
    stop: StopReason = "stop"
    tokens_in: int = 0
    tokens_out: int = 0
    error: Utf8 = ""


class ScoreRequest(Record):
    """Asks for the log-likelihood of ``completion`` after ``messages``; ``raw`` as for a request, with nothing put
    between the two."""

    id: str
    messages: tuple[Message, ...]
    completion: str
    raw: bool = Field(False, exclude_if=lambda raw: not raw)


class LogLikelihood(Record):
    """Sum of token log-probabilities in nats over ``tokens`` tokens; ``greedy``: each token was the likeliest; ``cut``:
    tokens of a raw text that did not fit the context and were left out on the left."""

    id: str
    value: float
    tokens: int
    greedy: bool
    cut: int = 0


class Exchange(Record):
    """A prompt with a response: who answered (``model``, a digest), with which sampling, and how it ended. ``error``
    says why there is no answer: a reason, then a colon and its particulars."""

    id: str
    prompt: Prompt
    response: str
    stop: StopReason
    model: str
    sampling: Sampling
    error: Utf8 = ""


class Vote(Record):
    """One vote of a judge: ``replies`` as they came, each but the last off the menu; ``label`` is what the last one
    said, None where it was off the menu too."""

    label: str | None
    replies: tuple[str, ...]


class Verdict(Record):
    """What a judge said of one exchange; ``label`` is None when no reply was on the menu, or no label had a majority
    (then ``unjudged``). ``categories``: codes of a policy that it breaks. ``votes`` are kept where there was more than
    one reply."""

    id: str
    rubric: str
    label: str | None
    outcome: Outcome
    severity: int = 0
    rationale: str = ""
    raw: str = ""
    categories: tuple[str, ...] = ()
    votes: tuple[Vote, ...] = ()

    @property
    def retries(self) -> int:
        """Replies that had to be asked for again."""
        return sum(len(vote.replies) - 1 for vote in self.votes)


class Norm(Record):
    """A rule that people decided on: it holds, or it holds no longer (what it forbade is acceptable)."""

    id: str
    text: str
    holds: bool


class Finding(Record):
    """An exchange whose outcome is ``violates``."""

    id: str
    exchange: Exchange
    verdict: Verdict

    @property
    def text(self) -> str:
        """What was said: prompt and response."""
        return f"{self.exchange.prompt.text}\n{self.exchange.response}"


class Cluster(Record):
    """Findings that say alike things. ``shown`` goes to the proposer; ``hidden`` is kept to measure efficacy."""

    id: str
    terms: tuple[str, ...]
    shown: tuple[Finding, ...]
    hidden: tuple[Finding, ...]


class Efficacy(Record):
    """Share of hidden failures that a rule mends: ``passed_with`` minus ``passed_without``, each of ``n`` pairs.
    ``p`` is exact McNemar (two-sided), ``p_holm`` corrected over the principles. ``note`` says "too few" when
    n < 8; ``without`` lists every rule left out in the comparison."""

    n: int
    passed_with: int
    passed_without: int
    difference: float | None
    p: float | None
    p_holm: float | None
    without: tuple[str, ...]
    note: str = ""

    @property
    def judgement(self) -> Literal["useful", "useless", "unclear", "too few"]:
        """``useful``: mends at least half of n >= 8 unseen failures more than its absence does; ``useless``: less
        than a quarter."""
        if self.difference is None or self.n < ENOUGH:
            return "too few"
        if self.difference >= 0.5:
            return "useful"
        return "useless" if self.difference < 0.25 else "unclear"


class Breadth(Record):
    """Whether a rule reaches too far: of ``n`` benign look-alikes that were answered well, how many the target refuses
    when it looks at its answer again under the constitution, and how many of these it answers without this rule."""

    n: int
    refused: int
    because_of_it: int

    @property
    def too_broad(self) -> bool:
        """At least two benign prompts, and more than a fifth of them, are refused because of the rule."""
        return self.because_of_it >= 2 and self.because_of_it > self.n / 5


class Principle(Record):
    """One rule, and the finding ids that caused it. ``by``: who decided last what it says and whether it holds;
    ``narrowed``: how often it was reworded because it reached too far."""

    id: str
    title: str
    text: str
    scope: str = ""
    status: Status = "proposed"
    because: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    efficacy: Efficacy | None = None
    breadth: Breadth | None = None
    narrowed: int = 0
    by: Literal["proposer", "people"] = "proposer"


class Amendment(Record):
    """One change of a constitution, with its reason. ``principles``: the ids that it is about, the one that remains
    first; ``before`` and ``after``: its wording, where that changed."""

    id: str
    action: Literal["added", "merged", "narrowed", "retired", "rejected", "restored", "reworded", "dropped"]
    principles: tuple[str, ...]
    reason: str
    by: Literal["proposer", "people", "measurement"] = "proposer"
    before: str = ""
    after: str = ""


class Proposal(Record):
    """What the proposer made of one cluster; ``principle`` is None when its reply could not be read."""

    id: str
    principle: Principle | None
    raw: str = ""


class Lookalikes(Record):
    """Benign prompts, shaped like a cluster's prompts, that the proposer wrote; ``dropped`` counts by reason."""

    id: str
    prompts: tuple[Prompt, ...]
    dropped: dict[str, int] = Field(default_factory=dict)
    raw: str = ""


class Critique(Record):
    """What the target said of its own finding under the principles, before it revises."""

    id: str
    text: str


class Revision(Record):
    """A finding answered again under principles; holds an exchange, so that the judge fits it unchanged."""

    id: str
    critique: str
    exchange: Exchange
    principles: tuple[str, ...]


class Trial(Record):
    """A finding to be answered again under the constitution less the principles in ``omitted``."""

    id: str
    finding: Finding
    omitted: tuple[str, ...] = ()


class Example(Record):
    """A training row for SFT: messages, then the response that the loss is on."""

    id: str
    messages: tuple[Message, ...]
    response: str
    origin: Origin
    because: tuple[str, ...] = ()


class Preferred(Record):
    """Two answers to the same messages, of which ``chosen`` is preferred: by ``rater`` (a person, a judge, the model),
    under the rule ``principle`` where there was one. ``certainty``: the share of what was said that prefers it, more
    than a half."""

    id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    rater: str = ""
    principle: str = ""
    certainty: float = Field(default=1.0, gt=0.5, le=1)


class Watched(Record):
    """What was seen in training at an optimiser step, by name (loss, kl, reward, length, margin ...)."""

    step: int
    figures: dict[str, float]


Row = Example | Preferred | Prompt
"""What a tuner learns from: lessons, preferences, or prompts to practise on."""


class Kept(Record):
    """The outcome of verification for one revision: kept, or dropped with every reason."""

    id: str
    kept: bool
    reasons: tuple[str, ...] = ()
    example: Example | None = None


class ModelRef(Record):
    """A base model (folder or hub id, with its revision and weight digest) and an optional adapter. A model that is
    only reached by HTTP has no ``base_digest``: its identity is not verifiable.
    ``adapter`` is a path relative to the run directory where charter made it; ``digest`` names the whole.
    ``files`` maps each file of the adapter or checkpoint to its SHA-256. ``left_out``: training rows that were not
    used, by id, with the reason; ``notes``: what else is to be known of the training; ``curve``: what was watched
    in it, where preferences were learnt."""

    base: str
    base_digest: str
    revision: str = ""
    adapter: str | None = None
    digest: str
    files: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    curve: tuple[Watched, ...] = ()


class Metric(Record):
    """A figure that a benchmark gives. ``better`` says which way is good, if either is. ``kind``: the share of items in
    which an event happened, the mean of a figure between 0 and 1, or a ``whole``: computed from all items at once."""

    name: str
    better: Literal["higher", "lower", "neither"] = "higher"
    meaning: str = ""
    kind: Literal["share", "mean", "whole"] = "share"


class Measurement(Record):
    """What a benchmark found in one exchange or item: metric name -> did the event happen (None: could not be judged).
    ``values``: figures between 0 and 1 that are no events. ``verdict`` is what it goes by, where a model judged."""

    id: str
    outcomes: dict[str, bool | None]
    values: dict[str, float] = Field(default_factory=dict, exclude_if=lambda values: not values)
    verdict: Verdict | None = None


class Score(Record):
    """A share with n and its 95 % Wilson interval, or another figure with the interval that ``interval`` names;
    ``unjudged`` are counted apart, never in ``n``. ``note``: what must be said wherever the figure is shown."""

    id: str
    value: float | None
    n: int
    low: float | None
    high: float | None
    unjudged: int = 0
    better: Literal["higher", "lower", "neither"] = "higher"
    benchmark: str = ""
    version: str = ""
    interval: Literal["wilson", "bootstrap"] = Field("wilson", exclude_if=lambda kind: kind == "wilson")
    note: str = Field("", exclude_if=lambda note: not note)
