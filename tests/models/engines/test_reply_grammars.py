"""Replies of the local engine that keep a schema, on a tiny model with random weights that reads any text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError
from charter.judging.reply_schemas import object_schema
from charter.models import weights
from charter.models.engines.decoding import sample_tokens
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.reply_grammars import ReplyGrammars
from charter.records.chat import Completion, Request
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

MENU = ["harmful", "harmless", "partly"]
VERDICT = object_schema({"label": {"enum": MENU}, "severity": {"type": "integer", "minimum": 0, "maximum": 3}})
LISTS = object_schema({"numbers": {"type": "array", "items": {"enum": [1, 2, 30]}, "maxItems": 4}})
THINKING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}A:<think>\n\n</think>\n\n{{ m['content'] }}</s>"
    "{% else %}U:{{ m['content'] }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.byte_model(tmp_path_factory.mktemp("bytes"))


def engine(where: Path, **options: Any) -> LocalEngine:
    asked = LocalOptions.model_validate({"device": "cpu", "reply_schema": True, **options})
    return LocalEngine(weights.resolve_model(str(where)), asked)


def requests(**sampling: Any) -> list[Request]:
    """18 prompts: a third under each of two schemas, a third free."""
    forms, words = (VERDICT, LISTS, None), tiny_models.WORDS
    return [
        tiny_models.ask(
            f"r{n}", " ".join(words[n : n + 1 + n * 7 % 13]), seed=n, **{"max_tokens": 64, **sampling}
        ).model_copy(update={"response_schema": forms[n % 3]})
        for n in range(18)
    ]


def answers(model: LocalEngine, asked: Sequence[Request]) -> dict[str, Completion]:
    return {completion.id: completion for completion in model.generate(asked)}


def assert_kept(found: dict[str, Completion]) -> None:
    """Every reply under a schema is whole, and none under none is."""
    for n in range(18):
        answer = found[f"r{n}"]
        if n % 3 == 2:
            assert not answer.text.startswith("{")
            continue
        assert answer.stop == "stop"
        reply = json.loads(answer.text)
        if n % 3 == 0:
            assert list(reply) == ["label", "severity"]
            assert reply["label"] in MENU
            assert reply["severity"] in range(4)
        else:
            assert set(reply.pop("numbers")) <= {1, 2, 30}
            assert not reply


SAMPLINGS = [{}, {"temperature": 1.5}, {"temperature": 1.5, "top_p": 0.7}, {"frequency_penalty": 2.0}]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_replies_keep_their_schema_whatever_the_batch(folder: Path, sampling: dict[str, Any]) -> None:
    one, five, all_of_them = (answers(engine(folder, batch_size=size), requests(**sampling)) for size in (1, 5, 18))
    assert one == five == all_of_them
    assert_kept(one)


def test_without_the_option_nothing_is_kept_and_nothing_else_changes(folder: Path) -> None:
    free, held = engine(folder, reply_schema=False), engine(folder)
    said = answers(free, requests())
    assert said == answers(free, [r.model_copy(update={"response_schema": None}) for r in requests()])
    found = answers(held, requests())
    assert {n for n in range(18) if found[f"r{n}"] == said[f"r{n}"]} == set(range(2, 18, 3))
    assert held.identity == f"{free.identity} reply_schema=true"


def test_a_reply_that_the_limit_cuts_says_so(folder: Path) -> None:
    found = answers(engine(folder), requests(max_tokens=3))
    assert {found[f"r{n}"].stop for n in (0, 1)} == {"length"}
    assert json.dumps({"label": MENU[0]}).startswith(found["r0"].text)


def test_a_batch_that_ran_out_of_memory_begins_its_replies_anew(folder: Path) -> None:
    import torch

    expected, model, steps = answers(engine(folder), requests()), engine(folder), []

    def scarce(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        steps.append(len(kwargs["input_ids"]))
        if len(steps) > 3 and steps[-1] > 5:
            raise torch.OutOfMemoryError("out of memory")

    model.model.register_forward_pre_hook(scarce, with_kwargs=True)
    assert answers(model, requests()) == expected
    assert steps[:4] == [18] * 4


def test_a_model_with_more_tokens_than_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    model = weights.load_model(folder, "cpu")
    width = len(weights.load_tokenizer(folder))
    model.resize_token_embeddings(width + 37)
    model.get_output_embeddings().weight.data[width:] = model.get_output_embeddings().weight.data.mean(0) * 99
    model.save_pretrained(tmp_path)
    weights.load_tokenizer(folder).save_pretrained(tmp_path)
    for sampling in ({}, {"temperature": 5.0}):
        assert_kept(answers(engine(tmp_path), requests(**sampling)))


def test_any_of_several_end_tokens_ends_a_number(folder: Path) -> None:
    tokenizer = weights.load_tokenizer(folder)
    ends = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    reply = ReplyGrammars(tokenizer, ends, 500).compile_schema({"type": "integer"}).copy()
    assert {end for end in ends if not reply.forbid_tokens(500)[end]} == set()
    (seven,) = tokenizer("7", add_special_tokens=False)["input_ids"]
    assert not reply.append_token(seven)
    assert {end for end in ends if not reply.forbid_tokens(500)[end]} == set(ends)
    assert reply.forbid_tokens(500)[len(tokenizer) :].all()
    with pytest.raises(ValueError, match="cannot be followed"):
        reply.append_token(tokenizer("x", add_special_tokens=False)["input_ids"][0])


def test_the_order_of_a_schema_s_keys_is_kept(folder: Path) -> None:
    turned = object_schema(dict(reversed(VERDICT["properties"].items())))
    asked = [requests()[0], requests()[0].model_copy(update={"id": "turned", "response_schema": turned})]
    found = answers(engine(folder), asked)
    assert list(json.loads(found["r0"].text)) == ["label", "severity"]
    assert list(json.loads(found["turned"].text)) == ["severity", "label"]


def test_a_schema_that_cannot_be_kept_is_the_error_of_its_request(folder: Path) -> None:
    odd = requests()[1].model_copy(update={"response_schema": {"type": "nonsense"}})
    found = answers(engine(folder), [requests()[0], odd])
    assert "cannot be kept" in found["r1"].error
    assert not found["r0"].error


def test_a_tokenizer_that_cannot_be_read_is_an_error_with_its_cure(tmp_path: Path) -> None:
    words = engine(tiny_models.build(tmp_path))
    with pytest.raises(EngineError, match="tokenizer") as caught:
        answers(words, requests())
    assert "reply_schema: false" in caught.value.cure


def test_a_model_that_thinks_first_is_left_free(folder: Path, tmp_path: Path) -> None:
    tokenizer = weights.load_tokenizer(folder)
    tokenizer.chat_template = THINKING
    tokenizer.save_pretrained(tmp_path)
    weights.load_model(folder, "cpu").save_pretrained(tmp_path)
    assert answers(engine(tmp_path), requests()) == answers(engine(tmp_path, reply_schema=False), requests())


def test_no_token_without_a_share_is_drawn() -> None:
    """A chance that rounding has made 1 takes the last token that may come."""
    import torch

    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    drawn = sample_tokens(logits, torch.ones(1), torch.ones(1), torch.ones(1, dtype=torch.float64))
    assert drawn.tolist() == [1]
