"""Several votes on one question, and replies off the menu asked for again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from charter.judging.exchange_classes import classify_exchanges, list_classes
from charter.judging.judge_replies import (
    ParsedReply,
    explain_reading,
    read_choice,
    read_failure,
    read_label,
    to_verdict,
)
from charter.judging.judge_requests import (
    COMPARISON_MENU,
    MAX_REPLY_TOKENS,
    JudgeAttempt,
    SideBySide,
    compare_request,
    judge_request,
)
from charter.judging.label_reading import LabelJudge
from charter.judging.rubrics import Rubric
from charter.ports import Engine
from charter.records.chat import Completion, Exchange, Request, Sampling
from charter.records.record import Step
from charter.records.templates import Templates, render_conversation
from charter.records.verdicts import Verdict, Vote
from charter.spec import JudgingSpec

NO_ANSWER = "the target gave no answer"
"""What stands in a verdict that no judge was asked for."""
CHUNK_SIZE = 512
"""Questions asked together, first tries and retries: so many replies off the menu at most are lost to a kill."""


@dataclass(frozen=True)
class JudgeQuestion:
    """What is put to a judge, once for each vote and again where the reply cannot be read."""

    id: str
    ask: Callable[[JudgeAttempt], Request]
    read: Callable[[Completion], ParsedReply]


@dataclass
class Ballot:
    """The votes on one question as they come, by number: every reading, the last of which counts."""

    replies: dict[int, list[ParsedReply]] = field(default_factory=dict)
    votes_cast: int = 0

    @property
    def votes(self) -> list[list[ParsedReply]]:
        """In the votes' order."""
        return [self.replies[number] for number in sorted(self.replies)]

    @property
    def last_replies(self) -> list[ParsedReply]:
        """What each vote came to."""
        return [vote[-1] for vote in self.votes]

    def to_votes(self) -> tuple[Vote, ...]:
        """The votes as they are kept: none where the first reply settled it."""
        if sum(map(len, self.replies.values())) == 1:
            return ()
        return tuple(Vote(label=vote[-1].label, replies=tuple(r.raw for r in vote)) for vote in self.votes)


def ask_with_retries(
    questions: Sequence[JudgeQuestion], engine: Engine, judging: JudgingSpec, *, step: Step
) -> Iterator[tuple[str, Ballot]]:
    """The ballot of every question that is not in ``step.done``, as soon as its votes are in. An error is an answer
    that failed for good; it is not asked for again."""
    for at in range(0, len(questions), CHUNK_SIZE):
        yield from _ask_chunk(questions[at : at + CHUNK_SIZE], engine, judging, step)


def _ask_chunk(
    questions: Sequence[JudgeQuestion], engine: Engine, judging: JudgingSpec, step: Step
) -> Iterator[tuple[str, Ballot]]:
    asked: dict[str, tuple[JudgeQuestion, JudgeAttempt]] = {}
    ballots = {question.id: Ballot() for question in questions}
    tries = [(question, JudgeAttempt(vote)) for question in questions for vote in range(judging.votes)]
    for again in range(judging.retries + 1):
        requests = []
        for question, attempt in tries:
            requests.append(question.ask(attempt))
            asked[requests[-1].id] = question, attempt
        unread: set[tuple[str, int]] = set()
        for answer in engine.generate(requests, {r.id for r in requests if asked[r.id][0].id in step.done}):
            question, attempt = asked[answer.id]
            ballot, reading = ballots[question.id], question.read(answer)
            ballot.replies.setdefault(attempt.vote, []).append(reading)
            if reading.label is None and not answer.error and again < judging.retries:
                unread.add((question.id, attempt.vote))
                continue
            ballot.votes_cast += 1
            if ballot.votes_cast == judging.votes:
                yield question.id, ballot
        tries = [(q, JudgeAttempt(a.vote, again + 1)) for q, a in tries if (q.id, a.vote) in unread]
        if not tries:
            return


def majority_label(labels: Sequence[str | None]) -> str | None:
    """The label that more than half of all votes have."""
    counts = Counter(label for label in labels if label is not None)
    return next((label for label, count in counts.items() if 2 * count > len(labels)), None)


def judge_exchanges(
    exchanges: Sequence[Exchange],
    engine: Engine,
    rubric: Rubric,
    templates: Templates,
    judging: JudgingSpec,
    *,
    step: Step,
) -> Iterator[Verdict]:
    """One verdict for each exchange that is not in ``step.done``; an answer that failed is unjudged without a call."""
    failed = [e for e in exchanges if e.stop == "error"]
    for e in failed:
        if e.id not in step.done:
            yield to_verdict(e.id, rubric, ParsedReply(None, NO_ANSWER, why=NO_ANSWER))
    answered = [e for e in exchanges if e.stop != "error"]
    if list_classes(engine, rubric):
        yield from classify_exchanges(answered, engine, rubric, step=step)
        return
    if judging.read == "label":
        yield from LabelJudge(engine, rubric, templates).judge_all(answered, step)
        return
    sampling = Sampling(max_tokens=MAX_REPLY_TOKENS, temperature=judging.temperature)

    def question(e: Exchange) -> JudgeQuestion:
        material = f"{render_conversation(e.prompt)}\n{e.response}"
        return JudgeQuestion(
            id=e.id,
            ask=lambda attempt: judge_request(e, rubric, templates, step, sampling, attempt),
            read=lambda answer: read_label(answer, rubric, material),
        )

    for id, ballot in ask_with_retries([question(e) for e in answered], engine, judging, step=step):
        yield majority_verdict(id, rubric, ballot)


def majority_verdict(id: str, rubric: Rubric, ballot: Ballot) -> Verdict:
    """The verdict of a ballot: the outcome that more than half of all votes have, under its commonest label (of equally
    common ones the first on the menu), in the words of the first vote for it; else unjudged."""
    last = ballot.last_replies
    if len(last) == 1:
        return to_verdict(id, rubric, last[0]).model_copy(update={"votes": ballot.to_votes()})
    winner = majority_label([None if r.label is None else rubric.outcomes[r.label] for r in last])
    labels = Counter(r.label for r in last if r.label is not None and rubric.outcomes[r.label] == winner)
    label = max((x for x in rubric.menu if x in labels), key=lambda x: labels[x], default=None)
    chosen = next((r for r in last if r.label == label), None) if label is not None else None
    unread = next((r.why for r in last if r.label is None), "") if all(r.label is None for r in last) else "no majority"
    reading = chosen or ParsedReply(None, last[0].raw, why=unread, thought=last[0].thought)
    return to_verdict(id, rubric, reading).model_copy(update={"votes": ballot.to_votes()})


def comparison_question(id: str, pair: SideBySide, templates: Templates, step: Step) -> JudgeQuestion:
    """Which of two responses is better; its label says which place the better one stands in."""
    material = "\n".join((render_conversation(pair.prompt), *pair.responses))

    def read(answer: Completion) -> ParsedReply:
        unread = read_failure(answer)
        return unread or explain_reading(read_choice(answer.text, COMPARISON_MENU, material), answer)

    return JudgeQuestion(
        id=id,
        ask=lambda attempt: compare_request(id, pair, templates, step, attempt),
        read=read,
    )
