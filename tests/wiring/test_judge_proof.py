"""A run begins only under judges that can judge: by a calibration, by a probe, or because it is told to."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charter.errors import UnprovenError, UnsupportedError
from charter.judging.probe_exchanges import load_probe_exchanges
from charter.judging.rubrics import CONDUCT, HARM, REFUSAL, Rubric
from charter.methods.judge_probe import ProbeInputs, probe_judge
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.calibration_results import Calibration, JudgeProbe, LabelAgreement, RoleCalibration
from charter.records.chat import Request
from charter.records.measurements import Proportion
from charter.records.templates import Templates
from charter.reports.judge_trust import read_judge_trust
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.spec import JudgingSpec, Spec, parse_spec
from charter.statistics import wilson
from charter.wiring import judge_proof
from charter.wiring.role_models import connect_oracle
from tests.fakes.openai_server import serve

HARMFUL = {known.exchange.response for known in load_probe_exchanges() if known.label == "harmful"}


def knows(request: Request) -> str:
    """A judge that knows the shipped exchanges."""
    harmful = any(response in request.messages[-1].content for response in HARMFUL)
    return json.dumps({"rationale": "", "label": "harmful" if harmful else "acceptable"})


def _empty(text: str) -> bool:
    """An exchange without content."""
    return not any(known.exchange.response in text for known in load_probe_exchanges())


def asking(**more: Any) -> Spec:
    judge = {"model": "m", "base_url": "http://127.0.0.1:1/v1", **more.pop("judge", {})}
    world = {"redteam": [{"path": "p.txt"}], "helpful": [{"path": "h.txt"}]}
    base = {"target": {"model": "t"}, "prompts": world, "oracle": judge, "evaluator": judge}
    return parse_spec(json.dumps(base | more))


@pytest.mark.parametrize(
    ("rubric", "labels"),
    [("conduct", {"harmful": 10, "harmless": 10}), ("refusal", {"answers": 10, "refuses": 10})],
)
def test_the_shipped_exchanges_are_balanced_plain_and_distinct(rubric: str, labels: dict[str, int]) -> None:
    known = load_probe_exchanges(rubric)
    assert Counter(x.label for x in known) == labels
    assert [x.outcome for x in known[:4]] == ["violates", "complies"] * 2
    assert len({x.exchange.response for x in known}) == len({x.id for x in known}) == 20
    texts = [x.exchange.prompt.text + x.exchange.response for x in known]
    assert all(text.isascii() and len(text) < 400 for text in texts)
    prompts = Counter(x.exchange.prompt.text for x in known)
    assert sum(n == 2 for n in prompts.values()) >= 4, "some requests are answered both ways"


def test_under_the_rubric_of_refusal_declines_stand_beside_the_answers(tmp_path: Path) -> None:
    declines = {known.exchange.response for known in load_probe_exchanges("refusal") if known.label == "refuses"}

    def tell(request: Request) -> str:
        declined = any(response in request.messages[-1].content for response in declines)
        return json.dumps({"rationale": "", "label": "refuses" if declined else "answers"})

    found = probed(tmp_path, ScriptedEngine(tell), rubric=REFUSAL)
    assert (found.caught, found.violating, found.cleared, found.complying) == (10, 10, 10, 10)


def probed(tmp_path: Path, engine: Any, read: str = "rationale", rubric: Rubric = CONDUCT) -> JudgeProbe:
    with Run.create(tmp_path / "run", spec_text=asking().model_dump_json(exclude_defaults=True)) as run:
        judging = JudgingSpec.model_validate({"read": read})
        asked = run.meter_engine(engine, "judge", "measuring")
        return probe_judge(run, ProbeInputs("judge", asked, rubric, Templates(), judging))


def test_a_probe_is_kept_counted_and_reported(tmp_path: Path) -> None:
    found = probed(tmp_path, ScriptedEngine(knows))
    assert judge_proof.weigh_probe(found) == (
        "the judge agreed with 20 of 20 shipped exchanges: caught 10 of 10, cleared 10 of 10"
    )
    warnings = read_judge_trust(RunReader(tmp_path / "run")).warnings
    assert "The judge agreed with 20 of 20 shipped exchanges" in warnings[0]
    assert any("never calibrated" in line for line in warnings)


def test_a_judge_no_better_than_chance_is_said_to_be_so(tmp_path: Path) -> None:
    """A judge that calls all answers harmful, as a small model did with a rubric of one word."""
    found = probed(tmp_path, ScriptedEngine(lambda request: json.dumps({"rationale": "", "label": "harmful"})))
    line = judge_proof.weigh_probe(found)
    assert "agreed with 10 of 20" in line
    assert "no better than chance" in line


def test_a_judge_that_may_be_little_better_than_chance_is_warned_of() -> None:
    probe = JudgeProbe(id="judge", judge="m", caught=7, violating=10, cleared=6, complying=10, unjudged=1)
    assert "It may be little better than chance: Youden's J 0.30 (-0" in judge_proof.weigh_probe(probe)


def test_the_same_weights_pass_where_their_labels_are_weighed(tmp_path: Path) -> None:
    def weigh(request: Any) -> float:
        text = request.messages[0].content
        harmful = 3.0 + (1.0 if any(response in text for response in HARMFUL) else 0.0 if _empty(text) else -1.0)
        return harmful if request.completion == "harmful" else 0.0

    found = probed(tmp_path, ScriptedEngine(grader=weigh), "label")
    assert (found.caught, found.cleared) == (10, 10)


def calibrated(caught: int, cleared: int, n: int = 50, role: str = "judge") -> RoleCalibration:
    def share(hits: int, of: int) -> Proportion:
        low, high = wilson(hits, of)
        return Proportion(hits=hits, n=of, value=hits / of, low=low, high=high)

    labels = LabelAgreement(
        confusion={},
        unjudged_violating=0,
        unjudged_complying=0,
        accuracy=share(caught + cleared, 2 * n),
        sensitivity=share(caught, n),
        specificity=share(cleared, n),
        kappa=None,
        kappa_low=None,
        kappa_high=None,
    )
    return RoleCalibration(id=role, calibration=Calibration(judge="m", rubric="r", judging_digest="d", labels=labels))


def test_a_calibration_without_discrimination_stops_the_run_unless_it_is_told_to_begin() -> None:
    spec = asking()
    judge_proof.check_calibrations(spec, [calibrated(45, 45)])
    for weak in (calibrated(50, 0), calibrated(30, 30), calibrated(13, 13, 20)):
        with pytest.raises(UnprovenError, match="shows no discrimination: Youden's J") as error:
            judge_proof.check_calibrations(spec, [weak])
        assert "judge.unproven: true" in error.value.cure
        judge_proof.check_calibrations(asking(judge={"unproven": True}), [weak])
    with pytest.raises(UnprovenError, match="of the evaluator"):
        judge_proof.check_calibrations(spec, [calibrated(50, 0, role="evaluator")])
    bare = calibrated(50, 0)
    unlabelled = bare.model_copy(update={"calibration": bare.calibration.model_copy(update={"labels": None})})
    judge_proof.check_calibrations(spec, [unlabelled])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, ""),
        ({"judge": {"unproven": True}}, "judge.unproven is true"),
        ({"world": "village"}, "a language of its own"),
        ({"judge": {"model": "python:a.b:C", "base_url": ""}}, "a program of your own"),
        ({"options": {"judge": {"rubric": "honesty"}}}, "labelled for harm"),
    ],
)
def test_real_models_are_probed_and_others_are_left_alone_with_a_reason(more: dict[str, Any], reason: str) -> None:
    spec = asking(**more)
    why = judge_proof.skip_probe(spec, "judge", spec.oracle)
    assert (why == "") if not reason else (reason in why)


def test_roles_are_tried_once_for_each_model() -> None:
    assert list(judge_proof.find_judges(asking())) == ["judge"]
    other = asking(evaluator={"model": "other", "base_url": "http://127.0.0.1:1/v1"})
    assert list(judge_proof.find_judges(other)) == ["judge", "evaluator"]
    assert list(judge_proof.find_judges(parse_spec("world: village\n"))) == ["judge"]


def components(url: str, calibrations: list[RoleCalibration], read: str) -> Any:
    """What a run has of its judges."""
    spec = asking(judge={"base_url": url, "retries": 1}, options={"judge": {"read": read, "rubric": "harm"}})
    return SimpleNamespace(
        spec=spec,
        calibrations=calibrations,
        lend_oracle=lambda run, asked: closing(connect_oracle(asked, None)),
        prices={"judge": (0.0, 0.0), "evaluator": (0.0, 0.0)},
        templates=Templates(),
        rubric_of=lambda role: HARM,
    )


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """A server's judge: it knows the shipped exchanges, and gives log-probabilities."""
    text = body["messages"][-1]["content"]
    label = "harmful" if any(response in text for response in HARMFUL) else "harmless"
    if "logprobs" not in body:
        return {"text": json.dumps({"rationale": "", "label": label, "severity": 0})}
    values = {"harmful": -0.5, "harmless": -0.9} if label == "harmful" else {"harmful": -0.6, "harmless": -0.8}
    values = {"harmful": -0.5, "harmless": -0.8} if _empty(text) else values
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in values.items()]
    first = {"token": "harmful", "logprob": -0.5, "bytes": None, "top_logprobs": top}
    return {"text": "harmful", "choice": {"logprobs": {"content": [first]}}}


@pytest.mark.parametrize(("read", "calls"), [("rationale", 20), ("label", 2 * 20 + 2 * 2)])
def test_a_served_judge_is_probed_before_anything_else_is_asked(tmp_path: Path, read: str, calls: int) -> None:
    with serve(answer) as server, Run.create(tmp_path / "run", spec_text="method: red_team\nworld: village\n") as run:
        made = components(server.url, [], read)
        lines = judge_proof.prove_judges(made, run)
        assert len(server.seen) == calls
        assert judge_proof.prove_judges(made, run) == lines
        assert len(server.seen) == calls
    assert "shipped exchanges" in lines[0]


def test_a_calibrated_judge_is_asked_once_whether_it_gives_probabilities(tmp_path: Path) -> None:
    known = [calibrated(45, 45)]
    with serve(answer) as server, Run.create(tmp_path / "run", spec_text="method: red_team\nworld: village\n") as run:
        assert judge_proof.prove_judges(components(server.url, known, "label"), run) == []
        assert len(server.seen) == 2 + 2 * 2
    with serve(answer) as server, Run.create(tmp_path / "two", spec_text="method: red_team\nworld: village\n") as run:
        assert judge_proof.prove_judges(components(server.url, known, "rationale"), run) == []
        assert server.seen == []
    words = {"text": "harmful"}
    with (
        serve(lambda body: words) as server,
        Run.create(tmp_path / "three", spec_text="method: red_team\nworld: village\n") as run,
    ):
        with pytest.raises(UnsupportedError) as error:
            judge_proof.prove_judges(components(server.url, known, "label"), run)
        assert "options.judge.read: rationale" in error.value.cure
