"""A classifier weighs labels of exchanges by what its classes mean, whatever the batches; what is long is cut."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError, SpecError, UnsupportedError
from charter.judging.rubrics import CONDUCT, HARM, SHIPPED_RUBRICS
from charter.models.engines.class_meanings import SCORE_UNIT, ClassMeaning, read_meaning
from charter.models.engines.sequence_classifier import ClassifierOptions, SequenceClassifier
from charter.models.weights import resolve_model
from charter.records.chat import LogLikelihood, Message, ScoreRequest
from tests.fakes import tiny_classifiers, tiny_models

HARM_CLASSES = {"harm": {"toxic": "harmful", "neutral": "harmless"}}


@pytest.fixture(scope="module")
def toxic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_classifiers.build(tmp_path_factory.mktemp("toxic"))


def opened(
    folder: Path, meanings: Mapping[str, Mapping[str, str]] = HARM_CLASSES, **options: Any
) -> SequenceClassifier:
    model = resolve_model(str(folder))
    return SequenceClassifier(model, meanings, SHIPPED_RUBRICS, ClassifierOptions.model_validate(options))


def asking(id: str, answer: str, prompt: str = "hello", rubric: str = "harm") -> list[ScoreRequest]:
    turns = (Message(role="user", content=prompt), Message(role="assistant", content=answer))
    labels = [x for x in SHIPPED_RUBRICS[rubric].menu if rubric == "harm" or x != "dishonest"]
    return [ScoreRequest(id=f"{id}/{x}", messages=turns, completion=x, label=True, rubric=rubric) for x in labels]


def shares(engine: SequenceClassifier, requests: Sequence[ScoreRequest]) -> dict[str, float]:
    return {answer.id: math.exp(answer.value) for answer in engine.score(requests)}


def test_its_classes_are_the_labels_of_a_rubric(toxic: Path) -> None:
    engine = opened(toxic)
    assert (engine.kind, engine.reads, engine.list_labels("harm")) == ("exclusive", "response", ("harmful", "harmless"))
    assert engine.list_labels("replay") == ()
    found = shares(engine, [*asking("a", "hate you"), *asking("b", "thank you")])
    assert found["a/harmful"] > 0.8 > 0.2 > found["b/harmful"]
    assert found["a/harmful"] + found["a/harmless"] == pytest.approx(1)
    assert engine.identity == opened(toxic).identity
    assert engine.identity != opened(toxic, {"harm": {"toxic": "harmless", "neutral": "harmful"}}).identity


def test_neither_batches_nor_what_is_done_change_a_share(toxic: Path) -> None:
    texts = ["hate", "thank you", "see you and help you", "kill you " * 9, "you"]
    requests = [r for n, text in enumerate(texts) for r in asking(f"e{n}", text)]
    whole = shares(opened(toxic), requests)
    bounds: Sequence[dict[str, Any]] = ({"batch_size": 1}, {"batch_size": 2}, {"batch_tokens": 8})
    for options in bounds:
        assert shares(opened(toxic, **options), requests) == pytest.approx(whole, abs=1e-6)
    done = {r.id for r in requests if not r.id.startswith("e3")}
    left = {answer.id: math.exp(answer.value) for answer in opened(toxic, batch_size=2).score(requests, done)}
    assert left == {id: whole[id] for id in whole if id.startswith("e3")}
    assert list(opened(toxic).score(requests, {r.id for r in requests})) == []


def test_a_long_text_is_cut_and_the_cut_is_counted(toxic: Path) -> None:
    engine = opened(toxic)
    harmless, harmful = "thank you " * 60, "hate you " * 5
    found: dict[str, LogLikelihood] = {a.id: a for a in engine.score([*asking("long", harmless + harmful)])}
    assert found["long/harmful"].cut == 2 * 65 + 2 - 64, "the model reads 64 tokens, two of them around the text"
    assert found["long/harmful"].error == ""
    whole = {a.id: a for a in engine.score(asking("short", "hate you"))}
    assert whole["short/harmful"].cut == 0
    pair = opened(toxic, reads="pair")
    (first, _) = list(pair.score(asking("p", "thank you", prompt="see you " * 60)))
    assert first.cut == 120 + 2 + 3 - 64


def test_it_may_read_the_prompt_too(toxic: Path, tmp_path: Path) -> None:
    alone, pair = opened(toxic), opened(toxic, reads="pair")
    one, other = asking("a", "you", prompt="hate you"), asking("a", "you", prompt="thank you")
    assert shares(alone, one) == shares(alone, other)
    assert shares(pair, one)["a/harmful"] > shares(pair, other)["a/harmful"]
    talking = opened(tiny_classifiers.build(tmp_path / "chat", chat=True))
    assert talking.reads == "chat"
    assert shares(talking, one) != shares(talking, other)
    long = next(iter(talking.score(asking("l", "thank you " * 50))))
    assert long.cut > 0
    with pytest.raises(SpecError, match="no chat template"):
        opened(toxic, reads="chat")


def test_classes_that_hold_by_themselves_leave_the_rest_to_what_complies(tmp_path: Path) -> None:
    rows = [("hate you", "insult toxic"), ("kill you", "threat toxic"), ("thank you", ""), ("see you", "")] * 2
    folder = tiny_classifiers.build(tmp_path, rows, "independent")
    meanings = {"conduct": {"insult": "dishonest", "threat": "harmful", "toxic": "harmful"}}
    engine = opened(folder, meanings)
    assert (engine.kind, engine.list_labels("conduct")) == ("independent", ("harmful", "dishonest", "acceptable"))
    turns = [r for r in asking("x", "kill you", rubric="conduct")]
    assert shares(engine, turns)["x/harmful"] > 0.5
    assert shares(engine, asking("y", "thank you", rubric="conduct"))["y/acceptable"] > 0.8


def test_a_score_becomes_a_share_that_rises_with_it() -> None:
    meaning = read_meaning("m", ["LABEL_0"], "score", {"high": "harmless", "low": "harmful"}, HARM)
    harmless = [meaning.share_labels([score])["harmless"] for score in (-30.0, -1.0, 0.0, 1.0, 30.0)]
    assert harmless == sorted(harmless)
    assert harmless[2] == 0.5
    assert meaning.share_labels([SCORE_UNIT])["harmful"] == pytest.approx(1 / (1 + math.e))
    assert round(harmless[0], 6) > 0, "some tens are told from more"


def test_several_violating_classes_divide_what_violates() -> None:
    meaning = ClassMeaning(CONDUCT, "independent", ("harmful", "harmful", "dishonest"))
    found = meaning.share_labels([0.0, -100.0, 0.0])
    assert found == {"harmful": 0.25, "dishonest": 0.25, "acceptable": 0.5}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"toxic": "harmful"}, "neutral: has no label"),
        ({"toxic": "harmful", "neutral": "harmless", "rude": "harmful"}, "rude: the model has no such class"),
        ({"toxic": "bad", "neutral": "harmless"}, "toxic: bad is no label of the rubric harm"),
        ({"toxic": "harmful", "neutral": "harmful"}, "no class means that an exchange complies"),
    ],
)
def test_classes_that_do_not_fit_are_told_with_those_that_the_model_has(
    toxic: Path, given: dict[str, str], fault: str
) -> None:
    with pytest.raises(SpecError, match="its classes: neutral, toxic") as refused:
        opened(toxic, {"harm": given})
    assert any(fault in line for line in refused.value.faults)
    assert "rubrics: {harm: {neutral: LABEL, toxic: LABEL}}" in refused.value.cure


def test_what_is_no_classifier_is_refused(toxic: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"its config\.json names LlamaForCausalLM"):
        opened(tiny_models.build(tmp_path / "causal"))
    with pytest.raises(UnsupportedError, match="answers nothing in words"):
        opened(toxic).generate([tiny_models.ask("a", "b")])
    with pytest.raises(UnsupportedError, match="weighs no 'helps'"):
        list(opened(toxic).score([asking("a", "b")[0].model_copy(update={"completion": "helps"})]))


def test_weights_without_a_head_or_outside_safetensors_are_refused(toxic: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    for place in ("headless", "pickled"):
        (tmp_path / place).mkdir()
        for file in toxic.iterdir():
            (tmp_path / place / file.name).write_bytes(file.read_bytes())
    tensors = load_file(toxic / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    save_file(kept, tmp_path / "headless" / "model.safetensors", {"format": "pt"})
    with pytest.raises(EngineError, match="2 tensors are missing"):
        shares(opened(tmp_path / "headless"), asking("a", "b"))
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(EngineError, match="Could not load"):
        shares(opened(tmp_path / "pickled"), asking("a", "b"))


def test_code_that_comes_with_a_model_is_never_run(toxic: Path, tmp_path: Path) -> None:
    for file in toxic.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForSequenceClassification": "own.Model", "AutoConfig": "own.Config"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "own"}), encoding="utf-8")
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    with pytest.raises(EngineError):
        opened(tmp_path)
