"""What feedback changed in a run: what became of each row that it took in, down to the scores.

A row is tied to what was made of it by content: its prompt to the prompts that were asked, its pair to the pairs that
were learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from charter.errors import DamagedError
from charter.records.feedback import SNAPSHOT_PAIRS, SNAPSHOT_RATINGS, FeedbackKind
from charter.records.record import Record
from charter.records.training_rows import PreferencePair, RatedAnswer
from charter.reports.explanation import rules_of_row
from charter.reports.provenance import INHERITED_FOLDER, RunGraph
from charter.runs import store
from charter.similarity.spelling import normalize_text

TRAINED, CHECKED, RATED = "000/train_pairs", "000/validation_pairs", "000/rated"
Answers = tuple[str, frozenset[str]]
"""A prompt and the answers to it: two, whichever is preferred, or one that was rated. Several people are one voice."""


class FeedbackEffect(Record):
    """What became of a row of feedback in one run, by ids.

    Args:
        id: The row.
        kind: What was said.
        prompts: Prompts with its words that were asked.
        findings: Those of them on which the model failed.
        rules: Rules that these failures caused.
        rows: Training rows that were made of them.
        pairs: Pairs that were learnt from.
        checks: Pairs that only measured.
        ratings: Answers that were learnt as good or bad ones.
        checkpoints: Policies that were trained on a row or a pair.
        scores: Steps that scored one of these policies.
    """

    id: str
    kind: FeedbackKind
    prompts: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    ratings: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()

    @property
    def is_trained_on(self) -> bool:
        """Whether a policy learnt from it."""
        return bool(self.checkpoints)


def read_feedback_effects(graph: RunGraph) -> list[FeedbackEffect]:
    """What became of each row that a run took in, in the order of their ids. Raises DamagedError."""
    rows = graph.reading.feedback
    if not rows:
        return []
    asked: dict[str, list[str]] = {}
    for id, (text, _) in graph.prompt_texts.items():
        asked.setdefault(normalize_text(text), []).append(id)
    made, rated = _read_made(graph, SNAPSHOT_PAIRS), _read_made(graph, SNAPSHOT_RATINGS)
    learnt, checked = (_read_pairs(graph, step) for step in (TRAINED, CHECKED))
    answers = _read_ratings(graph)
    effects = []
    for row in rows:
        assert row.said is not None
        own, pairs = asked.get(normalize_text(_join(t.content for t in row.said.prompt)), []), made.get(row.id, [])
        effect = _follow_prompts(graph, own) | {
            "pairs": tuple(learnt[pair] for pair in pairs if pair in learnt),
            "checks": tuple(checked[pair] for pair in pairs if pair in checked),
            "ratings": tuple(dict.fromkeys(answers[key] for key in rated.get(row.id, []) if key in answers)),
        }
        effects.append(_add_policies(graph, FeedbackEffect(id=row.id, kind=row.said.kind, **effect)))
    return effects


def tabulate_effects(effects: Sequence[FeedbackEffect]) -> list[tuple[str, str, int]]:
    """How many rows of feedback came how far: what it is, in words, and the counts of rows and of what they led to."""
    told = []
    for name, words in _STAGES.items():
        reached = [effect for effect in effects if getattr(effect, name)]
        led_to = {id for effect in reached for id in getattr(effect, name)}
        told.append((words, f"{len(reached)} of {len(effects)}", len(led_to)))
    return told


_STAGES = {
    "prompts": "prompts that were asked",
    "findings": "failures of the model",
    "rules": "rules of the constitution",
    "rows": "training rows",
    "pairs": "pairs that were learnt from",
    "checks": "pairs that only measured",
    "ratings": "answers that were learnt as good or bad",
    "checkpoints": "policies that were trained on these",
}


def _follow_prompts(graph: RunGraph, asked: Sequence[str]) -> dict[str, tuple[str, ...]]:
    wanted = set(asked)
    findings = [id for id, failure in graph.failures.items() if id in wanted and failure.folder != INHERITED_FOLDER]
    rows = [id for id, row in graph.rows.items() if row.cause in wanted and row.folder != INHERITED_FOLDER]
    rules = [p.id for p in graph.reading.constitution.principles if set(p.because) & wanted]
    rules += [rule for id in rows for rule in rules_of_row(graph, graph.rows[id])]
    return {
        "prompts": tuple(asked),
        "findings": tuple(findings),
        "rules": tuple(dict.fromkeys(rules)),
        "rows": tuple(rows),
    }


def _add_policies(graph: RunGraph, effect: FeedbackEffect) -> FeedbackEffect:
    learnt = effect.pairs or effect.ratings
    trained = [c for c in graph.checkpoints if learnt or any(c.rows[id] for id in effect.rows)]
    digests = [checkpoint.policy.digest for checkpoint in trained]
    marks = [(found, found.model.rpartition("@")[2]) for found in graph.measurements]
    scores = [f"{f.folder}/{f.split}_scores" for f, mark in marks if mark and any(d.startswith(mark) for d in digests)]
    return effect.model_copy(
        update={"checkpoints": tuple(c.step for c in trained), "scores": tuple(dict.fromkeys(scores))}
    )


def _read_made(graph: RunGraph, name: str) -> dict[str, list[Answers]]:
    """The pairs, or the rated answers, that were made of each row, by its id. Raises DamagedError."""
    found: dict[str, list[Answers]] = {}
    path = graph.reading.directory / name
    if name == SNAPSHOT_RATINGS and not store.is_present(graph.reading.directory, name):
        return {}  # of a run that took in feedback before ratings were written
    for number, line in enumerate(graph.reading.read_text(name).encode().splitlines(), 1):
        try:
            row = store.parse_json(line)
            prompt = row["prompt"] if isinstance(row["prompt"], str) else _join(t["content"] for t in row["prompt"])
            texts = ("response",) if name == SNAPSHOT_RATINGS else ("chosen", "rejected")
            made = (normalize_text(prompt), frozenset(str(row[key]).strip() for key in texts))
            for id in row["id"].split():
                found.setdefault(id, []).append(made)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{path}, line {number}: nothing made of feedback", store.RESTORE_CURE) from error
    return found


def _join(texts: Iterable[str]) -> str:
    return "\n".join(texts)


def _read_pairs(graph: RunGraph, step: str) -> dict[Answers, str]:
    """Ids of the pairs of a step by their texts."""
    pairs = graph.reading.records(step, PreferencePair)
    return {(_prompt_of(pair), frozenset((pair.chosen.strip(), pair.rejected.strip()))): pair.id for pair in pairs}


def _read_ratings(graph: RunGraph) -> dict[Answers, str]:
    """Ids of the answers that were learnt as good or bad, by their texts."""
    answers = graph.reading.records(RATED, RatedAnswer)
    return {(_prompt_of(answer), frozenset((answer.response.strip(),))): answer.id for answer in answers}


def _prompt_of(row: PreferencePair | RatedAnswer) -> str:
    return normalize_text(_join(turn.content for turn in row.messages))
