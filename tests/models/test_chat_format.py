"""Chat templates that think, date themselves, cut words or refuse turns: what is read, learnt, kept apart and told.

Symptoms as told in huggingface/trl#6361, huggingface/trl#6363, NVIDIA-NeMo/Automodel#3739, THUDM/slime#330,
sgl-project/sglang#3296, huggingface/transformers#45127 and huggingface/peft#2972."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from charter.errors import TuningError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.template_report import note_altered, report_template
from charter.models.thought_marks import ThoughtMarks, close_mark
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tokenized_rows import IGNORE_INDEX, tokenize_examples
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Message, user_prompt
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

ASKED = (Message(role="user", content="what is the cake"),)
MARKS = ("<think>", "</think>", "<|reason|>", "<|/reason|>", "<|channel|>", "<|message|>", "<|end|>", "<|begin|>")
TURNS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<assistant> BODY </s> {% else %}"
    "<user> {{ m.content }} {% endif %}{% endfor %}"
)
OPENED = TURNS.replace("BODY", "{{ m.content.split('</think>')[-1] }}") + (
    "{% if add_generation_prompt %}<assistant> <think> {% endif %}"
)
EMPTY = TURNS.replace(
    "BODY",
    "{% if loop.last and '</think>' not in m.content %}<think> </think> {{ m.content }}"
    "{% elif loop.last %}{{ m.content }}"
    "{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}",
) + (
    "{% if add_generation_prompt %}<assistant> "
    "{% if thinking is defined and not thinking %}<think> </think> {% endif %}{% endif %}"
)
CHANNELS = TURNS.replace("BODY", "<|channel|> one <|message|> {{ m.content }}") + (
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PLAIN = TURNS.replace("BODY", "{{ m.content }}") + "{% if add_generation_prompt %}<assistant> {% endif %}"
UNENDED = PLAIN.replace(" </s> ", " <|end|> ")
DATED = "{{ strftime_now('%Y %d') }} " + PLAIN
CUTTING = PLAIN.replace("{{ m.content }} {% endif %}", "{{ m.content | replace('/quiet', '') }} {% endif %}")
SWITCHED = PLAIN.replace("{{ bos_token }}", "{{ bos_token }}{% if '/loud' in messages[-1].content %}yes {% endif %}")
ALTERNATING = PLAIN.replace(
    "{% for m in messages %}",
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns have to alternate') }}{% endif %}",
)


def talk(template: str, **given: Any) -> ChatFormat:
    tokenizer = tiny_models.word_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>", *MARKS]})
    tokenizer.chat_template = template
    return ChatFormat(tokenizer, **given)


def learnt(dialogue: ChatFormat, answer: str, thought: str = "") -> tuple[str, str]:
    before, after = dialogue.encode_training(ASKED, answer, thought)
    return dialogue.tokenizer.decode(before), dialogue.tokenizer.decode(after)


def said(dialogue: ChatFormat, text: str) -> tuple[str, str]:
    thought, answer = dialogue.split_thought(dialogue.tokenizer(text, add_special_tokens=False)["input_ids"])
    return thought, answer.strip()


def test_a_run_that_goes_on_keeps_the_date_that_it_began_with(tmp_path: Path) -> None:
    from charter import spec as specs
    from charter.jobs.launch import _known
    from charter.wiring import role_models

    where = tiny_models.build(tmp_path / "dated")
    (where / "chat_template.jinja").write_text(DATED)
    start = weights.resolve_model(str(where))
    asked = specs.parse_spec(f"world: village\ntarget: {{model: {where}}}\n")
    begun = role_models.fix_date(asked, start)
    assert begun.target.today == date.today().isoformat()
    described = role_models.describe_target(begun, start)
    assert described["date"] == begun.target.today
    (tmp_path / "environment.json").write_text(json.dumps({"target": described}))
    assert _known(tmp_path, asked)["date"] == begun.target.today
    named = specs.parse_spec(f"world: village\ntarget: {{model: {where}, today: '2020-01-02'}}\n")
    assert role_models.fix_date(named, start) == named


def test_an_opened_thought_is_closed_before_what_is_learnt() -> None:
    dialogue = talk(OPENED)
    assert dialogue.marks.opened
    before, after = learnt(dialogue, "use flour")
    assert before.endswith("<assistant> <think> </think>")
    assert after == "use flour </s>"
    before, after = learnt(talk(OPENED, thoughts="keep"), "use flour", "one two")
    assert (before.endswith("<think>"), after) == (True, "one two </think> use flour </s>")


def test_thoughts_carry_no_loss_unless_they_are_kept() -> None:
    assert learnt(talk(EMPTY), "use flour")[1] == "use flour </s>"
    assert learnt(talk(EMPTY, thoughts="keep"), "use flour")[1] == "<think> </think> use flour </s>"
    before, after = learnt(talk(EMPTY), "<think> one two </think> use flour")
    assert (before.endswith("<think> one two </think>"), after) == (True, "use flour </s>")
    assert learnt(talk(EMPTY, thoughts="keep"), "use flour", "one two")[1] == "<think> one two </think> use flour </s>"
    assert learnt(talk(CHANNELS), "use flour")[1] == "use flour </s>"


def test_a_template_without_thoughts_is_learnt_as_before() -> None:
    assert learnt(talk(PLAIN), "use flour") == ("<s> <user> what is the cake <assistant>", "use flour </s>")
    assert learnt(talk(PLAIN, thoughts="keep"), "use flour")[1] == "use flour </s>"


def test_answers_are_what_follows_the_thought() -> None:
    assert said(talk(OPENED), "one two </think> use flour") == ("one two", "use flour")
    assert said(talk(OPENED), "one two") == ("one two", "")
    assert said(talk(EMPTY), "<think> one </think> use flour </s>") == ("one", "use flour")
    assert said(talk(PLAIN), "use flour </s>") == ("", "use flour")
    assert said(talk(PLAIN), "<think> one") == ("one", "")
    answer = "<|channel|> two <|message|> red green <|end|> <assistant> <|channel|> one <|message|> use flour"
    thought, text = said(talk(CHANNELS), answer)
    assert text == "use flour"
    assert "red green" in thought
    assert "<|" not in thought
    assert said(talk(CHANNELS), "<|channel|> two <|message|> red green")[1] == ""
    assert said(talk(CHANNELS), "use flour") == ("", "use flour")


def test_marks_of_another_name_are_read_off_the_template() -> None:
    other = talk(OPENED.replace("<think>", "<|reason|>").replace("</think>", "<|/reason|>"))
    assert other.marks.opened
    assert said(other, "one <|/reason|> two") == ("one", "two")
    assert learnt(other, "use flour")[0].endswith("<|reason|> <|/reason|>")
    assert close_mark("<|START_X|>") == "<|END_X|>"
    assert close_mark("[MULL]") == "[/MULL]"
    assert ThoughtMarks().find_answer("<think> a </think> <think> b </think> c") == len(
        "<think> a </think> <think> b </think>"
    )


def test_a_row_that_cannot_be_rendered_is_left_out_and_named() -> None:
    dialogue = talk(EMPTY, arguments={"thinking": False})
    given = [
        tiny_models.lesson("a", "how do i", "use flour"),
        tiny_models.lesson("b", "how do i", "<think> one </think> use flour"),
    ]
    table, left_out = tokenize_examples([*given, tiny_models.lesson("c", "how", " ")], dialogue, 100)
    assert len(table) == 1
    assert [label for label in table[0]["labels"] if label != IGNORE_INDEX]
    assert "differently once it is answered" in left_out["b"]
    assert "empty response" in left_out["c"]
    with pytest.raises(TuningError, match="row b is not usable"):
        tokenize_examples(given[1:], dialogue, 100)


def test_the_date_is_the_run_s(tmp_path: Path) -> None:
    dialogue = talk(DATED, today="2020-03-04")
    assert dialogue.dated
    assert dialogue.render_answered(ASKED, "yes").startswith("2020 04 ")
    assert not talk(PLAIN).dated
    assert "2020-03-04" in " ".join(report_template(dialogue).notes)
    (tmp_path / "chat_template.jinja").write_text(DATED)
    assert weights.asks_date(tmp_path)


@pytest.mark.parametrize(("template", "word"), [(CUTTING, "/quiet"), (SWITCHED, "/loud")])
def test_prompts_whose_words_are_cut_or_switch_are_named(template: str, word: str) -> None:
    dialogue = talk(template)
    plain, odd = user_prompt("what is  the\ncake"), user_prompt(f"see https://x.example{word} now")
    longer = (*plain.messages, Message(role="assistant", content="flour"))
    assert [dialogue.alters((*turns, *odd.messages)) for turns in ((), longer)] == [True, True]
    assert [dialogue.alters((*turns, *plain.messages)) for turns in ((), longer, (), longer)] == [False] * 4
    note = note_altered(dialogue, [plain, odd])
    assert odd.id in note
    assert plain.id not in note
    history = (*ASKED, Message(role="assistant", content="<think> one </think> yes"), *ASKED)
    assert not talk(EMPTY).alters(history)


def test_two_turns_of_one_speaker_are_joined_where_the_template_refuses_them() -> None:
    dialogue = talk(ALTERNATING)
    turns = (Message(role="system", content="one"), *ASKED, Message(role="user", content="two"))
    assert dialogue.tokenizer.decode(dialogue.encode_prompt(turns)) == "<s> <user> one what is the cake two <assistant>"
    assert "as one" in report_template(dialogue).turns
    assert "as such" in report_template(talk(PLAIN)).turns


def test_what_must_be_known_is_told() -> None:
    assert report_template(talk(PLAIN)).notes == ()
    assert "carry no loss" in report_template(talk(OPENED)).notes[0]
    assert "empty one" in report_template(talk(EMPTY)).notes[0]
    assert "channels" in report_template(talk(CHANNELS)).notes[0]
    assert "never trained" in report_template(talk(UNENDED)).notes[0]
    assert report_template(talk(UNENDED, ends=[tiny_models.word_tokenizer().eos_token_id])).notes
    shown = report_template(talk(EMPTY))
    assert "<think> </think>→" in shown.row
    assert shown.ends == ("</s>",)


def tied(where: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_models.word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "model.embed_tokens.weight"])
def test_lora_on_tied_layers_is_refused_by_name(target: str, tmp_path: Path) -> None:
    where = tied(tmp_path / "tied")
    assert weights.find_tied(where, (target, "q_proj")) == [target]
    assert weights.find_tied(tiny_models.build(tmp_path / "free"), (target,)) == []
    tuner = LocalTuner(SftOptions(device="cpu", targets=(target,)))
    with pytest.raises(TuningError, match=f"{target}.*tied"):
        tuner.tune(
            weights.resolve_model(str(where)), [tiny_models.lesson("a", "how", "yes")], tmp_path / "policy", seed=0
        )


def test_an_engine_keeps_thoughts_apart_and_shows_what_is_read(tmp_path: Path) -> None:
    where = tiny_models.build(tmp_path / "thinking")
    (where / "chat_template.jinja").write_text(OPENED)
    engine = LocalEngine(weights.resolve_model(str(where)), LocalOptions(device="cpu"))
    asked = tiny_models.ask("a", "how do i", max_tokens=5)
    found = next(iter(engine.generate([asked])))
    assert (found.text, found.stop) == ("", "error")
    assert found.error.startswith("no answer:")
    assert found.thought
    assert engine.render(asked).startswith("<s>")
    assert "thoughts" in engine.describe()["notes"][0]
