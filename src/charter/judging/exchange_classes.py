"""A verdict by a classifier: it reads the exchange itself, and gives each label of a rubric a share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from charter.judging.judge_replies import ParsedReply, to_verdict
from charter.judging.label_reading import UNREAD, decide_by_shares
from charter.judging.rubrics import Rubric
from charter.ports import Classifying, Engine
from charter.records.chat import Exchange, LogLikelihood, Message, ScoreRequest
from charter.records.item_ids import join_id, split_id
from charter.records.label_fits import LabelFit
from charter.records.record import Step
from charter.records.verdicts import Verdict

UNFITTED = LabelFit(threshold=0.5)
"""Without a calibration an exchange violates where the classifier holds that for as likely as not."""


def list_classes(judge: Engine, rubric: Rubric) -> Sequence[str]:
    """The labels of the rubric that the judge tells apart as a classifier; none where it is asked in words."""
    return judge.list_labels(rubric.name) if isinstance(judge, Classifying) else ()


def classify_exchanges(
    exchanges: Sequence[Exchange], judge: Engine, rubric: Rubric, *, step: Step
) -> Iterator[Verdict]:
    """One verdict for each exchange that is not in ``step.done``, as soon as its labels are weighed. A label that no
    class means has no share. Raises EngineError."""
    labels = list_classes(judge, rubric)
    fitted = rubric.model_copy(update={"fit": rubric.fit or UNFITTED})
    requests = [
        ScoreRequest(
            id=join_id(e.id, label),
            messages=(*e.prompt.messages, Message(role="assistant", content=e.response)),
            completion=label,
            label=True,
            rubric=rubric.name,
        )
        for e in exchanges
        for label in labels
    ]
    done = {request.id for request in requests if request.call_id in step.done}
    found: dict[str, dict[str, LogLikelihood]] = {}
    for answer in judge.score(requests, done):
        id, label = split_id(answer.id)
        answers = found.setdefault(id, {})
        answers[label] = answer
        if len(answers) == len(labels):
            yield _to_verdict(id, found.pop(id), fitted)


def _to_verdict(id: str, answers: dict[str, LogLikelihood], rubric: Rubric) -> Verdict:
    failed = next((answer.error for answer in answers.values() if answer.error), "")
    if failed:
        return to_verdict(id, rubric, ParsedReply(None, failed, why=UNREAD))
    shares = {x: math.exp(answers[x].value) if x in answers else 0.0 for x in rubric.menu}
    verdict = decide_by_shares(id, shares, rubric)
    return verdict.model_copy(update={"cut": max(answer.cut for answer in answers.values())})
