"""The local engine on tiny models with random weights."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.chat import Completion, Message, Request, Sampling, ScoreRequest
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("raw"), "gpt2", chat=False)


def engine(where: Path, **options: Any) -> LocalEngine:
    return LocalEngine(weights.resolve_model(str(where)), LocalOptions(device="cpu", **options))


def requests(**sampling: Any) -> list[Request]:
    """17 prompts of 1 to 13 words."""
    words = tiny_models.WORDS
    return [
        tiny_models.ask(
            f"r{n}", " ".join(words[n : n + 1 + n * 7 % 13]), seed=1000 + n, **{"max_tokens": 20, **sampling}
        )
        for n in range(17)
    ]


def answers(model: LocalEngine, asked: Sequence[Request], done: frozenset[str] = frozenset()) -> dict[str, Completion]:
    return {completion.id: completion for completion in model.generate(asked, done)}


def adapter(base: Path, where: Path, seed: int = 1) -> ModelRef:
    """A LoRA with random weights that changes what the base says."""
    import torch
    from peft import LoraConfig, get_peft_model

    with weights.quiet_libraries(), torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(weights.load_model(base, "cpu"), config).save_pretrained(str(where))
    ref, files = weights.resolve_model(str(base)), weights.file_digests(where, ("adapter_*",))
    return ref.model_copy(update={"adapter": str(where), "files": files, "digest": digest([ref.digest, files])})


SAMPLINGS = {
    "greedy": {},
    "sampled": {"temperature": 1.3},
    "nucleus": {"temperature": 1.0, "top_p": 0.8},
    "penalised": {"frequency_penalty": 0.7},
}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS.keys())
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_batch_size_changes_no_text(kind: tiny_models.Architecture, sampling: dict[str, Any], tmp_path: Path) -> None:
    where = tiny_models.build(tmp_path, kind)
    one, three, sixteen = (answers(engine(where, batch_size=size), requests(**sampling)) for size in (1, 3, 16))
    assert one == three == sixteen
    assert len({completion.text for completion in one.values()}) > 10


def test_greedy_texts_are_those_of_transformers(llama: Path) -> None:
    import torch

    model = engine(llama)
    found = answers(model, requests())
    assert len(found) == len(requests()) > 0
    dialogue = model._ensure_loaded()
    for request in requests():
        ids = torch.tensor([dialogue.encode_prompt(request.messages)])
        drawn = model.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20, pad_token_id=3
        )
        assert found[request.id].text == dialogue.decode_answer(drawn[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}])
def test_what_is_done_changes_no_text(llama: Path, sampling: dict[str, Any]) -> None:
    whole = answers(engine(llama, batch_size=4), requests(**sampling))
    done = frozenset(f"r{n}" for n in (0, 1, 2, 3, 5, 8, 13))
    rest = answers(engine(llama, batch_size=4), requests(**sampling), done)
    assert rest == {key: value for key, value in whole.items() if key not in done}


def test_seed_and_temperature_decide_what_is_drawn(llama: Path) -> None:
    model = engine(llama)
    asked = [
        tiny_models.ask(str(seed), "how do i bake", seed=seed, temperature=1.0, max_tokens=12) for seed in range(40)
    ]
    first, again = answers(model, asked), answers(model, asked[::-1])
    assert first == again
    assert len({completion.text for completion in first.values()}) > 30
    cold = [request.model_copy(update={"sampling": Sampling(temperature=1e-4, max_tokens=12)}) for request in asked]
    assert len({completion.text for completion in answers(model, cold).values()}) == 1


def test_draws_follow_the_model_s_distribution() -> None:
    import torch

    from charter.models.engines.decoding import sample_tokens

    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().repeat(4000, 1)
    chance = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    heat, whole = torch.ones(4000), torch.ones(4000)
    counts = torch.bincount(sample_tokens(logits, heat, whole, chance), minlength=4).tolist()
    assert counts == pytest.approx([2000, 1200, 600, 200], abs=1)
    nucleus = torch.bincount(sample_tokens(logits, heat, whole * 0.8, chance), minlength=4).tolist()
    assert nucleus == pytest.approx([2500, 1500, 0, 0], abs=1)


def test_ends_at_stop_strings_and_at_the_limit(llama: Path) -> None:
    model = engine(llama)
    free = answers(model, requests(max_tokens=30))
    spoken = {key: found for key, found in free.items() if len(found.text.split()) == found.tokens_out}
    key, whole = max(spoken.items(), key=lambda pair: len(set(pair[1].text.split())))
    words = whole.text.split()
    mark = next(word for place, word in enumerate(words) if place >= 3 and word not in words[:place])
    (asked,) = (request for request in requests(max_tokens=30, stop=(mark, "never said")) if request.id == key)
    cut = answers(model, [asked])[key]
    assert cut.text == " ".join(words[: words.index(mark)])
    assert (cut.stop, cut.tokens_out) == ("stop", words.index(mark) + 1)
    (brief,) = (request for request in requests(max_tokens=2) if request.id == key)
    short = answers(model, [brief])[key]
    assert (short.text, short.stop, short.tokens_out) == (" ".join(words[:2]), "length", 2)


def test_an_overlong_prompt_is_reported_and_never_cut(llama: Path) -> None:
    asked = [
        tiny_models.ask("long", "one " * 140),
        tiny_models.ask("fits", "one " * 110, max_tokens=100),
        tiny_models.ask("ok", "one"),
    ]
    found = answers(engine(llama), asked)
    assert found["long"].stop == "error"
    assert found["long"].error == "the prompt does not fit the context: it has 143 tokens, and the model reads 128"
    assert found["fits"].tokens_in + found["fits"].tokens_out <= 128
    assert not found["fits"].error
    assert not found["ok"].error


def test_refused_messages_and_empty_prompts_are_error_completions(llama: Path, raw: Path) -> None:
    odd = Request(id="s", messages=(Message(role="assistant", content="one"), Message(role="user", content="one")))
    found = answers(engine(llama), [odd, tiny_models.ask("ok", "one")])
    assert "begins with an assistant turn" in found["s"].error
    assert not found["ok"].error
    assert "empty" in answers(engine(raw, plain=True), [tiny_models.ask("e", "")])["e"].error


def test_raw_text_on_demand(llama: Path, raw: Path) -> None:
    for model in (engine(llama, plain=True), engine(raw, plain=True)):
        dialogue = model._ensure_loaded()
        turns = (Message(role="user", content="one two"), Message(role="assistant", content="three"))
        assert dialogue.encode_prompt(turns) == dialogue.tokenizer("one two three")["input_ids"]
    chat = engine(llama)._ensure_loaded()
    assert chat.tokenizer.convert_ids_to_tokens(chat.encode_prompt(turns[:1])) == [
        "<s>", "<user>", "one", "two", "<assistant>",
    ]  # fmt: skip
    assert engine(llama).identity != engine(llama, plain=True).identity


@pytest.mark.parametrize("kind", ["llama", "raw"])
def test_scores_are_the_model_s_log_likelihoods(kind: str, request: pytest.FixtureRequest) -> None:
    import torch

    model = engine(request.getfixturevalue(kind), batch_size=3)
    asked = [
        ScoreRequest(
            id=f"s{n}", messages=(Message(role="user", content=" ".join(tiny_models.WORDS[: n + 1])),), completion=text
        )
        for n, text in enumerate(["yes", "no no", "paris france capital", "red green blue one", ""])
    ]
    found = {score.id: score for score in model.score(asked)}
    dialogue = model._ensure_loaded()
    for one in asked:
        before, after = dialogue.encode_scored(one.messages, one.completion)
        with torch.inference_mode():
            shares = torch.log_softmax(model.model(torch.tensor([before + after])).logits[0].double(), -1)
        lines = shares[len(before) - 1 : len(before) + len(after) - 1]
        expected = sum(float(lines[place, token]) for place, token in enumerate(after))
        assert found[one.id].value == pytest.approx(expected, abs=1e-4)
        assert found[one.id].tokens == len(one.completion.split())
        assert found[one.id].greedy == (lines.argmax(-1).tolist() == after)


def test_greedy_answer_scores_as_greedy(llama: Path) -> None:
    model = engine(llama)
    found = answers(model, requests())
    said = [request for request in requests() if len(found[request.id].text.split()) == found[request.id].tokens_out]
    asked = [ScoreRequest(id=r.id, messages=r.messages, completion=found[r.id].text) for r in said]
    scores = list(model.score(asked))
    assert len(scores) > 3
    assert all(score.greedy for score in scores)
    messages = (Message(role="user", content="how do i"),)
    with pytest.raises(EngineError, match="the model reads 128"):
        list(model.score([ScoreRequest(id="b", messages=messages, completion="one " * 130)]))


def test_adapters_are_swapped_on_one_base(llama: Path, tmp_path: Path) -> None:
    model = engine(llama)
    base, plain, asked = model._policy, answers(model, requests()), requests()
    memory, name = model.model, model.identity
    one, two = adapter(llama, tmp_path / "one", 1), adapter(llama, tmp_path / "two", 2)
    first = answers(model.use_policy(one), asked)
    assert model.identity != name
    second = answers(model.use_policy(two), asked)
    assert len({tuple(c.text for c in found.values()) for found in (plain, first, second)}) == 3
    assert answers(model.use_policy(one), asked) == first
    assert answers(model.use_policy(base), asked) == plain
    assert model.model is memory


def test_a_full_checkpoint_is_a_policy_too(llama: Path, tmp_path: Path) -> None:
    other = tiny_models.build(tmp_path / "full", seed=5)
    base = weights.resolve_model(str(llama))
    policy = base.model_copy(update={"adapter": str(other), "files": weights.file_digests(other), "digest": "d"})
    model = engine(llama)
    plain = answers(model, requests())
    assert answers(model.use_policy(policy), requests()) == answers(engine(other), requests()) != plain
    assert answers(model.use_policy(base), requests()) == plain


def test_a_policy_of_another_base_is_refused(llama: Path, raw: Path) -> None:
    with pytest.raises(EngineError, match="another base"):
        engine(llama).use_policy(weights.resolve_model(str(raw)))


def test_memory_running_out_halves_the_batch(llama: Path) -> None:
    import torch

    expected = answers(engine(llama, batch_size=16), requests())
    model, sizes = engine(llama, batch_size=16), []

    def scarce(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("out of memory")

    limit = 5
    model.model.register_forward_pre_hook(scarce, with_kwargs=True)
    assert answers(model, requests()) == expected
    assert [size for size in sizes if size > limit] == [16, 8]
    limit = 0
    with pytest.raises(EngineError, match="single request"):
        answers(model, requests())


def test_a_machine_that_has_no_more_memory_halves_the_batch(llama: Path) -> None:
    """The model's own forward asks for more memory than any machine has: for answers and for log-likelihoods."""
    import torch

    asked = [ScoreRequest(id=r.id, messages=r.messages, completion="yes no") for r in requests()]
    expected, scores = answers(engine(llama), requests()), list(engine(llama).score(asked))
    model, sizes = engine(llama, batch_size=16), []
    forward = model.model.model.forward

    def scarce(*args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs) if sizes[-1] <= 3 else torch.empty(2**60, dtype=torch.uint8)

    model.model.model.forward = scarce
    assert answers(model, requests()) == expected
    assert [size for size in sizes if size > 3] == [16, 8, 4]
    for found, known in zip(model.score(asked), scores, strict=True):
        assert found.model_copy(update={"value": 0.0}) == known.model_copy(update={"value": 0.0})
        assert found.value == pytest.approx(known.value, abs=1e-4)
    assert max(sizes[-6:]) <= 2


def test_close_frees_the_model(llama: Path) -> None:
    import weakref

    model = engine(llama)
    answers(model, requests()[:1])
    seen = weakref.ref(model.model)
    model.close()
    gc.collect()
    assert seen() is None


def test_every_broken_model_names_its_cure(llama: Path, tmp_path: Path) -> None:
    import torch

    def broken(name: str) -> Path:
        return Path(shutil.copytree(llama, tmp_path / name))

    def load(where: Path) -> str:
        with pytest.raises(EngineError) as caught:
            answers(engine(where), requests()[:1])
        assert caught.value.cure
        return str(caught.value)

    assert "no model folder" in load(tmp_path / "nowhere")
    (where := broken("blank")).joinpath("config.json").unlink()
    assert "config.json" in load(where)
    where = broken("pickled")
    torch.save({}, where / "pytorch_model.bin")
    (where / "model.safetensors").unlink()
    assert "safetensors" in load(where)
    where = broken("torn")
    (where / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:500])
    assert "damaged" in load(where)
    where = broken("strange")
    (where / "config.json").write_text('{"model_type": "no-such-model", "architectures": ["X"]}')
    assert "no-such-model" in load(where)
    where = broken("taller")
    config = (where / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    (where / "config.json").write_text(config)
    assert "do not fit" in load(where)
    where = broken("mute")
    for path in where.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in load(where)


def test_broken_adapters_name_their_cure(llama: Path, raw: Path, tmp_path: Path) -> None:
    good = adapter(llama, tmp_path / "good")
    model = engine(llama)
    plain = answers(model, requests()[:2])

    def refused(policy: ModelRef) -> str:
        with pytest.raises(EngineError) as caught:
            answers(model.use_policy(policy), requests()[:2])
        assert caught.value.cure
        return str(caught.value)

    assert "missing" in refused(good.model_copy(update={"adapter": str(tmp_path / "nowhere"), "digest": "1"}))
    torn = shutil.copytree(tmp_path / "good", tmp_path / "torn")
    (torn / weights.ADAPTER_WEIGHTS).write_bytes((torn / weights.ADAPTER_WEIGHTS).read_bytes()[:-7])
    changed = good.model_copy(update={"adapter": str(torn), "digest": "2"})
    assert "has changed since" in refused(changed)
    assert "damaged" in refused(changed.model_copy(update={"files": {}}))
    foreign = adapter(raw, tmp_path / "foreign")
    foreign = foreign.model_copy(update={"base": good.base, "base_digest": good.base_digest})
    assert "Could not load" in refused(foreign)
    assert answers(model.use_policy(weights.resolve_model(str(llama))), requests()[:2]) == plain
    assert answers(model.use_policy(good), requests()[:2]) != plain


def test_weights_that_are_no_numbers_are_an_error(llama: Path) -> None:
    model = engine(llama)
    model.model.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(EngineError, match="gives no numbers"):
        answers(model, requests()[:2])


def test_the_digest_names_what_decides_the_answers(llama: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(llama, tmp_path / "copy"))
    before = weights.resolve_model(str(llama))
    (copy / "README.md").write_text("a card")
    assert weights.resolve_model(str(copy)).digest == before.digest
    blob = bytearray((copy / "model.safetensors").read_bytes())
    blob[-1] ^= 1
    (copy / "model.safetensors").write_bytes(blob)
    assert weights.resolve_model(str(copy)).digest != before.digest
