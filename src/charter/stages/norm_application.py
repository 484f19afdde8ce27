"""What people decided is followed: prompts that a norm decides about, and rows of the past that it turns wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.ports import Engine
from charter.records.chat import Exchange, Prompt, Request, Sampling, user_prompt
from charter.records.model_refs import ModelRef
from charter.records.record import Step, digest
from charter.records.rules import Norm, NormPrompts
from charter.records.training_rows import Example
from charter.records.verdicts import Finding, Verdict
from charter.similarity import LeakageFilter
from charter.templates import LOOKALIKE_SCHEMA, Templates, draw_nonce, fence_text, parse_json_object, render, user_turn

PROMPTS_PER_NORM, MAX_SHOWN, MAX_DOUBTFUL = 48, 8, 96
"""Prompts asked for, prompts shown for their manner, and rows of the past judged again, for each norm."""


def build_handover(
    policy: ModelRef,
    constitution: Constitution,
    rows: tuple[Sequence[Example], Sequence[Example]],
    seen: tuple[Sequence[str], Sequence[str]],
    found: Sequence[Finding],
) -> RunState:
    """What a run leaves. ``rows``: accepted revisions, and replay; ``seen``: prompts rehearsed, and probed."""
    causes = {cause for p in constitution.principles for cause in p.because}
    return RunState(
        policy=policy,
        constitution=constitution,
        examples=tuple(rows[0]),
        replay_rows=tuple(rows[1]),
        replay_prompt_ids=tuple(seen[0]),
        probed_prompt_ids=tuple(seen[1]),
        findings=tuple(f for f in found if f.id in causes),
    )


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
    requests = []
    for norm in norms:
        manner = [known[n] for n in _nearest_texts(norm.text, [p.text for p in known])[:MAX_SHOWN]]
        fence = draw_nonce(step.random(norm.id), norm.text, *(p.last for p in manner))
        fields = {
            "rule": fence_text("rule", norm.text, fence),
            "examples": "\n".join(fence_text("prompt", p.last, fence) for p in manner),
            "count": str(PROMPTS_PER_NORM),
            "schema": json.dumps(LOOKALIKE_SCHEMA),
        }
        requests.append(
            Request(
                id=norm.id,
                messages=user_turn(render(templates.norm, fields)),
                sampling=Sampling(max_tokens=4096),
                seed=step.seed(norm.id),
                response_schema=LOOKALIKE_SCHEMA,
            )
        )
    for answer in proposer.generate(requests, step.done):
        written = (parse_json_object(answer.text) or {}).get("prompts")
        texts = [t.strip() for t in written if isinstance(t, str) and t.strip()] if isinstance(written, list) else []
        made = {p.id: p for t in texts if not guard.is_protected(t) for p in [user_prompt(t, source="norm")]}
        halves: tuple[list[Prompt], list[Prompt]] = ([], [])
        for p in made.values():
            halves[int(digest(f"norm|{p.text}"), 16) % 2].append(p)
        raw = answer.error or answer.text
        yield NormPrompts(id=answer.id, train=tuple(halves[0]), check=tuple(halves[1]), raw=raw)


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
    return [
        Exchange(
            id=row.id,
            prompt=Prompt(id=row.id, messages=row.messages),
            response=row.response,
            stop="stop",
            model="",
            sampling=Sampling(),
        )
        for n, row in enumerate(rows)
        if n in chosen
    ]


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

    return given.model_copy(update={"examples": left(given.examples), "replayed": left(given.replay_rows)})


def _nearest_texts(text: str, others: Sequence[str]) -> list[int]:
    """The others that share words with a text, the nearest first (TF-IDF cosine)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        closeness = (weights.fit_transform(others) @ weights.transform([text]).T).toarray()[:, 0]
    except ValueError:
        return []
    ranked = sorted(range(len(others)), key=lambda n: (-float(closeness[n]), n))
    return [n for n in ranked if closeness[n] > 0]
