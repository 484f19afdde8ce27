"""Plain texts, weighed and gone on with: in process and over HTTP the same, and what cannot be had is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError, UnsupportedError
from charter.evals.multiple_choice import DromedaryBenchmark
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.ports import Engine
from charter.records.chat import LogLikelihood, Message, Request, Sampling, ScoreRequest
from charter.records.record import Step
from charter.stages.benchmark_items import compute_scores, gather_answers, score_completions
from tests.fakes import tiny_models
from tests.fakes.openai_server import serve
from tests.fakes.reference_completions import completer

pytestmark = pytest.mark.slow

PAIRS = [
    ("how do i bake", " a cake"),
    ("how do i bake ", "a cake"),
    ("Q: what is the capital of france\nA:", " paris"),
    ("", "use flour and eggs"),
    ("\n", "water"),
    ("naïve — “quoted” words", " — ünïcode"),
    ("one two", "three"),
    ("(", "A)"),
]
REQUESTS = [
    ScoreRequest(id=f"s{n}", messages=(Message(role="user", content=before),), completion=after, raw=True)
    for n, (before, after) in enumerate(PAIRS)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.byte_model(tmp_path_factory.mktemp("byte"), context=64)


@pytest.fixture(scope="module")
def local(folder: Path) -> LocalEngine:
    return LocalEngine(weights.resolve_model(str(folder)), LocalOptions(device="cpu", batch_size=3))


@pytest.fixture(scope="module", params=[True, False], ids=["opening token told", "opening token untold"])
def remote(folder: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    with serve(completer(folder, request.param)) as server:
        engine = RemoteEngine("byte", RemoteOptions(base_url=server.url, max_connections=2))
        yield engine
        engine.close()


def weighed(engine: Engine, requests: list[ScoreRequest] = REQUESTS) -> dict[str, LogLikelihood]:
    return {found.id: found for found in engine.score(requests)}


def test_in_process_as_the_harness_s_own_model_class_weighs(folder: Path, local: LocalEngine) -> None:
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    long = [("word " * 80, "and more"), ("word " * 80 + "\n", " and more")]
    asked = [*PAIRS, *long]
    theirs = model.loglikelihood(
        [instance("loglikelihood", {}, pair, n) for n, pair in enumerate(asked)], disable_tqdm=True
    )
    ours = weighed(
        local,
        [
            ScoreRequest(
                id=f"s{n}", messages=(Message(role="user", content=before),), completion=after, raw=True, cut=True
            )
            for n, (before, after) in enumerate(asked)
        ],
    )
    for n, (value, greedy) in enumerate(theirs):
        assert ours[f"s{n}"].value == pytest.approx(value, abs=1e-4), asked[n]
        assert ours[f"s{n}"].greedy is greedy
    assert [found.cut > 0 for found in ours.values()].count(True) == len(long)


def test_over_http_the_same_as_in_process(local: LocalEngine, remote: Engine) -> None:
    here, there = weighed(local), weighed(remote)
    assert here.keys() == there.keys()
    for key, found in here.items():
        assert there[key].value == pytest.approx(found.value, abs=1e-4), PAIRS[int(key[1:])]
        assert (there[key].tokens, there[key].greedy) == (found.tokens, found.greedy)
    assert {s.id for s in remote.score(REQUESTS, {"s1", "s2"})} == set(here) - {"s1", "s2"}


def test_what_is_likeliest_is_greedy(local: LocalEngine, remote: Engine) -> None:
    asked = Request(id="g", messages=REQUESTS[0].messages, sampling=Sampling(max_tokens=3), raw=True)
    (here,), (there,) = (list(engine.generate([asked])) for engine in (local, remote))
    assert here.text == there.text
    again = REQUESTS[0].model_copy(update={"completion": here.text})
    if here.text:
        assert weighed(local, [again])["s0"].greedy


def test_a_text_goes_on_without_a_format_and_ends_at_a_stop(local: LocalEngine) -> None:
    whole = Request(id="g", messages=REQUESTS[0].messages, sampling=Sampling(max_tokens=8), raw=True)
    (long,) = local.generate([whole])
    stop = long.text[2:4]
    (cut,) = local.generate([whole.model_copy(update={"sampling": Sampling(max_tokens=8, stop=(stop,))})])
    assert cut.text == long.text[: long.text.index(stop)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": "x"}, "gives no log-probabilities of the prompt"),
        ({"status": 400, "error": "echo is not supported"}, "echo is not supported"),
        ({"status": 404, "error": "no such page"}, "no such page"),
        (
            {"text": "x", "logprobs": {"tokens": ["?", "?"], "token_logprobs": [-1.0, -1.0], "top_logprobs": None}},
            "does not say how many tokens",
        ),
    ],
)
def test_a_server_that_gives_none_is_named(answer: dict[str, Any], said: str) -> None:
    with serve(lambda _: answer) as server:
        engine = RemoteEngine("byte", RemoteOptions(base_url=server.url, first_wait=0.01))
        with pytest.raises(UnsupportedError, match=said):
            weighed(engine)
        engine.close()


def test_what_no_server_can_weigh() -> None:
    chat = REQUESTS[0].model_copy(update={"raw": False})
    with serve(lambda _: {"text": "x"}) as server:
        engine = RemoteEngine("byte", RemoteOptions(base_url=server.url))
        with pytest.raises(UnsupportedError, match="of plain texts alone"):
            weighed(engine, [chat])
        engine.close()
    with pytest.raises(UnsupportedError, match="hosted models give none"):
        weighed(RemoteEngine("openai/some"), [REQUESTS[0]])


def test_what_does_not_fit_is_an_error_or_cut_on_the_left(local: LocalEngine) -> None:
    long = [
        REQUESTS[0].model_copy(update={"completion": " and so on" * 60}),
        REQUESTS[0].model_copy(update={"messages": (Message(role="user", content="so on " * 80),), "raw": False}),
    ]
    for request in long:
        with pytest.raises(EngineError, match="the model reads 64"):
            weighed(local, [request])
        (found,) = weighed(local, [request.model_copy(update={"cut": True})]).values()
        assert found.cut > 0
        assert found.tokens <= 64
        assert found.value < 0
    (whole,) = weighed(local, [long[0].model_copy(update={"cut": True})]).values()
    last = long[0].model_copy(update={"messages": (Message(role="user", content="any text " * 70),), "cut": True})
    assert whole.tokens == 64
    assert weighed(local, [last])["s0"].value == whole.value, "of both the last 65 tokens are read"


def test_a_score_says_how_many_texts_were_cut(local: LocalEngine) -> None:
    rows = [
        {"input": "what is red " * many, "choices": ["a cherry", "a lime"], "label": 0, "category": "helpful"}
        for many in (1, 60)
    ]
    benchmark = DromedaryBenchmark("hhh", "hhh", rows, template="{question} {first} {second}:")
    questions = benchmark.questions()
    likelihoods = list(score_completions(questions, local, step=Step("benchmark", 0)))
    answered = gather_answers(questions, (), likelihoods)
    scores = compute_scores(answered, list(benchmark.grade(answered)), benchmark)
    assert scores
    assert all(score.note.endswith("4 of 8 texts were cut on the left to fit the context") for score in scores)
    short = gather_answers(questions[:4], (), likelihoods)
    assert all("cut" not in score.note for score in compute_scores(short, list(benchmark.grade(short)), benchmark))
