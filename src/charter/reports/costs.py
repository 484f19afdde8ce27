"""What a run took: calls and tokens by purpose, role and step; seconds by step. All of it from seals and journal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from charter.constitution.exemplars import HumanLines
from charter.records.record import Record
from charter.runs.reader import RunReader
from charter.runs.store import Event

_IDLE_EVENTS = ("created", "resumed", "human")
TUNING_STEP = "policy"
"""The step in which a policy is trained."""
STEP_USES = {
    "verdicts": "verdicts on drawn prompts",
    "themes": "names and themes of clusters",
    "proposal_candidates": "proposals",
    "proposal_addressed": "whom proposed rules address",
    "proposal_rechecks": "trials of proposed rules",
    "amended": "merging rules",
    "merged": "merging rules",
    "merged_addressed": "whom merged rules address",
    "merged_rechecks": "trials of merged rules",
    "rechecks": "rechecks of revisions",
    "helps": "second rubric: safe help",
    "ordinary_verdicts": "whether harmless prompts are answered well",
    "checks": "replay checks",
    "further_verdicts": "efficacy: further failures",
    "single_verdicts": "efficacy: without one rule",
    "double_verdicts": "efficacy: without two rules",
    "benign_verdicts": "breadth: benign look-alikes under the rules",
    "blamed_verdicts": "breadth: the refused ones without a rule",
    "narrowed": "rewording rules that reach too far",
    "narrowed_addressed": "whom reworded rules address",
    "narrowed_rechecks": "trials of reworded rules",
    "preferences": "pairs, both orders",
    "answer_rewards": "replay checks",
    "refusals": "whether gate answers refuse",
    "judge_probe_verdicts": "probe of the judge",
    "evaluator_probe_verdicts": "probe of the evaluator",
    "judge_label_check": "whether the judge gives probabilities",
    "evaluator_label_check": "whether the evaluator gives probabilities",
    "other_verdicts": "labelled exchanges, read in the other way",
    "peaceful": "exchanges to attack, left in peace",
    "attacked": "attacks on the judge",
    "gate_measurements": "evaluation on gate",
    "heldout_measurements": "evaluation on held-out",
}
"""What the calls of a step are for, where its name does not say it."""


class StepCost(Record):
    """Of one step, purpose and role: ``calls`` planned (equal between equal runs), ``made`` (more where some were made
    again after a kill), tokens, ``seconds`` spent waiting for the model, and ``money`` (None: the price is not
    known)."""

    step: str
    purpose: str
    role: str
    calls: int
    made: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float | None = None

    @property
    def use(self) -> str:
        """What the calls are for, in words."""
        name = re.sub(r"^proposal\d+_", "proposal_", self.step.split("/")[-1])
        return STEP_USES.get(name, name.replace("_", " "))


class RunTimes(Record):
    """Seconds of work, pauses left out: ``by_step`` (path), ``between`` steps, ``waiting`` for models by role, and
    ``tuning``. ``outside`` is what is neither a model's nor the tuner's."""

    total: float
    by_step: dict[str, float]
    between: float
    waiting: dict[str, float]
    tuning: float

    @property
    def outside(self) -> float:
        """Seconds outside models, oracle and tuner."""
        return max(0.0, self.total - sum(self.waiting.values()) - self.tuning)

    @property
    def by_name(self) -> dict[str, float]:
        """Seconds by step name over all folders, longest first."""
        names: dict[str, float] = {}
        for step, seconds in self.by_step.items():
            names[step.split("/")[-1]] = names.get(step.split("/")[-1], 0.0) + seconds
        return dict(sorted(names.items(), key=lambda item: -item[1]))


def read_costs(reading: RunReader) -> list[StepCost]:
    """Every step's calls. Steps taken over from another run have calls, and neither tokens nor seconds."""
    made: dict[tuple[str, str, str], dict[str, float]] = {}
    unknown: set[tuple[str, str, str]] = set()
    for event in reading.events:
        if event["event"] == "answered":
            key = (event["step"], event["purpose"], event["role"])
            totals = made.setdefault(key, {})
            for name in ("calls", "tokens_in", "tokens_out", "seconds"):
                totals[name] = totals.get(name, 0) + event[name]
            unknown.update([key] if event.get("money") is None else [])
            totals["money"] = totals.get("money", 0.0) + (event.get("money") or 0.0)
    planned = {key: calls for path in reading.steps for key, calls in _planned_calls(reading, path)}
    out = []
    for key, calls in planned.items():
        usage = made.get(key, {})
        step, purpose, role = key
        out.append(
            StepCost(
                step=step,
                purpose=purpose,
                role=role,
                calls=calls,
                made=int(usage.get("calls", 0)),
                tokens_in=int(usage.get("tokens_in", 0)),
                tokens_out=int(usage.get("tokens_out", 0)),
                seconds=round(usage.get("seconds", 0.0), 3),
                money=None if key in unknown or not usage else round(usage["money"], 6),
            )
        )
    return out


def sum_by_role(taken: Sequence[StepCost]) -> dict[str, dict[str, int | float | None]]:
    """What each role took over the whole run; ``money`` None where a part of it is not known."""
    found: dict[str, dict[str, int | float | None]] = {}
    for role in dict.fromkeys(cost.role for cost in taken):
        own = [cost for cost in taken if cost.role == role]
        money = [cost.money for cost in own if cost.made]
        found[role] = {
            "calls": sum(cost.calls for cost in own),
            "made": sum(cost.made for cost in own),
            "tokens_in": sum(cost.tokens_in for cost in own),
            "tokens_out": sum(cost.tokens_out for cost in own),
            "money": None if None in money else round(sum(m for m in money if m is not None), 6),
        }
    return found


def bill_text(roles: Mapping[str, Mapping[str, int | float | None]]) -> str:
    """What the oracles cost, in words: by role where there are prices, and in all; empty where it is nothing."""
    money = {role: took["money"] for role, took in roles.items() if took["made"]}
    if not any(money.values()) and None not in money.values():
        return ""
    parts = [f"{role} {'not known' if cost is None else f'{cost:,.4g}'}" for role, cost in money.items() if cost != 0]
    return (
        f"Cost, in the currency of the prices: {', '.join(parts)}; {sum(c or 0 for c in money.values()):,.4g} in all."
    )


def read_times(reading: RunReader) -> RunTimes:
    """Where the seconds went: the time up to each journal line belongs to the step that the line speaks of. Calls that
    were made ahead of their step, while another one was at work, took no time of the run."""
    by_step: dict[str, float] = {}
    total = between = 0.0
    events = [event for event in _working_events(reading.events) if not event.get("ahead")]
    for before, event in pairwise(events):
        if event["event"] in _IDLE_EVENTS:
            continue
        seconds = max(0.0, (_event_time(event) - _event_time(before)).total_seconds())
        total += seconds
        if event["event"] == "opened" or "step" not in event:
            between += seconds
        else:
            by_step[event["step"]] = by_step.get(event["step"], 0.0) + seconds
    waiting: dict[str, float] = {}
    for event in events:
        if event["event"] == "answered":
            waiting[event["role"]] = waiting.get(event["role"], 0.0) + event["seconds"]
    tuning = sum(seconds for step, seconds in by_step.items() if step.endswith(f"/{TUNING_STEP}"))
    return RunTimes(
        total=round(total, 3),
        by_step={step: round(seconds, 3) for step, seconds in by_step.items()},
        between=round(between, 3),
        waiting={role: round(seconds, 3) for role, seconds in waiting.items()},
        tuning=round(tuning, 3),
    )


def _planned_calls(reading: RunReader, step: str) -> Iterator[tuple[tuple[str, str, str], int]]:
    seal = reading.seal(step)
    if seal is not None:
        for purpose, roles in seal.calls.items():
            for role, calls in roles.items():
                yield (step, purpose, role), calls
        return
    passed: dict[tuple[str, str, str], int] = {}
    plan: dict[tuple[str, str, str], set[str]] = {}
    for event in reading.events:
        if event.get("step") == step and event["event"] == "opened":
            passed, plan = {}, {}
        elif event.get("step") == step and event["event"] == "passed":
            passed = {
                (step, purpose, role): n for purpose, roles in event["calls"].items() for role, n in roles.items()
            }
            plan = {}
        elif event.get("step") == step and event["event"] == "asked":
            plan.setdefault((step, event["purpose"], event["role"]), set()).update(event["ids"])
    yield from ((key, passed.get(key, 0) + len(plan.get(key, ()))) for key in dict.fromkeys([*passed, *plan]))


def _working_events(events: list[Event]) -> list[Event]:
    """Up to the end of the work: what people decide later takes no time of the run."""
    last = max((place for place, event in enumerate(events) if event["event"] != "human"), default=-1)
    return events[: last + 1]


def _event_time(event: Event) -> datetime:
    return datetime.fromisoformat(event["at"])


def read_human_lines(reading: RunReader) -> int:
    """Lines that people wrote for a run: none where its method asks for none."""
    steps = [step for step in reading.steps if step.endswith("/supervision")]
    seeds = sum(map(int, reading.outcome.get("supervision", {}).values()))  # of a run of self-instruct
    return seeds + sum(told.total for step in steps for told in reading.records(step, HumanLines))
