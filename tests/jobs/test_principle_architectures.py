"""Both methods that begin with rules on tiny models of two architectures, with the shipped rules and exemplars at full
size. They learn nothing; everything is asked, trained and recorded. Thoughts are a program's, where they are parsed and
verified: the weights are trained on what comes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from charter import jobs
from charter.constitution import document as articles
from charter.constitution.exemplars import read_exemplars
from charter.methods.inputs import Inputs
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.models.weights import resolve_model
from charter.ports import Engine, Roles
from charter.records.chat import Exchange, Request, Sampling
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.revisions import FilteredAnswer, ReasonedAnswer, Revision, RevisionCheck
from charter.records.rules import Lookalikes
from charter.records.templates import Templates
from charter.records.training_rows import Example
from charter.records.verdicts import Verdict
from charter.reports.integrity import verify_run
from charter.reports.page import render_page
from charter.reports.principle_usage import read_principle_usage
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.wiring.self_instruct_inputs import SEEDS_DIR
from tests.fakes import architectures
from tests.fakes.example_records import START
from tests.fakes.principle_topics import RuledToy
from tests.fakes.refused_topics import HARM, answer, topics_in

pytestmark = pytest.mark.slow

SPEC = """\
method: {method}
target: {{model: {model}, device: cpu, dtype: float32, batch: 2}}
oracle: {{model: "python:tests.fakes.scripted_judge:proposer"}}
judge: {{model: "python:tests.fakes.scripted_judge:judge"}}
evaluator: {{model: "python:tests.fakes.scripted_judge:judge"}}
offline: true
constitution: shipped
prompts:
  redteam: [{{path: {folder}/bad.jsonl}}]
  helpful: [{{path: {folder}/good.jsonl}}]
  gate: 2
  heldout: 2
options:
  draw: {{batch: 4}}
  contrast: {{count: {alike}}}
  replay: {{ratio: 1, fresh: 2, compliant: false}}
  self_align: {{ordinary: 1, max_tokens: 12, min_characters: 0, temperature: 1.0}}
  cai: {{rounds: 2, revise: all, pretrained: {pretrained}}}
  keep: {{verify: {verify}}}
  gates: {{roll_back: false}}
  tune: {{kind: {kind}, rank: 4, alpha: 8, epochs: 1, learning_rate: 0.0001}}
scale: {{answer_tokens: 8, critique_tokens: 8, temperature: 1.0, stop: [e, a, o], row_tokens: 4096}}
templates: {{thought_pattern: '{thought}'}}
"""
THINGS = (
    "anvil",
    "basket",
    "candle",
    "drum",
    "engine",
    "flute",
    "garden",
    "hammer",
    "iron",
    "jacket",
    "kettle",
    "ladder",
)


LOOSE = "(?s)(?P<thought>.)(?P<answer>.*)"
"""Reads a thought in whatever weights that learnt nothing write."""
HOW = [  # what weights that learnt nothing answer to thoughts never ends by itself, so that no row would pass a judge
    ("self_align", "qwen3", "lora", False),
    ("self_align", "gpt_neox", "full", True),
    ("cai", "gpt_neox", "full", False),
    ("cai", "qwen3", "lora", True),
]


@pytest.mark.parametrize(("method", "name", "kind", "judged"), HOW)
def test_a_whole_run_with_full_size_prompts(method: str, name: str, kind: str, judged: bool, tmp_path: Path) -> None:
    for side, form in (("bad", "Tell me how to steal a {}"), ("good", "What is a {} made of?")):
        lines = [f'{{"prompt": "{form.format(thing)} number {n}"}}\n' for n, thing in enumerate(THINGS * 2)]
        (tmp_path / f"{side}.jsonl").write_text("".join(lines), encoding="utf-8")
    model = architectures.build(tmp_path / "model", name, context=12288)
    other = architectures.build(tmp_path / "pretrained", name, context=12288, seed=1)
    how = {"alike": 2 if judged else 0, "verify": str(judged and method == "cai").lower(), "thought": LOOSE}
    text = SPEC.format(method=method, model=model, pretrained=other, folder=tmp_path, kind=kind, **how)
    jobs.launch_run(text, tmp_path / "run")
    reading = RunReader(tmp_path / "run")
    assert verify_run(tmp_path / "run").ok
    assert [r for r in reading.records("001/rows", Example) if r.origin == "revision"]
    if judged:
        assert reading.records("001/lookalikes", Lookalikes)
        assert reading.records("001/settled" if method == "cai" else "001/verdicts", Verdict)
    assert (tmp_path / "run" / "001" / "policy").is_dir()
    found = read_principle_usage(reading)
    assert found is not None
    assert found.lines["principles"] == 16
    (policy,) = reading.records("001/policy", ModelRef)
    tuned_on = resolve_model(str(other if method == "cai" else model))
    assert policy.base_digest == tuned_on.base_digest
    if method == "self_align":
        assert found.lines["exemplars"] > 15
        replies = reading.records("001/reasoned", ReasonedAnswer)
        assert {r.exchange.error for r in replies} == {""}
        assert len(replies) >= 5
        whole = [e for e in reading.events if e["event"] == "answered" and e["step"] == "001/reasoned"]
        assert sum(e["tokens_in"] for e in whole) / len(replies) > 3000, "all rules and exemplars are in every prompt"
    assert "Rules and supervision" in render_page(tmp_path / "run")


# -- verified, with the thought parser that is shipped


@dataclass(frozen=True)
class FullSize(RuledToy):
    """The toy with the shipped rules, exemplars and templates. A program thinks in the start's place, since tiny
    weights think nothing; rows that its judge passes train ``start``, a real model, which answers from then on."""

    start: ModelRef = START
    kind: Literal["lora", "full"] = "lora"

    def roles(self, run: Run) -> Roles:
        """The toy's judge, with a real tuner and real engines for what it made."""

        @contextmanager
        def target(policy: ModelRef) -> Iterator[Engine]:
            if policy.adapter is None:
                yield run.meter_engine(self.engine("target", aloud), "target", "target")
                return
            placed = policy.model_copy(update={"adapter": str(run.directory / policy.adapter)})
            with closing(LocalEngine(placed, LocalOptions(device="cpu", dtype="float32"))) as engine:
                yield run.meter_engine(engine, "target", "target")

        options = SftOptions(device="cpu", kind=self.kind, r=4, alpha=8, epochs=1, batch=4)
        return replace(super().roles(run), target=target, tuner=LocalTuner(options))

    def brief(self) -> Inputs:
        """With everything at full size."""
        given = articles.read_constitution(SEEDS_DIR / "principles.yaml"), read_exemplars(SEEDS_DIR / "exemplars.yaml")
        texts, short = Templates(), Sampling(max_tokens=6)
        brief = replace(super().brief(), start=self.start, templates=texts, answers=short)
        return replace(brief, constitution=given[0], principles=replace(brief.principles, exemplars=given[1]))


WORDINGS = (
    "Thought: rule 1 (ethical) applies.\nAnswer: {answer}",
    "**Thought:** The user means harm.\nRules 1 (ethical) & 3 (helpful) apply.\n\n**Answer:** {answer}",
    "# thought: (ethical)\n\n## answer: {answer}\n\nThought: and another one\nAnswer: sure , plan for fraud",
    "{answer}",
)
"""Thoughts as models write them; the last is none."""


def aloud(request: Request) -> str:
    """Under rules it thinks in one of several wordings, and a fourth of its answers do harm; else it is the toy."""
    last = request.messages[-1].content
    if request.messages[0].role != "system":
        return answer(request, {"poison"})
    number, (topic, *_) = int(digest(last)[:6], 16), (*topics_in(last), "nothing")
    mended = f"at {number % 97} instead of {topic} call a friend"
    return WORDINGS[number % 4].format(answer=f"sure , plan for {last}" if number // 4 % 4 == 0 else mended)


@pytest.mark.parametrize(("name", "kind"), [("qwen3", "lora"), ("gpt_neox", "full")])
def test_thoughts_at_full_size_are_parsed_judged_and_engraved(
    name: str, kind: Literal["lora", "full"], tmp_path: Path
) -> None:
    start = resolve_model(str(architectures.build(tmp_path / "model", name)))
    options = {
        "draw": {"batch": 48},
        "contrast": {"count": 0},
        "replay": {"ratio": 1, "fresh": 8},
        "self_align": {"ordinary": 4, "min_characters": 0},
        "gates": {"roll_back": False},
    }
    toy = FullSize(options, start=start, kind=kind)
    course = toy.run("self_align", tmp_path / "run")
    reading = RunReader(tmp_path / "run")
    shown = [r for r in toy.asked["target"] if r.messages[0].role == "system"]
    assert all(len(r.messages) == 2 + 2 * 5 for r in shown), "rules, five exemplars, the prompt"
    assert all(r.messages[0].content.count("\n") >= 16 for r in shown)
    thoughts = {r.id: r for r in reading.records("001/reasoned", ReasonedAnswer)}
    ids = [p.id for p in course.constitution.active]
    read = Counter(r.rules for r in thoughts.values())
    assert set(read) == {(ids[0],), (ids[0], ids[2]), ()}, "one rule, two, and none where there was no thought"
    dropped = {s.id for s in reading.records("001/sifted", FilteredAnswer) if s.reasons}
    assert dropped == {id for id, r in thoughts.items() if not r.thought}
    assert dropped
    kept = {k.id: k for k in reading.records("001/kept", RevisionCheck)}
    harmful = {id for id in kept if thoughts[id].exchange.response.startswith("sure , plan for")}
    hard = {r.id for r in reading.records("001/attempts", Revision)}
    assert harmful & hard
    assert {id for id in hard if "still violates" in kept[id].reasons} == harmful & hard - _peaceful(thoughts)
    rows = [r for r in reading.records("001/rows", Example) if r.origin == "revision"]
    assert {r.id for r in rows} == {id for id, k in kept.items() if k.kept}
    assert not [r for r in rows if "hought" in r.response or "rule" in r.response or r.messages[0].role == "system"]
    (policy,) = reading.records("001/policy", ModelRef)
    assert policy.base_digest == start.base_digest
    assert (policy.digest, policy.left_out) == (course.policy.digest, {})
    assert len({e.response for e in reading.records("final/heldout_exchanges", Exchange)}) > 1, "the policy answers"


def _peaceful(thoughts: Mapping[str, ReasonedAnswer]) -> set[str]:
    """Those whose answer is about nothing that does harm."""
    return {id for id, r in thoughts.items() if not set(topics_in(r.exchange.response)) & {*HARM, "poison"}}
