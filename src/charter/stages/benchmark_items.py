"""Benchmarks: what is asked, what is answered, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from charter.errors import SpecError, UnsupportedError
from charter.ports import AnsweredItem, AttackTarget, Attempt, Benchmark, BenchmarkQuestion, Engine, Need, Rendering
from charter.records.chat import Exchange, LogLikelihood, Message, Prompt, Request, Sampling, ScoreRequest
from charter.records.item_ids import group_cell_id, join_id, parent_id
from charter.records.measurements import MarginKind, Measurement, Metric, Score, SkippedBenchmark
from charter.records.record import Record, Step
from charter.statistics import BreakdownCell, GroupBy, clustered_interval, drop_copies, score_share

RAW_NEEDS: tuple[Need, ...] = ("log-likelihoods", "chat log-likelihoods", "raw answers")
"""What not every engine gives; it is tried once."""


class Rendered(Record):
    """A question as the target reads it: with its chat template, and with special tokens."""

    id: str
    text: str


class Capability(Record):
    """Whether the target can do what benchmarks need, and what it said where it cannot."""

    id: str
    able: bool
    reason: str = ""


def probe_capabilities(needs: Sequence[Need], target: Engine, *, step: Step) -> list[Capability]:
    """Tries what is needed and not every engine gives, with one short question each."""
    turns = (Message(role="user", content="One, two,"),)
    out = []
    for need in (need for need in RAW_NEEDS if need in needs):
        try:
            if need != "raw answers":
                raw = need == "log-likelihoods"
                list(target.score([ScoreRequest(id=need, messages=turns, completion=" three", raw=raw)]))
            else:
                asked = Request(id=need, messages=turns, sampling=Sampling(max_tokens=1), seed=step.seed(), raw=True)
                list(target.generate([asked]))
        except UnsupportedError as error:
            out.append(Capability(id=need, able=False, reason=error.message))
        else:
            out.append(Capability(id=need, able=True))
    return out


def skip_benchmarks(benchmarks: Sequence[Benchmark], found: Sequence[Capability], same: bool) -> list[SkippedBenchmark]:
    """The benchmarks that the target cannot take; ``same``: it is the starting model itself."""
    lacking = {ability.id: ability.reason for ability in found if not ability.able}
    if same:
        lacking["baseline"] = "the target is the starting model, with which it would be compared"
    out = []
    for benchmark in benchmarks:
        reasons = [f"it needs {need}: {lacking[need]}" for need in sorted(benchmark.needs) if need in lacking]
        if reasons:
            out.append(SkippedBenchmark(id=benchmark.name, reason="; ".join(reasons)))
    return out


def require_gate_benchmarks(missed: Sequence[SkippedBenchmark]) -> None:
    """Nothing, where the target can take every benchmark that decides. Raises SpecError."""
    if missed:
        faults = tuple(f"benchmarks: {lack.id}: {lack.reason}" for lack in missed)
        cure = "Set gate: false for these, or name a target that can."
        raise SpecError("the target cannot take a benchmark that has a gate", faults, cure)


def choose_styled_questions(questions: Sequence[BenchmarkQuestion], styles: Sequence[str]) -> list[AttackTarget]:
    """Every question in every style but the plain one, to be attacked."""
    return [
        AttackTarget(id=join_id(style, q.id), style=style, region="", prompt=q.prompt)
        for style in styles
        if style != "plain"
        for q in questions
    ]


def apply_styles(
    questions: Sequence[BenchmarkQuestion],
    styles: Sequence[str],
    choices: Sequence[AttackTarget],
    attempts: Sequence[Attempt],
) -> list[BenchmarkQuestion]:
    """The questions as they are asked: the plain ones where that is a style, then what the attacks made."""
    by_choice = {join_id(style, q.id): q for style in styles for q in questions}
    made = {attempt.id: attempt for attempt in attempts if attempt.messages}
    out = list(questions) if "plain" in styles else []
    for choice in choices:
        if choice.id not in made:
            continue
        plain, attempt = by_choice[choice.id], made[choice.id]
        meta = {**plain.prompt.meta, "attack": choice.style, "parent": plain.prompt.id}
        meta |= {"language": attempt.language} if attempt.language else {}
        prompt = Prompt(id=choice.id, messages=attempt.messages, source=plain.prompt.source, meta=meta)
        item = join_id(choice.style, plain.item)
        out.append(plain.model_copy(update={"id": choice.id, "item": item, "prompt": prompt}))
    return out


def ask_questions(
    questions: Sequence[BenchmarkQuestion], target: Engine, sampling: Sampling, *, step: Step
) -> Iterator[Exchange]:
    """The target's answer to each question that wants one."""
    known = {question.id: question for question in questions}
    requests = [
        Request(
            id=q.id,
            messages=q.prompt.messages,
            sampling=q.sampling or sampling,
            seed=step.seed(q.id),
            raw=q.raw,
        )
        for q in questions
    ]
    for answer in target.generate(requests, step.done):
        asked = known[answer.id]
        drawn = asked.sampling or sampling
        yield Exchange.from_completion(asked.prompt, answer, model=target.identity, sampling=drawn)


def render_first(questions: Sequence[BenchmarkQuestion], target: Rendering, sampling: Sampling) -> list[Rendered]:
    """The first question as the target reads it."""
    found = []
    for q in questions[:1]:
        given = {"id": q.id, "messages": q.prompt.messages, "raw": q.raw}
        asked = Request(**given, sampling=sampling) if q.completion is None else None
        text = target.render(asked or ScoreRequest(**given, completion=q.completion or ""))
        found.append(Rendered(id=q.id, text=text))
    return found


def score_completions(questions: Sequence[BenchmarkQuestion], target: Engine, *, step: Step) -> Iterator[LogLikelihood]:
    """The log-likelihood of each question's completion."""
    requests = [
        ScoreRequest(id=q.id, messages=q.prompt.messages, completion=q.completion or "", raw=q.raw, cut=True)
        for q in questions
    ]
    yield from target.score(requests, step.done)


def gather_answers(
    questions: Sequence[BenchmarkQuestion],
    exchanges: Sequence[Exchange],
    likelihoods: Sequence[LogLikelihood],
    baseline: Sequence[Exchange] = (),
) -> list[AnsweredItem]:
    """What was answered, item by item."""
    said, weighed, before = ({x.id: x for x in side} for side in (exchanges, likelihoods, baseline))
    items: dict[str, list[BenchmarkQuestion]] = {}
    for question in questions:
        items.setdefault(question.item, []).append(question)
    return [
        AnsweredItem(
            id=item,
            exchanges=tuple(said[q.id] for q in own if q.id in said),
            likelihoods=tuple(weighed[q.id] for q in own if q.id in weighed),
            baseline=tuple(before[q.id] for q in own if q.id in before),
        )
        for item, own in items.items()
    ]


def grade_items(answered: Sequence[AnsweredItem], benchmark: Benchmark, *, step: Step) -> Iterator[Measurement]:
    """What the benchmark finds in each item."""
    yield from benchmark.grade(answered, step.done)


def select_deciding_metrics(
    measured: Sequence[Measurement], benchmark: Benchmark, kind: MarginKind
) -> tuple[list[Measurement], list[Metric]]:
    """What may decide of what a benchmark found, under names that no evaluator has and under the margin of ``kind``; a
    figure of several tasks is one over all of their items. Raises SpecError where there is none."""
    better = {metric.name: metric.better for metric in benchmark.metrics if metric.name in benchmark.gate_metrics}
    out, metrics = list[Measurement](), dict[str, Metric]()
    for found in measured:
        task, outcomes = parent_id(found.id), dict[str, bool | None]()
        for figure in (name for name in found.outcomes if name in better):
            name = f"{kind} ({benchmark.name}: {figure.removeprefix(f'{task}.')})"
            outcomes[name] = found.outcomes[figure]
            metrics.setdefault(name, Metric(name=name, better=better[figure], margin=kind))
        out.append(Measurement(id=join_id(benchmark.name, found.id), outcomes=outcomes))
    if not metrics:
        none = "none of its figures is a share of its items, of which more or less is better"
        fault = f"benchmarks: {benchmark.name}: {none}"
        raise SpecError("a benchmark that is to have a gate can have none", (fault,), "Set gate: false for it.")
    return out, list(metrics.values())


def compute_scores(
    answered: Sequence[AnsweredItem], measured: Sequence[Measurement], benchmark: Benchmark
) -> list[Score]:
    """The benchmark's figures. Their notes say how many completions were weighed after a text that was cut."""
    scores = list(benchmark.scores(answered, measured))
    weighed = [found for item in answered for found in item.likelihoods]
    cut = sum(found.cut > 0 for found in weighed)
    if not cut:
        return scores
    note = f"{cut} of {len(weighed)} texts were cut on the left to fit the context"
    return [score.model_copy(update={"note": "; ".join(filter(None, (score.note, note)))}) for score in scores]


def break_down_items(
    questions: Sequence[BenchmarkQuestion], measured: Sequence[Measurement], benchmark: Benchmark
) -> list[BreakdownCell]:
    """Its shares by category, language, source and attack style, where the prompts have one; beside attacks, the plain
    prompts are a style. A prompt in several styles counts as one in the intervals."""
    prompts, out = {question.item: question.prompt for question in questions}, list[BreakdownCell]()
    attacked = any("attack" in prompt.meta for prompt in prompts.values())
    for by in get_args(GroupBy):
        groups: dict[str, list[Measurement]] = {}
        for found in drop_copies(measured):
            prompt = prompts[found.id]
            without = "plain" if by == "attack" and attacked else ""
            if group := prompt.source if by == "source" else prompt.meta.get(by, without):
                groups.setdefault(group, []).append(found)
        for group, inside in sorted(groups.items()):
            for metric in benchmark.metrics:
                if seen := {m.id: m.outcomes[metric.name] for m in inside if metric.name in m.outcomes}:
                    of = {id: prompts[id].meta.get("parent") or id for id in seen}
                    shared = _share_score(metric, seen, of, benchmark.identity).model_dump() | {
                        "id": group_cell_id(by, group, metric.name)
                    }
                    out.append(BreakdownCell(**shared, by=by, group=group, metric=metric.name))
    return out


def _share_score(metric: Metric, seen: Mapping[str, bool | None], of: Mapping[str, str], benchmark: str) -> Score:
    """A share; several items that are ``of`` one prompt are alike."""
    found = score_share(metric, list(seen.values()), benchmark)
    known = {id: float(event) for id, event in seen.items() if event is not None}
    clusters = [of[id] for id in known]
    if len(set(clusters)) == len(clusters):
        return found
    low, high = clustered_interval(list(known.values()), clusters)
    return found.model_copy(update={"low": low, "high": high})
