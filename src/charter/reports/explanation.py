"""``charter explain``: from a rule to its failures, to the rows made of them, to the checkpoints trained on these, to
the scores that moved; and back from a row, a prompt or a score. Across the runs that a run goes on from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from charter.errors import StoreError
from charter.judging.audit_battery import Battery
from charter.records.item_ids import original_row_id
from charter.records.record import Record
from charter.records.rules import Principle
from charter.reports.provenance import (
    INHERITED_FOLDER,
    Checkpoint,
    Failure,
    RunGraph,
    TracedRow,
    read_ancestry,
)
from charter.reports.rule_refusals import CheckedWording, read_checked_wordings
from charter.reports.score_changes import ScoreChange, find_score_changes
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import find_nearest

QuestionKind = Literal["principle", "row", "prompt", "score"]


class ExplainedFailure(Record):
    """A failure. ``row``: the row that its revision became, or ``dropped``: why it became none."""

    id: str
    folder: str
    prompt: str
    answer: str
    verdict: str
    rules: tuple[str, ...]
    row: str
    dropped: tuple[str, ...]


class ExplainedRow(Record):
    """A training row. ``rules``: those that its failure caused, or that its look-alike stands beside; ``shown``: how
    many rules it was written under; ``used``: checkpoint -> how often it is in its training set."""

    id: str
    folder: str
    origin: str
    cause: str
    prompt: str
    response: str
    rules: tuple[str, ...]
    shown: int
    uses_by_checkpoint: dict[str, int]


class ExplainedCheckpoint(Record):
    """A checkpoint. ``rows`` in all, copies counted; ``of_these``: those that the question is about; ``by_rule``: rows
    of each rule's failures; ``moves``: scores against the policy before it, on
    all prompts and on those of the categories of the failures in question."""

    step: str
    digest: str
    decision: str
    accepted: bool
    final: bool
    rows: int
    of_these: int
    by_rule: dict[str, int]
    moves: tuple[ScoreChange, ...]


class MeasuredAnswer(Record):
    """What a policy answered to the prompt in question where it was measured, and what the benchmark found."""

    folder: str
    split: str
    model: str
    answer: str
    outcomes: dict[str, bool | None]


class RunExplanation(Record):
    """One run of the line. ``wordings``: all that were to become the rules in question, with what became of each."""

    run: str
    head: str | None
    wordings: tuple[CheckedWording, ...] = ()
    failures: tuple[ExplainedFailure, ...] = ()
    rows: tuple[ExplainedRow, ...] = ()
    checkpoints: tuple[ExplainedCheckpoint, ...] = ()
    measured: tuple[MeasuredAnswer, ...] = ()


class Explanation(Record):
    """What hangs together with what was asked about; ``runs``: the newest first, then those it goes on from."""

    kind: QuestionKind
    value: str
    rules: tuple[Principle, ...]
    runs: tuple[RunExplanation, ...]
    note: str = ""


def explain_item(directory: Path | str, kind: QuestionKind, value: str) -> Explanation:
    """Follows the threads from one end. Raises StoreError where the run (or its line) has nothing of that name, naming
    what comes near; DamagedError, SpecError."""
    line, note = read_ancestry(directory)
    _require_known(kind, value, line)
    choose: dict[QuestionKind, Callable[[RunGraph, str], _Selection]] = {
        "principle": _select_by_principle,
        "row": _select_by_row,
        "prompt": _select_by_prompt,
        "score": _select_by_score,
    }
    chosen = [choose[kind](threads, value) for threads in line]
    if not any(choice.has_any for choice in chosen):
        raise StoreError(f"{line[0].reading.name} has no {kind} {value!r}", _known_names_hint(kind, value, line))
    wanted = {rule for choice in chosen for rule in choice.rules}
    rules = {p.id: p for threads in reversed(line) for p in threads.reading.constitution.principles if p.id in wanted}
    parts = [
        _explain_run(threads, choice, older=place + 1 < len(line))
        for place, (threads, choice) in enumerate(zip(line, chosen, strict=True))
        if choice.has_any
    ]
    return Explanation(kind=kind, value=value, rules=tuple(rules.values()), runs=tuple(parts), note=note)


def _require_known(kind: QuestionKind, value: str, line: Sequence[RunGraph]) -> None:
    """Raises StoreError where there is no thread to follow."""
    reading = line[0].reading
    if reading.spec.method == "audit":
        made_from = [b.run for b in reading.records("000/battery", Battery)]
        run = f"the run {made_from[0]}, which its battery was made from" if made_from else "the run that was audited"
        what = f"{reading.name} is an audit: it trained nothing, so no thread leads from rules to rows and scores"
        raise StoreError(what, f"Explain {run}. What became of each principle: charter show {reading.directory}")
    if kind == "score" and any(value in m.values for of in line[0].measurements for m in of.measurements):
        what = f"{value} is a mean over items, no event of single answers, so no thread leads to it"
        raise StoreError(what, f"Its figures, before and after: charter show {reading.directory}")


class _Selection:
    """What a question picks of one run; ``metric`` leaves only the moves of one score, ``prompt`` the measurements of
    one prompt."""

    def __init__(
        self,
        failures: Iterable[str],
        rows: Iterable[str],
        rules: Iterable[str],
        metric: str,
        prompt: Collection[str] = (),
    ) -> None:
        self.failures, self.rows, self.rules = [*failures], [*rows], [*rules]
        self.metric, self.prompt = metric, prompt

    @property
    def has_any(self) -> bool:
        return bool(self.failures or self.rows or self.rules or self.metric or self.prompt)


def _select_by_principle(threads: RunGraph, key: str) -> _Selection:
    rule = next((p for p in threads.reading.constitution.principles if p.id == key), None)
    if rule is None:
        return _Selection((), (), (), "")
    failures = [cause for cause in rule.because if cause in threads.failures]
    rows = [id for id, row in threads.rows.items() if rule.id in rules_of_row(threads, row)]
    return _Selection(failures, rows, (rule.id,), "")


def _select_by_row(threads: RunGraph, key: str) -> _Selection:
    row = threads.rows.get(original_row_id(key))
    if row is None:
        return _Selection((), (), (), "")
    return _Selection({row.cause} & threads.failures.keys(), (original_row_id(key),), rules_of_row(threads, row), "")


def _select_by_prompt(threads: RunGraph, text: str) -> _Selection:
    asked = {
        id
        for id, words in threads.prompt_texts.items()
        if id == text or normalize_text(text) in map(normalize_text, words)
    }
    rows = [id for id, row in threads.rows.items() if row.cause in asked]
    failures = [id for id in threads.failures if id in asked]
    rules = [p.id for p in threads.reading.constitution.principles if set(p.because) & asked]
    rules += [rule for id in rows for rule in rules_of_row(threads, threads.rows[id])]
    return _Selection(failures, rows, dict.fromkeys(rules), "", asked)


def _select_by_score(threads: RunGraph, metric: str) -> _Selection:
    if not any(metric in m.outcomes for measured in threads.measurements for m in measured.measurements):
        return _Selection((), (), (), "")
    used = {rule for c in threads.checkpoints for rule in _count_rules(threads, c)}
    return _Selection((), (), [p.id for p in threads.reading.constitution.principles if p.id in used], metric)


def rules_of_row(threads: RunGraph, row: TracedRow) -> tuple[str, ...]:
    """The rules that a row is made for: those that its failure caused, or to whose cluster its look-alike is like."""
    if row.example.origin not in ("revision", "lookalike"):
        return ()
    return tuple(
        p.id for p in threads.reading.constitution.principles if row.cause in p.because or row.cluster in p.clusters
    )


def _explain_run(threads: RunGraph, choice: _Selection, older: bool) -> RunExplanation:
    """``older``: the run that this one goes on from is at hand, and shows what is inherited itself."""
    failures = [threads.failures[id] for id in choice.failures]
    categories = {c for f in failures if (c := f.finding.exchange.prompt.meta.get("category"))}
    return RunExplanation(
        run=threads.reading.name,
        head=threads.reading.head,
        wordings=() if choice.metric else _find_wordings(threads, choice.rules),
        failures=tuple(_explain_failure(threads, f) for f in failures if not (older and f.folder == INHERITED_FOLDER)),
        rows=tuple(_explain_row(threads, id) for id in choice.rows),
        checkpoints=tuple(_explain_checkpoint(threads, c, choice, categories) for c in threads.checkpoints),
        measured=tuple(
            MeasuredAnswer(
                folder=m.folder,
                split=m.split,
                model=m.model,
                answer=m.asked[found.id].response if found.id in m.asked else "",
                outcomes=found.outcomes,
            )
            for m in threads.measurements
            for found in m.measurements
            if found.id in choice.prompt
        ),
    )


def _find_wordings(threads: RunGraph, rules: Collection[str]) -> tuple[CheckedWording, ...]:
    """The wordings that were checked for the clusters of these rules, and as merged ones for the rules themselves."""
    known = [p for p in threads.reading.constitution.principles if p.id in rules]
    subjects = {p.id for p in known} | {cluster for p in known for cluster in p.clusters}
    return tuple(w for w in read_checked_wordings(threads.reading) if w.check.cluster in subjects)


def _explain_failure(threads: RunGraph, failure: Failure) -> ExplainedFailure:
    exchange, verdict = failure.finding.exchange, failure.finding.verdict
    return ExplainedFailure(
        id=failure.finding.id,
        folder=failure.folder,
        prompt=exchange.prompt.text,
        answer=exchange.response,
        verdict=": ".join(filter(None, (verdict.label, verdict.rationale))),
        rules=tuple(p.id for p in threads.reading.constitution.principles if failure.finding.id in p.because),
        row=failure.row,
        dropped=failure.reasons,
    )


def _explain_row(threads: RunGraph, id: str) -> ExplainedRow:
    row = threads.rows[id]
    return ExplainedRow(
        id=id,
        folder=row.folder,
        origin=row.example.origin,
        cause=row.cause,
        prompt="\n".join(m.content for m in row.example.messages),
        response=row.example.response,
        rules=rules_of_row(threads, row),
        shown=len(row.shown),
        uses_by_checkpoint={c.step: c.rows[id] for c in threads.checkpoints if c.rows[id]},
    )


def _explain_checkpoint(
    threads: RunGraph, checkpoint: Checkpoint, choice: _Selection, categories: Collection[str]
) -> ExplainedCheckpoint:
    decision = checkpoint.decision
    moved = find_score_changes(threads, checkpoint, categories)
    return ExplainedCheckpoint(
        step=checkpoint.step,
        digest=checkpoint.policy.digest,
        decision=f"{decision.action.replace('_', ' ')}: {decision.reason}" if decision else "",
        accepted=not checkpoint.rolled_back,
        final=checkpoint.final,
        rows=sum(checkpoint.rows.values()),
        of_these=sum(checkpoint.rows[id] for id in choice.rows),
        by_rule=dict(_count_rules(threads, checkpoint)),
        moves=tuple(m for m in moved if not choice.metric or m.metric == choice.metric),
    )


def _count_rules(threads: RunGraph, checkpoint: Checkpoint) -> Counter[str]:
    """Rows of a checkpoint by the rule that they are made for."""
    return Counter(
        rule for id in checkpoint.rows if id in threads.rows for rule in rules_of_row(threads, threads.rows[id])
    )


def _known_names_hint(kind: QuestionKind, value: str, line: Sequence[RunGraph]) -> str:
    """What there is instead."""
    if kind == "principle":
        known = [f"{p.id} ({p.title})" for p in line[0].reading.constitution.principles]
        return f"Its rules: {', '.join(known)}" if known else "It has no rule yet."
    if kind == "score":
        known = sorted({name for m in line[0].measurements for found in m.measurements for name in found.outcomes})
        return f"Its scores: {', '.join(known)}" if known else "Nothing was measured yet."
    if kind == "row":
        return "Ids of rows stand in the files rows.jsonl, and in what this command says of a rule."
    texts = list(dict.fromkeys(words[0] for threads in line for words in threads.prompt_texts.values()))
    close = find_nearest([value], texts)[0] if texts else None
    return f"The nearest prompt that it has: {texts[close[0]]!r}" if close else "It asked no prompt with such words."
