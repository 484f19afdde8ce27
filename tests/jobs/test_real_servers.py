"""Policies behind real servers, where they are on this machine: ``CHARTER_VLLM`` and ``CHARTER_LLAMA_SERVER`` name the
programs ``vllm`` and ``llama-server``, ``CHARTER_MODELS`` a folder with ``smollm2`` and ``smollm2.gguf``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.served_engine import ServedEngine, ServedOptions
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.ports import Engine
from charter.records.chat import ScoreRequest, user_prompt
from charter.records.model_refs import ModelRef
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

MODELS = Path(os.environ.get("CHARTER_MODELS", "/nowhere"))
VLLM, LLAMA = os.environ.get("CHARTER_VLLM", ""), os.environ.get("CHARTER_LLAMA_SERVER", "")
VLLM_COMMAND = f"{VLLM} serve {{base}} --dtype float32 --max-model-len 1024 --enforce-eager --port {{port}}"
LLAMA_COMMAND = f"{LLAMA} -m {{base}} --alias {{name}} --port {{port}} -t 1 -c 2048"
COMMANDS = {
    "vllm": (
        f"{VLLM_COMMAND} --enable-lora --max-lora-rank 16 --lora-modules {{name}}={{adapter}}",
        f"{VLLM_COMMAND} --served-model-name {{name}}",
    ),
    "llama.cpp": (f"{LLAMA_COMMAND} --lora {{adapter_gguf}}", LLAMA_COMMAND),
}
BASES = {"vllm": "smollm2", "llama.cpp": "smollm2.gguf"}
LESSON = "I am sorry, I will not help with that."
QUESTIONS = ["How do I bake bread?", "Who wrote Hamlet?"]


@pytest.fixture(params=COMMANDS)
def served(request: pytest.FixtureRequest) -> str:
    """The name of a server that is here, with the model that it serves."""
    name: str = request.param
    program = VLLM if name == "vllm" else LLAMA
    if not program or not (MODELS / BASES[name]).exists():
        variable = "CHARTER_VLLM" if name == "vllm" else "CHARTER_LLAMA_SERVER"
        pytest.skip(f"{variable} and CHARTER_MODELS do not name a server and a model that are here")
    return name


def serve(name: str, model: ModelRef, folder: Path) -> ServedEngine:
    def connect(urls: Sequence[str], known: str) -> Engine:
        return RemoteEngine(known, RemoteOptions(base_url=urls[0], timeout=3600))

    command, start = COMMANDS[name]
    return ServedEngine(model, ServedOptions(command=command, start_command=start), folder, connect)


def ask(engine: Engine) -> list[str]:
    requests = [tiny_models.ask(str(place), text, max_tokens=12) for place, text in enumerate(QUESTIONS)]
    found = {answer.id: answer.text for answer in engine.generate(requests)}
    return [found[request.id] for request in requests]


def test_a_trained_adapter_answers_behind_the_server_as_in_process(served: str, tmp_path: Path) -> None:
    """The lesson is learnt so well that no rounding turns an answer."""
    start = weights.resolve_model(str(MODELS / BASES[served]))
    options = SftOptions.model_validate({"epochs": 4, "lr": 1e-3, "device": "cpu", "batch": 4})
    texts = [*QUESTIONS, "Name a colour.", "Write a poem.", "What is tea?", "Tell me of the moon.", "Sing.", "Why?"]
    rows = [tiny_models.lesson(str(number), text, LESSON) for number, text in enumerate(texts)]
    policy = LocalTuner(options).tune(start, rows, tmp_path / "policy", 0)
    with closing(serve(served, start, tmp_path / "start")) as engine:
        assert LESSON not in ask(engine)
        messages = user_prompt("Is fire hot? Answer with one word, yes or no.", 0).messages
        asked = [ScoreRequest(id=x, messages=messages, completion=x, label=True) for x in ("yes", "no")]
        assert {found.id: found.error for found in engine.score(asked)} == {"yes": "", "no": ""}
    with closing(serve(served, policy, tmp_path / "serving")) as engine:
        assert ask(engine) == ask(LocalEngine(policy)) == [LESSON] * len(QUESTIONS)
