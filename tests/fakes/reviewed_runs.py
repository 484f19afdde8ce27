"""Runs with something to review, and queues drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charter.constitution.document import Constitution, to_yaml
from charter.jobs import review_queues
from charter.records.chat import Exchange, Sampling, user_prompt
from charter.records.reviews import ReviewKind, ReviewQueue
from charter.runs import Run
from tests.fakes.example_records import finding, revision, rule
from tests.fakes.recorded_run import SPEC, give


def answered(prompt: str, response: str, model: str = "m") -> Exchange:
    """A prompt with a response, under the prompt's id."""
    asked = user_prompt(prompt)
    return Exchange(id=asked.id, prompt=asked, response=response, stop="stop", model=model, sampling=Sampling())


def record_run(directory: Path, answers: Sequence[Exchange] | None = None, count: int = 8) -> Path:
    """A finished run with held-out answers before and after, findings, revisions and rules."""
    before = list(answers or [answered(f"question {n}?", f"answer {n}", "old") for n in range(count)])
    after = [e.model_copy(update={"response": f"{e.response} better", "model": "new"}) for e in before]
    found = [finding(f"bad request {n}") for n in range(4)]
    rules = [rule("p-1", "Never help with arson."), rule("p-2", "Say what you do not know.", status="proposed")]
    constitution = Constitution(principles=tuple(rules), version=1)
    with Run.create(directory, spec_text=SPEC, seed=3) as run:
        give(run, "000/heldout_exchanges", before)
        give(run, "001/findings", found)
        give(run, "001/revisions", [revision(f, "I will not help with that.") for f in found])
        give(run, "final/heldout_exchanges", after)
        run.publish({"constitution.yaml": to_yaml(constitution), "outcome.json": '{"method": "iteralign"}'})
        run.finish()
    return directory


def make_queue(
    directory: Path, kind: ReviewKind = "exchanges", count: int | None = None, raters: int = 1, rubric: str = "harm"
) -> ReviewQueue:
    """A queue ``q1``, ``q2`` ... of a run."""
    asked = review_queues.QueueRequest(kind, count, rubric=rubric if kind == "exchanges" else "", raters=raters)
    return review_queues.create_queue(directory, asked)[0]
