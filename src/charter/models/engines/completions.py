"""Plain texts over HTTP: gone on with, or weighed, by a server's ``/v1/completions`` (vLLM and its like), through the
client that Inspect's model holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from charter.errors import UnsupportedError
from charter.records.chat import Completion, LogLikelihood, Request, ScoreRequest

UNSUPPORTED_STATUSES = (400, 404, 405, 413, 422, 501)
"""HTTP statuses by which a server says that it does not give what was asked for."""
SCORING_HINT = (
    "Serve the model where /v1/completions gives log-probabilities of the prompt (echo, logprobs), or load it here."
)


def check_scorable(request: ScoreRequest, name: str, base_url: str | None) -> None:
    """Raises UnsupportedError where a request cannot be put to a server."""
    if base_url is None and not request.label:
        raise UnsupportedError(
            f"{name} gives no log-likelihoods: hosted models give none of a given text", SCORING_HINT
        )
    if not request.raw and not request.label:
        raise UnsupportedError(
            f"{name} gives no log-likelihoods in the chat format, of plain texts alone", SCORING_HINT
        )


async def complete_text(model: Any, request: Request, timeout: int) -> Completion:
    """The text that follows a raw request's."""
    sampling = request.sampling
    more: dict[str, Any] = {"seed": request.seed % 2**31} if sampling.temperature > 0 else {}
    more |= {"top_p": sampling.top_p} if sampling.top_p < 1 else {}
    more |= {"frequency_penalty": sampling.frequency_penalty} if sampling.frequency_penalty else {}
    found = await _request_completion(
        model,
        timeout,
        prompt=_join_messages(request),
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        stop=list(sampling.stop) or None,
        **more,
    )
    choice, usage = found.choices[0], found.usage
    spent = {"tokens_in": usage.prompt_tokens, "tokens_out": usage.completion_tokens} if usage else {}
    stop = "length" if choice.finish_reason == "length" else "stop"
    return Completion.model_validate({"id": request.id, "text": choice.text, "stop": stop, **spent})


async def score_text(model: Any, request: ScoreRequest, timeout: int) -> LogLikelihood:
    """The log-likelihood of a raw request's completion. White space at the end of the text goes with the completion.
    Raises UnsupportedError where the server gives none."""
    context = _join_messages(request)
    whole, seam = context + request.completion, len(context.rstrip()) if context.strip() else 0
    found = await _request_completion(model, timeout, prompt=whole, max_tokens=1, temperature=0, echo=True, logprobs=1)
    told = found.choices[0].logprobs
    if told is None or not told.token_logprobs or len(told.token_logprobs) < 2:
        raise UnsupportedError("the server gives no log-probabilities of the prompt", SCORING_HINT)
    own = _tokens_after_seam(told.tokens, whole, seam)
    if own is None:
        alone = await _request_completion(model, timeout, prompt=whole[:seam], max_tokens=1, temperature=0)
        own = _tokens_by_count(told.tokens, found.usage, alone.usage)
    values = [told.token_logprobs[n] for n in own]
    if not values or None in values:
        raise UnsupportedError("the server gives no log-probability for the first token of a text", SCORING_HINT)
    likeliest = [max(told.top_logprobs[n].values()) for n in own] if told.top_logprobs else [0.0] * len(own)
    greedy = all(value >= best for value, best in zip(values, likeliest, strict=True))
    return LogLikelihood(id=request.id, value=float(sum(values)), tokens=len(own), greedy=greedy)


async def _request_completion(model: Any, timeout: int, **request: Any) -> Any:
    api = model.api
    return await api.client.completions.create(model=api.service_model_name(), timeout=timeout, **request)


def _tokens_after_seam(tokens: Sequence[str], whole: str, seam: int) -> range | None:
    """The places of the tokens that begin at the seam or after it, in the text that was sent; tokens that a server puts
    before the text do not count. None where its tokens do not add up to the text, or one lies across the seam."""
    shift = "".join(tokens).find(whole)
    starts = [end - len(token) - shift for end, token in zip(accumulate(map(len, tokens)), tokens, strict=True)]
    if shift < 0 or seam not in starts:
        return None
    own = [place for place, start in enumerate(starts) if seam <= start < len(whole)]
    return range(own[0], own[-1] + 1) if own else None


def _tokens_by_count(tokens: Sequence[str], whole: Any, before: Any) -> range:
    """The same by counting: what the whole text has more than its first part, before what was generated."""
    if whole is None or before is None:
        raise UnsupportedError("the server does not say how many tokens a text has", SCORING_HINT)
    end = len(tokens) - whole.completion_tokens
    return range(max(0, end - (whole.prompt_tokens - before.prompt_tokens)), end)


def _join_messages(request: Request | ScoreRequest) -> str:
    return "".join(message.content for message in request.messages)
