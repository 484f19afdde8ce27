"""Lineage: from a rule to its failures, rows, checkpoints and scores, and back, across runs that go on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import cli
from charter.constitution.document import Constitution, to_yaml
from charter.constitution.run_state import RunState
from charter.errors import StoreError
from charter.records.chat import Exchange, Prompt, Sampling, user_prompt
from charter.records.decisions import Decision
from charter.records.item_ids import original_row_id
from charter.records.measurements import Measurement
from charter.records.model_refs import ModelRef
from charter.records.record import Step
from charter.records.revisions import RevisionCheck
from charter.records.rules import Lookalikes, Principle
from charter.records.training_rows import Example
from charter.records.verdicts import Finding, Verdict
from charter.reports.explanation import Explanation, explain_item
from charter.reports.page import render_page
from charter.runs import Run
from charter.runs.reader import RunReader
from tests.fakes.recorded_run import SPEC, give

BASE = ModelRef(base="base", base_digest="b", digest="d0")
HOSTILE = "<script>alert(1)</script> \x1b[31m {{7*7}}"


def asked(id: str, text: str = "", category: str = "fire") -> Exchange:
    prompt = user_prompt(text or f"how do i do {id} at home tonight").model_copy(
        update={"id": id, "meta": {"category": category}}
    )
    return Exchange(
        id=id, prompt=prompt, response=f"answer to {id} {HOSTILE}", stop="stop", model="m", sampling=Sampling()
    )


def finding(id: str) -> Finding:
    said = Verdict(id=id, rubric="conduct", label="harmful", outcome="violates", rationale=HOSTILE)
    return Finding(id=id, exchange=asked(id), verdict=said)


def row(id: str, origin: str = "revision", because: Sequence[str] = ()) -> Example:
    messages = asked(original_row_id(id).split("/")[-1]).prompt.messages
    value = {"id": id, "messages": messages, "response": "no .", "origin": origin, "because": tuple(because)}
    return Example.model_validate(value)


def rule(id: str, because: Sequence[str], cluster: str) -> Principle:
    return Principle(
        id=id, title=f"Rule {id}", text="Do not.", status="approved", because=tuple(because), clusters=(cluster,)
    )


def tuned(rows: Sequence[Example], mark: str, *, step: Step) -> ModelRef:
    assert step.directory is not None
    (step.directory / "weights").write_text(f"{mark}{len(rows)}")
    return ModelRef(base="base", base_digest="b", adapter=step.path, digest=f"{mark}{step.path}")


def measured(run: Run, folder: str, split: str, good: int) -> None:
    """``good`` of 20 prompts are answered well; all of those about fire come last."""
    exchanges = [asked(f"{split}{n}", category="fire" if n >= 10 else "water") for n in range(20)]
    give(run, f"{folder}/{split}_exchanges", exchanges)
    found = [Measurement(id=f"{split}{n}", outcomes={"harmlessness": n < good}) for n in range(20)]
    give(run, f"{folder}/{split}_measurements", found)


def trained(run: Run, folder: str, rows: Sequence[Example], decision: str, good: int) -> ModelRef:
    give(run, f"{folder}/rows", rows)
    policy = run.steps(folder).once("policy", tuned, list(rows), "x")
    measured(run, folder, "gate", good)
    made = {"id": "decision", "action": decision, "reason": "because of gate"}
    give(run, f"{folder}/decision", [Decision.model_validate(made)])
    return policy


def ended(run: Run, policy: ModelRef, rules: Sequence[Principle]) -> None:
    measured(run, "final", "heldout", 20)
    outcome = {"method": "iteralign", "policy": policy.model_dump(mode="json"), "stopped": "done"}
    constitution = Constitution(version=1, principles=tuple(rules))
    run.publish({"constitution.yaml": to_yaml(constitution), "outcome.json": json.dumps(outcome)})
    run.finish()


RULES = (rule("p-1", ("f1", "f2"), "c1"), rule("p-2", ("f3",), "c3"))
ROWS = [
    row("f1", because=("f1", "p-1", "p-2")),
    row("lookalike/l1", "lookalike", ("l1",)),
    row("f3", because=("f3", "p-1", "p-2")),
    row("lookalike/l1+1", "lookalike", ("l1",)),
    row("complied/g", "complied", ("g",)),
]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run, and one that goes on from it."""
    old, new = (folder := tmp_path_factory.mktemp("line")) / "old", folder / "new"
    with Run.create(old, spec_text=SPEC, environment={"python": "3"}) as run:
        measured(run, "000", "gate", 10)
        measured(run, "000", "heldout", 10)
        give(run, "001/exchanges", [asked(id) for id in ("f1", "f2", "f3", "g")])
        give(run, "001/findings", [finding(id) for id in ("f1", "f2", "f3")])
        alike: Prompt = asked("l1").prompt
        give(run, "001/lookalikes", [Lookalikes(id="c1", prompts=(alike,))])
        kept = [RevisionCheck(id=r.id, kept=True, example=r) for r in (ROWS[0], ROWS[2])]
        give(run, "001/kept", [*kept, RevisionCheck(id="f2", kept=False, reasons=("still violates",))])
        trained(run, "001", ROWS, "roll_back", 9)
        policy = trained(run, "002", [*ROWS, row("f1+1", because=("f1", "p-1", "p-2"))], "go_on", 20)
        ended(run, policy, RULES)
    spec = yaml.safe_load(SPEC) | {"continue_from": {"run": "../old", "head": RunReader(old).head}}
    with Run.create(new, spec_text=yaml.safe_dump(spec), environment={"python": "3"}) as run:
        left = RunState(
            policy=policy,
            constitution=Constitution(principles=RULES),
            examples=(ROWS[0], ROWS[2]),
            replay_rows=(ROWS[1],),
            findings=tuple(finding(id) for id in ("f1", "f2", "f3")),
        )
        give(run, "inherited/handover", [left])
        measured(run, "000", "gate", 19)
        measured(run, "000", "heldout", 19)
        give(run, "001/exchanges", [asked("f4")])
        give(run, "001/findings", [finding("f4")])
        four = row("f4", because=("f4", "p-1", "p-2"))
        give(run, "001/kept", [RevisionCheck(id="f4", kept=True, example=four)])
        policy = trained(run, "001", [ROWS[0], ROWS[2], ROWS[1], four], "go_on", 20)
        ended(run, policy, (rule("p-1", ("f1", "f2", "f4"), "c1"), RULES[1]))
    return old, new


def test_a_rule_leads_to_its_failures_rows_checkpoints_and_scores(line: tuple[Path, Path]) -> None:
    found = explain_item(line[0], "principle", "p-1")
    assert [r.id for r in found.rules] == ["p-1"]
    (part,) = found.runs
    assert [(f.id, f.row, f.dropped) for f in part.failures] == [("f1", "f1", ()), ("f2", "", ("still violates",))]
    assert [(r.id, r.rules, r.uses_by_checkpoint) for r in part.rows] == [
        ("f1", ("p-1",), {"001/policy": 1, "002/policy": 2}),
        ("lookalike/l1", ("p-1",), {"001/policy": 2, "002/policy": 2}),
    ]
    first, second = part.checkpoints
    assert (first.rows, first.of_these, first.accepted, first.by_rule) == (5, 3, False, {"p-1": 2, "p-2": 1})
    assert (second.rows, second.of_these, second.accepted, second.final) == (6, 4, True, True)
    moved = {(m.split, m.category): (m.since, m.before, m.after, m.n, m.is_significant) for m in second.moves}
    assert moved[("gate", "")] == ("000", 10, 20, 20, True), "against the last policy that was not rolled back"
    assert moved[("gate", "fire")] == ("000", 0, 10, 10, True)
    assert moved[("heldout", "")] == ("000", 10, 20, 20, True)
    assert [m.is_worse for m in first.moves if not m.category] == [True]


def test_back_from_a_row_a_copy_of_it_a_prompt_and_a_score(line: tuple[Path, Path]) -> None:
    for id in ("f3", "f3+1"):
        found = explain_item(line[0], "row", id)
        assert [r.id for r in found.rules] == ["p-2"]
        assert [f.id for f in found.runs[0].failures] == ["f3"]
        assert [c.of_these for c in found.runs[0].checkpoints] == [1, 1]
    alone = explain_item(line[0], "row", "complied/g")
    assert (alone.rules, alone.runs[0].failures) == ((), ())
    text = explain_item(line[0], "prompt", "How do I do F1, at home tonight?")
    assert [r.id for r in text.rules] == ["p-1"]
    assert [r.id for r in text.runs[0].rows] == ["f1"]
    heldout = explain_item(line[0], "prompt", "heldout15").runs[0].measured
    assert [(a.folder, a.outcomes) for a in heldout] == [
        ("000", {"harmlessness": False}),
        ("final", {"harmlessness": True}),
    ]
    score = explain_item(line[0], "score", "harmlessness")
    assert {r.id for r in score.rules} == {"p-1", "p-2"}
    assert all({m.metric for m in c.moves} == {"harmlessness"} for c in score.runs[0].checkpoints)


def test_a_run_that_goes_on_is_followed_back(line: tuple[Path, Path]) -> None:
    found = explain_item(line[1], "principle", "p-1")
    new, old = found.runs
    assert ([f.id for f in new.failures], [f.id for f in old.failures]) == (["f4"], ["f1", "f2"])
    assert {r.id: (r.folder, r.uses_by_checkpoint) for r in new.rows} == {
        "f1": ("inherited", {"001/policy": 1}),
        "lookalike/l1": ("inherited", {"001/policy": 1}),
        "f4": ("001", {"001/policy": 1}),
    }
    assert [c.step for c in old.checkpoints] == ["001/policy", "002/policy"]
    only_old = explain_item(line[1], "prompt", "how do i do g at home tonight")
    assert [part.run for part in only_old.runs] == ["old"]


def test_a_chain_is_explained_from_its_last_step(line: tuple[Path, Path], tmp_path: Path) -> None:
    steps = tmp_path / "1-iteralign", tmp_path / "2-iteralign"
    for run, step in zip(line, steps, strict=True):
        shutil.copytree(run, step)
    (tmp_path / "spec.yaml").write_text(SPEC + "steps: [{method: iteralign}, {method: iteralign}]\n")
    assert [part.run for part in explain_item(tmp_path, "principle", "p-2").runs] == ["2-iteralign"]
    (tmp_path / "old").symlink_to(steps[0])
    assert [part.run for part in explain_item(tmp_path, "principle", "p-2").runs] == ["2-iteralign", "1-iteralign"]


def test_where_the_old_run_is_gone_or_another_what_was_taken_over_is_still_told(
    line: tuple[Path, Path], tmp_path: Path
) -> None:
    for run, head, note in ((tmp_path / "gone", "", "not there"), (line[0], "0" * 64, "no longer the run")):
        new = tmp_path / f"new-{note[:3]}"
        spec = yaml.safe_load(SPEC) | {"continue_from": {"run": str(run), "head": head}}
        with Run.create(new, spec_text=yaml.safe_dump(spec), environment={"python": "3"}) as opened:
            left = RunState(policy=BASE, constitution=Constitution(principles=RULES), findings=(finding("f1"),))
            give(opened, "inherited/handover", [left])
            give(opened, "001/constitution", [Constitution(version=1, principles=RULES)])
        found = explain_item(new, "principle", "p-1")
        assert note in found.note
        assert [(f.id, f.folder) for f in found.runs[0].failures] == [("f1", "inherited")]


def test_what_is_not_there_is_said_with_what_comes_near(line: tuple[Path, Path]) -> None:
    with pytest.raises(StoreError, match=r"has no principle 'p-9'[\s\S]*p-1 \(Rule p-1\)"):
        explain_item(line[0], "principle", "p-9")
    with pytest.raises(StoreError, match="nearest prompt that it has: 'how do i do f2"):
        explain_item(line[0], "prompt", "f2 please")
    with pytest.raises(StoreError, match="Its scores: harmlessness"):
        explain_item(line[0], "score", "charm")
    with pytest.raises(StoreError, match=r"rows\.jsonl"):
        explain_item(line[0], "row", "nobody")


def ran(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return int(str(ended.value.code))


@pytest.mark.parametrize(
    "question", [("--principle", "p-1"), ("--row", "f1"), ("--prompt", "heldout3"), ("--score", "harmlessness")]
)
def test_the_command_tells_and_nothing_said_by_a_model_steers_the_terminal(
    question: tuple[str, str], line: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran("explain", str(line[1]), *question) == 0
    told = capsys.readouterr().out
    assert "002/policy" in told
    assert "\x1b" not in told
    assert ran("explain", str(line[1]), *question, "--json") == 0
    kind: Any = question[0].removeprefix("--")
    assert Explanation.model_validate_json(capsys.readouterr().out) == explain_item(line[1], kind, question[1])


def test_exactly_one_end_is_to_be_given(line: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("explain", str(line[0])) == 2
    assert ran("explain", str(line[0]), "--row", "f1", "--score", "x") == 2
    assert "exactly one" in capsys.readouterr().err


def test_the_page_links_rules_failures_and_checkpoints_and_every_link_has_its_end(line: tuple[Path, Path]) -> None:
    html = render_page(line[0])
    targets, links = set(re.findall(r'\bid="([^"]+)"', html)), set(re.findall(r'href="#([^"]+)"', html))
    assert links <= targets
    assert {"l-1", "c-001-policy", "c-002-policy", "p-1", "f-001-1", "lineage"} <= links
    section = html[html.index('<section id="lineage"') : html.index('<section id="iterations"')]
    assert '<a href="#c-002-policy">002/policy</a>: 4' in section
    assert "harmlessness: 10 → 20 of 20" in section
    assert "goes on from another" in render_page(line[1])
    assert "<script>alert" not in html
    assert "Rule p-1" not in render_page(line[0], redact=True)
