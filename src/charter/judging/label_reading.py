"""A verdict read from the probabilities of a rubric's labels, without a word of the judge's own.

The judge is asked for one label. Every label is weighed as its answer, with the menu in both orders. A judge prefers
some labels and places whatever it is shown. So the same is asked of exchanges without content, and what these get is
taken off: contextual calibration (Z. Zhao, E. Wallace, S. Feng, D. Klein, S. Singh, "Calibrate Before Use", ICML 2021,
section 5). What is left is averaged over both orders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from charter.errors import UnsupportedError
from charter.judging.judge_replies import ParsedReply, to_verdict
from charter.judging.judge_requests import label_template, render_rubric
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.chat import Exchange, LogLikelihood, Message, ScoreRequest
from charter.records.item_ids import join_id
from charter.records.label_fits import LabelFit
from charter.records.record import Step
from charter.records.templates import Templates, draw_nonce, fence_text, render_conversation, user_turn
from charter.records.verdicts import Verdict

EMPTY_TEXTS = ("N/A", "")
"""What stands for prompt and response in an exchange without content (Zhao et al. 2021, section 5)."""
MENU_ORDERS = ("menu", "reversed")
UNREAD = "no probability of a label"
"""Why a verdict is missing where the judge gave no log-probabilities."""
READ_WORDS = "Set options.judge.read: rationale."
TOGETHER = 64
"""Exchanges that are weighed together. A judge in this process reads the menu's orders one after the other, so that
verdicts come in the second half; what a kill costs is bounded by this."""
DIGITS = 6
"""Decimals of a probability that is kept."""

Scores = Mapping[str, float]
"""A log-probability for each label."""


@dataclass(frozen=True)
class LabelQuestion:
    """One exchange as it is put to a judge: a request for each order of the menu and each label."""

    id: str
    requests: Mapping[tuple[str, str], ScoreRequest]


@dataclass(frozen=True)
class LabelJudge:
    """A judge whose labels are read by their probabilities, and what it is asked by."""

    engine: Engine
    rubric: Rubric
    templates: Templates

    def judge_all(self, exchanges: Sequence[Exchange], step: Step) -> Iterator[Verdict]:
        """One verdict for each exchange that is not in ``step.done``. Raises UnsupportedError."""
        questions = [self._put(e.id, render_conversation(e.prompt), e.response, step) for e in exchanges]
        if all(question.id in step.done for question in questions):
            return
        bias = self.measure_bias(step)
        parts = [questions[start : start + TOGETHER] for start in range(0, len(questions), TOGETHER)]
        for id, answers in (answered for part in parts for answered in self._ask(part, step)):
            failed = next((answer.error for answer in answers.values() if answer.error), "")
            if failed:
                yield to_verdict(id, self.rubric, ParsedReply(None, failed, why=UNREAD))
            else:
                yield decide_by_shares(id, self._remove_bias(answers, bias), self.rubric)

    def measure_bias(self, step: Step) -> dict[str, Scores]:
        """What each label gets where there is nothing to judge, by the menu's order: the mean share over exchanges
        without content. Raises UnsupportedError where the judge gives no probabilities at all."""
        empty = [self._put(join_id("empty", n), text, text, step) for n, text in enumerate(EMPTY_TEXTS)]
        found = [answers for _, answers in self._ask(empty, Step(step.path, step.run_seed))]
        read = [answers for answers in found if not any(answer.error for answer in answers.values())]
        if not read:
            why = next(answer.error for answers in found for answer in answers.values() if answer.error)
            raise UnsupportedError(f"{self.engine.identity} gives no probabilities of labels: {why}", READ_WORDS)
        bias: dict[str, Scores] = {}
        for order in MENU_ORDERS:
            shares = [softmax({x: answers[order, x].value for x in self.rubric.menu}) for answers in read]
            means = {x: math.fsum(share[x] for share in shares) / len(shares) for x in self.rubric.menu}
            bias[order] = {label: math.log(max(mean, 1e-300)) for label, mean in means.items()}
        return bias

    def _ask(
        self, questions: Sequence[LabelQuestion], step: Step
    ) -> Iterator[tuple[str, dict[tuple[str, str], LogLikelihood]]]:
        """The log-likelihoods of each question that is not in ``step.done``, as soon as all of them are there."""
        places = {request.id: (q, place) for q in questions for place, request in q.requests.items()}
        requests = [request for question in questions for request in question.requests.values()]
        done = {id for id, (question, _) in places.items() if question.id in step.done}
        found: dict[str, dict[tuple[str, str], LogLikelihood]] = {}
        for answer in self.engine.score(requests, done):
            question, place = places[answer.id]
            answers = found.setdefault(question.id, {})
            answers[place] = answer
            if len(answers) == len(question.requests):
                yield question.id, found.pop(question.id)

    def _put(self, id: str, prompt: str, response: str, step: Step) -> LabelQuestion:
        """The requests about one exchange. Both orders have the same fences, so that nothing else differs."""
        rubric, template = self.rubric, label_template(self.rubric, self.templates)
        fence = draw_nonce(step.random(f"{id}|{rubric.name}|label"), prompt, response)
        fields = {"prompt": fence_text("prompt", prompt, fence), "response": fence_text("response", response, fence)}
        menu, requests = list(rubric.menu), {}
        for order, labels in zip(MENU_ORDERS, (menu, menu[::-1]), strict=True):
            messages: tuple[Message, ...] = user_turn(render_rubric(template, rubric, labels, fields, step))
            for label in menu:
                key = join_id(join_id(id, order), label)
                requests[order, label] = ScoreRequest(id=key, messages=messages, completion=label, label=True)
        return LabelQuestion(id, requests)

    def _remove_bias(
        self, answers: Mapping[tuple[str, str], LogLikelihood], bias: Mapping[str, Scores]
    ) -> dict[str, float]:
        """The probability of each label: without the bias, over both orders."""
        return softmax(
            {
                label: math.fsum(answers[order, label].value - bias[order][label] for order in MENU_ORDERS)
                / len(MENU_ORDERS)
                for label in self.rubric.menu
            }
        )


def softmax(scores: Scores) -> dict[str, float]:
    """Log-probabilities as shares of one."""
    highest = max(scores.values())
    weights = {label: math.exp(score - highest) for label, score in scores.items()}
    whole = math.fsum(weights.values())
    return {label: weight / whole for label, weight in weights.items()}


def decide_by_shares(id: str, shares: Scores, rubric: Rubric) -> Verdict:
    """The verdict that the labels' shares make by the rubric's fit; of the labels with its outcome the likeliest."""
    fit = rubric.fit or default_fit(rubric)
    probability = round(fit.bend(_violating_share(shares, rubric)), DIGITS)
    outcome = "violates" if probability >= fit.threshold else "complies"
    label = max((x for x in rubric.menu if rubric.outcomes[x] == outcome), key=lambda x: shares[x])
    said = json.dumps({x: round(share, DIGITS) for x, share in shares.items()})
    verdict = to_verdict(id, rubric, ParsedReply(label, said, severity=None))
    return verdict.model_copy(update={"probability": probability, "threshold": fit.threshold})


def default_fit(rubric: Rubric) -> LabelFit:
    """Where nothing was learnt: an exchange violates from the share on that violating labels have where there is
    nothing to judge, which is the same for each label once the bias is off."""
    violating = sum(outcome == "violates" for outcome in rubric.outcomes.values())
    return LabelFit(threshold=round(violating / len(rubric.menu), DIGITS))


def read_shares(verdict: Verdict) -> Scores:
    """The labels' shares that a verdict with a probability was made of."""
    return {str(label): float(share) for label, share in json.loads(verdict.raw).items()}


def read_raw_probability(verdict: Verdict, rubric: Rubric) -> float | None:
    """The probability that a verdict violates, before any fit; None where it has none."""
    return None if verdict.probability is None else _violating_share(read_shares(verdict), rubric)


def _violating_share(shares: Scores, rubric: Rubric) -> float:
    violating = math.fsum(share for label, share in shares.items() if rubric.outcomes[label] == "violates")
    return round(min(1.0, violating), DIGITS)
