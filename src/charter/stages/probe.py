"""Red teaming: the target answers prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.ports import Engine
from charter.records.chat import Exchange, Prompt, Request, Sampling
from charter.records.record import Step


def probe(prompts: Sequence[Prompt], target: Engine, sampling: Sampling, *, step: Step) -> Iterator[Exchange]:
    """One exchange for each prompt, under the prompt's id."""
    known = {prompt.id: prompt for prompt in prompts}
    requests = [Request(id=p.id, messages=p.messages, sampling=sampling, seed=step.seed(p.id)) for p in prompts]
    for answer in target.generate(requests, step.done):
        yield Exchange.from_completion(known[answer.id], answer, model=target.identity, sampling=sampling)
