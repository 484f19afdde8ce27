"""What a log-likelihood is asked of, as tokens: what stands before, what is weighed, and what was cut off."""

from __future__ import annotations

from collections.abc import Sequence

from charter.errors import EngineError
from charter.models.chat_format import ChatFormat
from charter.records.chat import LogLikelihood, Message, ScoreRequest

EncodedPair = tuple[list[int], list[int], int]
"""The tokens before, those that are weighed, and how many were cut off on the left."""


def encode_pairs(
    requests: Sequence[ScoreRequest], dialogue: ChatFormat, limit: int
) -> tuple[dict[str, EncodedPair], list[LogLikelihood]]:
    """The tokens of each request, and the answers to labels that do not fit the context of ``limit`` tokens. Raises
    EngineError where a request without a label does not fit."""
    pairs, unread = dict[str, EncodedPair](), []
    for request in requests:
        try:
            pairs[request.id] = encode_pair(request, dialogue, limit)
        except EngineError as refused:
            if not request.label:
                raise
            unread.append(LogLikelihood(id=request.id, value=0, tokens=0, greedy=False, error=refused.message))
    return pairs, unread


def encode_pair(request: ScoreRequest, dialogue: ChatFormat, limit: int) -> EncodedPair:
    """The tokens of one request. The last token is only compared with, so that there may be one more than the ``limit``
    that the model reads. Raises EngineError where it does not fit."""
    try:
        if request.raw:
            before, after = dialogue.encode_scored_continuation(join_messages(request.messages), request.completion)
        else:
            before, after = dialogue.encode_scored(request.messages, request.completion)
    except ValueError as refused:
        raise EngineError(f"Cannot score {request.id}: {refused}", "Change its messages.") from refused
    whole = [*before, *after]
    cut = max(0, len(whole) - limit - 1)
    if not before or (cut and not request.cut):
        size = f"{len(whole)} tokens; the model reads {limit}"
        raise EngineError(f"Cannot score {request.id}: {size if before else 'its prompt is empty'}.", "Drop it.")
    seam = max(len(before), cut + 1)
    return whole[cut:seam], whole[seam:], cut


def join_messages(messages: Sequence[Message]) -> str:
    """The text of a raw request."""
    return "".join(message.content for message in messages)
