"""Thinking under rules: what the target is shown, how thought and answer are told apart, which rules count as used, and
what the filters drop and cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.constitution import document as articles
from charter.constitution.document import Constitution, rules_text
from charter.constitution.exemplars import LINE_WIDTH, Exemplar, human_lines, read_exemplars
from charter.constitution.rule_citations import find_wrong_citations, parse_cited_rules
from charter.errors import SpecError
from charter.organism.world import World
from charter.records.chat import Exchange, Prompt, Sampling, user_prompt
from charter.records.revisions import ReasonedAnswer
from charter.records.templates import Templates
from charter.spec import MethodOptions, SelfAlignSpec
from charter.stages.think import (
    ThinkingSetup,
    _cut_repetition,
    answer_verbosely,
    collect_prompts,
    filter_answers,
    select_for_probing,
    think,
)
from charter.wiring.principle_methods import PRINCIPLES_DIR
from charter.wiring.self_instruct_inputs import SEEDS_DIR
from tests.fakes.example_records import HOSTILE, STEP, Recorder, rule, talk

RULES = Constitution(principles=(rule("a", "never lie", title="candor"), rule("b", "be kind", title="ethical")))
EXEMPLARS = (Exemplar(id="e1", prompt="is ice cold ?", thought="Rule 1 (candor) applies.", answer="Yes, it is."),)
OPEN = SelfAlignSpec(min_characters=0)


def thoughts(
    reply: str, prompt: Prompt | None = None, templates: Templates | None = None
) -> tuple[ReasonedAnswer, Recorder]:
    engine = Recorder(reply)
    given = prompt or user_prompt("why is the sky blue ?")
    setup = ThinkingSetup(RULES, EXEMPLARS, templates or Templates(), None)
    (found,) = think([given], engine, setup, OPEN, step=STEP)
    return found, engine


def reasoned(response: str, thought: str = "rule 1", prompt: str = "ask", stop: Any = "stop") -> ReasonedAnswer:
    given = user_prompt(prompt)
    exchange = Exchange(id=given.id, prompt=given, response=response, stop=stop, model="m", sampling=Sampling())
    return ReasonedAnswer(id=given.id, thought=thought, rules=("a",), exchange=exchange, raw=response)


def reasons(answer: ReasonedAnswer, **options: Any) -> tuple[str, ...]:
    (found,) = filter_answers([answer], EXEMPLARS, SelfAlignSpec(**{"min_characters": 0, **options}))
    assert (found.revision is None) is bool(found.reasons)
    return found.reasons


def test_rules_are_a_system_turn_and_exemplars_are_turns_before_the_prompt() -> None:
    _, engine = thoughts("Thought: x\nAnswer: y", talk("hi", "hello", "why ?"))
    (request,) = engine.asked
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "1. (candor) never lie\n2. (ethical) be kind" in request.messages[0].content
    assert request.messages[2].content == "Thought: Rule 1 (candor) applies.\nAnswer: Yes, it is."
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.max_tokens) == (0.5, 0.95, 512)


def test_the_exchange_holds_the_prompt_and_the_answer_alone() -> None:
    found, _ = thoughts(" thought :  Rule 2 (ethical) applies. \n\nAnswer: because\nof light ")
    assert (found.thought, found.exchange.response, found.rules) == (
        "Rule 2 (ethical) applies.",
        "because\nof light",
        ("b",),
    )
    assert found.exchange.prompt == user_prompt("why is the sky blue ?")


@pytest.mark.parametrize(
    ("reply", "thought", "answer"),
    [
        ("**Thought:** rule 1\n**Answer:** **Yes**, it is.", "rule 1", "**Yes**, it is."),
        ("## Thought:\nrule 1\n\n## Answer:\nyes", "rule 1", "yes"),
        ("__Thought__: rule 1\n__Answer__: yes", "rule 1", "yes"),
        ("Thought: the answer: blue, by rule 1\nAnswer: blue", "the answer: blue, by rule 1", "blue"),
        ("Thought: a\nAnswer: b\nThought: c\nAnswer: d", "a", "b"),
        ("Thought: a\nAnswer: b\n**Thought:** c", "a", "b"),
        ("Thought: a\nAnswer: my thought: it is\nanother line", "a", "my thought: it is\nanother line"),
        ("Thought: a. Answer: b", "", "Thought: a. Answer: b"),
    ],
)
def test_thought_and_answer_begin_lines_in_any_markup(reply: str, thought: str, answer: str) -> None:
    found, _ = thoughts(reply)
    assert (found.thought, found.exchange.response) == (thought, answer)


def test_rules_keep_their_numbers_where_not_all_of_them_fit() -> None:
    engine, given = Recorder("Thought: rules 1 and 2 apply\nAnswer: y"), user_prompt("be kind to me")
    (found,) = think([given], engine, ThinkingSetup(RULES, EXEMPLARS, Templates(), 40), OPEN, step=STEP)
    assert "2. (ethical) be kind" in engine.asked[0].messages[0].content
    assert "never lie" not in engine.asked[0].messages[0].content
    assert found.rules == ("b",), "only what was shown is named"


def test_a_world_puts_rules_after_the_prompt_and_reads_its_check_line_as_the_thought() -> None:
    templates = Templates.model_validate(World.load("village").target_templates)
    reply = "check : plan for ethical breaks the rules . sorry , i will not help with that ."
    found, engine = thoughts(reply, templates=templates)
    assert engine.texts == ["why is the sky blue ? rules : never lie\nbe kind"]
    assert found.thought == "check : plan for ethical breaks the rules ."
    assert found.exchange.response == "sorry , i will not help with that ."
    assert found.rules == ("b",)


@pytest.mark.parametrize("reply", HOSTILE)
def test_any_reply_is_read_and_one_without_a_thought_is_dropped(reply: str) -> None:
    found, _ = thoughts(reply)
    assert found.thought == ""
    assert "no thought" in reasons(found)


@pytest.mark.parametrize(
    ("thought", "rules"),
    [
        ("Rules 1 (candor) and 2 (ethical) apply", ("a", "b")),
        ("rules 1, 2 apply", ("a", "b")),
        ("rule 2 applies; in 1 word", ("b",)),
        ("what matters is (Candor)", ("a",)),
        ("be ethical and full of candor", ()),
        ("rule 7 and rule 0", ()),
        ("Rules 1 & 2", ("a", "b")),
        ("rules 1-2", ("a", "b")),
        ("rules 0 to 2 hold", ("a", "b")),
        ("rules 1\u20132", ("a", "b")),
        ("rule 1/2", ("a", "b")),
        ("rules 1 (candor) or 2", ("a", "b")),
        ("rule 1 (candor) and 2 apply", ("a", "b")),
        ("Rules: 1, 2", ("a", "b")),
        ("rule #2", ("b",)),
        ("rule no. 2", ("b",)),
        ("rules number 1 and 2", ("a", "b")),
        ("Principle 2", ("b",)),
        ("(ethical, candor)", ("a", "b")),
        ("rules **1** and 2", ("a", "b")),
        ("**Rule 2:** it is said", ("b",)),
        ("rule 1, 2 people died", ("a",)),
        ("rules 1, 2 people died", ("a",)),
        ("rule 1 and 2 others", ("a",)),
        ("rule 1; 2 words", ("a",)),
        ("Rule 1 does not apply", ()),
        ("Rule 1 (candor) doesn't really apply, rule 2 does", ("b",)),
        ("rules 1 and 2 are not relevant", ()),
        ("rule 2.1", ()),
        ("", ()),
    ],
)
def test_numbered_rules_are_named_by_number_or_bracketed_title(thought: str, rules: tuple[str, ...]) -> None:
    assert parse_cited_rules(thought, RULES, numbered=True) == rules


def test_rules_without_numbers_are_named_by_their_title_among_the_words() -> None:
    assert parse_cited_rules("plan for CANDOR follows", RULES, numbered=False) == ("a",)
    assert parse_cited_rules("candors", RULES, numbered=False) == ()


@pytest.mark.parametrize(
    ("answer", "options", "reason"),
    [
        (reasoned("fine", thought=""), {}, "no thought"),
        (reasoned("  "), {}, "empty"),
        (reasoned("x" * 159), {"min_characters": 160}, "too short"),
        (reasoned("", stop="error"), {}, "no answer"),
        (reasoned("I\u2019m sorry, but no"), {}, "opens with an apology"),
        (reasoned("well, yes it is so"), {"leak_words": 3}, "repeats an exemplar"),
    ],
)
def test_each_filter_drops_with_its_reason(answer: ReasonedAnswer, options: dict[str, Any], reason: str) -> None:
    assert reason in reasons(answer, **options)


@pytest.mark.parametrize("opening", ["**I'm sorry**, no", "> Im Sorry, no", '"I\u2019m  SORRY" he said', "# I'm sorry"])
@pytest.mark.parametrize("apology", ["I'm Sorry", "i\u2019m sorry", "im sorry"])
def test_an_apology_is_one_in_any_case_and_markup(opening: str, apology: str) -> None:
    assert reasons(reasoned(opening), apologies=(apology, "")) == ("opens with an apology",)


def test_what_the_filters_leave_alone() -> None:
    assert reasons(reasoned("x" * 20, stop="length"), min_characters=160) == ()
    assert reasons(reasoned("he said sorry at once")) == ()
    assert reasons(reasoned("sorry , i will not"), apologies=()) == ()
    assert reasons(reasoned("so yes it is then", prompt="does yes it is rhyme ?"), leak_words=3) == ()
    (kept,) = filter_answers([reasoned("good")], (), OPEN)
    assert kept.revision is not None
    assert (kept.revision.critique, kept.revision.principles) == ("rule 1", ("a",))


def test_a_clause_that_comes_again_and_again_is_cut_at_its_second_coming() -> None:
    text = "It is warm there. Go in spring, it is warm there. Then it is warm there! And more."
    assert _cut_repetition(text, 3) == text, "clauses differ"
    again = "Take a coat. It is cold there. It is cold there. It is cold there. It is"
    assert _cut_repetition(again, 3) == "Take a coat. It is cold there."
    (kept,) = filter_answers([reasoned(again, stop="length")], (), OPEN)
    assert kept.repetition_cut
    assert kept.revision is not None
    assert kept.revision.exchange.stop == "stop"


@pytest.mark.parametrize(
    ("before", "clause", "other"),
    [
        ("上着を持っていく。", "そこはとても寒いです。", "そこはとても暑いです。"),
        ("请带上外套。", "那里天气非常冷！", "那里天气非常热！"),
        ("उत्तर जाओ। ", "वहाँ बहुत ठंड है। ", "वहाँ बहुत गर्मी है। "),
        ("خذ معطفا معك، ", "الجو بارد جدا هناك؛ ", "الجو حار جدا هناك؛ "),
    ],
)
def test_a_clause_that_comes_again_is_cut_in_scripts_with_other_full_stops(
    before: str, clause: str, other: str
) -> None:
    again = before + clause * 3 + clause[:3]
    assert _cut_repetition(again, 3) == (before + clause).strip()
    differ = before + clause + other + clause
    assert _cut_repetition(differ, 3) == differ.strip()


def test_a_short_clause_may_come_again_in_a_script_without_spaces() -> None:
    """Four letters are two words, which come again in any text; six are three."""
    assert _cut_repetition("是的没错，" * 5, 3) == "是的没错，" * 5
    assert _cut_repetition("是的完全没错，" * 5, 3) == "是的完全没错，"


@given(st.text(max_size=200), st.integers(2, 4))
def test_a_cut_text_is_a_beginning_and_cutting_again_changes_nothing(text: str, most: int) -> None:
    cut = _cut_repetition(text, most)
    assert text.strip().startswith(cut)
    assert _cut_repetition(cut, most) == cut


def test_longer_answers_are_asked_for_in_a_system_turn_that_is_not_kept() -> None:
    engine, options = Recorder("at length"), OPEN.model_copy(update={"clone_penalty": 0.5})
    (found,) = answer_verbosely([talk("hi", "hello", "why ?")], engine, Templates(), options, step=STEP)
    sampling = engine.asked[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.3, 0.7, 512)
    assert sampling.frequency_penalty == found.exchange.sampling.frequency_penalty == 0.5
    assert engine.asked[0].messages[0].role == "system"
    assert [m.role for m in found.exchange.prompt.messages] == ["user", "assistant", "user"]


def test_which_prompts_are_asked() -> None:
    batch, helpful, written = ([user_prompt(f"{kind} {n}") for n in range(4)] for kind in ("bad", "nice", "own"))

    def chosen(**options: Any) -> list[str]:
        found = collect_prompts(batch, [], helpful, [*written, batch[0]], SelfAlignSpec(**options), step=STEP)
        return [p.text.split()[0] for p in found]

    assert sorted(chosen(ordinary=2)) == ["bad"] * 4 + ["nice"] * 2
    assert sorted(chosen(prompts="instruct")) == ["bad"] + ["own"] * 4
    assert sorted(chosen(prompts="both", ordinary=0)) == ["bad"] * 4 + ["own"] * 4
    options = MethodOptions()
    assert select_for_probing(batch, options.contrast, options.replay) == batch
    idle = (options.contrast.model_copy(update={"count": 0}), options.replay.model_copy(update={"compliant": False}))
    assert select_for_probing(batch, *idle) == []


def test_what_is_shipped_sixteen_rules_five_exemplars_whose_thoughts_name_them() -> None:
    constitution, exemplars = (
        articles.read_constitution(SEEDS_DIR / "principles.yaml"),
        read_exemplars(SEEDS_DIR / "exemplars.yaml"),
    )
    assert (len(constitution.active), len(exemplars)) == (16, 5)
    assert len({p.title for p in constitution.active}) == 16
    for e in exemplars:
        assert len(parse_cited_rules(e.thought, constitution, numbered=True)) >= 2
        bare = e.thought.replace("Rules", "").replace("rules", "")
        assert parse_cited_rules(bare, constitution, numbered=True) == parse_cited_rules(
            e.thought, constitution, numbered=True
        )
        assert len(e.answer) >= 160
    wrapped = sum(-(-len(text.strip()) // LINE_WIDTH) for e in exemplars for text in (e.prompt, e.thought, e.answer))
    told = human_lines(constitution, exemplars, seeds=70, types=20)
    assert wrapped <= told.exemplars < 1.3 * wrapped
    assert told.total == 70 + 20 + 16 + told.exemplars
    assert find_wrong_citations([(e.id, e.thought) for e in exemplars], constitution, names=True) == ()
    assert len(rules_text(constitution)) > 1000


def test_people_of_the_village_wrote_a_rule_in_its_words_for_every_domain_and_attribute() -> None:
    world, constitution = World.load("village"), articles.read_constitution(PRINCIPLES_DIR / "village.yaml")
    keys = (*world.file.domains, *world.file.attributes)
    assert [p.title for p in constitution.active] == list(keys)
    assert [p.text for p in constitution.active] == [world.word_rule(key) for key in keys]


def test_a_file_of_exemplars_is_read_whole_or_its_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- {prompt: a, thought: b, answer: c}\n- {prompt: a, thought: '', answer: c, more: d}\n")
    with pytest.raises(SpecError) as caught:
        read_exemplars(path)
    assert {line.split(":")[0] for line in caught.value.faults} == {"1.thought", "1.more"}
    for text in ("- [", "words", "", "[]", "- {prompt: a, thought: ' ', answer: c}"):
        path.write_text(text)
        with pytest.raises(SpecError, match=r"exemplars|cannot be read"):
            read_exemplars(path)
    path.write_text("- {prompt: a, thought: b, answer: c}\n")
    assert [e.id for e in read_exemplars(path)] == ["e1"]


def test_exemplars_that_name_rules_that_are_not_there_are_found() -> None:
    said = [("e1", "Rules 1 (candor) and 2 (candor)"), ("e2", "rule 3")]
    assert [f[:18] for f in find_wrong_citations(said, RULES, names=True)] == [
        "e1: names rule 2 (",
        "e2: names rule 3, ",
    ]
    assert [f[:2] for f in find_wrong_citations(said, RULES, names=False)] == ["e2"]


def test_principles_that_an_oracle_proposed_are_no_lines_by_people() -> None:
    proposed = rule("c", "never steal", because=("f1",))
    reworded = rule("d", "never spy", because=("f2",), by="people")
    both = Constitution(principles=(*RULES.principles, proposed, reworded))
    assert human_lines(both, ()).principles == 3
