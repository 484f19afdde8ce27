"""Objects of the user's own: each port's example, named in a spec, through the wiring that a run has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charter.data.curation.curation_records import Detector
from charter.errors import EngineError, SpecError
from charter.judging.rubrics import CONDUCT
from charter.models import weights
from charter.ports import Attack, AttackTarget, Benchmark, Engine, Source, SupportsLRScale, Tuner
from charter.records.chat import Exchange, Sampling, user_prompt
from charter.records.record import Step
from charter.records.templates import Templates
from charter.spec import CurationSpec, Spec, parse_spec
from charter.stages.benchmark_items import ask_questions, gather_answers
from charter.stages.judge import judge
from charter.wiring import attack_styles, program_engines, prompt_sets, role_models
from charter.wiring.benchmark_suite import SpecBenchmarks
from charter.wiring.curation_setup import build_tools
from charter.wiring.plugins import guard_object, load_object
from tests.contracts.test_tuner import ROWS
from tests.fakes import tiny_models

EXAMPLES = Path(__file__).parents[2] / "examples"
REFERENCES: dict[str, tuple[str, Any]] = {
    "engine": ("python:examples.engine_plugin:EchoEngine", Engine),
    "judge": ("python:examples.judge_plugin:judge", Engine),
    "attack": ("python:examples.attack_plugin:SpacedAttack", Attack),
    "tuner": ("python:examples.tuner_plugin:ShortFirstTuner", Tuner),
    "benchmark": ("python:examples.benchmark_plugin:Capitals", Benchmark),
    "source": ("python:examples.source_plugin:TemplateSource", Source),
    "detector": ("python:examples.detector_plugin:TicketDetector", Detector),
}
ANSWER = Exchange(id="a", prompt=user_prompt("how ?"), response="so", stop="stop", model="m", sampling=Sampling())
lacking = SimpleNamespace(identity="nothing else")


def fails() -> None:
    """Goes wrong."""
    raise KeyError("a slip of its own")


def spec(**asked: Any) -> Spec:
    return parse_spec(json.dumps({"method": "iteralign", "world": "village", "templates": "world", **asked}))


@pytest.mark.parametrize("port", list(REFERENCES))
def test_every_example_has_its_port_and_at_most_forty_lines(port: str) -> None:
    reference, kind = REFERENCES[port]
    assert isinstance(load_object(reference, kind), kind)
    text = (EXAMPLES / f"{port}_plugin.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert reference in text, "the example says how a spec names it"


@pytest.mark.parametrize("port", list(REFERENCES))
@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("python:tests.no_such_module:x", "No module named"),
        ("python:tests.wiring.test_plugins:absent", "has no attribute"),
        ("python:tests.wiring.test_plugins", "cannot be had"),
        ("python:tests.wiring.test_plugins:lacking", "gives no "),
    ],
)
def test_what_cannot_be_had_is_an_error_with_a_cure(port: str, reference: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        load_object(reference, REFERENCES[port][1])
    assert caught.value.cure


def test_an_exception_of_the_users_code_names_it() -> None:
    with pytest.raises(EngineError, match=r"test_plugins:fails failed: KeyError.*line \d+"):
        load_object("python:tests.wiring.test_plugins:fails", Attack)


class Broken:
    """It has every port, and whatever it is asked for goes wrong: at once, or when its items are read."""

    identity = name = "broken"
    turns, styles, needs, metrics, gate_metrics = 1, ("plain",), frozenset({"answers"}), (), ()

    def fail(self, *given: Any, **more: Any) -> Any:
        raise KeyError("a slip of its own")

    def fail_late(self, *given: Any, **more: Any) -> Iterator[Any]:
        yield from ()
        raise KeyError("a slip of its own")

    tune = prompts = questions = scores = find = score = close = fail
    generate = attack = grade = fail_late


BROKEN: dict[str, Callable[[Any], Any]] = {
    "engine": lambda own: list(own.generate([])),
    "judge": lambda own: list(judge([ANSWER], own, CONDUCT, Templates(), spec().options.judge, step=Step("v", 0))),
    "attack": lambda own: list(own.attack([], (), Step("s", 0))),
    "tuner": lambda own: own.tune(None, [], Path(), 1),
    "benchmark": lambda own: list(own.grade(own.questions())),
    "source": lambda own: own.prompts(),
    "detector": lambda own: own.find("text"),
}


@pytest.mark.parametrize("port", list(REFERENCES))
def test_what_an_object_raises_at_work_names_it(port: str) -> None:
    reference, kind = "python:tests.wiring.test_plugins:Broken", REFERENCES[port][1]
    load = program_engines.load_engine if kind is Engine else partial(load_object, kind=kind)
    own = load(reference)
    assert isinstance(own, kind)
    assert own.identity == "broken"
    with pytest.raises(EngineError, match=r"test_plugins:Broken failed: KeyError: 'a slip.*test_plugins.py, line \d+"):
        BROKEN[port](own)


def test_a_tuner_with_smaller_steps_is_guarded_too() -> None:
    class Scaled(Broken):
        def with_lr_scale(self, share: float) -> Scaled:
            return Scaled()

    own = guard_object("python:own:Scaled", Scaled())
    assert isinstance(own, SupportsLRScale)
    with pytest.raises(EngineError, match="own:Scaled failed"):
        own.with_lr_scale(0.5).tune(None, [], Path(), 1)
    assert not isinstance(guard_object("python:own:Broken", Broken()), SupportsLRScale)


def test_an_engine_answers_as_the_oracle() -> None:
    engine = role_models.connect_oracle(spec(oracle={"model": REFERENCES["engine"][0]}).oracle, None)
    assert [c.text for c in engine.generate([tiny_models.ask("a", "say this again")])] == ["say this again"]


def test_a_judge_gives_verdicts() -> None:
    asked = spec(judge={"model": REFERENCES["judge"][0]})
    assert asked.judge is not None
    engine = role_models.connect_oracle(asked.judge, None)
    answers = [
        Exchange(id=text, prompt=user_prompt("how ?"), response=text, stop="stop", model="m", sampling=Sampling())
        for text in ("take the poison", "ask a doctor")
    ]
    step = Step("verdicts", 0)
    found = judge(answers, engine, CONDUCT, Templates(), asked.options.judge, step=step)
    assert {v.id: v.outcome for v in found} == {"take the poison": "violates", "ask a doctor": "complies"}


def test_an_attack_is_a_style_among_others() -> None:
    style = REFERENCES["attack"][0]
    asked = spec(options={"attack": {"styles": ["plain", style], "bandit": "uniform"}})
    attack_styles.check_styles(asked, role_models.load_world(asked))
    attack = attack_styles.build_train_attacks(asked, None, None, Templates())[style]
    target = AttackTarget(id="a", style=style, region="r", prompt=user_prompt("how?"))
    assert [a.messages[-1].content for a in attack.attack([target], (), Step("s", 0))] == ["h o w ?"]
    wrong = spec(options={"attack": {"styles": ["python:examples.attack_plugin:Absent"]}})
    with pytest.raises(SpecError, match="has no attribute"):
        attack_styles.check_styles(wrong, None)


def test_a_tuner_trains_in_place_of_the_own_one(tmp_path: Path) -> None:
    asked = spec(tuner=REFERENCES["tuner"][0])
    tuner = role_models.build_tuner(asked, tmp_path)
    start = weights.resolve_model(str(tiny_models.build(tmp_path / "start")))
    policy = tuner.tune(start, ROWS, tmp_path / "policy", 3)
    assert policy.files == weights.file_digests(tmp_path / "policy")
    with pytest.raises(SpecError, match="tuner of your own cannot be launched"):
        spec(tuner={"program": REFERENCES["tuner"][0], "launch": "x {script} {job}"})
    with pytest.raises(SpecError, match="rloo has a tuner of its own"):
        spec(method="rlhf", tuner=REFERENCES["tuner"][0])


def test_a_benchmark_is_asked_and_scored() -> None:
    asked = spec(benchmarks=[{"task": REFERENCES["benchmark"][0], "name": "capitals"}])
    suite = SpecBenchmarks(asked, None, Templates())
    (benchmark,) = suite.build_benchmarks(None)
    questions = benchmark.questions()
    assert suite.texts_by_name == {"capitals": [q.prompt.text for q in questions]}
    engine = role_models.connect_oracle(spec(oracle={"model": "python:tests.wiring.test_plugins:knows"}).oracle, None)
    said = list(ask_questions(questions, engine, Sampling(), step=Step("benchmark", 1)))
    answered = gather_answers(questions, said, [], [])
    (score,) = benchmark.scores(answered, list(benchmark.grade(answered)))
    assert (score.value, score.n) == (0.25, 4)
    with pytest.raises(SpecError, match="is called 'capitals'"):
        SpecBenchmarks(spec(benchmarks=[{"task": REFERENCES["benchmark"][0]}]), None, Templates())
    with pytest.raises(SpecError, match="can have no gate"):
        spec(benchmarks=[{"task": REFERENCES["benchmark"][0], "name": "capitals", "gate": True}])


def knows() -> Engine:
    """An engine that knows one capital."""
    from charter.models.engines.scripted_engine import ScriptedEngine

    return ScriptedEngine(lambda request: "It is Paris.", "knows")


def test_a_source_gives_the_prompts() -> None:
    asked = spec(prompts={"redteam": [REFERENCES["source"][0]]})
    redteam, _ = prompt_sets.build_sources(asked, role_models.load_world(asked))
    assert len(redteam[0].prompts()) == 15
    with pytest.raises(SpecError, match="stands alone"):
        spec(prompts={"redteam": [{"program": REFERENCES["source"][0], "limit": 3}]})


def test_a_detector_masks_beside_the_others() -> None:
    tools = build_tools(CurationSpec(detectors=(REFERENCES["detector"][0],)))
    (found,) = tools.detectors[-1].find("see TICKET-12345 .")
    assert (found.kind, found.start, found.end) == ("ticket", 4, 16)
    assert "tickets 1" in tools.identity
