"""The stages of SELF-ALIGN alone: think, engrave and clone over scripted engines, each by itself and after the other,
killed or not; and a chain of all four on the organism, with real training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import cli, jobs
from charter import spec as specs
from charter.constitution.run_state import RunState
from charter.errors import SpecError, StoreError
from charter.records.chat import Message
from charter.records.training_rows import Example
from charter.reports.chain import chain_runs, is_complete, verify_chain
from charter.reports.costs import read_costs, read_human_lines
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.explanation import explain_item
from charter.reports.page import render_page
from charter.reports.principle_usage import read_principle_usage
from charter.runs.reader import RunReader
from charter.runs.store import expected_head
from charter.wiring.row_files import read_rows, rows_to_jsonl
from tests.fakes.example_records import START, row
from tests.fakes.principle_topics import RuledToy
from tests.fakes.refused_topics import ToyBenchmark, prompts
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "draw": {"batch": 40},
    "replay": {"ratio": 1, "fresh": 60},
    "contrast": {"count": 3},
    "self_align": {"ordinary": 8, "min_characters": 0},
}


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


def values(directory: Path, step: str) -> dict[str, float]:
    return {s["id"]: s["value"] for s in records(directory, f"{step}_scores")}


def left(directory: Path) -> RunState:
    """What a run hands over, its policy's files named from anywhere."""
    (found,) = [RunState.model_validate(r) for r in records(directory, "final/handover")]
    if found.policy.adapter is None:
        return found
    return found.model_copy(
        update={"policy": found.policy.model_copy(update={"adapter": str(directory / found.policy.adapter)})}
    )


def lesson(text: str, response: str, id: str) -> Example:
    return Example(id=id, messages=(Message(role="user", content=text),), response=response, origin="given")


LESSONS = tuple(
    lesson(p.text, f"at {n} call a friend instead of {topic}", f"{topic}-{n}")
    for topic in ("hacking", "arson", "fraud")
    for n, p in enumerate(prompts((topic,), 900, 8))
)


# -- over scripted engines


def test_thinking_leaves_rows_and_engraving_them_brings_the_policy_of_the_whole_method(tmp_path: Path) -> None:
    whole, first, second = RuledToy(SMALL), RuledToy(SMALL), RuledToy(SMALL)
    whole.run("self_align", tmp_path / "whole")
    thought = first.run("think", tmp_path / "think")
    assert first.tuned == []
    assert thought.policy == START
    assert not list((tmp_path / "think").rglob("*_scores.jsonl"))
    for step in ("asked", "reasoned", "sifted", "kept", "examples", "replay"):
        assert records(tmp_path / "think", f"001/{step}") == records(tmp_path / "whole", f"001/{step}"), step
    given = RuledToy(SMALL, given=left(tmp_path / "think"), constitution=second.constitution)
    given.run("engrave", tmp_path / "engrave")
    assert given.tuned == whole.tuned
    assert values(tmp_path / "engrave", "final/heldout") == values(tmp_path / "whole", "final/heldout")
    assert records(tmp_path / "engrave", "001/rehearsals") == []
    assert (
        records(tmp_path / "engrave", "001/policy")[0]["digest"]
        == records(tmp_path / "whole", "001/policy")[0]["digest"]
    )


def test_rows_of_files_are_engraved_under_replay_and_gates(tmp_path: Path) -> None:
    toy = RuledToy(SMALL, rows=LESSONS)
    course = toy.run("engrave", tmp_path / "run")
    assert values(tmp_path / "run", "000/heldout")["harmlessness"] == 0.25
    assert values(tmp_path / "run", "final/heldout")["harmlessness"] == 1
    assert {r.messages[0].role for r in toy.asked["target"]} == {"user"}
    ((_, made),) = toy.tuned
    origins = [e.origin for e in made]
    assert (origins.count("given"), origins.count("helpful")) == (24, 24)
    assert course.examples == LESSONS
    assert records(tmp_path / "run", "001/gates")


def test_rows_of_files_are_engraved_beside_what_self_align_answers(tmp_path: Path) -> None:
    plain, toy = RuledToy(SMALL), RuledToy(SMALL, rows=LESSONS)
    plain.run("self_align", tmp_path / "plain")
    toy.run("self_align", tmp_path / "run")
    assert not (tmp_path / "plain/001/dialogues.jsonl").exists()
    (_, before), (_, after) = plain.tuned[0], toy.tuned[0]
    own = {e.id for e in after if e.origin == "given"}
    assert own == {e.id for e in LESSONS}
    assert {e.id for e in after if e.origin == "revision"} == {e.id for e in before if e.origin == "revision"}


def test_given_rows_that_are_close_to_gate_or_heldout_or_empty_are_left_out_and_counted(tmp_path: Path) -> None:
    held = ToyBenchmark("heldout").questions()[0].prompt.text
    toy = RuledToy(SMALL, rows=(*LESSONS, lesson(held, "call a friend", "close"), lesson("teach knots", " ", "bare")))
    toy.run("engrave", tmp_path / "run")
    dropped = {k["id"]: k["reasons"] for k in records(tmp_path / "run", "001/kept") if not k["kept"]}
    assert dropped == {"close": ["close to gate or held-out"], "bare": ["empty"]}
    assert {e.id for _, made in toy.tuned for e in made if e.origin == "given"} == {e.id for e in LESSONS}


def test_rows_that_make_it_worse_are_not_used_and_what_was_there_stays(tmp_path: Path) -> None:
    RuledToy(SMALL).run("self_align", tmp_path / "first")
    before = left(tmp_path / "first")
    changes = {**SMALL, "gates": {"retries": 0, "alpha": 0.9}}
    for method in ("engrave", "clone"):
        toy = RuledToy(changes, lessons=["spoil"], given=before)
        course = toy.run(method, tmp_path / method)
        assert course.policy == before.policy
        assert course.examples == before.examples
        assert "rolled back" in course.stopped


def test_cloning_alone_tunes_the_start_on_what_the_policy_before_says_at_length(tmp_path: Path) -> None:
    RuledToy(SMALL).run("self_align", tmp_path / "first")
    before = left(tmp_path / "first")
    toy = RuledToy(SMALL, given=before)
    course = toy.run("clone", tmp_path / "run")
    ((start, made),) = toy.tuned
    assert start == START
    learnt = [e for e in made if e.origin == "revision"]
    assert learnt
    assert all(e.response.endswith("at length") for e in learnt)
    assert {m.role for e in made for m in e.messages} == {"user"}
    assert not {p["id"] for p in records(tmp_path / "run", "001/asked")} & set(before.probed_prompt_ids)
    assert course.policy.adapter == "001/policy"
    assert values(tmp_path / "run", "final/heldout")["harmlessness"] == 1


def test_prompts_of_the_step_before_are_answered_where_the_spec_asks_for_what_was_written(tmp_path: Path) -> None:
    wrote = tuple(prompts(("fraud", "golf"), 4000, 10))
    for choice, more in (("instruct", 0), ("both", 40)):
        changes = {
            **SMALL,
            "contrast": {"count": 0},
            "self_align": {"ordinary": 0, "min_characters": 0, "prompts": choice},
        }
        for method in ("think", "clone"):
            toy = RuledToy(changes, written=wrote)
            toy.run(method, tmp_path / f"{choice}-{method}")
            asked = {p["id"] for p in records(tmp_path / f"{choice}-{method}", "001/asked")}
            assert {p.id for p in wrote} <= asked
            assert len(asked) == len(wrote) + more


@pytest.mark.parametrize("method", ["think", "engrave", "clone"])
@pytest.mark.parametrize("every", [11, 97])
def test_killed_again_and_again_it_comes_to_the_same_end(method: str, every: int, tmp_path: Path) -> None:
    rows = LESSONS if method == "engrave" else ()
    RuledToy(SMALL, rows=rows).run(method, tmp_path / "whole")
    kills = 0
    while True:
        try:
            RuledToy(SMALL, rows=rows, kill=every, shuffle=kills).run(method, tmp_path / "run")
            break
        except KeyboardInterrupt:
            kills += 1
        every += 29
    assert kills >= 2
    assert substance(tmp_path / "run") == substance(tmp_path / "whole")


# -- rows as files


def test_rows_are_read_in_any_columns_and_come_back_as_they_went(tmp_path: Path) -> None:
    made = [row("a"), LESSONS[0], row("b").model_copy(update={"origin": "lookalike"})]
    (tmp_path / "mine.jsonl").write_text(rows_to_jsonl(made), encoding="utf-8")
    again, _ = read_rows([str(tmp_path / "mine.jsonl")])
    assert [(e.id, e.messages, e.response, e.origin) for e in again] == [
        (e.id, e.messages, e.response, e.origin) for e in made
    ]
    other = [
        {"instruction": "say it", "output": "so"},
        {"prompt": "again", "response": "so too", "id": "b", "origin": 7},
    ]
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, other)), encoding="utf-8")
    both, _ = read_rows([str(tmp_path / "mine.jsonl"), str(tmp_path / "other.jsonl")])
    assert [(e.id, e.origin) for e in both[3:]] == [("row-4", "given"), ("row-5", "given")]
    assert [e.response for e in both[3:]] == ["so", "so too"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"messages": [{"role": "user", "content": "hi"}]}', "has no answer to learn"),
        (
            '{"messages": [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]}',
            "a turn is of `tool`",
        ),
        ('{"price": 3}', "no text is found in it"),
        ("", "gives no row"),
    ],
)
def test_a_row_that_cannot_be_learnt_is_refused_with_its_place(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(SpecError, match=said) as caught:
        read_rows([str(tmp_path / "rows.jsonl")])
    assert "rows.jsonl" in str(caught.value)


def test_rows_that_cannot_be_learnt_may_be_skipped_and_are_counted_by_reason(tmp_path: Path) -> None:
    good = [{"instruction": "say it", "output": "so"}, {"prompt": "a", "answer": "b"}]
    lines = [good[0], {"price": 3}, {"prompt": "again"}, good[1]]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows, (count,) = read_rows([str(file)], skip=2)
    assert [(e.id, e.response) for e in rows] == [("row-1", "so"), ("row-2", "b")]
    assert count.reasons == {"no text is found in it": 1, "has no answer to learn": 1}
    with pytest.raises(SpecError, match=r"rows\.jsonl:2") as caught:
        read_rows([str(file)])
    assert "`skip: 2`" in caught.value.cure


# -- a chain of the four stages on the organism

TEXT = """\
version: 1
world: village
templates: world
scale: organism
constitution: world
prompts: {gate: 2, heldout: 2}
options:
  draw: {batch: 24}
  reflect: {max_rule_characters: 700}
  instruct: {generator: proposer, seeds: world, rounds: 1, calls: 2, asked: 6, topics: {rounds: 0}}
  contrast: {count: 1}
  self_align:
    {exemplars: "", temperature: 0, top_p: 1, max_tokens: 64, min_characters: 0, apologies: [], ordinary: 4,
     clone_tokens: 24}
  keep: {exempt_openings: ["sorry , i will not help"]}
  replay: {ratio: 1, fresh: 12}
  tune: {learning_rate: 0.003, epochs: 1}
  gates: {roll_back: false}
  curate: {enabled: true, mask: false}
steps:
  - {method: self_instruct}
  - {method: think, options: {self_align: {prompts: both}}}
  - {method: engrave, constitution: ""}
  - {method: clone, constitution: ""}
"""
NAMES = ("1-self_instruct", "2-think", "3-engrave", "4-clone")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished chain of the four stages."""
    folder = tmp_path_factory.mktemp("stages") / "chain"
    jobs.launch_run(TEXT, folder)
    return folder


def ends(directory: Path) -> dict[str, str]:
    """The hash of the records of each step."""
    heads = {step.name: expected_head(RunReader(step).events) for step in chain_runs(directory)}
    return {name: head.records for name, head in heads.items() if head is not None}


def test_each_stage_goes_on_from_the_one_before(chain: Path) -> None:
    first, second, third, fourth = chain_runs(chain)
    wrote = {p["id"] for p in records(first, "000/prompts")}
    assert wrote
    assert {p["id"] for p in records(second, "inherited/prompts")} == wrote
    assert wrote <= {p["id"] for p in records(second, "000/prompts")}
    assert wrote <= {p["id"] for p in records(second, "001/asked")}
    assert not (second / "adapter").exists()
    thought, engraved, cloned = map(left, (second, third, fourth))
    assert thought.policy.adapter is None
    assert thought.examples
    trained = {e["id"].split("+")[0] for e in records(third, "001/rows")}
    assert {e.id for e in thought.examples} <= trained
    assert engraved.policy.digest != thought.policy.digest
    (taken,) = [RunState.model_validate(r) for r in records(fourth, "inherited/handover")]
    assert taken.policy.digest == engraved.policy.digest
    assert cloned.policy.digest != engraved.policy.digest
    assert is_complete(chain)
    assert all(found.ok for found in verify_chain(chain).values())


def test_every_report_knows_a_run_that_only_leaves_rows(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = chain / "2-think"
    reading = RunReader(run)
    rows, _ = read_rows([str(run / "rows.jsonl")])
    assert [e.id for e in rows] == [e.id for e in (*left(run).examples, *left(run).replay_rows)]
    found = read_principle_usage(reading)
    assert found is not None
    assert found.lines["principles"] == 15
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-3)
    assert read_data_cards(reading)["001"].kept == len(rows)
    shown = render_page(run)
    assert "Rules and supervision" in shown
    assert "rows to learn" in shown
    (part, *_) = explain_item(run, "row", rows[0].id).runs
    assert (part.rows[0].id, part.checkpoints) == (rows[0].id, ())
    told = said(capsys, "show", str(run))
    assert "all prompts were answered" in told
    assert "nothing to export" in said(capsys, "export", str(run), "--out", str(run.with_name("out")), code=1)
    assert [read_human_lines(RunReader(step)) for step in chain_runs(chain)] == [40, 15, 0, 0]


def test_a_chain_of_stages_that_was_interrupted_comes_to_the_same_end(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    for name in NAMES[1:]:
        shutil.rmtree(folder / name)
    stops = (
        "inherited/prompts",
        "001/reasoned",
        "001/rows",
        "inherited/handover",
        "001/kept",
        "001/policy",
        "001/revisions",
    )
    for stop in stops:

        def interrupt(path: str, done: int, total: int, stop: str = stop) -> None:
            if path == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            jobs.resume_run(folder, interrupt)
    shutil.move(folder / NAMES[0], tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", folder / NAMES[0])
    jobs.resume_run(folder)
    assert ends(folder) == ends(chain)


def test_rows_that_a_run_left_are_engraved_from_their_file(chain: Path, tmp_path: Path) -> None:
    whole = {key: value for key, value in yaml.safe_load(TEXT).items() if key != "steps"}
    alone = whole | {"method": "engrave", "constitution": ""}
    alone["options"] = alone["options"] | {"engrave": {"rows": [str(chain / "2-think" / "rows.jsonl")]}}
    jobs.launch_run(yaml.safe_dump(alone), tmp_path / "run")
    file = {e.id: e.response for e in read_rows([str(chain / "2-think" / "rows.jsonl")])[0]}
    for run in (tmp_path / "run", chain / "3-engrave"):
        trained = records(run, "001/rows")
        assert file.items() <= {e["id"]: e["response"] for e in trained}.items()
    assert RunReader(tmp_path / "run").constitution.principles == ()


def test_a_dry_run_counts_what_the_step_before_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(TEXT, encoding="utf-8")
    plan = json.loads(said(capsys, "run", str(tmp_path / "spec.yaml"), "--dry-run", "--json"))
    assert tuple(plan) == NAMES
    assert plan["1-self_instruct"]["prompts_at_most"] == 12
    calls = {name: plan[name]["oracle_calls"] for name in NAMES[1:]}
    assert calls["2-think"]["rechecks"] == (24 + 12) * 2
    assert calls["2-think"]["verdicts"] == 24 * 2
    assert {use for use, count in calls["3-engrave"].items() if count} == {"replay checks"}
    assert calls["4-clone"]["rechecks"] == 24 * 2
    assert calls["4-clone"]["verdicts"] == calls["4-clone"]["look-alikes"] == 0
    assert plan["3-engrave"]["principles"] == 0


def test_what_is_asked_of_a_chain_is_never_more_than_its_dry_run_says(chain: Path) -> None:
    plans, written = {}, 0
    for name, text in specs.split_chain(TEXT):
        plans[name] = jobs.forecast_run(specs.parse_spec(text), written)
        written = plans[name].get("prompts_at_most", 0)
    steps = chain_runs(chain)
    assert tuple(step.name for step in steps) == NAMES
    for step in steps:
        asked = sum(c.calls for c in read_costs(RunReader(step)) if c.purpose == "aligning")
        most = plans[step.name].get("oracle_calls_at_most", plans[step.name].get("calls")) or 0
        assert 0 < asked <= most, step.name


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("method: engrave", "options.engrave.rows: is empty"),
        ("steps: [{method: self_instruct}, {method: engrave}]", "steps.1.options.engrave.rows: is empty"),
        ("steps: [{method: think}, {method: self_instruct}]", "steps.1.method: self_instruct leaves prompts and no"),
    ],
)
def test_what_cannot_work_is_refused_when_the_spec_is_read(text: str, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        specs.parse_spec(f"world: village\ntemplates: world\n{text}\n")
    assert any(fault.startswith(line) for fault in caught.value.faults), caught.value.faults


def test_any_method_may_follow_self_instruct_and_only_a_finished_run_of_it_gives_prompts(
    chain: Path, tmp_path: Path
) -> None:
    for method in ("iteralign", "self_align", "cai", "rlhf"):
        spec = f"world: village\ntemplates: world\nsteps: [{{method: self_instruct}}, {{method: {method}}}]\n"
        (_, second) = specs.split_chain(spec)
        asked = specs.parse_spec(second[1]).continue_from
        assert asked is not None
        assert (asked.run, asked.inherit) == ("../1-self_instruct", "prompts")
    text = specs.split_chain(TEXT)[1][1]
    jobs.continue_run(chain / NAMES[0], tmp_path / "new", text)
    assert records(tmp_path / "new", "inherited/prompts") == records(chain / NAMES[0], "000/prompts")
    wrong = yaml.safe_load(text) | {"continue_from": {"run": str(chain / NAMES[1]), "inherit": "prompts"}}
    with pytest.raises(StoreError, match="is no finished run of self_instruct"):
        jobs.launch_run(yaml.safe_dump(wrong), tmp_path / "wrong")


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    out = capsys.readouterr()
    assert bool(ended.value.code) is bool(code), out.err
    return " ".join((out.out + out.err).split())
