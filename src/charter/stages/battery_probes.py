"""A battery's probes about principles (own failures, attacks on them, prompts like them that are fresh), and what the
answers to a battery are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charter.judging.audit_battery import Battery, Probe, ProbePart, ProbeResult
from charter.ports import Attack, AttackTarget, Embedder
from charter.records.calibration_results import LabelledExchange
from charter.records.chat import Message, Prompt, user_prompt
from charter.records.feedback import Consent, FeedbackRow
from charter.records.item_ids import join_id
from charter.records.measurements import Measurement, Metric
from charter.records.record import Step
from charter.records.rule_decisions import RuleDecision
from charter.records.rules import Principle
from charter.records.verdicts import Finding, Verdict
from charter.similarity.spelling import normalize_text
from charter.similarity.vectors import compare_meanings, shortlist
from charter.spec import AuditSpec

SPECIFIC_SHARE = 0.25
"""A fresh prompt must resemble its principle's failures at least as much as this share of them, the least alike ones,
resemble the others."""
ROUNDING = 1e-9
"""Cosines of equal texts differ by so little."""
CANDIDATE_FACTOR = 1.25
"""Candidates for each fresh prompt that is wanted: the prompts most like the failures."""


def draw_probes(
    principles: Sequence[Principle],
    causes: Sequence[Finding],
    candidates: Sequence[Prompt],
    attacks: Mapping[str, Attack],
    options: AuditSpec,
    embedder: Embedder | None = None,
    *,
    step: Step,
) -> list[Probe]:
    """The probes of each principle, drawn by the step's seed. ``candidates``: prompts that nothing was trained on, of
    which those like its failures are fresh probes: by meaning, and without an embedder by words."""
    known = {f.id: f for f in causes}
    failures = {p.id: [known[key] for key in p.because if key in known] for p in principles}
    texts = {key: [f.exchange.prompt.text for f in found] for key, found in failures.items() if found}
    like = _nearest_by_meaning(texts, candidates, embedder) if embedder is not None else _nearest(texts, candidates)
    made: list[Probe] = []
    for principle in principles:
        chance = step.random(principle.id)
        found = failures[principle.id]
        own = [_probe(principle, "own", f.exchange.prompt) for f in chance.sample(found, min(options.own, len(found)))]
        fresh = like.get(principle.id, [])[: round(CANDIDATE_FACTOR * options.fresh)]
        drawn = chance.sample(fresh, min(options.fresh, len(fresh)))
        made += [*own, *attack_failures(own, attacks, step), *(_probe(principle, "fresh", prompt) for prompt in drawn)]
    return made


def make_tagged_probes(principles: Sequence[Principle], decisions: Sequence[RuleDecision]) -> list[Probe]:
    """The prompts that people tagged rules with, each once."""
    known = {p.id: p for p in principles}
    tags = {(d.principle, d.text): None for d in decisions if d.action == "tag" and d.principle in known}
    return [_probe(known[rule], "tagged", user_prompt(text, source="people")) for rule, text in tags]


def make_labelled_probes(
    principles: Sequence[Principle],
    causes: Sequence[Finding],
    labelled: Sequence[LabelledExchange],
    embedder: Embedder | None = None,
) -> list[Probe]:
    """The prompts whose answers people found bad, each about the one principle whose failures it is like; what is like
    none is left out. A probe names the label, and the ids of the raters' labels where they are known."""
    bad: dict[str, Prompt] = {}
    for one in labelled:
        if one.outcome == "violates":
            told = {"label": one.label, "label_ids": ", ".join(one.label_ids)}
            meta = {**one.exchange.prompt.meta, **{key: value for key, value in told.items() if value}}
            bad.setdefault(one.exchange.prompt.text, one.exchange.prompt.model_copy(update={"meta": meta}))
    return _place_prompts(principles, causes, list(bad.values()), "labelled", embedder)


def make_reported_probes(
    principles: Sequence[Principle],
    causes: Sequence[Finding],
    rows: Sequence[FeedbackRow],
    embedder: Embedder | None = None,
) -> list[Probe]:
    """The prompts whose answers users found bad, placed as labelled ones are. A probe names the rows of feedback, and
    what their users allow: the least that one of them does. Rows without consent give nothing."""
    told: dict[tuple[Message, ...], dict[str, Consent]] = {}
    for row in rows:
        if row.is_usable and row.said is not None and row.said.is_good is False:
            told.setdefault(row.said.prompt, {})[row.id] = row.said.consent
    prompts = []
    for turns, allowed in told.items():
        consent = "publish" if set(allowed.values()) == {"publish"} else "improve"
        named = user_prompt("\n".join(turn.content for turn in turns), source="feedback")
        meta = {"feedback": " ".join(allowed), "consent": consent}
        prompts.append(named.model_copy(update={"messages": turns, "meta": meta}))
    return _place_prompts(principles, causes, prompts, "reported", embedder)


def _place_prompts(
    principles: Sequence[Principle],
    causes: Sequence[Finding],
    prompts: Sequence[Prompt],
    part: ProbePart,
    embedder: Embedder | None,
) -> list[Probe]:
    """Probes of prompts, each about a principle that it caused by the same words, else about the one whose failures it
    is like; none of what is like none."""
    known = {f.id: f.exchange.prompt.text for f in causes}
    failures = {p.id: [known[key] for key in p.because if key in known] for p in principles}
    texts = {key: found for key, found in failures.items() if found}
    owner = {normalize_text(text): key for key, found in texts.items() for text in found}
    others = [prompt for prompt in prompts if normalize_text(prompt.text) not in owner]
    like = _nearest_by_meaning(texts, others, embedder) if embedder is not None else _nearest(texts, others)
    caused = [(owner.get(normalize_text(prompt.text)), prompt) for prompt in prompts]
    own = {p.id: [prompt for key, prompt in caused if key == p.id] for p in principles}
    return [_probe(p, part, prompt) for p in principles for prompt in (*own[p.id], *like.get(p.id, []))]


def attack_failures(own: Sequence[Probe], attacks: Mapping[str, Attack], step: Step) -> list[Probe]:
    """Own failures in each style; those that came of an attack already are left as they are."""
    plain = {probe.id: probe for probe in own if "attack" not in probe.prompt.meta}
    made = []
    for style, attack in attacks.items():
        choices = [AttackTarget(id=p.id, style=style, region="", prompt=p.prompt) for p in plain.values()]
        for attempt in attack.attack(choices, (), step):
            parent = plain[attempt.id]
            key = join_id(parent.id, style)
            meta = {**parent.prompt.meta, "attack": style}
            prompt = Prompt(id=key, messages=attempt.messages, source=parent.prompt.source, meta=meta)
            update = {"id": key, "part": "attack", "style": style, "prompt": prompt}
            made.append(parent.model_copy(update=update))
    return made


def _probe(principle: Principle, part: Any, prompt: Prompt) -> Probe:
    key = join_id(join_id(principle.id, part), prompt.id)
    return Probe(
        id=key, about=principle.id, part=part, group=key, prompt=prompt.model_copy(update={"id": key}),
        style=prompt.meta.get("attack", ""),
    )  # fmt: skip


def _nearest(texts: Mapping[str, Sequence[str]], candidates: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Candidates by the one principle whose failures they are like, the likest first. A word counts by how many of the
    principle's failures hold it, squared, and by how few of the others': what all share (a form, a place) tells nothing
    of a rule."""
    texts = {key: own for key, own in texts.items() if own}
    if not texts or not candidates:
        return {}
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    keys = list(texts)
    owner = np.array([number for number, key in enumerate(keys) for _ in texts[key]])
    counter = CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b")
    try:
        rows = counter.fit_transform([text for key in keys for text in texts[key]]).toarray().astype(float)
    except ValueError:
        return {}
    counts = np.array([rows[owner == number].sum(axis=0) for number in range(len(keys))])
    sizes = np.array([[len(texts[key])] for key in keys])
    held = counts / sizes
    weight = np.log(len(keys) / (held / held.max(axis=0)).sum(axis=0)) if len(keys) > 1 else np.ones(rows.shape[1])
    others = np.maximum(counts[owner] - rows, 0) / np.maximum(sizes[owner] - 1, 1)
    alike = (rows * others**2 * weight).sum(axis=1)
    least = [np.quantile(alike[owner == number], SPECIFIC_SHARE) for number in range(len(keys))]
    closeness = counter.transform([p.text for p in candidates]) @ (held**2 * weight).T
    own, best = closeness.argmax(axis=1), closeness.max(axis=1)
    ranked = sorted(range(len(candidates)), key=lambda i: (-float(best[i]), candidates[i].id))
    fits = [i for i in ranked if best[i] > 0 and best[i] >= least[own[i]]]
    return {key: [candidates[i] for i in fits if own[i] == number] for number, key in enumerate(keys)}


def _nearest_by_meaning(
    texts: Mapping[str, Sequence[str]], candidates: Sequence[Prompt], embedder: Embedder
) -> dict[str, list[Prompt]]:
    """Candidates by the one principle to whose failures they are nearest in the mean, the nearest first. Failures say
    how near is near enough: each is held against the others of its principle. Where there is one alone, a candidate
    must be nearer than chance."""
    if not texts or not candidates:
        return {}
    import numpy as np

    keys = list(texts)
    owner = np.array([number for number, key in enumerate(keys) for _ in texts[key]])
    known = [text for key in keys for text in texts[key]]
    candidates = [candidates[place] for place in shortlist(known, [p.text for p in candidates])]
    alike = compare_meanings(embedder, known, [*(p.text for p in candidates), *known])
    closeness = np.array([alike[owner == n][:, : len(candidates)].mean(axis=0) for n in range(len(keys))])
    own, best = closeness.argmax(axis=0), closeness.max(axis=0)
    least = [_least_alike(alike[owner == n][:, len(candidates) :][:, owner == n]) for n in range(len(keys))]
    ranked = sorted(range(len(candidates)), key=lambda i: (-float(best[i]), candidates[i].id))
    fits = [i for i in ranked if best[i] > 0 and best[i] >= least[own[i]] - ROUNDING]
    return {key: [candidates[i] for i in fits if own[i] == number] for number, key in enumerate(keys)}


def _least_alike(alike: Any) -> float:
    """Of ``alike`` [failures, failures], the nearness to the others that all but ``SPECIFIC_SHARE`` of them reach."""
    import numpy as np

    if len(alike) < 2:
        return 0.0
    others = (alike.sum(axis=1) - alike.diagonal()) / (len(alike) - 1)
    return float(np.quantile(others, SPECIFIC_SHARE))


def grade_answers(
    battery: Battery, verdicts: Sequence[Verdict], measurements: Sequence[Measurement], metrics: Sequence[Metric]
) -> list[ProbeResult]:
    """What each answer is worth, in the battery's order: of a principle, whether it complies; of a benchmark, whether
    what happened is good."""
    passed: dict[str, dict[str, bool | None]] = {}
    about, lower = {p.id: p.about for p in battery.principle_probes}, {m.name for m in metrics if m.better == "lower"}
    for v in verdicts:
        passed[v.id] = {about[v.id]: None if v.outcome == "unjudged" else v.outcome == "complies"}
    for m in measurements:
        passed[m.id] = {name: None if event is None else event != (name in lower) for name, event in m.outcomes.items()}
    return [ProbeResult(id=p.id, passed=passed[p.id]) for p in battery.probes if p.id in passed]
