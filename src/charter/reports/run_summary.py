"""``charter show``: a run in figures. The summary is what ``--json`` prints, key for key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from charter.records.decisions import Alarm, GateCheck
from charter.records.measurements import Measurement, Score
from charter.records.preferences import PairVerdict
from charter.records.record import Record
from charter.records.verdicts import Verdict
from charter.reports.audit_comparison import read_audit
from charter.reports.benchmark_figures import read_figures, skipped_benchmarks
from charter.reports.breakdown import read_cells, read_generalisation
from charter.reports.costs import StepCost, read_costs, read_times, sum_by_role
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.judge_trust import read_judge_trust, read_own_calibration
from charter.reports.norm_compliance import read_norm_compliance
from charter.reports.paired_tests import FINAL_STEP, START_STEP, compare_before_after
from charter.reports.preference_report import read_preference_report
from charter.reports.principle_usage import PrincipleUsage, read_principle_usage
from charter.reports.rule_refusals import count_checked, read_checked_wordings
from charter.reports.self_instruct_tables import read_yields
from charter.reports.skipped import count_failed_answers, read_row_counts, read_skipped_rows
from charter.reports.unjudged_reasons import UNJUDGED, count_reasons, count_refusals
from charter.runs.reader import RunReader
from charter.spec import PROGRAM_PREFIX
from charter.spec.spec_parser import TUNING_METHODS
from charter.statistics import share_bounds

SHOWN_METRICS = ("harmlessness", "retention", "helpfulness", "over_refusal", "over_refusal_borderline", "honesty")
VERDICT_STEPS = (
    *("verdicts", "rechecks", "helps", "checks", "further_verdicts", "single_verdicts", "double_verdicts"),
    *("benign_verdicts", "blamed_verdicts", "ordinary_verdicts"),
    *("peaceful", "attacked", "refusals"),
    *("judge_probe_verdicts", "evaluator_probe_verdicts", "other_verdicts"),
)
"""Steps whose records are a judge's verdicts."""

FiguresByMetric = dict[str, dict[str, int | float | None]]


class RunSummary(Record):
    """``identity``: whether a digest of its weights says who the target is. ``before`` and ``after`` are held-out,
    ``iterations`` gate (one for each policy that was scored); values are shares, unknown ones null. ``oracle.calls`` is
    all that aligning needs; ``roles``: calls, tokens and money (null: no price is known) by role. ``seconds`` of work,
    pauses left out.
    ``unjudged_why``: missing verdicts by reason; ``refused``: those that a judge refused, by the prompt's category;
    ``notes``: how servers are asked otherwise than was meant.
    ``failed``: answers that the target did not give, by reason; ``left_out``: training rows that were not used;
    ``rows_left_out``: rows of files that were skipped, by source and reason;
    ``target``: what answered, where and how. ``judging``: the judged shares and how far they can be trusted;
    ``calibration``: what the method ``calibrate`` found. ``breakdown``: held-out by category, language, source and
    attack style; ``generalisation``: on what training never saw, empty where there is nothing. ``norms``: what people
    decided in a run that goes on from another one, and how often it is followed. ``audit``: what the method ``audit``
    found. ``written``: prompts that a model wrote, what each filter dropped. ``ruled``: of a method that begins with
    rules, what people wrote and which rules were used. ``proposed``: wordings of rules that passed their checks, and
    those refused, by reason. ``changes``: held-out, on the same prompts, with interval, p and
    what n can show; ``gates`` and ``alarms`` by iteration. ``benchmarks``: those that the spec named, and
    ``benchmarks_left_out`` those that the target could not take, with the reason. ``learning``: from preferences, what
    the guards saw. ``curation``: of each training set that was sifted, rows and kept ones, and which benchmarks were
    not looked for (``not_covered``)."""

    run: str
    method: str
    identity: Literal["verified", "not verifiable"]
    world: str | None
    before: FiguresByMetric
    after: FiguresByMetric
    iterations: list[FiguresByMetric]
    constitution: dict[str, Any]
    planted: dict[str, int | None]
    target: dict[str, Any]
    failed: dict[str, int]
    left_out: int
    rows_left_out: dict[str, dict[str, int]] = Field(default_factory=dict)
    unjudged: int
    unjudged_why: dict[str, int] = Field(default_factory=dict)
    refused: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
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
    ruled: PrincipleUsage | None = None
    proposed: dict[str, int] = Field(default_factory=dict)
    changes: dict[str, dict[str, Any]]
    gates: dict[str, list[dict[str, Any]]]
    alarms: dict[str, list[dict[str, Any]]]
    benchmarks: list[dict[str, Any]]
    benchmarks_left_out: dict[str, str]
    learning: dict[str, Any] | None = None
    curation: dict[str, dict[str, int | str]] = Field(default_factory=dict)


def summarise_run(directory: Path | str) -> RunSummary:
    """The figures of a run, finished or not. Raises StoreError, DamagedError, SpecError."""
    return summarise_reading(RunReader(directory))


def summarise_reading(reading: RunReader) -> RunSummary:
    """The same from a run that is read already."""
    taken = read_costs(reading)
    planted = reading.outcome.get("planted") or {}
    measured = read_own_calibration(reading)
    return RunSummary(
        run=reading.name,
        method=reading.spec.method,
        identity="verified" if reading.verifiable else "not verifiable",
        world=reading.spec.world or None,
        before=score_figures(reading.scores(f"{START_STEP}_scores")),
        after=score_figures(reading.scores(f"{FINAL_STEP}_scores")),
        iterations=[score_figures(gate) for gate in read_gate_scores(reading).values()],
        constitution=_summarise_constitution(reading),
        planted={key: planted.get(key) for key in ("flaws", "discovered")},
        target=reading.environment.get("target", {}),
        failed=count_failed_answers(reading),
        left_out=sum(len(rows) for rows in read_skipped_rows(reading).values()),
        rows_left_out={count.id: count.reasons for count in read_row_counts(reading) if count.left_out},
        unjudged=count_unjudged(reading),
        unjudged_why=count_reasons(reading, VERDICT_STEPS),
        refused=count_refusals(reading, VERDICT_STEPS),
        notes=[f"{event['role']}: {event['note']}" for event in reading.events if event["event"] == "noted"],
        judging=read_judge_trust(reading).model_dump(mode="json"),
        calibration=measured.model_dump(mode="json") if measured else None,
        oracle=_sum_oracle_calls(taken),
        roles=sum_by_role(taken),
        seconds=read_times(reading).total,
        head=reading.head,
        breakdown=read_cells(reading),
        generalisation=read_generalisation(reading),
        norms=[row.model_dump(mode="json") for row in read_norm_compliance(reading)],
        audit=found.model_dump(mode="json") if (found := read_audit(reading)) else None,
        written=[one.model_dump(mode="json") for one in read_yields(reading)],
        ruled=read_principle_usage(reading),
        proposed=count_checked(read_checked_wordings(reading)),
        changes={name: pair.model_dump(mode="json") for name, pair in compare_before_after(reading).items()},
        gates=_records_by_iteration(reading, "gates", GateCheck),
        alarms=_records_by_iteration(reading, "alarms", Alarm),
        benchmarks=[figure.model_dump(mode="json") for figure in read_figures(reading)],
        benchmarks_left_out={missed.id: missed.reason for missed in skipped_benchmarks(reading)},
        learning=learnt.model_dump(mode="json") if (learnt := read_preference_report(reading)) else None,
        curation=_summarise_curation(reading),
    )


def _sum_oracle_calls(taken: Sequence[StepCost]) -> dict[str, int]:
    """Calls and tokens of all roles but the target."""
    asked = [cost for cost in taken if cost.purpose != "target"]
    return {
        "calls": sum(cost.calls for cost in asked if cost.purpose == "aligning"),
        "calls_measuring": sum(cost.calls for cost in asked if cost.purpose == "measuring"),
        "tokens_in": sum(cost.tokens_in for cost in asked),
        "tokens_out": sum(cost.tokens_out for cost in asked),
    }


def _summarise_curation(reading: RunReader) -> dict[str, dict[str, int | str]]:
    """Each training set that was sifted: rows, kept ones, and what was not looked for."""
    return {
        folder: {"rows": card.rows, "kept": card.kept, "not_covered": card.settings.get("not covered", "")}
        for folder, card in read_data_cards(reading).items()
    }


def _summarise_constitution(reading: RunReader) -> dict[str, Any]:
    constitution = reading.constitution
    return {
        "version": constitution.version,
        "principles": [
            p.model_dump(mode="json") | {"judgement": p.efficacy.judgement if p.efficacy else None}
            for p in constitution.principles
        ],
        "amendments": [{"version": v} | a.model_dump(mode="json") for v, a in reading.amendments],
    }


def _records_by_iteration(reading: RunReader, name: str, kind: type[Record]) -> dict[str, list[dict[str, Any]]]:
    found = {folder: reading.records(f"{folder}/{name}", kind) for folder in reading.iterations}
    return {folder: [r.model_dump(mode="json") for r in records] for folder, records in found.items() if records}


def score_figures(scores: dict[str, Score]) -> FiguresByMetric:
    """The six metrics, each with value, n and interval; null where there is none. ``least`` and ``most`` are what the
    ``unjudged`` leave open."""
    keys = ("value", "n", "low", "high", "unjudged")
    return {
        name: {key: getattr(scores.get(name), key, None) for key in keys} | _figure_with_bounds(scores.get(name))
        for name in SHOWN_METRICS
    }


def _figure_with_bounds(score: Score | None) -> dict[str, int | float | None]:
    if score is None:
        return {"least": None, "most": None}
    return dict(zip(("least", "most"), unjudged_bounds(score), strict=True))


def unjudged_bounds(score: Score) -> tuple[float, float]:
    """The least and the greatest value that a score would have with the unjudged judged."""
    return share_bounds(round((score.value or 0) * score.n), score.n, score.unjudged)


def read_gate_scores(reading: RunReader) -> dict[str, dict[str, Score]]:
    """Gate scores of each iteration that tuned a policy, by folder."""
    found = {folder: reading.scores(f"{folder}/gate_scores") for folder in reading.iterations}
    return {folder: scores for folder, scores in found.items() if scores}


def count_unjudged(reading: RunReader) -> int:
    """Verdicts off the menu, and measurements that could not be judged, over the whole run."""
    count = 0
    for step in reading.steps:
        name = step.split("/")[-1]
        if name in VERDICT_STEPS or name.endswith(("_rechecks", "_addressed")):
            count += sum(v.outcome == "unjudged" for v in reading.find_records(step, Verdict, UNJUDGED))
        elif name == "preferences":
            count += sum(p.first is None for p in reading.find_records(step, PairVerdict, "null"))
        elif name.endswith("_measurements"):
            count += sum(None in m.outcomes.values() for m in reading.records(step, Measurement))
    return count


def scripted_note(reading: RunReader) -> tuple[str, str] | None:
    """What to say where a program plays a part: a heading and a sentence."""
    spec = reading.spec
    played = {"judge": spec.judge or spec.oracle, "proposer": spec.proposer or spec.oracle, "evaluator": spec.evaluator}
    roles = [role for role, asked in played.items() if asked != "world" and asked.model.startswith(PROGRAM_PREFIX)]
    if not roles:
        return None
    who = ", ".join(roles[:-1]) + f" and {roles[-1]}" if len(roles) > 1 else roles[0]
    return (
        "Scripted.",
        f"{who.capitalize()} {'are programs' if len(roles) > 1 else 'is a program'} that the spec names, not a known "
        "model. Where no model stands behind them every step can be followed, and the scores mean nothing.",
    )


def untrained_note(reading: RunReader) -> str:
    """What to say where a finished run of a method that tunes ended with the model that it began with; else empty."""
    if not reading.outcome or reading.spec.method not in TUNING_METHODS or (reading.directory / "adapter").is_dir():
        return ""
    return "Nothing was learnt: the run ended with the model that it began with, so there is no folder adapter."
