"""Answers and what judges said of them as logs of Inspect AI, which ``inspect view`` opens."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charter.errors import StoreError
from charter.records.chat import Exchange
from charter.records.measurements import Measurement, Score
from charter.records.record import digest
from charter.records.reviews import UNSURE, ReviewLabel
from charter.records.verdicts import Verdict

SUFFIX = ".eval"
UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Transcripts:
    """One set of answers by one model. ``name``: of its step, e.g. ``001/exchanges``; ``created``: when it was sealed
    (ISO 8601); ``notes``: what else is known of an answer, by its id; ``labels``: what people said of it;
    ``about``: the run."""

    name: str
    created: str
    exchanges: Sequence[Exchange]
    verdicts: Mapping[str, Sequence[Verdict]] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Sequence[ReviewLabel]] = field(default_factory=dict)


def write_inspect_log(transcripts: Transcripts, folder: Path) -> Path:
    """Writes one log into ``folder`` and gives its path. Texts stay as they are: nothing in them is read as markup.
    Raises StoreError where Inspect AI is not installed or the log cannot be written."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec, write_eval_log
    except ModuleNotFoundError as error:
        what = f"Logs of Inspect AI need a package that is not installed: {error.name}."
        raise StoreError(what, "pip install 'charter[remote]'") from error
    mark = digest([dict(transcripts.about), transcripts.name])
    ids: list[str | int] = [e.id for e in transcripts.exchanges]
    log = EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=mark[:22],
            run_id=digest(dict(transcripts.about))[:22],
            task_id=mark[22:44],
            created=transcripts.created,
            task=f"charter/{transcripts.name}",
            dataset=EvalDataset(name=transcripts.name, samples=len(ids), sample_ids=ids),
            model=next((e.model for e in transcripts.exchanges), "") or "unknown",
            config=EvalConfig(epochs=1),
            metadata=dict(transcripts.about),
        ),
        results=EvalResults(
            total_samples=len(ids),
            completed_samples=len(ids),
            scores=[_to_eval_score(score) for score in transcripts.scores],
        ),
        samples=[_to_sample(exchange, transcripts) for exchange in transcripts.exchanges],
    )
    path = folder / f"{transcripts.name.replace('/', '-')}{SUFFIX}"
    try:
        write_eval_log(log, str(path))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", "Make room, or choose another folder.") from error
    return path


def _to_sample(exchange: Exchange, transcripts: Transcripts) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ContentText, ModelOutput

    answer = ChatMessageAssistant(
        content=[ContentText(text=exchange.response)], model=exchange.model, source="generate"
    )
    asked = [_to_message(message.role, message.content) for message in exchange.prompt.messages]
    stop: Any = {"stop": "stop", "length": "max_tokens", "error": "unknown"}[exchange.stop]
    known = {"source": exchange.prompt.source, **exchange.prompt.meta, **transcripts.notes.get(exchange.id, {})}
    return EvalSample(
        id=exchange.id,
        epoch=1,
        input=asked,
        target="",
        messages=[*asked, answer],
        output=ModelOutput(
            model=exchange.model,
            choices=[ChatCompletionChoice(message=answer, stop_reason=stop)],
            error=exchange.error or None,
        ),
        scores=_to_scores(exchange.id, transcripts),
        metadata={key: value for key, value in known.items() if value},
    )


def _to_message(role: str, content: str) -> Any:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ContentText

    kinds: dict[str, Any] = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
    return kinds[role](content=[ContentText(text=content)])


def _to_scores(id: str, transcripts: Transcripts) -> dict[str, Any]:
    """What was said of one answer, under the rubric's, the metric's or the rater's name."""
    from inspect_ai.scorer import Score as Said

    found = {
        verdict.rubric: Said(
            value=verdict.outcome,
            answer=verdict.label,
            explanation=verdict.rationale or verdict.raw,
            metadata={"severity": verdict.severity, "raw": verdict.raw, "categories": list(verdict.categories)},
        )
        for verdict in transcripts.verdicts.get(id, ())
    }
    measured = transcripts.measurements.get(id)
    for metric, outcome in measured.outcomes.items() if measured else ():
        said = measured.verdict if measured else None
        found[metric] = Said(
            value=UNJUDGED if outcome is None else outcome,
            answer=said.label if said else None,
            explanation=said.rationale if said else None,
        )
    for metric, value in measured.values.items() if measured else ():
        found[metric] = Said(value=value)
    for label in transcripts.labels.get(id, ()):
        word = UNSURE if label.label is None else label.label
        added = {"label_id": label.id, "corrected": label.corrected, "role": label.role, "at": label.at}
        found[label.rater] = Said(value=word, answer=word, explanation=label.comment, metadata=added)
    return found


def _to_eval_score(score: Score) -> Any:
    from inspect_ai.log import EvalMetric, EvalScore

    figures = {"share": score.value, "low_95": score.low, "high_95": score.high}
    return EvalScore(
        name=score.id,
        scorer=score.benchmark or "charter",
        scored_samples=score.n,
        unscored_samples=score.unjudged,
        metrics={name: EvalMetric(name=name, value=value) for name, value in figures.items() if value is not None},
        metadata={"better": score.better, "version": score.version},
    )
