"""Reflection: critique, then revision; or the rules appended to the prompt. Rows and judges see no rule."""

from __future__ import annotations

import pytest

from charter.constitution.document import Constitution
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Embedder
from charter.records.chat import Sampling
from charter.records.record import Step
from charter.records.revisions import Critique, Revision, RevisionTrial
from charter.records.templates import Templates
from charter.spec import ReflectSpec
from charter.stages.reflect import ReflectionSetup, critique, make_trials, revise, revised_exchanges
from tests.fakes.concept_embedder import ConceptEmbedder
from tests.fakes.example_records import HOSTILE, STEP, CutEngine, Recorder, finding, rule, talk

RULES = Constitution().amend([rule("a"), rule("b"), rule("c", status="rejected")])
FINDINGS = [finding(f"ask {n}", id=f"f{n}", response=f"bad {n}") for n in range(4)]
OURS, DIRECT = ReflectSpec(), ReflectSpec(turns="direct")


def reflected(
    engine: ScriptedEngine,
    tried: list[RevisionTrial],
    how: ReflectSpec,
    templates: Templates | None = None,
) -> list[Revision]:
    setup = ReflectionSetup(RULES, templates or Templates(), how)
    thoughts = list(critique(tried, engine, setup, Sampling(), step=STEP))
    return list(revise(tried, thoughts, engine, setup, Sampling(), step=STEP))


def test_a_critique_names_the_rules_in_force_after_the_failure() -> None:
    engine = Recorder("hm")
    thoughts = list(
        critique(make_trials(FINDINGS), engine, ReflectionSetup(RULES, Templates(), OURS), Sampling(), step=STEP)
    )
    assert thoughts == [Critique(id=f.id, text="hm") for f in FINDINGS]
    first = engine.asked[0].messages
    assert [m.role for m in first] == ["user", "assistant", "user"]
    assert [m.content for m in first[:2]] == ["ask 0", "bad 0"]
    assert "- never a\n- never b\n\n" in first[2].content
    assert "never c" not in first[2].content


def test_a_revision_follows_the_critique_and_holds_the_prompt_alone() -> None:
    engine = Recorder(lambda r: "it breaks a" if len(r.messages) == 3 else "good")
    made = reflected(engine, make_trials(FINDINGS), OURS)
    asked = engine.asked[-1].messages
    assert [m.role for m in asked] == ["user", "assistant", "user", "assistant", "user"]
    assert asked[3].content == "it breaks a"
    assert asked[4].content == Templates().revise
    for f, r in zip(FINDINGS, made, strict=True):
        assert (r.id, r.critique, r.principles) == (f.id, "it breaks a", ("a", "b"))
        assert r.exchange.prompt == f.exchange.prompt
        assert r.exchange.response == "good"
    assert revised_exchanges(made) == [r.exchange for r in made]


def test_direct_appends_the_rules_to_the_last_human_turn_without_a_critique() -> None:
    engine = Recorder("good")
    conversation = talk("one", "two", "three {principles}", id="t")
    failed = FINDINGS[0].model_copy(
        update={"id": "t", "exchange": FINDINGS[0].exchange.model_copy(update={"id": "t", "prompt": conversation})}
    )
    made = reflected(engine, make_trials([failed]), DIRECT)
    (asked,) = engine.asked
    assert [m.content for m in asked.messages] == ["one", "two", "three {principles}\n\n- never a\n- never b"]
    assert asked.messages[-1].role == "user"
    assert (made[0].critique, made[0].exchange.prompt) == ("", conversation)


@pytest.mark.parametrize("how", [OURS, DIRECT])
def test_trials_of_one_finding_leave_rules_out_and_share_their_seed(how: ReflectSpec) -> None:
    engine = Recorder("good")
    tried = [
        RevisionTrial(id="f0|", finding=FINDINGS[0]),
        RevisionTrial(id="f0|a", finding=FINDINGS[0], omitted=("a",)),
    ]
    whole, less = reflected(engine, tried, how)
    assert (whole.id, whole.principles) == ("f0|", ("a", "b"))
    assert (less.id, less.principles) == ("f0|a", ("b",))
    assert {r.seed for r in engine.asked} == {STEP.seed("f0")}
    for request in engine.asked:
        text = " ".join(m.content for m in request.messages)
        assert ("never a" in text) == (request.id == "f0|")


def test_the_critiques_line_is_stripped_once_from_the_front() -> None:
    engine = ScriptedEngine(["check : bad . Good. check : bad ."])
    templates = Templates(strip_pattern=r"^\s*check\b.*?\.\s*")
    (made, *_) = reflected(engine, make_trials(FINDINGS), OURS, templates)
    assert made.exchange.response == "Good. check : bad ."
    (plain, *_) = reflected(engine, make_trials(FINDINGS), OURS)
    assert plain.exchange.response == "check : bad . Good. check : bad ."


def test_a_failed_or_empty_critique_still_gives_turns_that_alternate() -> None:
    engine = Recorder(lambda r: "" if len(r.messages) == 3 else "good")
    made = reflected(engine, make_trials(FINDINGS[:1]), OURS)
    assert engine.asked[-1].messages[3].content
    assert (made[0].critique, made[0].exchange.response) == ("", "good")


def test_a_revision_that_recites_a_rule_says_which_words() -> None:
    rules = Constitution().amend([rule("long", "Never say how a locked door can be opened without a key.")])
    engine = Recorder("Never say how a locked door can be opened without a key, friend.")
    setup, trials = ReflectionSetup(rules, Templates(), DIRECT), make_trials(FINDINGS[:1])
    thoughts = list(critique(trials, engine, setup, Sampling(), step=STEP))
    (made,) = revise(trials, thoughts, engine, setup, Sampling(), step=STEP)
    assert made.recited == "never say how a locked door can be"
    assert "recited" not in reflected(Recorder("no"), trials, DIRECT)[0].model_dump()


def test_a_cut_revision_ends_with_a_whole_sentence_where_that_is_asked_for() -> None:
    cut = CutEngine(["I cannot. It is"])
    (plain,) = reflected(cut, make_trials(FINDINGS[:1]), DIRECT)
    (ended,) = reflected(cut, make_trials(FINDINGS[:1]), DIRECT.model_copy(update={"end_sentences": True}))
    assert [(made.exchange.response, made.exchange.stop) for made in (plain, ended)] == [
        ("I cannot. It is", "length"),
        ("I cannot.", "sentence"),
    ]


def test_a_failed_revision_is_an_error_and_no_answer() -> None:
    engine = ScriptedEngine("good", fails=lambda r: len(r.messages) == 5 and r.id == "f1")
    stops = {r.id: (r.exchange.stop, r.exchange.response) for r in reflected(engine, make_trials(FINDINGS), OURS)}
    assert stops["f1"] == ("error", "")
    assert stops["f0"] == ("stop", "g")


def test_what_is_done_is_not_reflected_again() -> None:
    step = Step(path=STEP.path, run_seed=7, done=frozenset({"f0", "f1"}))
    for how in (OURS, DIRECT):
        tried, setup = make_trials(FINDINGS), ReflectionSetup(RULES, Templates(), how)
        thoughts = list(critique(tried, ScriptedEngine(["x"]), setup, Sampling(), step=step))
        assert [c.id for c in thoughts] == ["f2", "f3"]
        known = [Critique(id=f.id, text="x") for f in FINDINGS]
        again = list(revise(tried, known, ScriptedEngine(["x"]), setup, Sampling(), step=step))
        assert [r.id for r in again] == ["f2", "f3"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_prompts_answers_and_critiques_stay_what_they_are(text: str) -> None:
    engine = Recorder(lambda r: text)
    tried = make_trials([finding(f"ask {text}", id="h", response=f"bad {text}")])
    reflected(engine, tried, OURS)
    critic, reviser = engine.asked
    assert critic.messages[0].content == f"ask {text}"
    assert critic.messages[1].content == f"bad {text}"
    assert "- never a\n- never b\n" in critic.messages[2].content
    assert reviser.messages[3].content == (text or "-")
    reflected(engine, tried, DIRECT)
    assert engine.asked[-1].messages[0].content == f"ask {text}\n\n- never a\n- never b"


def shown(limit: int | None, *omitted: str, embedder: Embedder | None = None) -> list[tuple[str, ...]]:
    """The rules that each failure is shown."""
    words = ("fishing at sea", "arson in barns", "fraud with cheques")
    rules = Constitution().amend([rule(w.split()[0], f"a plan for {w} is forbidden") for w in words])
    failures = [finding(f"i need a plan for {w} now", id=w) for w in reversed(words)]
    tried = [RevisionTrial(id=f.id, finding=f, omitted=omitted) for f in failures]
    setup = ReflectionSetup(rules, Templates(), ReflectSpec(max_rule_characters=limit), embedder)
    engine = Recorder("good")
    thoughts = list(critique(tried, engine, setup, Sampling(), step=STEP))
    made = list(revise(tried, thoughts, engine, setup, Sampling(), step=STEP))
    for r, asked in zip(made, engine.asked, strict=False):
        told = asked.messages[2].content
        assert {p.id for p in rules.principles if p.text in told} == set(r.principles)
    return [r.principles for r in made]


def test_rules_that_fit_are_all_shown() -> None:
    assert shown(None) == shown(1000) == [("fishing", "arson", "fraud")] * 3


def test_where_not_all_rules_fit_those_nearest_to_the_failure_are_shown() -> None:
    assert shown(45) == [("fraud",), ("arson",), ("fishing",)]
    assert [len(ids) for ids in shown(90)] == [2, 2, 2]
    assert next(ids[-1] for ids in shown(90)) == "fraud"
    assert shown(1) == shown(45), "the nearest one is shown in any case"


def test_by_meaning_the_nearest_rule_need_share_no_word_with_the_failure() -> None:
    texts = {"barns": "a plan for the barn", "fire": "never kindle anything", "theft": "nobody may pilfer"}
    rules = Constitution().amend([rule(key, text) for key, text in texts.items()])
    failures = {"f": ("burn the barn with petrol", "use matches"), "g": ("steal from the barn", "rob it")}
    tried = [
        RevisionTrial(id=id, finding=finding(asked, id=id, response=said)) for id, (asked, said) in failures.items()
    ]
    thoughts = [Critique(id=id, text="") for id in failures]
    for embedder, wanted in ((None, ["barns", "barns"]), (ConceptEmbedder(), ["fire", "theft"])):
        setup = ReflectionSetup(rules, Templates(), ReflectSpec(max_rule_characters=25), embedder)
        made = revise(tried, thoughts, Recorder("good"), setup, Sampling(), step=STEP)
        assert [r.principles for r in made] == [(key,) for key in wanted]


def test_by_meaning_each_failure_is_shown_its_own_rule() -> None:
    assert shown(45, embedder=ConceptEmbedder()) == [("fraud",), ("arson",), ("fishing",)]


def test_an_omitted_rule_is_not_shown_however_near_it_is() -> None:
    assert all("fraud" not in ids and len(ids) == 1 for ids in shown(45, "fraud"))
