"""Encodings, and wirings of attacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.attacks.encodings import ENCODINGS, EncodedAttack
from charter.attacks.jailbreak_templates import JAILBREAK_TEMPLATES
from charter.errors import SpecError
from charter.organism.world import World
from charter.ports import AttackTarget
from charter.records.chat import user_prompt
from charter.records.record import Step
from charter.records.templates import Templates
from charter.spec import parse_spec
from charter.wiring import attack_styles
from charter.wiring.prompt_sets import PromptSets

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize("style", sorted(set(ENCODINGS) - {"leetspeak"}))
@given(text=TEXT)
def test_an_encoding_can_be_undone(style: str, text: str) -> None:
    encoding = ENCODINGS[style]
    assert encoding.decode(encoding.encode(text)) == text


@given(text=st.text(st.characters(exclude_categories=["Cs", "Nd", "Lu", "Lt"]), max_size=60))
def test_leetspeak_can_be_undone_where_there_were_no_digits(text: str) -> None:
    leet = ENCODINGS["leetspeak"]
    assert leet.decode(leet.encode(text)) == text


@given(text=TEXT.filter(str.strip))
def test_an_encoded_prompt_can_be_read_by_who_follows_its_words(text: str) -> None:
    choice = AttackTarget(id="c", style="base64", region="", prompt=user_prompt(text))
    (attempt,) = EncodedAttack("base64").attack([choice], (), Step("x", 0))
    assert ENCODINGS["base64"].decode(attempt.messages[-1].content.split("\n\n")[-1]) == text


def test_every_wording_holds_the_prompt_once() -> None:
    assert all(words.count("{prompt}") == 1 for words in JAILBREAK_TEMPLATES.values())
    assert JAILBREAK_TEMPLATES["plain"] == "{prompt}"


def test_a_world_has_its_own_wordings() -> None:
    city = World.load("city")
    assert attack_styles.wordings_by_style(city) == {**JAILBREAK_TEMPLATES, **city.attacks}
    assert attack_styles.wordings_by_style(None) == JAILBREAK_TEMPLATES


FILES = """
target: {model: m}
oracle: {model: openai/x}
evaluator: {model: openai/y}
prompts: {redteam: [{path: r.jsonl}], helpful: [{path: h.jsonl}], keep_out: {attack: "%s"}}
options: {attack: {styles: [%s]}}
"""


@pytest.mark.parametrize(
    ("styles", "more", "said"),
    [
        ("plain, role_pley", "", "there is no style 'role_pley'"),
        ("plain, escalation", "", "the style escalation needs one"),
        ("plain, escalation", "attacker: {model: world}\nworld: city", "writes no attacks"),
        ("plain, plain", "", "each once"),
    ],
)
def test_faults_are_told_before_a_run(styles: str, more: str, said: str) -> None:
    spec = parse_spec(FILES % ("", styles) + more)
    with pytest.raises(SpecError, match=said):
        attack_styles.check_styles(spec, World.load(spec.world) if spec.world else None)


def test_a_kept_out_style_is_trained_on_nowhere_and_measured_on_every_held_out_prompt() -> None:
    spec = parse_spec(FILES % ("rot13", "plain, rot13, prefix"))
    attack_styles.check_styles(spec, None)
    assert list(attack_styles.build_train_attacks(spec, None, None, Templates())) == ["plain", "prefix"]
    heldout = [user_prompt(f"do thing {n}", category="acts") for n in range(4)]
    novel = user_prompt("kept out for its category")
    sets = PromptSets({}, {"gate": heldout[:1], "heldout": [*heldout, novel]}, {}, frozenset({novel.id}))
    found = attack_styles.add_heldout_style(spec, None, sets, Templates())
    further = found.redteam["heldout"][5:]
    assert found.redteam["heldout"][:5] == sets.redteam["heldout"]
    assert found.redteam["gate"] == heldout[:1]
    assert [p.meta for p in further] == [{"category": "acts", "attack": "rot13", "parent": p.id} for p in heldout]
    assert found.novel == {novel.id, *(p.id for p in further)}


def test_a_style_that_the_attacker_writes_cannot_be_kept_out() -> None:
    spec = parse_spec(FILES % ("escalation", "plain, escalation") + "attacker: {model: openai/z}")
    with pytest.raises(SpecError, match="anew in each run"):
        attack_styles.add_heldout_style(spec, None, PromptSets({}, {"heldout": []}), Templates())


def test_without_a_kept_out_style_the_sets_stay() -> None:
    sets = PromptSets({}, {"heldout": [user_prompt("x")]})
    assert attack_styles.add_heldout_style(parse_spec(FILES % ("", "plain, rot13")), None, sets, Templates()) is sets
