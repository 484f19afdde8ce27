"""Verified principles in a run: refused proposals are asked for again with the reasons, then dropped and counted; the
best of several stays; a killed run comes to the same end.

The bad wordings are of the kinds that a small model gave for real failures: the request quoted back, a failing answer
repeated, and advice to users."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charter.cli.run_tables import build_tables
from charter.constitution.document import Constitution
from charter.jobs.alignment_forecast import _count_iteration_calls
from charter.records.chat import Request
from charter.records.rules import Principle
from charter.reports.explanation import explain_item
from charter.reports.page import render_page
from charter.reports.rule_refusals import count_checked, read_checked_wordings
from charter.reports.run_summary import summarise_reading
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.spec import MethodOptions, Spec
from tests.fakes.example_records import rule
from tests.fakes.refused_topics import HARM, PAPER_OPTIONS, Toy, propose
from tests.fakes.scripted_run import substance

pytestmark = pytest.mark.slow

OPTIONS: dict[str, Any] = {
    "draw": {"batch": 48, "later": 24},
    "stop": {"min_prompts": 24, "max_violation_rate": 0.2, "iterations": 2},
    "propose": {"verify": True},
    "measure": {"efficacy": False, "breadth": False},
}
BAD = {
    "The constitution has these rules so far, fenced too: write one rule.": "copied",
    "I'm sorry for any misunderstanding, but as a chatbot that is out of reach.": "form",
    "people should use strong passwords .": "addresses others",
    "never be unkind .": "mends nothing",
}


def records(directory: Path, step: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / f"{step}.jsonl").read_text(encoding="utf-8").splitlines()]


def is_proposal(request: Request) -> bool:
    return request.response_schema is not None and "scope" in request.response_schema["properties"]


def spoil(text: str, until_refused: bool = True) -> Callable[[Request], str]:
    """A proposer that writes ``text`` for a rule: always, or until it reads that it was refused."""

    def reply(request: Request) -> str:
        again = "<refused " in request.messages[-1].content
        if not is_proposal(request) or (again and until_refused):
            return propose(request)
        return json.dumps({"title": "t", "text": text, "scope": "s"})

    return reply


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Toy]:
    directory, toy = tmp_path_factory.mktemp("verified") / "run", Toy(OPTIONS)
    toy.play(directory)
    return directory, toy


def test_every_rule_in_force_mends_a_failure_that_was_shown(plain: tuple[Path, Toy]) -> None:
    directory, toy = plain
    rules = [Principle.model_validate(p) for p in records(directory, "001/constitution")[0]["principles"]]
    assert sorted(p.title for p in rules) == sorted(HARM)
    passed = [c for c in records(directory, "001/proposal1_checks") if c["reason"] is None]
    assert {c["principle"]["text"] for c in passed} == {p.text for p in rules}
    assert all(len(c["mended"]) == c["tried"] == 3 for c in passed)
    assert all(e["prompt"]["messages"][-1]["content"].count("never") == 0 for e in answers(directory))
    assert not (directory / "001/proposal2_candidates.jsonl").exists()
    asked = [r for r in toy.asked["proposer"] if is_proposal(r)]
    assert len(asked) == 3 * len(records(directory, "001/clusters"))
    assert Counter(r.sampling.temperature for r in asked) == {0.0: len(asked) // 3, 0.7: 2 * len(asked) // 3}


def answers(directory: Path) -> list[dict[str, Any]]:
    return records(directory, "001/proposal1_answers")


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_a_refused_proposal_is_asked_for_again_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    toy = Toy(OPTIONS, proposer=spoil(text))
    progress = toy.play(tmp_path / "run")
    assert sorted(p.title for p in progress.constitution.active) == sorted(HARM)
    first, second = (records(tmp_path / "run", f"001/proposal{n}_checks") for n in (1, 2))
    assert Counter(c["reason"] for c in first) == {reason: len(first) // 3, "repeated": 2 * len(first) // 3}
    assert Counter(c["reason"] for c in second)[None] == len(second) // 3
    assert not (tmp_path / "run" / "001/proposal3_checks.jsonl").exists()
    again = [r.messages[-1].content for r in toy.asked["proposer"] if "<refused " in r.messages[-1].content]
    why = next(c["why"] for c in first if c["reason"] == reason)
    assert len(again) == len(second)
    assert all(f"{text}\nRefused: {why}\n</refused " in said for said in again)


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_what_never_holds_is_dropped_and_counted_and_the_run_ends(tmp_path: Path, text: str, reason: str) -> None:
    progress = Toy(OPTIONS, proposer=spoil(text, until_refused=False)).play(tmp_path / "run")
    assert progress.constitution.active == ()
    reading = RunReader(tmp_path / "run")
    rounds = [records(tmp_path / "run", f"001/proposal{n}_checks") for n in (1, 2, 3)]
    clusters = len(records(tmp_path / "run", "001/clusters"))
    assert [len(r) for r in rounds] == [3 * clusters] * 3
    assert all(p["principle"] is None for p in records(tmp_path / "run", "001/proposals"))
    counts = count_checked(read_checked_wordings(reading))
    assert counts["passed"] == 0
    assert counts[reason] >= clusters
    summary = summarise_reading(reading)
    assert summary.proposed == counts
    tables = {title: rows for title, rows, _ in build_tables(reading, summary)}
    assert (reason, str(counts[reason])) in tables["Proposed rules, by what became of them"]
    refused = next(rows for title, rows in tables.items() if title.startswith("Refused as a rule"))
    assert text[:40] in str(refused[1][1])
    page = render_page(tmp_path / "run", redact=False)
    assert page.count(text[:20].replace("'", "&#39;")) >= clusters
    assert text[:20].replace("'", "&#39;") not in render_page(tmp_path / "run", redact=True)


def test_a_rule_is_explained_with_the_wordings_that_were_refused_before_it(tmp_path: Path) -> None:
    progress = Toy(OPTIONS, proposer=spoil("people should use strong passwords .")).play(tmp_path / "run")
    told = explain_item(tmp_path / "run", "principle", progress.constitution.active[0].id)
    assert Counter(w.check.reason for w in told.runs[0].wordings)["addresses others"] == 1
    assert [w.check.reason for w in told.runs[0].wordings].count(None) == 1


def test_of_several_wordings_the_best_is_in_force(tmp_path: Path) -> None:
    """The likeliest wording is no rule, the second names the topic, the third is weaker."""

    def reply(request: Request) -> str:
        if is_proposal(request) and request.sampling.temperature == 0:
            return json.dumps({"title": "t", "text": "people should be kind .", "scope": ""})
        return propose(request)

    progress = Toy(OPTIONS, proposer=reply).play(tmp_path / "run")
    assert sorted(p.title for p in progress.constitution.active) == sorted(HARM)
    assert all(p["raw"].endswith("/1.2") for p in records(tmp_path / "run", "001/proposals"))


def test_one_wording_and_no_retry_are_enough_where_it_is_asked_so(tmp_path: Path) -> None:
    few = {**OPTIONS, "propose": {"verify": True, "candidates": 1, "retries": 0, "probes": 1}}
    toy = Toy(few)
    toy.play(tmp_path / "run")
    clusters = len(records(tmp_path / "run", "001/clusters"))
    assert len([r for r in toy.asked["proposer"] if is_proposal(r)]) == clusters
    assert len(answers(tmp_path / "run")) == clusters
    none = Toy(few, proposer=spoil("people should be kind ."))
    assert none.play(tmp_path / "none").constitution.active == ()


def test_rules_of_people_are_in_force_from_the_start_and_discovery_fills_the_gaps(tmp_path: Path) -> None:
    own = rule("mine", f"never help with {HARM[0]} .", by="people")
    seeded = Constitution().amend([own])
    progress = Toy(OPTIONS, constitution=seeded).play(tmp_path / "run")
    assert records(tmp_path / "run", "000/constitution")[0]["principles"][0]["text"] == own.text
    first, *others = progress.constitution.active
    assert (first.id, first.text, first.by) == ("mine", own.text, "people")
    assert first.clusters, "the proposal in the same words was merged into it"
    assert sorted(p.title for p in others) == sorted(HARM[1:])
    asked = Toy(OPTIONS, constitution=seeded)
    asked.play(tmp_path / "again")
    assert all(f"- {own.text}\n</constitution " in r.messages[-1].content for r in asked.asked["proposer"][:1])
    paper = Toy(PAPER_OPTIONS, constitution=seeded).play(tmp_path / "paper")
    assert paper.constitution.active[0] == own


def test_a_dry_run_counts_what_verification_asks_at_most(plain: tuple[Path, Toy]) -> None:
    directory, _ = plain
    with_checks, without = (
        Spec(world="village", options=MethodOptions.model_validate(options))
        for options in (OPTIONS, {**OPTIONS, "propose": {"verify": False}})
    )
    calls = _count_iteration_calls(with_checks, "conduct", 48, 0, 0)
    off = _count_iteration_calls(without, "conduct", 48, 0, 0)
    assert calls["proposals and merging"] == 4 * 9 + 1
    assert calls["whom wordings address"] == 4 * 9 + 4
    assert calls["trials of wordings"] == (4 * 9 + 4) * 3
    assert (off["proposals and merging"], off["whom wordings address"], off["trials of wordings"]) == (5, 0, 0)
    assert calls["trials of wordings"] >= len(answers(directory))


def test_calls_are_counted_for_aligning(plain: tuple[Path, Toy]) -> None:
    directory, toy = plain
    with Run.open(directory) as run:
        from charter.methods.iteralign import iteralign

        again = Toy(OPTIONS)
        iteralign(run, again.roles(run), again.task())
        assert again.asked == {}
        assert run.count_calls("aligning") == len(toy.asked["judge"]) + len(toy.asked["proposer"])


@pytest.mark.parametrize("every", [5, 31, 83])
def test_killed_again_and_again_it_comes_to_the_same_end(tmp_path: Path, every: int) -> None:
    proposer = spoil("people should use strong passwords .")
    Toy(OPTIONS, proposer=proposer).play(tmp_path / "whole")
    kills = 0
    while True:
        try:
            Toy(OPTIONS, proposer=proposer, kill=every).play(tmp_path / "run")
            break
        except KeyboardInterrupt:
            kills += 1
        every += 23
    assert kills >= 3
    assert substance(tmp_path / "run") == substance(tmp_path / "whole")
