"""The method over scripted engines, through a run: what it does, what it never reads, and what each switch changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.records.chat import Prompt
from charter.runs import Run
from tests.fakes.example_records import START
from tests.fakes.refused_topics import BENIGN, HARM, PAPER_OPTIONS, SAFE_ALREADY, Toy, prompts, topics_in
from tests.fakes.scripted_run import substance

REDTEAM = Toy().task().redteam
SMALL: dict[str, Any] = {"draw": {"batch": 48, "later": 24}, "stop": {"min_prompts": 24, "max_violation_rate": 0.2}}
MEASURED = ("single", "double", "further", "benign", "blamed")
ITERATION = [
    "exchanges",
    "verdicts",
    "stop",
    "findings",
    "clusters",
    "proposals",
    "amended",
    "lookalikes",
    "trials",
    "critiques",
    "revisions",
    "further",
    "further_exchanges",
    "further_verdicts",
    "further_findings",
    "widened",
    "single_trials",
    "single_critiques",
    "single_revisions",
    "single_verdicts",
    "redundant_rules",
    "double_trials",
    "double_critiques",
    "double_revisions",
    "double_verdicts",
    "weighed",
    "rechecks",
    "complying",
    "helps",
    "kept",
    "alarms",
    "examples",
    "rehearsals",
    "answers",
    "checks",
    "benign_trials",
    "benign_critiques",
    "benign_revisions",
    "benign_verdicts",
    "blamed_trials",
    "blamed_critiques",
    "blamed_revisions",
    "blamed_verdicts",
    "breadth",
    "overreaching",
    "narrowed",
    "constitution",
    "replay",
    "rows",
    "policy",
    "gate_exchanges",
    "gate_measurements",
    "gate_scores",
    "gates",
    "decision",
]


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


def made(directory: Path, leave_out: str = r"^$") -> dict[str, str]:
    """Every record of a run without its prompts' metadata, by step; steps that match ``leave_out`` are left out."""
    files = (path for path in directory.rglob("*.jsonl") if path.name != "journal.jsonl")
    found = {path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8") for path in files}
    return {
        name: re.sub(r'"meta":\{[^}]*\}', '"meta":{}', text)
        for name, text in found.items()
        if not re.search(leave_out, name)
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Toy]:
    """One uninterrupted run."""
    directory, toy = tmp_path_factory.mktemp("toy") / "run", Toy(SMALL)
    toy.play(directory)
    return directory, toy


def test_it_finds_the_flaws_mends_them_and_says_why_it_stopped(tmp_path: Path) -> None:
    progress = Toy(SMALL).play(tmp_path / "run")
    rules = progress.constitution.active
    assert sorted(p.title for p in rules) == sorted(HARM)
    assert {p.efficacy.judgement for p in rules if p.efficacy} == {"useful"}
    assert all(p.efficacy for p in rules)
    for p in rules:
        causes = {
            e["id"]: e["exchange"]["prompt"]["messages"][0]["content"]
            for e in records(tmp_path / "run", "001/findings")
        }
        assert all(p.title in causes[key] for key in p.because)
    before, after = (
        {s["id"]: s["value"] for s in records(tmp_path / "run", step)}
        for step in ("000/heldout_scores", "final/heldout_scores")
    )
    assert before == {"harmlessness": 0.25, "retention": 1, "helpfulness": 1}
    assert after == {"harmlessness": 1, "retention": 1, "helpfulness": 1}
    assert "0 of 24 prompts drawn since the last tuning" in progress.stopped


def test_each_step_is_a_sealed_file(plain: tuple[Path, Toy]) -> None:
    directory, _ = plain
    for step in ("prompts", "helpful", "gate_scores", "heldout_scores"):
        assert (directory / "000" / f"{step}.seal.json").exists()
    assert {path.name.removesuffix(".seal.json") for path in (directory / "001").glob("*.seal.json")} == set(ITERATION)
    last = {path.name.removesuffix(".seal.json") for path in (directory / "002").glob("*.seal.json")}
    assert last == {"exchanges", "verdicts", "stop", "findings"}
    assert (directory / "001" / "policy" / "refuses.json").exists()
    assert (directory / "HEAD").exists()


def test_batches_are_distinct_and_of_their_sizes(plain: tuple[Path, Toy]) -> None:
    directory, _ = plain
    first, second = ([r["id"] for r in records(directory, f"{n}/exchanges")] for n in ("001", "002"))
    assert (len(first), len(second)) == (48, 24)
    assert [r["id"] for r in records(directory, "000/prompts")][:72] == [*first, *second]


def test_aligning_and_measuring_are_counted_apart(plain: tuple[Path, Toy]) -> None:
    directory, toy = plain
    judged = [step for step in ITERATION if step.endswith(("verdicts", "rechecks", "helps", "checks"))]
    measuring = sum(len(records(directory, f"001/{s}")) for s in judged if s.startswith(MEASURED))
    aligning = sum(len(records(directory, f"001/{s}")) for s in judged if not s.startswith(MEASURED))
    aligning += len(records(directory, "002/verdicts"))
    again = Toy(SMALL)
    with Run.open(directory) as run:
        from charter.methods.iteralign import iteralign

        iteralign(run, again.roles(run), again.task())
        assert run.count_calls("measuring") == measuring
        assert run.count_calls("aligning") == aligning + len(toy.asked["proposer"])
    assert again.asked == {}
    assert len(toy.asked["judge"]) == measuring + aligning


@pytest.mark.slow
@pytest.mark.parametrize("every", [7, 60, 190])
def test_killed_again_and_again_it_comes_to_the_same_end(plain: tuple[Path, Toy], tmp_path: Path, every: int) -> None:
    directory, kills = tmp_path / "run", 0
    while True:
        toy = Toy(SMALL, kill=every)
        try:
            toy.play(directory)
            break
        except KeyboardInterrupt:
            kills += 1
        every += 23
    assert kills >= 3
    assert substance(directory) == substance(plain[0])


def test_neither_the_order_of_answers_nor_the_runs_folder_matters(plain: tuple[Path, Toy], tmp_path: Path) -> None:
    Toy(SMALL, shuffle=99).play(tmp_path / "elsewhere" / "run")
    assert substance(tmp_path / "elsewhere" / "run") == substance(plain[0])


def test_another_seed_is_another_run(plain: tuple[Path, Toy], tmp_path: Path) -> None:
    Toy(SMALL).play(tmp_path / "run", seed=6)
    assert made(tmp_path / "run")["001/exchanges.jsonl"] != made(plain[0])["001/exchanges.jsonl"]


@pytest.fixture(scope="module")
def told(plain: tuple[Path, Toy], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An uninterrupted run with our options, and one with the paper's."""
    directory = tmp_path_factory.mktemp("paper") / "run"
    Toy(PAPER_OPTIONS).play(directory)
    return {"ours": plain[0], "paper": directory}


OTHERS = prompts((*BENIGN, "stamps", SAFE_ALREADY), 7000, 50)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"heldout_scores": "inverted"}, {"heldout_scores": "unjudged"}, {"heldout": OTHERS}, {"heldout": OTHERS[:1]}],
)
@pytest.mark.parametrize(("name", "options"), [("ours", SMALL), ("paper", PAPER_OPTIONS)])
def test_no_decision_reads_heldout(
    told: dict[str, Path], changes: dict[str, Any], name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    whole, other = told[name], tmp_path / "changed"
    Toy(options).with_(**changes).play(other)
    decided = made(whole, leave_out="heldout")
    assert made(other, leave_out="heldout") == decided
    assert len(decided) >= 50
    assert (whole / "stopped.txt").read_text() == (other / "stopped.txt").read_text()
    assert made(whole) != made(other)


def test_metadata_of_prompts_changes_nothing(plain: tuple[Path, Toy], tmp_path: Path) -> None:
    topics = (*HARM, SAFE_ALREADY)

    def marked(start: int, meta: str) -> list[Prompt]:
        return prompts(topics, start, 96, meta)

    Toy(SMALL, redteam=marked(0, "arson")).play(tmp_path / "run")
    assert '"meta":{"harm":"arson"}' in (tmp_path / "run/001/exchanges.jsonl").read_text()
    assert made(tmp_path / "run") == made(plain[0])


def test_the_proposer_never_sees_what_is_hidden(plain: tuple[Path, Toy]) -> None:
    directory, toy = plain
    hidden = [
        f["exchange"]["prompt"]["messages"][0]["content"]
        for c in records(directory, "001/widened")
        for f in c["hidden"]
    ]
    assert len(hidden) >= 24
    asked = "\n".join(r.messages[-1].content for r in toy.asked["proposer"])
    assert not [text for text in hidden if text + "\n" in asked]


def test_rows_hold_no_rule_and_replay_is_at_least_three_to_one(plain: tuple[Path, Toy]) -> None:
    directory, toy = plain
    ((start, rows),) = toy.tuned
    assert start == START
    origins = [e.origin for e in rows]
    assert set(origins) == {"revision", "lookalike", "helpful", "complied"}
    assert len(rows) - origins.count("revision") >= 3 * origins.count("revision") > 0
    assert not [e for e in rows for m in e.messages if "never" in m.content]
    assert [e.model_dump(mode="json") for e in rows] == records(directory, "001/rows")


def test_replay_is_answered_by_the_starting_model(plain: tuple[Path, Toy]) -> None:
    assert {e["model"] for e in records(plain[0], "001/answers")} == {START.digest}


def test_batches_that_gave_no_row_still_count_as_drawn(tmp_path: Path) -> None:
    toy = Toy({**SMALL, "stop": {"iterations": 3, "min_prompts": 24}}, stern=True)
    toy.play(tmp_path / "run")
    assert toy.tuned == []
    drawn = [records(tmp_path / "run", f"{n:03d}/stop")[0]["figures"]["drawn"] for n in (1, 2, 3)]
    assert drawn == [48, 72, 96]
    asked = [[e["id"] for e in records(tmp_path / "run", f"{n:03d}/answers")] for n in (1, 2, 3)]
    assert len({key for ids in asked for key in ids}) == sum(map(len, asked))


def test_a_policy_that_is_worse_is_tried_again_with_more_replay_then_the_run_stops(tmp_path: Path) -> None:
    toy = Toy({**SMALL, "gates": {"retry_with": "both"}}, lessons=["spoil"] * 9)
    progress = toy.play(tmp_path / "run")
    actions = [records(tmp_path / "run", f"{n:03d}/decision")[0]["action"] for n in (1, 2, 3)]
    assert actions == ["roll_back", "roll_back", "give_up"]
    assert progress.policy == START
    assert progress.examples == ()
    assert "rolled back 3 times" in progress.stopped
    assert not (tmp_path / "run" / "002" / "exchanges.jsonl").exists()
    assert not (tmp_path / "run" / "004").exists()
    first, second, third = ([e.id for e in rows if e.origin == "revision"] for _, rows in toy.tuned)
    assert sorted(first) == sorted(second) == sorted(third)
    assert len(toy.tuned[0][1]) < len(toy.tuned[1][1]) < len(toy.tuned[2][1])
    assert toy.shares == [1, 0.5, 0.25]


def test_a_policy_that_is_tried_again_and_passes_is_used(tmp_path: Path) -> None:
    toy = Toy({**SMALL, "stop": {"iterations": 3}}, lessons=["spoil"])
    assert toy.play(tmp_path / "run").policy.adapter not in (None, "001/policy")
    assert records(tmp_path / "run", "001/decision")[0]["action"] == "roll_back"
    failed = [g for g in records(tmp_path / "run", "001/gates") if not g["passed"]]
    assert failed
    assert all(g["bound"] < -g["margin"] and g["n"] for g in failed)
    assert all(g["passed"] for g in records(tmp_path / "run", "002/gates"))


def test_without_rolling_back_a_worse_policy_is_used(tmp_path: Path) -> None:
    toy = Toy({**SMALL, "stop": {"iterations": 2}, "gates": {"roll_back": False}}, lessons=["spoil"] * 9)
    assert toy.play(tmp_path / "run").policy.adapter == "002/policy"


def test_a_stop_after_a_second_try_is_a_stop(tmp_path: Path) -> None:
    toy = Toy({**SMALL, "stop": {"patience": 1, "iterations": 6}, "gates": {"retries": 3}}, lessons=["spoil", "idle"])
    progress = toy.play(tmp_path / "run")
    assert "no progress" in progress.stopped
    assert not (tmp_path / "run" / "003").exists()


def paper(tmp_path: Path, **changes: dict[str, object]) -> tuple[Path, Toy]:
    toy = Toy({**PAPER_OPTIONS, **changes})
    toy.play(tmp_path / "run")
    return tmp_path / "run", toy


def test_the_papers_run(tmp_path: Path) -> None:
    """Every point of the paper at once: order, judge, proposal, constitution, reflection, rows, base, no replay."""
    directory, toy = paper(tmp_path)
    drawn = [r["id"] for n in (1, 2, 3) for r in records(directory, f"{n:03d}/exchanges")]
    assert drawn == [p.id for p in toy.task().redteam[:60]]
    first = toy.asked["judge"][0].messages[-1].content
    assert "place" not in first.split("Response:")[-1] or "plan for" in first
    assert {v["rubric"] for v in records(directory, "001/verdicts")} == {"conduct-response-only"}
    (only,) = records(directory, "001/clusters")
    assert (len(only["shown"]), only["hidden"]) == (15, [])
    (rule,) = records(directory, "001/constitution")[0]["principles"]
    assert rule["text"] == " ".join(f"never help with {t} ." for t in topics_in(rule["text"]))
    assert set(topics_in(rule["text"])) == set(HARM)
    assert rule["efficacy"] is None
    assert {c["text"] for c in records(directory, "001/critiques")} == {""}
    assert {r["origin"] for r in records(directory, "001/rows")} == {"revision"}
    assert all(k["kept"] for k in records(directory, "001/kept"))
    for step in ("helps", "single_trials", "further", "rehearsals", "answers", "replay"):
        assert records(directory, f"001/{step}") == []
    assert len(toy.asked["proposer"]) == 1


def test_the_papers_judge_never_sees_a_prompt(tmp_path: Path) -> None:
    _, toy = paper(tmp_path)
    assert all(r.messages[-1].content.count("<prompt") == 0 for r in toy.asked["judge"])
    assert all("<response" in r.messages[-1].content for r in toy.asked["judge"])
    ours = Toy(SMALL)
    ours.play(tmp_path / "ours")
    assert all("<prompt" in r.messages[-1].content for r in ours.asked["judge"])


def test_the_papers_constitution_is_this_batchs_alone(tmp_path: Path) -> None:
    halves = [*prompts(HARM[:1], 0, 20), *prompts(HARM[1:2], 100, 20)]
    for mode, expected in (("replace", HARM[1:2]), ("merge", HARM[:2])):
        toy = Toy({**PAPER_OPTIONS, "amend": {"mode": mode}}, redteam=halves)
        rules = toy.play(tmp_path / mode).constitution.active
        assert {t for p in rules for t in topics_in(p.text)} == set(expected)


def test_the_papers_base_is_the_previous_policy_with_this_batch_alone(tmp_path: Path) -> None:
    halves = [*prompts(HARM[:1], 0, 20), *prompts(HARM[1:2], 100, 20)]
    on, anew = (Toy({**PAPER_OPTIONS, "tune": {"start": start}}, redteam=halves) for start in ("previous", "start"))
    on.play(tmp_path / "on")
    anew.play(tmp_path / "anew")
    assert [start.adapter for start, _ in on.tuned] == [None, str(tmp_path / "on" / "001" / "policy")]
    assert [start.adapter for start, _ in anew.tuned] == [None, None]
    assert [len(rows) for _, rows in on.tuned] == [20, 20]
    assert [len(rows) for _, rows in anew.tuned] == [20, 40]


def test_the_paper_trains_on_unverified_revisions(tmp_path: Path) -> None:
    everything = Toy(PAPER_OPTIONS, stern=True)
    everything.play(tmp_path / "paper")
    assert {v["outcome"] for v in records(tmp_path / "paper", "001/rechecks")} == {"violates"}
    assert everything.tuned
    checked = Toy({**PAPER_OPTIONS, "keep": {"verify": True}}, stern=True)
    checked.play(tmp_path / "checked")
    assert checked.tuned == []


Rows = list[dict[str, Any]]
SWITCHES: dict[tuple[str, str, object], tuple[str, Callable[[Rows], bool]]] = {
    ("contrast", "count", 0): ("lookalikes", lambda rows: not any(r["prompts"] for r in rows)),
    ("reflect", "turns", "direct"): ("critiques", lambda rows: {r["text"] for r in rows} == {""}),
    ("cluster", "by", "batch"): ("clusters", lambda rows: len(rows) == 1),
    ("cluster", "hide", 0): ("clusters", lambda rows: not any(r["hidden"] for r in rows)),
    ("propose", "reply", "last_paragraph"): ("proposals", lambda rows: {r["principle"]["title"] for r in rows} == {""}),
    ("replay", "compliant", False): ("replay", lambda rows: "complied" not in origins(rows)),
    ("replay", "lookalikes", False): ("replay", lambda rows: "lookalike" not in origins(rows)),
    ("replay", "fresh", 0): ("replay", lambda rows: "helpful" not in origins(rows)),
    ("replay", "ratio", 0): ("rows", lambda rows: origins(rows) == {"revision"}),
    ("keep", "verify", False): ("helps", lambda rows: rows == []),
    ("keep", "max_characters", 3): ("kept", lambda rows: {r for k in rows for r in k["reasons"]} == {"too long"}),
    ("measure", "efficacy", False): (
        "constitution",
        lambda rows: not any(p["efficacy"] for p in rows[0]["principles"]),
    ),
    ("judge", "judge_input", "response"): (
        "verdicts",
        lambda rows: {r["rubric"] for r in rows} == {"conduct-response-only"},
    ),
    ("draw", "order", "file"): ("exchanges", lambda rows: [r["id"] for r in rows] == [p.id for p in REDTEAM[:48]]),
    ("draw", "batch", 30): ("exchanges", lambda rows: len(rows) == 30),
}


def origins(rows: Rows) -> set[str]:
    return {r["origin"] for r in rows}


@pytest.mark.slow
@pytest.mark.parametrize(("key", "name", "value"), SWITCHES)
def test_each_switch_alone_has_its_effect(
    plain: tuple[Path, Toy], tmp_path: Path, key: str, name: str, value: object
) -> None:
    step, holds = SWITCHES[key, name, value]
    Toy({**SMALL, key: {**SMALL.get(key, {}), name: value}}).play(tmp_path / "run")
    assert holds(records(tmp_path / "run", f"001/{step}"))
    assert not holds(records(plain[0], f"001/{step}"))


def test_it_ends_with_the_data_or_at_the_limit_and_says_so(tmp_path: Path) -> None:
    directory, _ = paper(tmp_path)
    assert (directory / "stopped.txt").read_text() == "the last batch was done"
    assert not (directory / "004").exists()
    short = Toy({**PAPER_OPTIONS, "stop": {**PAPER_OPTIONS["stop"], "iterations": 50}}, redteam=prompts(HARM, 0, 25))  # type: ignore[dict-item]
    assert short.play(tmp_path / "short").stopped == "the last batch was done"
    assert len(records(tmp_path / "short", "002/exchanges")) == 5
    assert not (tmp_path / "short" / "003").exists()


def test_no_progress_on_gate_stops(tmp_path: Path) -> None:
    toy = Toy(
        {"draw": {"batch": 12, "later": 12}, "stop": {"patience": 1, "rule": "data"}, "keep": {"verify": False}},
        stern=True,
    )
    progress = toy.with_(redteam=prompts((HARM[0],), 0, 60)).play(tmp_path / "run")
    assert progress.stopped
