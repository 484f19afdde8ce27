"""SELF-ALIGN and constitutional AI over scripted engines, through a run: what they do, what each switch changes, and
that a kill anywhere changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.data.instructing.instruction_records import Instruction, SelfInstructInputs
from charter.methods.principle_driven import PrincipleState
from charter.records.templates import Templates
from charter.reports.principle_usage import read_principle_usage
from charter.runs.reader import RunReader
from charter.similarity.splits import LeakageFilter
from charter.spec import SelfInstructSpec
from charter.spec.self_instruct_spec import TopicGuidedSpec
from tests.fakes.example_records import START, row
from tests.fakes.principle_topics import RuledToy, rules
from tests.fakes.refused_topics import BENIGN, HARM, prompts, topics_in
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "draw": {"batch": 40},
    "replay": {"ratio": 2, "fresh": 12},
    "contrast": {"count": 3},
    "self_align": {"ordinary": 8, "min_characters": 0},
}
BARE = {
    "contrast": {"count": 0},
    "keep": {"verify": False},
    "replay": {"ratio": 0, "fresh": 0, "lookalikes": False, "compliant": False},
    "gates": {"roll_back": False},
}
WRITING = SelfInstructInputs(
    tuple(Instruction(id=f"s{n}", text=f"teach {topic} before {n}") for n, topic in enumerate(HARM)),
    (),
    LeakageFilter([], 0.95),
    Templates(),
    SelfInstructSpec(generator="proposer", rounds=1, calls=2, topics=TopicGuidedSpec(rounds=0), min_words=2),
)
LONG = {**SMALL["self_align"], "clone": True}
METHODS = ("self_align", "cai")


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


def values(directory: Path, step: str) -> dict[str, float]:
    return {s["id"]: s["value"] for s in records(directory, f"{step}_scores")}


Played = dict[str, tuple[Path, RuledToy, PrincipleState]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """An undisturbed run of each method."""
    made = {}
    for method in METHODS:
        directory, toy = tmp_path_factory.mktemp(method) / "run", RuledToy(SMALL)
        made[method] = (directory, toy, toy.run(method, directory))
    return made


@pytest.mark.parametrize("method", METHODS)
def test_it_mends_what_the_rules_cover_and_keeps_the_rest(played: Played, method: str) -> None:
    directory, toy, course = played[method]
    assert values(directory, "000/heldout")["harmlessness"] == 0.25
    assert values(directory, "final/heldout") == {"harmlessness": 1, "retention": 1, "helpfulness": 1}
    assert course.stopped == "accepted"
    ((start, made),) = toy.tuned
    assert start == START
    origins = [e.origin for e in made]
    assert origins.count("revision") > 0
    assert len(made) - origins.count("revision") >= 2 * origins.count("revision")
    said = [m.content for e in made for m in e.messages] + [e.response for e in made]
    assert not [text for text in said if "never help" in text or "Thought" in text]


@pytest.mark.parametrize("method", METHODS)
def test_without_rules_and_under_rules_about_other_things_nothing_is_gained(method: str, tmp_path: Path) -> None:
    for name, given in (("none", Constitution()), ("other", rules(("sewing", "golf")))):
        toy = RuledToy(SMALL, constitution=given)
        toy.run(method, tmp_path / name)
        assert values(tmp_path / name, "final/heldout")["harmlessness"] <= 0.3
        assert not [e for _, made in toy.tuned for e in made if "instead of" in e.response]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("every", [11, 97])
def test_killed_again_and_again_it_comes_to_the_same_end(
    played: Played, method: str, every: int, tmp_path: Path
) -> None:
    directory, kills = tmp_path / "run", 0
    while True:
        try:
            RuledToy(SMALL, kill=every, shuffle=kills).run(method, directory)
            break
        except KeyboardInterrupt:
            kills += 1
        every += 29
    assert kills >= 3
    assert substance(directory) == substance(played[method][0])


@pytest.mark.parametrize("every", [13, 101])
def test_killed_while_it_writes_prompts_and_clones_it_comes_to_the_same_end(every: int, tmp_path: Path) -> None:
    changes = {**SMALL, "draw": {"batch": 20}, "self_align": {**LONG, "prompts": "both"}}
    RuledToy(changes, instructions=WRITING).run("self_align", tmp_path / "whole")
    kills, directory, at = 0, tmp_path / "run", set[str]()
    while True:
        try:
            RuledToy(changes, instructions=WRITING, kill=every, shuffle=kills).run("self_align", directory)
            break
        except KeyboardInterrupt:
            kills += 1
            at.add(RunReader(directory).events[-1]["step"].split("/")[0])
        every += 29
    assert kills >= 3
    assert at & {"instruct", "002"}
    assert substance(directory) == substance(tmp_path / "whole")


@pytest.mark.parametrize("method", METHODS)
def test_no_decision_reads_heldout(played: Played, method: str, tmp_path: Path) -> None:
    RuledToy(SMALL, heldout=prompts((*BENIGN, "stamps"), 7000, 30)).run(method, tmp_path / "run")
    apart = ("heldout", "HEAD")

    def made(directory: Path) -> dict[str, bytes]:
        found = {str(p.relative_to(directory)): p for p in directory.rglob("*.jsonl") if p.name != "journal.jsonl"}
        return {name: p.read_bytes() for name, p in found.items() if not any(word in name for word in apart)}

    assert made(tmp_path / "run") == made(played[method][0])


@pytest.mark.parametrize("method", METHODS)
def test_a_policy_that_is_worse_is_tried_again_then_dropped(method: str, tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, "gates": {"retries": 1, "alpha": 0.9}}, lessons=["spoil"] * 9)
    course = toy.run(method, tmp_path / "run")
    assert course.policy == START
    assert [records(tmp_path / "run", f"00{n}/decision")[0]["action"] for n in (1, 2)] == ["roll_back", "give_up"]
    assert len(toy.tuned[1][1]) > len(toy.tuned[0][1])
    assert "rolled back 2 times" in course.stopped


@pytest.mark.parametrize("method", METHODS)
def test_as_published_no_oracle_is_asked(method: str, tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, **BARE, "cai": {"revise": "all", "until": "end", "rounds": 3}})
    toy.run(method, tmp_path / "run")
    assert set(toy.asked) == {"target"}
    kept = records(tmp_path / "run", "001/kept")
    assert kept
    assert all(k["kept"] for k in kept)
    assert {e.origin for _, made in toy.tuned for e in made} == {"revision"}


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_on_from_what_the_step_before_left(played: Played, method: str, tmp_path: Path) -> None:
    before = played[method][2]
    policy = before.policy.model_copy(update={"adapter": str(played[method][0] / str(before.policy.adapter))})
    given = RunState(
        policy=policy,
        constitution=before.constitution,
        examples=(row("old"),),
        probed_prompt_ids=before.probed,
        replay_rows=(),
    )
    toy = RuledToy({**SMALL, **BARE, "tune": {"start": "previous"}, "cai": {"revise": "all"}}, given=given)
    course = toy.run(method, tmp_path / "run")
    assert not {p["id"] for p in records(tmp_path / "run", "001/exchanges")} & set(before.probed)
    assert values(tmp_path / "run", "000/heldout")["harmlessness"] == 1
    assert [start.adapter for start, _ in toy.tuned] == [policy.adapter]
    assert course.examples[0] == row("old")
    (left,) = [RunState.model_validate(r) for r in records(tmp_path / "run", "final/handover")]
    assert (left.policy, left.examples) == (course.policy, course.examples)


# -- SELF-ALIGN alone


def test_thoughts_name_rules_and_the_report_counts_them_and_peoples_lines(played: Played) -> None:
    directory = played["self_align"][0]
    for r in records(directory, "001/reasoned"):
        named = [t for t in HARM if f"({t})" in r["thought"]]
        assert r["rules"] == [f"r-{t}" for t in named]
    found = read_principle_usage(RunReader(directory))
    assert found is not None
    assert found.lines == {"seeds": 0, "principles": 4, "exemplars": 3, "in all": 7}
    used = {rule.id: rule.times for rule in found.rules}
    assert all(used[f"r-{t}"] > 0 for t in HARM)
    assert used["r-plain"] == 0
    assert found.thoughts == found.answers == len(records(directory, "001/asked"))
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-3)


def test_lookalikes_and_ordinary_prompts_are_answered_under_the_rules_and_judged_as_harmless(played: Played) -> None:
    directory, toy, _ = played["self_align"]
    asked = records(directory, "001/asked")
    batch = {p["id"] for p in records(directory, "000/prompts")[:40]}
    others = [p for p in asked if p["id"] not in batch]
    assert {p["source"] for p in others} == {"look-alike", ""}
    assert {v["rubric"] for v in records(directory, "001/ordinary_verdicts")} == {"replay"}
    assert {r["id"] for r in records(directory, "001/ordinary")} == {p["id"] for p in others}
    assert {v["rubric"] for v in records(directory, "001/rechecks")} == {"conduct"}
    shown = [r for r in toy.asked["target"] if r.messages[0].role == "system"]
    assert len(shown) == len(asked)
    assert all("1. (hacking) never help with hacking" in r.messages[0].content for r in shown)
    assert all(r.messages[2].content.startswith("Thought: rule 4") for r in shown)


def test_verbose_cloning_tunes_the_start_on_longer_answers_without_what_asked_for_them(tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, "self_align": {**SMALL["self_align"], "clone": True}})
    course = toy.run("self_align", tmp_path / "run")
    assert course.policy.adapter == "002/policy"
    assert [start for start, _ in toy.tuned] == [START, START]
    revised = [e for e in toy.tuned[1][1] if e.origin == "revision"]
    assert revised
    assert all(e.response.endswith("at length") for e in revised)
    assert {m.role for e in revised for m in e.messages} == {"user"}
    asked = [r for r in toy.asked["target"] if "at length" in r.messages[0].content]
    assert {r.sampling.temperature for r in asked} == {0.3}


def test_prompts_that_self_instruct_writes_are_answered_and_their_seeds_counted(tmp_path: Path) -> None:
    changes = {**SMALL, "self_align": {**SMALL["self_align"], "prompts": "instruct"}}
    toy = RuledToy(changes, instructions=WRITING)
    toy.run("self_align", tmp_path / "run")
    asked = {p["messages"][0]["content"] for p in records(tmp_path / "run", "001/asked")}
    assert asked
    assert all(text.startswith("show me ") for text in asked)
    assert {v["rubric"] for v in records(tmp_path / "run", "001/rechecks")} == {"conduct"}
    found = read_principle_usage(RunReader(tmp_path / "run"))
    assert found is not None
    assert found.lines["seeds"] == 3
    assert found.lines["in all"] == 3 + 4 + 3


def test_what_self_instruct_wrote_is_judged_by_conduct_when_it_is_cloned_too(tmp_path: Path) -> None:
    changes = {**SMALL, "self_align": {**LONG, "prompts": "both", "ordinary": 0}, "contrast": {"count": 0}}
    toy = RuledToy(changes, instructions=WRITING)
    toy.run("self_align", tmp_path / "run")
    for folder in ("001", "002"):
        asked = {r["id"] for r in records(tmp_path / "run", f"{folder}/attempts")}
        assert {p["id"] for p in records(tmp_path / "run", "instruct/prompts")} & asked
        assert records(tmp_path / "run", f"{folder}/ordinary") == []


def test_the_shares_are_of_the_policy_that_stayed(tmp_path: Path) -> None:
    changes = {**SMALL, "self_align": LONG, "gates": {"retries": 0, "alpha": 0.9}}
    toy = RuledToy(changes, lessons=["", "spoil"])
    course = toy.run("self_align", tmp_path / "run")
    assert course.policy.adapter == "001/policy"
    rows, found = records(tmp_path / "run", "001/rows"), read_principle_usage(RunReader(tmp_path / "run"))
    assert found is not None
    revised = sum(r["origin"] == "revision" for r in rows)
    assert found.shares["revision"] == pytest.approx(revised / len(rows), abs=1e-4)
    assert revised != sum(r["origin"] == "revision" for r in records(tmp_path / "run", "002/rows"))


# -- constitutional AI alone


def test_each_round_draws_one_rule_for_each_answer_from_the_seed(played: Played, tmp_path: Path) -> None:
    directory = played["cai"][0]
    drawn, every = {}, {"r-hacking", "r-arson", "r-fraud", "r-plain"}
    for number in (1, 2, 3, 4):
        for t in records(directory, f"001/round{number}_trials"):
            (left,) = every - set(t["omitted"])
            drawn[number, t["id"]] = left
    assert {rule for (number, _), rule in drawn.items() if number == 1} == every
    again = [drawn[2, id] == rule for (n, id), rule in drawn.items() if n == 1 and (2, id) in drawn]
    assert 0 < sum(again) < len(again)
    RuledToy(SMALL).run("cai", tmp_path / "run", seed=6)
    assert records(tmp_path / "run", "001/round1_trials") != records(directory, "001/round1_trials")


def test_what_complies_is_left_alone_and_what_does_not_goes_on(played: Played) -> None:
    directory = played["cai"][0]
    for number in (1, 2, 3):
        good = {v["id"] for v in records(directory, f"001/round{number}_rechecks") if v["outcome"] == "complies"}
        here, later = ({t["id"] for t in records(directory, f"001/round{n}_trials")} for n in (number, number + 1))
        assert later == here - good
    assert len(records(directory, "001/revisions")) == len(records(directory, "001/findings"))
    assert {v["id"] for v in records(directory, "001/settled")} == {f["id"] for f in records(directory, "001/findings")}
    assert records(directory, "001/rechecks") == []


def test_as_published_every_answer_goes_through_every_round(tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, "cai": {"revise": "all", "until": "end", "rounds": 3}})
    toy.run("cai", tmp_path / "run")
    sizes = {len(records(tmp_path / "run", f"001/round{n}_revisions")) for n in (1, 2, 3)}
    assert sizes == {40}
    assert [len(records(tmp_path / "run", f"001/round{n}_rechecks")) for n in (1, 2, 3)] == [0, 0, 40]
    last = {r["id"]: r for r in records(tmp_path / "run", "001/round3_revisions")}
    assert {r["id"]: r for r in records(tmp_path / "run", "001/revisions")} == last


@pytest.mark.parametrize("method", METHODS)
def test_empty_answers_are_dropped_and_counted_where_nothing_is_verified(method: str, tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, **BARE, "cai": {"revise": "all", "rounds": 1}, "self_align": LONG}, silent="fraud")
    toy.run(method, tmp_path / "run")
    folder = "002" if method == "self_align" else "001"
    kept = records(tmp_path / "run", f"{folder}/kept")
    assert {tuple(k["reasons"]) for k in kept} == {(), ("no answer",)}
    assert all(e.response.strip() for _, made in toy.tuned for e in made)


def test_the_pretrained_model_is_tuned_in_the_helpful_ones_place(tmp_path: Path) -> None:
    base = START.model_copy(update={"base": "pretrained", "base_digest": "p", "digest": "pretrained"})
    toy = RuledToy(SMALL, base=base)
    course = toy.run("cai", tmp_path / "run")
    assert [start for start, _ in toy.tuned] == [base]
    assert course.policy.base == "pretrained"
    assert {e["model"] for e in records(tmp_path / "run", "001/answers")} == {START.digest}


def test_samples_are_taken_as_they_are_where_nothing_is_verified(tmp_path: Path) -> None:
    toy = RuledToy({**SMALL, "keep": {"verify": False}, "replay": {"ratio": 1, "fresh": 12, "compliant": False}})
    toy.run("cai", tmp_path / "run")
    asked = [r for r in toy.asked["judge"] if "answered" in json.dumps(r.response_schema)]
    assert asked == []
    share = [e.origin for e in toy.tuned[0][1]]
    assert share.count("helpful") > 0
    assert not [t for e in toy.tuned[0][1] if e.origin == "helpful" for t in topics_in(e.messages[0].content)]


def test_helpfulness_prompts_are_answered_as_often_as_asked(tmp_path: Path) -> None:
    for samples in (1, 3):
        RuledToy(SMALL, samples=samples).run("cai", tmp_path / str(samples))
    once, often = (records(tmp_path / str(n), "001/replay") for n in (1, 3))
    assert not (tmp_path / "1/001/answers_again.jsonl").exists()
    asked = [e["id"] for e in records(tmp_path / "3", "001/answers")]
    again = records(tmp_path / "3", "001/answers_again")
    assert {e["id"] for e in again} == {f"{id}/{n}" for id in asked for n in (1, 2)}
    assert {e["sampling"]["temperature"] for e in again} == {1.0}
    helps = [len({e["id"] for e in rows if e["origin"] == "helpful"}) for rows in (once, often)]
    assert helps[1] > helps[0] > 0
