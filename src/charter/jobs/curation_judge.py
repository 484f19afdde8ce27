"""Targets of a file judged again by a spec's judge, within the budget; verdicts are kept until the whole is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from charter.data.curation.curation_records import CurationRow
from charter.errors import BudgetError
from charter.ports import Classifying, Engine
from charter.records.chat import Completion, Exchange, LogLikelihood, Message, Prompt, Request, Sampling, ScoreRequest
from charter.records.record import Record, Step, digest
from charter.runs import store
from charter.spec import Spec
from charter.stages.curate import exclusion_reason
from charter.stages.judge import judge
from charter.wiring import role_models

TargetJudge = Callable[[Sequence[CurationRow]], list[str]]


class CachedVerdict(Record):
    """A verdict that is kept: of the row with this id and these texts (a digest), by this judge."""

    id: str
    texts: str
    judge: str
    reason: str = ""


class CallLimitedEngine:
    """An engine that makes no more than ``most`` calls, those before included."""

    def __init__(self, engine: Engine, most: int | None, before: int = 0) -> None:
        self._engine, self._most, self._made = engine, most, before

    @property
    def identity(self) -> str:
        """The engine's."""
        return self._engine.identity

    def generate(self, requests: Sequence[Request], done: Collection[str] = ()) -> Iterator[Completion]:
        """Raises BudgetError before a call over the budget is made."""
        asked = sum(request.id not in done for request in requests)
        if self._most is not None and self._made + asked > self._most:
            raise BudgetError(
                f"judging targets again needs {asked} calls, but {self._made} of {self._most} are spent",
                "The verdicts so far are kept. Raise budget.calls in the spec and give the same command again.",
            )
        self._made += asked
        yield from self._engine.generate(requests, done)

    def score(self, requests: Sequence[ScoreRequest], done: Collection[str] = ()) -> Iterator[LogLikelihood]:
        """Raises UnsupportedError where the engine gives none."""
        yield from self._engine.score(requests, done)

    def list_labels(self, rubric: str) -> Sequence[str]:
        """As the engine does; none where it is no classifier."""
        return self._engine.list_labels(rubric) if isinstance(self._engine, Classifying) else ()

    def close(self) -> None:
        """Frees connections."""
        self._engine.close()


def verdict_cache_path(out: Path) -> Path:
    """Where verdicts are kept until the folder ``out`` is written."""
    return out.with_name(f".{out.name}.verdicts.jsonl")


@contextmanager
def open_target_judge(spec: Spec, out: Path) -> Iterator[TargetJudge]:
    """The spec's judge, asked whether targets comply. What it said is kept beside ``out``, so that the same command
    goes on where it stopped. Raises StoreError, EngineError, BudgetError."""
    world = role_models.load_world(spec)
    templates, step = role_models.build_templates(spec, world), Step(path="curate", run_seed=spec.seed)
    rubric, options = role_models.load_rubric(spec.options.judge), spec.options.judge
    file = verdict_cache_path(out)
    with role_models.open_oracle(spec, spec.judge or spec.oracle, world) as engine:
        by = digest([engine.identity, rubric.model_dump(), templates.model_dump(), options.model_dump(), spec.seed])
        lines, size, _ = store.read_lines(file)
        kept = store.parse_records(file, lines, CachedVerdict)
        known = {(said.id, said.texts): said.reason for said in kept if said.judge == by}
        counted, handle = CallLimitedEngine(engine, spec.budget.calls, len(kept)), store.open_for_append(file)

        def judged(rows: Sequence[CurationRow]) -> list[str]:
            nonlocal size
            keys = {row.id: (row.id, digest([row.roles, row.texts])) for row in rows}
            asked = [_to_exchange(row) for row in rows if keys[row.id] not in known]
            for verdict in judge(asked, counted, rubric, templates, options, step=step):
                key = keys[verdict.id]
                known[key] = exclusion_reason(verdict)
                if verdict.outcome != "unjudged":
                    said = CachedVerdict(id=key[0], texts=key[1], judge=by, reason=known[key])
                    size = store.write_line(handle, file, size, said.model_dump_json().encode())
            return [known[keys[row.id]] for row in rows]

        try:
            yield judged
        finally:
            os.close(handle)
            if not size:
                file.unlink(missing_ok=True)


def _to_exchange(row: CurationRow) -> Exchange:
    roles = row.roles or tuple("assistant" if n % 2 else "user" for n in range(row.prompt_turns))
    turns = tuple(
        Message.model_validate({"role": role if role in ("system", "assistant") else "user", "content": text})
        for role, text in zip(roles, row.texts[: row.prompt_turns], strict=False)
    )
    prompt, response = Prompt(id=row.id, messages=turns), "\n".join(row.texts[row.prompt_turns :])
    return Exchange(id=row.id, prompt=prompt, response=response, stop="stop", model="row", sampling=Sampling())
