"""Labels over HTTP: one answer of the chat protocol, with the log-probabilities of its likeliest tokens, weighs all
labels that it may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from charter.errors import UnsupportedError
from charter.records.chat import LogLikelihood, Message, Request, Sampling, ScoreRequest

LIKELIEST = 20
"""Tokens whose log-probabilities are asked for at each place: the most that the protocol allows."""
LABEL_TOKENS = 8
"""Tokens of an answer: labels that begin alike are told apart further on."""
NO_LABELS = (
    "Judge in words: options.judge.read: rationale. Or serve the model where answers come with logprobs and "
    "top_logprobs, as vLLM and llama.cpp do."
)
_AROUND = " \t\r\n\"'`*#([{-_"
"""What may stand before a label."""


class LabelRequest(Request):
    """One answer that weighs several labels: those of ``options``."""

    options: tuple[ScoreRequest, ...]

    def fail(self, error: str) -> tuple[LogLikelihood, ...]:
        """What each label gets where the call failed for good."""
        return tuple(LogLikelihood(id=o.id, value=0.0, tokens=0, greedy=False, error=error) for o in self.options)


def group_labels(requests: Sequence[ScoreRequest]) -> list[LabelRequest]:
    """One request for all labels that are weighed after the same messages."""
    groups: dict[tuple[Message, ...], list[ScoreRequest]] = {}
    for request in requests:
        groups.setdefault(request.messages, []).append(request)
    sampling = Sampling(max_tokens=LABEL_TOKENS)
    return [
        LabelRequest(id=options[0].id, messages=messages, sampling=sampling, options=tuple(options))
        for messages, options in groups.items()
    ]


def read_labels(request: LabelRequest, output: Any, name: str) -> tuple[LogLikelihood, ...]:
    """The log-likelihood of each label in Inspect's answer. A label that is not among the likeliest tokens counts as
    the last of them. Raises UnsupportedError where the answer came without log-probabilities."""
    weighed = output.choices[0].logprobs if output.choices else None
    places = weighed.content if weighed is not None else []
    if not any(place.top_logprobs for place in places):
        if output.error:
            return request.fail(str(output.error)[:300])
        raise UnsupportedError(f"{name} sends answers without log-probabilities, which labels are read from", NO_LABELS)
    labels = [option.completion for option in request.options]
    found, least = _weigh_labels(places, labels)
    if not found:
        return request.fail(f"no label is among the {LIKELIEST} likeliest tokens of the answer")
    read = output.usage.input_tokens if output.usage else 0
    best = max(found, key=lambda label: found[label])
    return tuple(
        LogLikelihood(
            id=option.id,
            value=found.get(option.completion, least),
            tokens=1,
            greedy=option.completion == best,
            tokens_in=read if number == 0 else 0,
        )
        for number, option in enumerate(request.options)
    )


def _weigh_labels(places: Sequence[Any], labels: Sequence[str]) -> tuple[dict[str, float], float]:
    """The log-probability of each label that was found, and of the least likely token that was named. Along the tokens
    that the model took, while they fit several labels, each other token is counted for the one label that it fits."""
    masses: dict[str, list[float]] = {}
    said, base, least = "", 0.0, 0.0
    for place in places:
        went_on = False
        named = [(token.token, token.logprob) for token in place.top_logprobs or ()]
        named += [(place.token, place.logprob)] if place.token not in [token for token, _ in named] else []
        for token, value in named:
            least = min(least, base + value)
            fits = _fitting(said + token, labels)
            if len(fits) == 1:
                masses.setdefault(fits[0], []).append(base + value)
            elif fits and token == place.token:
                went_on = True
        if not went_on:
            break
        said, base = said + place.token, base + place.logprob
    else:
        exact = said.strip(_AROUND).casefold()
        if exact in labels:
            masses.setdefault(exact, []).append(base)
    return {label: _log_sum(values) for label, values in masses.items()}, least


def _fitting(said: str, labels: Sequence[str]) -> list[str]:
    """The labels that a beginning of an answer may become, or already is."""
    begun = said.lstrip(_AROUND).casefold()
    return [label for label in labels if label.startswith(begun) or _begins_with(begun, label)]


def _begins_with(said: str, label: str) -> bool:
    """Whether an answer is this label, and goes on with something else."""
    return said.startswith(label) and not (said[len(label) :][:1].isalnum() or said[len(label) :][:1] in ("_", "-"))


def _log_sum(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(value - highest) for value in values))
