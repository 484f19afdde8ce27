"""Labels weighed by an engine: over HTTP from the likeliest tokens of one answer, in process as any completion."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError, UnsupportedError
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.weights import resolve_model
from charter.records.chat import LogLikelihood, Message, ScoreRequest
from tests.fakes import tiny_models
from tests.fakes.openai_server import Server, serve


def requests(*labels: str, prompt: str = "which ?", id: str = "e") -> list[ScoreRequest]:
    turns = (Message(role="user", content=prompt),)
    return [ScoreRequest(id=f"{id}/{x}", messages=turns, completion=x, label=True) for x in labels]


def place(token: str, value: float, **others: float) -> dict[str, Any]:
    """A token of an answer, with the likeliest ones at its place."""
    named = {token: value, **{key.replace("_", " "): one for key, one in others.items()}}
    top = [{"token": key, "logprob": one, "bytes": None} for key, one in named.items()]
    return {"token": token, "logprob": value, "bytes": None, "top_logprobs": top}


def weighed(*places: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"text": "x", "choice": {"logprobs": {"content": list(places)}}, **more}


def scored(answer: dict[str, Any], *labels: str) -> tuple[dict[str, LogLikelihood], Server]:
    with serve(lambda body: answer) as server:
        options = RemoteOptions(base_url=server.url, first_wait=0.01, max_retries=1)
        with closing(RemoteEngine("m", options)) as engine:
            found = {a.id.removeprefix("e/"): a for a in engine.score(requests(*labels))}
    return found, server


def test_one_answer_weighs_all_labels() -> None:
    found, server = scored(weighed(place("safe", -0.2, unsafe=-2.0, _safe=-3.0, Hm=-4.0)), "safe", "unsafe")
    assert found["safe"].value == pytest.approx(math.log(math.exp(-0.2) + math.exp(-3.0)))
    assert (found["unsafe"].value, found["safe"].greedy, found["unsafe"].greedy) == (-2.0, True, False)
    assert len(server.seen) == 1
    sent = server.seen[0]
    assert (sent["logprobs"], sent["top_logprobs"], sent["temperature"]) == (True, 20, 0)
    assert found["safe"].tokens_in > 0
    assert found["unsafe"].tokens_in == 0


def test_labels_that_begin_alike_are_told_apart_where_they_part() -> None:
    answer = weighed(place("harm", -0.1, no=-3.0), place("less", -0.3, ful=-1.5))
    found, _ = scored(answer, "harmful", "harmless")
    assert found["harmless"].value == pytest.approx(-0.4)
    assert found["harmful"].value == pytest.approx(-1.6)


def test_a_label_that_was_not_named_is_no_likelier_than_the_last_that_was() -> None:
    found, _ = scored(weighed(place(" Refuses", -0.1, The=-5.0)), "answers", "refuses")
    assert found["refuses"].value == -0.1
    assert found["answers"].value == -5.0
    assert found["answers"].error == ""


def test_an_answer_that_holds_no_label_is_an_error_of_its_item() -> None:
    found, _ = scored(weighed(place("Well", -0.1, Hm=-2.0)), "safe", "unsafe")
    assert all("no label is among the 20 likeliest tokens" in answer.error for answer in found.values())


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "safe"},
        {"text": "safe", "choice": {"logprobs": None}},
        {"text": "safe", "choice": {"logprobs": {"content": []}}},
        {"status": 400, "error": "logprobs is not supported"},
    ],
)
def test_a_server_without_log_probabilities_is_named_with_the_other_reading(answer: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError) as error:
        scored(answer, "safe", "unsafe")
    assert "options.judge.read: rationale" in error.value.cure


def test_a_request_that_a_server_refuses_later_is_an_error_of_its_item() -> None:
    """Once labels were read, a prompt that is too long for the server ends nothing."""

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if "long" in body["messages"][0]["content"]:
            return {"status": 400, "error": "maximum context length is 10 tokens"}
        return weighed(place("safe", -0.2, unsafe=-2.0))

    with serve(reply) as server:
        options = RemoteOptions(base_url=server.url, first_wait=0.01, max_connections=1)
        engine = RemoteEngine("m", options)
        asked = [*requests("safe", "unsafe"), *requests("safe", "unsafe", prompt="long", id="f")]
        found = {answer.id: answer for answer in engine.score(asked)}
        engine.close()
    assert found["e/safe"].error == ""
    assert "context length" in found["f/safe"].error
    assert "context length" in found["f/unsafe"].error


def test_plain_completions_of_the_chat_are_still_refused() -> None:
    turns = (Message(role="user", content="q"),)
    engine = RemoteEngine("m", RemoteOptions(base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(UnsupportedError, match="of plain texts alone"):
        list(engine.score([ScoreRequest(id="s", messages=turns, completion="an answer")]))


@pytest.mark.parametrize("size", [1, 8])
def test_in_process_labels_are_weighed_as_completions_whatever_the_batch(tmp_path: Path, size: int) -> None:
    model = resolve_model(str(tiny_models.build(tmp_path / "tiny")))
    engine = LocalEngine(model, LocalOptions(batch_size=size))
    asked = [
        *requests("yes", "no", prompt="is paris red"),
        *requests("yes", "no", prompt="how do i bake a cake please", id="f"),
        *requests("yes", "no", prompt="one " * 200, id="long"),
    ]
    found = {answer.id: answer for answer in engine.score(asked)}
    assert "reads 128" in found["long/yes"].error
    assert "reads 128" in found["long/no"].error
    plain = [request.model_copy(update={"label": False}) for request in asked[:4]]
    for answer in engine.score(plain):
        assert found[answer.id].value == pytest.approx(answer.value, abs=1e-5)
    with pytest.raises(EngineError, match="reads 128"):
        list(engine.score([request.model_copy(update={"label": False}) for request in asked]))
