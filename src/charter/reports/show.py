"""``charter show``: a run in figures. The summary is what ``--json`` prints, key for key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from charter.gating import Alarm, Gate
from charter.judging.records import Preference
from charter.nouns import Measurement, Record, Score, Verdict
from charter.reports.audit import audited
from charter.reports.benchmarked import benchmarked, left_out
from charter.reports.costs import by_role, costs, times
from charter.reports.data_card import cards
from charter.reports.groups import cells, generalisation
from charter.reports.judging import calibration, trust
from charter.reports.learning import learning
from charter.reports.losses import failed_answers, rows_left_out
from charter.reports.norms import followed
from charter.reports.paired import FINAL, START, before_after
from charter.reports.reading import Reading
from charter.reports.ruled import Ruled, ruled
from charter.reports.written import yields
from charter.spec import PROGRAM
from charter.statistics import bounds

METRICS = ("harmlessness", "retention", "helpfulness", "over_refusal", "over_refusal_borderline", "honesty")
VERDICTS = (
    *("verdicts", "rechecks", "helps", "checks", "further_verdicts", "single_verdicts", "double_verdicts"),
    *("benign_verdicts", "blamed_verdicts", "ordinary_verdicts"),
    *("peaceful", "attacked", "refusals"),
)
"""Steps whose records are a judge's verdicts."""

Figures = dict[str, dict[str, int | float | None]]


class Summary(Record):
    """``identity``: whether a digest of its weights says who the target is. ``before`` and ``after`` are held-out,
    ``iterations`` gate (one for each policy that was scored); values are shares, unknown ones null. ``oracle.calls`` is
    all that aligning needs; ``roles``: calls, tokens and money (null: no price is known) by role. ``seconds`` of work,
    pauses left out.
    ``failed``: answers that the target did not give, by reason; ``left_out``: training rows that were not used;
    ``target``: what answered, where and how. ``judging``: the judged shares and how far they can be trusted;
    ``calibration``: what the method ``calibrate`` found. ``breakdown``: held-out by category, language, source and
    attack style; ``generalisation``: on what training never saw, empty where there is nothing. ``norms``: what people
    decided in a run that goes on from another one, and how often it is followed. ``audit``: what the method ``audit``
    found. ``written``: prompts that a model wrote, what each filter dropped. ``ruled``: of a method that begins with
    rules, what people wrote and which rules were used. ``changes``: held-out, on the same prompts, with interval, p and
    what n can show; ``gates`` and ``alarms`` by iteration. ``benchmarks``: those that the spec named, and
    ``benchmarks_left_out`` those that the target could not take, with the reason. ``learning``: from preferences, what
    the guards saw. ``curation``: of each training set that was sifted, rows and kept ones, and which benchmarks were
    not looked for (``not_covered``)."""

    run: str
    method: str
    identity: Literal["verified", "not verifiable"]
    world: str | None
    before: Figures
    after: Figures
    iterations: list[Figures]
    constitution: dict[str, Any]
    planted: dict[str, int | None]
    target: dict[str, Any]
    failed: dict[str, int]
    left_out: int
    unjudged: int
    judging: dict[str, Any]
    calibration: dict[str, Any] | None
    oracle: dict[str, int]
    roles: dict[str, dict[str, int | float | None]]
    seconds: float
    head: str | None
    breakdown: dict[str, list[dict[str, Any]]]
    generalisation: dict[str, Any]
    norms: list[dict[str, Any]]
    audit: dict[str, Any] | None
    written: list[dict[str, Any]]
    ruled: Ruled | None = None
    changes: dict[str, dict[str, Any]]
    gates: dict[str, list[dict[str, Any]]]
    alarms: dict[str, list[dict[str, Any]]]
    benchmarks: list[dict[str, Any]]
    benchmarks_left_out: dict[str, str]
    learning: dict[str, Any] | None = None
    curation: dict[str, dict[str, int | str]] = Field(default_factory=dict)


def summary(directory: Path | str) -> Summary:
    """The figures of a run, finished or not. Raises StoreError, DamagedError, SpecError."""
    return summarised(Reading(directory))


def summarised(reading: Reading) -> Summary:
    """The same from a run that is read already."""
    taken = costs(reading)
    asked = [cost for cost in taken if cost.purpose != "target"]
    planted = reading.outcome.get("planted") or {}
    constitution, measured = reading.constitution, calibration(reading)
    return Summary(
        run=reading.name,
        method=reading.spec.method,
        identity="verified" if reading.verifiable else "not verifiable",
        world=reading.spec.world or None,
        before=figures(reading.scores(f"{START}_scores")),
        after=figures(reading.scores(f"{FINAL}_scores")),
        iterations=[figures(gate) for gate in gates(reading).values()],
        constitution={
            "version": constitution.version,
            "principles": [
                p.model_dump(mode="json") | {"judgement": p.efficacy.judgement if p.efficacy else None}
                for p in constitution.principles
            ],
            "amendments": [{"version": v} | a.model_dump(mode="json") for v, a in reading.amendments],
        },
        planted={key: planted.get(key) for key in ("flaws", "discovered")},
        target=reading.environment.get("target", {}),
        failed=failed_answers(reading),
        left_out=sum(len(rows) for rows in rows_left_out(reading).values()),
        unjudged=unjudged(reading),
        judging=trust(reading).model_dump(mode="json"),
        calibration=measured.model_dump(mode="json") if measured else None,
        oracle={
            "calls": sum(cost.calls for cost in asked if cost.purpose == "aligning"),
            "calls_measuring": sum(cost.calls for cost in asked if cost.purpose == "measuring"),
            "tokens_in": sum(cost.tokens_in for cost in asked),
            "tokens_out": sum(cost.tokens_out for cost in asked),
        },
        roles=by_role(taken),
        seconds=times(reading).total,
        head=reading.head,
        breakdown=cells(reading),
        generalisation=generalisation(reading),
        norms=[row.model_dump(mode="json") for row in followed(reading)],
        audit=found.model_dump(mode="json") if (found := audited(reading)) else None,
        written=[one.model_dump(mode="json") for one in yields(reading)],
        ruled=ruled(reading),
        changes={name: pair.model_dump(mode="json") for name, pair in before_after(reading).items()},
        gates=_by_iteration(reading, "gates", Gate),
        alarms=_by_iteration(reading, "alarms", Alarm),
        benchmarks=[figure.model_dump(mode="json") for figure in benchmarked(reading)],
        benchmarks_left_out={missed.id: missed.reason for missed in left_out(reading)},
        learning=learnt.model_dump(mode="json") if (learnt := learning(reading)) else None,
        curation={
            folder: {"rows": card.rows, "kept": card.kept, "not_covered": card.settings.get("not covered", "")}
            for folder, card in cards(reading).items()
        },
    )


def _by_iteration(reading: Reading, name: str, kind: type[Record]) -> dict[str, list[dict[str, Any]]]:
    found = {folder: reading.records(f"{folder}/{name}", kind) for folder in reading.iterations}
    return {folder: [r.model_dump(mode="json") for r in records] for folder, records in found.items() if records}


def figures(scores: dict[str, Score]) -> Figures:
    """The six metrics, each with value, n and interval; null where there is none. ``least`` and ``most`` are what the
    ``unjudged`` leave open."""
    keys = ("value", "n", "low", "high", "unjudged")
    return {
        name: {key: getattr(scores.get(name), key, None) for key in keys} | _open(scores.get(name)) for name in METRICS
    }


def _open(score: Score | None) -> dict[str, int | float | None]:
    if score is None:
        return {"least": None, "most": None}
    return dict(zip(("least", "most"), left_open(score), strict=True))


def left_open(score: Score) -> tuple[float, float]:
    """The least and the greatest value that a score would have with the unjudged judged."""
    return bounds(round((score.value or 0) * score.n), score.n, score.unjudged)


def gates(reading: Reading) -> dict[str, dict[str, Score]]:
    """Gate scores of each iteration that tuned a policy, by folder."""
    found = {folder: reading.scores(f"{folder}/gate_scores") for folder in reading.iterations}
    return {folder: scores for folder, scores in found.items() if scores}


def unjudged(reading: Reading) -> int:
    """Verdicts off the menu, and measurements that could not be judged, over the whole run."""
    count = 0
    for step in reading.steps:
        name = step.split("/")[-1]
        if name in VERDICTS or name.endswith("_rechecks"):
            count += sum(v.outcome == "unjudged" for v in reading.records(step, Verdict))
        elif name == "preferences":
            count += sum(p.first is None for p in reading.records(step, Preference))
        elif name.endswith("_measurements"):
            count += sum(None in m.outcomes.values() for m in reading.records(step, Measurement))
    return count


def scripted(reading: Reading) -> tuple[str, str] | None:
    """What to say where a program plays a part: a heading and a sentence."""
    spec = reading.spec
    played = {"judge": spec.judge or spec.oracle, "proposer": spec.proposer or spec.oracle, "evaluator": spec.evaluator}
    roles = [role for role, asked in played.items() if asked != "world" and asked.model.startswith(PROGRAM)]
    if not roles:
        return None
    who = ", ".join(roles[:-1]) + f" and {roles[-1]}" if len(roles) > 1 else roles[0]
    return (
        "Scripted.",
        f"{who.capitalize()} {'are programs' if len(roles) > 1 else 'is a program'} that the spec names, not a known "
        "model. Where no model stands behind them every step can be followed, and the scores mean nothing.",
    )
