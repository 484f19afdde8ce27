"""What an alignment would do at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charter.jobs.benchmark_calls import count_calls
from charter.judging.rubrics import ADDRESS, HELP, REPLAY
from charter.records.rules import MIN_EFFICACY_PAIRS
from charter.similarity.vectors import most_groups
from charter.spec import Spec
from charter.stages.efficacy import PROMPTS_A_MISSING
from charter.wiring import attack_styles, learners, role_models
from charter.wiring.components import Components
from charter.wiring.embedder import places_by_meaning
from charter.wiring.judge_proof import count_probe_calls
from charter.wiring.principle_methods import (
    METHODS_ON_GENERATED,
    METHODS_WITHOUT_RULES,
    PRINCIPLE_METHODS,
    build_principle_inputs,
    load_constitution,
)
from charter.wiring.prompt_previews import preview_prompts
from charter.wiring.reading_calls import ReadingCalls, plan_reading
from charter.wiring.row_files import METHODS_ON_GIVEN_ROWS
from charter.wiring.self_instruct_inputs import max_calls, max_prompts

_EFFICACY_STEPS, _EFFICACY_TRIALS = 3, 3
"""Steps that judge what efficacy is measured on (further failures, without one rule, without two), and times that a
failure is answered again."""
_BREADTH_STEPS, _BREADTH_TRIALS = 2, 2
"""The same of look-alikes."""


def forecast_alignment(components: Components, written: int = 0) -> dict[str, Any]:
    """Prompts, calls by purpose and tokens to generate. ``written``: prompts that the step before writes at most.
    Nothing is asked and no model loads. Raises SpecError."""
    spec = components.spec
    seen = preview_prompts(spec, components.start, components.sources, components.row_counts)
    if spec.constitution not in ("", "world", "none", "shipped"):
        seen |= {"rules": {p.id: p.text for p in load_constitution(components).active}}
    if repeated := components.prompts.repeated:
        seen |= {"prompts_repeated": repeated}
    if unmeasured := components.prompts.unmeasured:
        seen |= {"prompts_missing": unmeasured}
    if components.scale:
        seen |= {"scale": f"{components.scale}, by the target's size"}
    if probed := count_probe_calls(components):
        seen |= {"judge_probe": probed}
    if notes := components.describe().get("notes"):
        seen |= {"target": "; ".join(notes)}
    return {**_forecast_method(components, written), **_forecast_benchmarks(components), **seen}


def _forecast_method(components: Components, written: int) -> dict[str, Any]:
    """What a method would do, but for the benchmarks that the spec names."""
    spec = components.spec
    sizes: dict[str, int] = {split: len(prompts) for split, prompts in components.measured_prompts.items()}
    redteam, helpful = len(components.train["redteam"]) + written, len(components.train["helpful"])
    batch = min(spec.options.draw.batch, redteam)
    if spec.method == "red_team":
        return _forecast_red_team(components, batch, sizes)
    if spec.method in PRINCIPLE_METHODS:
        return _forecast_principles(components, batch, written, sizes)
    if spec.method == "rlhf":
        return learners.forecast_preferences(spec, {"redteam": redteam, "helpful": helpful}, sizes)
    asked = forecast_iteralign(spec, components.rubric.name, {"redteam": redteam, "helpful": helpful, **sizes})
    return {"method": spec.method, "start": components.start.base, **asked}


def _forecast_red_team(components: Components, batch: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What red-teaming ``batch`` prompts would ask for."""
    spec, train = components.spec, components.train
    return {
        "method": spec.method,
        "start": components.start.base,
        "prompts_read": sum(len(source.prompts()) for source in components.sources),
        "prompts": {"redteam": batch, "heldout": sizes["heldout"]},
        "prompts_asked_of_nobody": {
            "redteam, not drawn": len(train["redteam"]) - batch,
            "helpful, for training": len(train["helpful"]),
            "gate, for methods that train": sizes["gate"],
        },
        "oracle_calls_at_most": _read_judge(spec, components.rubric.name).count(batch) + spec.options.cluster.names,
        "budget_calls": spec.budget.calls,
        "answers_to_generate_at_most": batch + sizes["heldout"],
        "tokens_to_generate_at_most": (batch + sizes["heldout"]) * spec.scale.answer_tokens,
    }


def forecast_iteralign(spec: Spec, finding: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What IterAlign would ask for at most. ``finding``: the rubric of findings; ``sizes``: prompts by side and split
    (``redteam``, ``helpful``, ``gate``, ``heldout``)."""
    options = spec.options
    batch = min(options.draw.batch, sizes["redteam"])
    iterations = min(options.stop.iterations, -(-sizes["redteam"] // options.draw.batch))
    attempts = 0 if options.attack.is_idle else options.attack.batch
    asked = max(
        (options.attack.turns if s == "escalation" else s in attack_styles.MODEL_WRITTEN) for s in options.attack.styles
    )
    replayed = min(options.replay.fresh, sizes["helpful"]) + _max_clusters(spec, batch) * options.contrast.count
    calls = _count_iteration_calls(spec, finding, batch, attempts, asked)
    calls["replay checks"] = _read_judge(spec, REPLAY.name).count(replayed)
    each = 3 * batch + (2 + asked) * attempts + replayed + _max_rule_trials(spec, batch)
    each += sum(_max_measuring(spec, batch, tried=2))
    answers = 2 * sizes["heldout"] + sizes["gate"] * (iterations + 1) + iterations * each
    return {
        "prompts": dict(sizes),
        "iterations_at_most": iterations,
        "oracle_calls_at_most_per_iteration": calls,
        "oracle_calls_at_most": iterations * sum(calls.values()),
        "budget_calls": spec.budget.calls,
        "budget": spec.budget.model_dump(exclude={"calls"}),
        "answers_to_generate_at_most": answers,
        "tokens_to_generate_at_most": answers * spec.scale.answer_tokens,
    }


def _count_iteration_calls(spec: Spec, finding: str, batch: int, attempts: int, asked: int) -> dict[str, int]:
    """Calls of one iteration at most, by purpose.

    Args:
        spec: What is asked.
        finding: The rubric of findings.
        batch: Prompts that are drawn.
        attempts: Attacks that are made.
        asked: Calls that one attack takes.
    """
    options, found = spec.options, _read_judge(spec, finding)
    clusters, wordings = _max_clusters(spec, batch), _max_wordings(spec, batch)
    judged, tries = batch + attempts, options.propose.retries + 2
    addressed = wordings + clusters
    efficacy, breadth = _max_measuring(spec, batch)
    return {
        "verdicts": found.count(judged, 1 + (options.attack.rounds if attempts else 0)),
        "attacks": attempts * asked,
        "proposals and merging": (wordings or clusters) + 1 + options.cluster.names,
        "whom wordings address": _read_judge(spec, ADDRESS.name).count(addressed * options.propose.verify, tries),
        "trials of wordings": found.count(_max_rule_trials(spec, batch), tries),
        "look-alikes": clusters if options.contrast.count else 0,
        "rechecks": found.count(judged),
        "second rubric": _read_judge(spec, HELP.name).count(judged * options.keep.verify * options.keep.check_help),
        "efficacy of rules": found.count(efficacy, _EFFICACY_STEPS),
        "breadth of rules": _read_judge(spec, REPLAY.name).count(breadth, _BREADTH_STEPS),
    }


def _read_judge(spec: Spec, rubric: str) -> ReadingCalls:
    """What a verdict of the run's judge takes, retries left out."""
    return plan_reading(spec.judge or spec.oracle, spec.options.judge, rubric)


def _max_clusters(spec: Spec, batch: int) -> int:
    """Clusters of an iteration at most; where words tell failures apart, as many as are to be expected."""
    if spec.options.cluster.by == "batch":
        return 1
    return most_groups(batch) if places_by_meaning(spec) else max(1, batch // 10)


def _max_wordings(spec: Spec, batch: int) -> int:
    """Wordings that are asked for and checked in an iteration at most; none where proposals are not verified."""
    asked = spec.options.propose
    return _max_clusters(spec, batch) * asked.candidates * (asked.retries + 1) if asked.verify else 0


def _max_rule_trials(spec: Spec, batch: int) -> int:
    """Failures that are answered again under proposed and merged wordings in an iteration at most."""
    wordings = _max_wordings(spec, batch)
    return (wordings + _max_clusters(spec, batch)) * spec.options.propose.probes if wordings else 0


def _max_measuring(spec: Spec, batch: int, tried: int = 1) -> tuple[int, int]:
    """What measuring the efficacy and the breadth of an iteration's rules takes at most: a failure is answered again
    under all rules, without one, and without two that cover each other; a look-alike under all rules, and without one.
    ``tried``: 1 for the verdicts, 2 for the target, which criticises and revises. Further failures are looked for where
    a rule has too few."""
    options, clusters = spec.options, _max_clusters(spec, batch)
    further = PROMPTS_A_MISSING * MIN_EFFICACY_PAIRS * clusters
    efficacy = further + tried * _EFFICACY_TRIALS * (batch + further) if options.measure.efficacy else 0
    return efficacy, tried * _BREADTH_TRIALS * clusters * options.contrast.count if options.measure.breadth else 0


def _forecast_benchmarks(components: Components) -> dict[str, Any]:
    """How many questions the benchmarks that the spec names have, and how often they are put and judged at most: those
    of the gate part to the start and to each policy that is tried, the others before and after."""
    spec, given = components.spec, components.benchmarks
    if not spec.benchmarks:
        return {}
    judge = role_models.connect_oracle(given.judge, components.world, spec.offline) if given.judge is not None else None
    told: dict[str, dict[str, int]] = {}
    put, weighed, judged = 0, 0, 0
    parts = [("held-out", 1 if spec.method == "red_team" else 2, b) for b in given.build_benchmarks(judge)]
    if spec.method != "red_team":
        parts += [("gate", 1 + max_candidates(spec), b) for _, b in given.build_gate_parts(judge)]
    for part, times, benchmark in parts:
        calls = count_calls(benchmark, spec.options, benchmark.name in given.judged_names)
        told.setdefault(benchmark.name, {})[part] = len(benchmark.questions())
        put += times * calls.answers
        weighed += times * calls.log_likelihoods
        judged += times * calls.verdicts
    return {
        "benchmarks": told,
        "benchmark_questions_at_most": put,
        "benchmark_log_likelihoods_at_most": weighed,
        "benchmark_verdicts_at_most": judged,
    }


def max_candidates(spec: Spec) -> int:
    """How many policies a method may hold against its gates."""
    options = spec.options
    if spec.method in PRINCIPLE_METHODS:
        return (options.gates.retries + 1) * (1 + options.self_align.clone)
    if spec.method == "rlhf":
        return options.learn.rloo.rounds if options.learn.algorithm == "rloo" else 1
    return options.stop.iterations


def _forecast_principles(components: Components, batch: int, before: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What a method that begins with rules would ask for at most. ``batch``: its red-team prompts; ``before``: prompts
    that the step before wrote."""
    spec, given = components.spec, build_principle_inputs(components)
    instructed = given.principles.instructions
    written = max_calls(instructed) if instructed is not None else {}
    batch = 0 if spec.method == "engrave" else batch
    hard = batch + (
        max_prompts(instructed) if instructed is not None else before * (spec.method in METHODS_ON_GENERATED)
    )
    calls = max_oracle_calls(spec, components.rubric.name, batch, hard)
    if spec.options.instruct.generator == "proposer":
        calls["self-instruct"] = sum(written.values())
    scored = 0 if spec.method == "think" else 2 * (sizes["heldout"] + sizes["gate"])
    return {
        "method": spec.method,
        "start": components.start.base,
        "principles": len(given.constitution.active),
        "exemplars": len(given.principles.exemplars),
        **({"rows_of_files": len(given.principles.rows)} if spec.method in METHODS_ON_GIVEN_ROWS else {}),
        "prompts": {"redteam": batch, "helpful": len(given.helpful), **sizes},
        "calls_of_self_instruct": sum(written.values()),
        "oracle_calls_at_most": sum(calls.values()),
        "oracle_calls": calls,
        "budget": spec.budget.model_dump(),
        "answers_to_generate_at_most": _max_answers(spec, batch, hard) + scored,
    }


def max_oracle_calls(spec: Spec, finding: str, batch: int, hard: int) -> dict[str, int]:
    """Calls of judge and proposer at most, by purpose. ``finding``: the rubric of findings; ``hard``: prompts whose
    answers are judged by it, those of the batch and those that self-instruct wrote. Every vote counts with its retries;
    a proposer that writes longer lists than it was asked for is not foreseen."""
    options, answering, plainly = (
        spec.options,
        spec.method in METHODS_ON_GENERATED,
        spec.method not in METHODS_WITHOUT_RULES,
    )
    judge, in_words = spec.judge or spec.oracle, options.judge.votes * (options.judge.retries + 1)
    found, helps, replays = (
        plan_reading(judge, options.judge, rubric, in_words) for rubric in (finding, HELP.name, REPLAY.name)
    )
    checked = _answer_passes(spec) if options.keep.verify else 0
    alike = _max_lookalikes(spec, batch)
    rechecks, plain = hard * checked, batch * plainly
    if spec.method != "cai":
        plain *= bool(options.contrast.count or options.replay.compliant)
    else:
        plain *= bool(options.cai.revise == "findings" or options.contrast.count or options.replay.compliant)
        rechecks = batch * (options.cai.rounds if options.cai.until == "complies" else checked)
    samples = options.cai.samples if spec.method == "cai" else 1
    rehearsed = ((alike if options.replay.lookalikes else 0) + options.replay.fresh) * samples
    ordinary = alike + options.self_align.ordinary if answering and options.self_align.prompts != "instruct" else 0
    return {
        "verdicts": found.count(plain),
        "look-alikes": alike,
        "rechecks": found.count(rechecks, options.cai.rounds if spec.method == "cai" else checked),
        "second rubric": helps.count(hard * checked * options.keep.check_help, checked),
        "replay checks": replays.count(rehearsed * options.keep.verify),
        "ordinary answers": replays.count(ordinary * checked, checked),
    }


def _answer_passes(spec: Spec) -> int:
    """How often all prompts are answered for rows."""
    return 0 if spec.method == "engrave" else 1 + (spec.method == "self_align" and spec.options.self_align.clone)


def _max_lookalikes(spec: Spec, batch: int) -> int:
    """Look-alikes at most: no cluster gets more than it has failures."""
    return batch * bool(spec.options.contrast.count and spec.method not in METHODS_WITHOUT_RULES)


def _max_answers(spec: Spec, batch: int, hard: int) -> int:
    """Answers of the target at most, scores aside."""
    options, alike, plain = (
        spec.options,
        _max_lookalikes(spec, batch),
        batch * (spec.method not in METHODS_WITHOUT_RULES),
    )
    replayed = alike + options.replay.fresh
    if spec.method == "cai":
        return batch * (1 + 2 * options.cai.rounds) + replayed * options.cai.samples
    return plain + _answer_passes(spec) * (hard + alike + options.self_align.ordinary) + replayed
