"""A run made of given records: everything that a report can show, without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.constitution.document import Constitution, to_yaml
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Exchange, Message, Prompt, Request, Sampling
from charter.records.decisions import Alarm, Decision, GateCheck
from charter.records.measurements import Measurement, Score
from charter.records.record import Record, Step
from charter.records.revisions import Critique, Revision, RevisionCheck
from charter.records.rules import Efficacy, Lookalikes, Principle, Proposal
from charter.records.training_rows import Example
from charter.records.verdicts import Cluster, Finding, Verdict
from charter.runs import Run
from charter.statistics import BreakdownCell, GroupBy, wilson

SPEC = "version: 1\nmethod: iteralign\nworld: village\ntemplates: world\n"
METRICS = ("harmlessness", "retention", "helpfulness", "over_refusal", "over_refusal_borderline", "honesty")
Words = Callable[[str], str]


def plain(name: str) -> str:
    """The text of the field ``name``."""
    return f"the words of {name}"


@dataclass(frozen=True)
class Tale:
    """What is told: ``words`` gives the text of each field; ``failures`` of each iteration; ``finished`` or not."""

    words: Words = plain
    failures: int = 6
    spec: str = SPEC
    finished: bool = True
    independent: bool = True
    version: str = "bench@1"
    outcomes: tuple[float, float] = (0.25, 0.75)


def tell(directory: Path, tale: Tale | None = None) -> Path:
    """Writes the run."""
    tale = tale or Tale()
    engine = ScriptedEngine(lambda request: f"said of {request.id}")
    with Run.create(directory, spec_text=tale.spec, environment={"python": "3"}) as run:
        _measure(run, "000", "gate", tale, tale.outcomes[0])
        _measure(run, "000", "heldout", tale, tale.outcomes[0])
        constitution = _iteration(run, tale, run.meter_engine(engine, "judge", "aligning"))
        if tale.finished:
            _measure(run, "final", "heldout", tale, tale.outcomes[1])
            outcome = {
                "method": "iteralign",
                "world": "village",
                "stopped": "the last batch was done",
                "policy": None,
                "planted": {"flaws": 2, "discovered": 1, "by": {"arson": "p-1"}},
                "independent": tale.independent,
            }
            run.publish({"constitution.yaml": to_yaml(constitution), "outcome.json": json.dumps(outcome)})
            run.finish()
    return directory


def give(run: Run, step: str, records: Sequence[Record]) -> None:
    """A sealed step that holds these records."""
    folder, name = step.split("/")

    def given(texts: Sequence[Record]) -> list[Record]:
        return list(texts)

    given.__annotations__["return"] = list[type(records[0])] if records else list[Verdict]  # type: ignore[misc]
    run.steps(folder).once(name, given, records)


def _measure(run: Run, folder: str, split: str, tale: Tale, share: float, n: int = 40) -> None:
    """``share`` of the prompts show the event of each metric, the first ones; one more could not be judged."""
    good = round(share * n)
    found = [Measurement(id=f"h{i}", outcomes=dict.fromkeys(METRICS, i < good)) for i in range(n)]
    found.append(Measurement(id="odd", outcomes={"honesty": None}))
    give(run, f"{folder}/{split}_measurements", found)
    low, high = wilson(good, n)
    scores = [
        Score(
            id=name,
            value=good / n,
            n=n,
            low=low,
            high=high,
            unjudged=int(name == "honesty"),
            better="lower" if name.startswith("over") else "higher",
            benchmark=tale.version,
        )
        for name in METRICS
    ]
    empty = Score(id="novel_honesty", value=None, n=0, low=None, high=None, benchmark=tale.version)
    if split == "heldout":
        novel = scores[0].model_copy(update={"id": "novel_harmlessness", "n": 4, "value": share})
        give(run, f"{folder}/heldout_breakdown", _cells(scores[0], tale.words))
        scores = [*scores, novel]
    give(run, f"{folder}/{split}_scores", [*scores, empty])


def _cells(score: Score, words: Words) -> list[BreakdownCell]:
    """Two categories, one of few prompts; one language."""
    groups: tuple[tuple[GroupBy, str, int], ...] = (
        ("category", words("category"), 31),
        ("category", words("rare category"), 9),
        ("language", "en", 40),
    )
    return [
        BreakdownCell(
            **score.model_dump() | {"id": f"{by}|{group}|{score.id}", "n": n}, by=by, group=group, metric=score.id
        )
        for by, group, n in groups
    ]


def exchange(id: str, words: Words, answer: str) -> Exchange:
    """A prompt of two turns and its answer."""
    turns = (Message(role="system", content=words("system")), Message(role="user", content=words(f"prompt {id}")))
    prompt = Prompt(id=id, messages=turns, source=words("source"), meta={"category": words("category")})
    return Exchange(id=id, prompt=prompt, response=words(f"{answer} {id}"), stop="stop", model="m", sampling=Sampling())


def verdict(id: str, outcome: Any, words: Words, label: str | None = "acceptable") -> Verdict:
    """A judge's word."""
    return Verdict(
        id=id, rubric="conduct", label=label, outcome=outcome, rationale=words("rationale"), raw=words("raw")
    )


def judged(items: Sequence[Verdict], judge: Engine, *, step: Step) -> Iterator[Verdict]:
    """Asks the judge once for each, and takes down what is given."""
    messages = (Message(role="user", content="?"),)
    known = {item.id: item for item in items}
    for answer in judge.generate([Request(id=item.id, messages=messages) for item in items], step.done):
        yield known[answer.id]


def _iteration(run: Run, tale: Tale, judge: Engine) -> Constitution:
    words, ids = tale.words, [f"x{i}" for i in range(tale.failures)]
    exchanges = [exchange(id, words, "answer") for id in ids]
    give(run, "001/exchanges", exchanges)
    verdicts = [verdict(id, "violates", words, "harmful") for id in ids] + [verdict("x-odd", "unjudged", words, None)]
    run.steps("001").map("verdicts", judged, verdicts, judge)
    give(run, "001/stop", [Decision(id="stop", action="go_on", reason="6 of 7 prompts violate")])
    findings = [Finding(id=e.id, exchange=e, verdict=v) for e, v in zip(exchanges, verdicts, strict=False)]
    give(run, "001/findings", findings)
    cluster = Cluster(id="c1", terms=(words("term"),), shown=tuple(findings[:3]), hidden=tuple(findings[3:]))
    give(run, "001/clusters", [cluster])
    constitution = Constitution(version=1, principles=_principles(words, ids))
    proposals = [
        Proposal(id="c1", principle=constitution.principles[0], raw=words("proposal")),
        Proposal(id="c2", principle=None, raw=words("unread")),
    ]
    give(run, "001/proposals", proposals)
    alike = exchange("alike", words, "starting")
    found = Lookalikes(id="c1", prompts=(alike.prompt,), dropped={"twice": 2}, raw=words("look-alike reply"))
    give(run, "001/lookalikes", [found])
    give(run, "001/critiques", [Critique(id=id, text=words(f"critique {id}")) for id in ids])
    revisions = [
        Revision(id=id, critique=words("critique"), exchange=exchange(id, words, "revision"), principles=("p-1",))
        for id in ids
    ]
    give(run, "001/revisions", revisions)
    give(run, "001/constitution", [constitution])
    run.steps("001").map("rechecks", judged, [verdict(id, "complies", words) for id in ids], judge)
    run.steps("001").map("helps", judged, [verdict(id, "complies", words, "helps") for id in ids[1:]], judge)
    row = Example(id="x1", messages=alike.prompt.messages, response=words("row"), origin="revision")
    kept = [
        RevisionCheck(id=id, kept=id != "x0", reasons=() if id != "x0" else ("still violates",), example=row)
        for id in ids
    ]
    give(run, "001/kept", kept)
    give(run, "001/answers", [alike])
    run.steps("001").map("checks", judged, [verdict("alike", "violates", words, "refused")], judge)
    give(run, "001/rows", [row])
    _measure(run, "001", "gate", tale, tale.outcomes[1])
    give(run, "001/gates", [gate("harmlessness", True), gate("over_refusal", False)])
    give(run, "001/alarms", [Alarm(id="passing", reason="1 of 90 revisions pass: under 10%")])
    give(run, "001/decision", [Decision(id="decision", action="go_on", reason="accepted")])
    return constitution


def gate(metric: str, passed: bool) -> GateCheck:
    """A gate of 40 prompts, of which ten got worse or better."""
    return GateCheck(
        id=f"{metric}|start",
        metric=metric,
        against="start",
        n=40,
        unjudged=1,
        worse=0 if passed else 10,
        better=10 if passed else 0,
        change=0.25 if passed else -0.25,
        bound=0.45 if passed else -0.081,
        margin=0.03,
        alpha=0.0005,
        detectable=0.41,
        passed=passed,
    )


def _principles(words: Words, ids: Sequence[str]) -> tuple[Principle, ...]:
    useful = Efficacy(n=10, passed_with=9, passed_without=1, difference=0.8, p=0.01, p_holm=0.02, without=("p-1",))
    useless = useful.model_copy(update={"passed_without": 9, "difference": 0.0, "p_holm": 1.0, "without": ("p-2",)})
    few = Efficacy(
        n=2, passed_with=2, passed_without=0, difference=1.0, p=None, p_holm=None, without=("p-3",), note="too few"
    )
    return tuple(
        Principle(
            id=f"p-{number}",
            title=words(f"title {number}"),
            text=words(f"rule {number}"),
            scope=words(f"scope {number}"),
            status="approved",
            because=tuple(ids) if number == 1 else ("elsewhere",),
            efficacy=efficacy,
        )
        for number, efficacy in enumerate((useful, useless, few), 1)
    )
