"""Both methods that begin with rules on tiny models of two architectures, with the shipped rules and exemplars at full
size. They learn nothing; everything is asked, trained and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter import wiring
from charter.nouns import Example, Lookalikes, ModelRef, Verdict
from charter.reports.page import page
from charter.reports.reading import Reading
from charter.reports.ruled import ruled
from charter.reports.verify import verify
from charter.supervision import Reasoned
from charter.weights import resolve
from tests import zoo

SPEC = """\
method: {method}
target: {{model: {model}, device: cpu, dtype: float32, batch: 2}}
oracle: {{model: "python:tests.scripted_parts:proposer"}}
judge: {{model: "python:tests.scripted_parts:judge"}}
evaluator: {{model: "python:tests.scripted_parts:judge"}}
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
  replay: {{ratio: 1, fresh: 2, complied: false}}
  self_align: {{ordinary: 1, tokens: 12, shortest: 0, temperature: 1.0}}
  cai: {{rounds: 2, of: all, pretrained: {pretrained}}}
  keep: {{verify: {verify}}}
  gates: {{roll_back: false}}
  tune: {{kind: {kind}, rank: 4, alpha: 8, epochs: 1, learning_rate: 0.0001}}
scale: {{answer_tokens: 8, critique_tokens: 8, temperature: 1.0, stop: [e, a, o], row_tokens: 4096}}
templates: {{thought: '{thought}'}}
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
    model = zoo.build(tmp_path / "model", name, context=12288)
    other = zoo.build(tmp_path / "pretrained", name, context=12288, seed=1)
    how = {"alike": 2 if judged else 0, "verify": str(judged and method == "cai").lower(), "thought": LOOSE}
    text = SPEC.format(method=method, model=model, pretrained=other, folder=tmp_path, kind=kind, **how)
    wiring.launch(text, tmp_path / "run")
    reading = Reading(tmp_path / "run")
    assert verify(tmp_path / "run").ok
    assert [r for r in reading.records("001/rows", Example) if r.origin == "revision"]
    if judged:
        assert reading.records("001/lookalikes", Lookalikes)
        assert reading.records("001/settled" if method == "cai" else "001/verdicts", Verdict)
    assert (tmp_path / "run" / "001" / "policy").is_dir()
    found = ruled(reading)
    assert found is not None
    assert found.lines["principles"] == 16
    (policy,) = reading.records("001/policy", ModelRef)
    tuned_on = resolve(str(other if method == "cai" else model))
    assert policy.base_digest == tuned_on.base_digest
    if method == "self_align":
        assert found.lines["exemplars"] > 15
        replies = reading.records("001/reasoned", Reasoned)
        assert {r.exchange.error for r in replies} == {""}
        assert len(replies) >= 5
        whole = [e for e in reading.events if e["event"] == "answered" and e["step"] == "001/reasoned"]
        assert sum(e["tokens_in"] for e in whole) / len(replies) > 3000, "all rules and exemplars are in every prompt"
    assert "Rules and supervision" in page(tmp_path / "run")
