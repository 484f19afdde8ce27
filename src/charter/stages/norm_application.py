"""What people decided is followed: prompts that a norm decides about, and rows of the past that it turns wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from charter.constitution.run_state import RunState
from charter.judging.json_requests import JsonQuestion, JsonRequest, ask_json, read_texts
from charter.judging.reply_schemas import LOOKALIKE_SCHEMA
from charter.ports import Engine
from charter.records.chat import Exchange, Prompt, user_prompt
from charter.records.record import Step, digest
from charter.records.rules import Norm, NormPrompts
from charter.records.templates import Templates, fence_text
from charter.records.training_rows import Example
from charter.records.verdicts import Verdict
from charter.similarity.splits import LeakageFilter, rank

PROMPTS_PER_NORM, MAX_SHOWN, MAX_DOUBTFUL = 48, 8, 96
"""Prompts asked for, prompts shown for their manner, and rows of the past judged again, for each norm."""


def build_handover(left: RunState) -> RunState:
    """What a run leaves, with those findings alone that rules came of."""
    causes = {cause for p in left.constitution.principles for cause in p.because}
    return left.model_copy(update={"findings": tuple(f for f in left.findings if f.id in causes)})


def write_norm_prompts(
    norms: Sequence[Norm],
    proposer: Engine,
    given: RunState,
    guard: LeakageFilter,
    templates: Templates,
    *,
    step: Step,
) -> Iterator[NormPrompts]:
    """For each norm, prompts that it decides about, written by the proposer; by hash, half of them only check. What is
    close to a gate or held-out prompt is left out."""
    known = [Prompt(id=e.id, messages=e.messages) for e in (*given.examples, *given.replay_rows)]
    questions = []
    for norm in norms:
        manner = [known[n].last for n in _nearest_texts(norm.text, [p.text for p in known])[:MAX_SHOWN]]
        fields = partial(_norm_fields, norm.text, manner)
        questions.append(JsonQuestion(norm.id, (norm.text, *manner), fields))
    form = JsonRequest(templates.norm, LOOKALIKE_SCHEMA, max_tokens=4096)
    for answer, reply in ask_json(proposer, questions, form, step=step):
        texts = read_texts(reply, "prompts")
        made = {p.id: p for t in texts if not guard.is_protected(t) for p in [user_prompt(t, source="norm")]}
        halves: tuple[list[Prompt], list[Prompt]] = ([], [])
        for p in made.values():
            halves[int(digest(f"norm|{p.text}"), 16) % 2].append(p)
        raw = answer.error or answer.text
        yield NormPrompts(id=answer.id, train=tuple(halves[0]), check=tuple(halves[1]), raw=raw)


def _norm_fields(rule: str, manner: Sequence[str], fence: str) -> dict[str, str]:
    return {
        "rule": fence_text("rule", rule, fence),
        "examples": "\n".join(fence_text("prompt", text, fence) for text in manner),
        "count": str(PROMPTS_PER_NORM),
    }


def norm_training_prompts(norms: Sequence[Norm], written: Sequence[NormPrompts], holds: bool) -> list[Prompt]:
    """The prompts that may become rows of norms in force, or of norms taken back; each once."""
    kind = {norm.id for norm in norms if norm.holds is holds}
    return list({p.id: p for found in written if found.id in kind for p in found.train}.values())


def norm_check_prompts(norms: Sequence[Norm], written: Sequence[NormPrompts], holds: bool) -> list[Prompt]:
    """The prompts that check norms in force, or norms taken back; each once."""
    kind = {norm.id for norm in norms if norm.holds is holds}
    return list({p.id: p for found in written if found.id in kind for p in found.check}.values())


def find_doubtful_rows(norms: Sequence[Norm], given: RunState) -> list[Exchange]:
    """The rows of the past whose words are nearest to each norm's, as exchanges to be judged again."""
    rows = [*given.examples, *given.replay_rows]
    texts = [f"{' '.join(m.content for m in row.messages)} {row.response}" for row in rows]
    chosen = {n for norm in norms for n in _nearest_texts(norm.text, texts)[:MAX_DOUBTFUL]}
    return [Exchange.of_row(row.id, row.messages, row.response) for n, row in enumerate(rows) if n in chosen]


def drop_contradicted_rows(
    given: RunState, norms: Sequence[Norm], conduct: Sequence[Verdict], replays: Sequence[Verdict]
) -> RunState:
    """The handover less the rows that the norms turn wrong: those made from the failures of rules taken back, those
    that violate now, and, where a rule was taken back, those that refuse what is harmless now."""
    back = {norm.id for norm in norms if not norm.holds}
    standing = {cause for p in given.constitution.active for cause in p.because}
    gone = {c for p in given.constitution.principles if p.id in back for c in p.because} - standing
    gone |= {v.id for v in conduct if v.outcome == "violates"}
    gone |= {v.id for v in replays if back and v.label == "refused"}

    def left(rows: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(row for row in rows if row.id not in gone)

    return given.model_copy(update={"examples": left(given.examples), "replay_rows": left(given.replay_rows)})


def _nearest_texts(text: str, others: Sequence[str]) -> list[int]:
    """The others that share words with a text, the nearest first."""
    return [place for place, closeness in rank([text], others) if closeness > 0]
