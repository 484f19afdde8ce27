"""Greedy answers in this process against those of real servers, of the same weights: vLLM, and llama.cpp.

``CHARTER_VLLM`` and ``CHARTER_LLAMA_SERVER`` name the programs ``vllm`` and ``llama-server``; what is not named is left
out. ``CHARTER_MODELS`` holds the folder ``smollm2`` and the file ``smollm2.gguf``; ``CHARTER_TEST_DATA`` AdvBench and
the seed tasks of self-instruct. The adapter is trained here, on answers of these tasks.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.answer_speed import VLLM_START
from bench.real_speed import read_lessons

from charter.data.sources.source_prompts import SourcePrompts
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.served_engine import ServedEngine, ServedOptions
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.ports import Engine
from charter.records.chat import Request, Sampling
from charter.records.model_refs import ModelRef
from charter.spec import SourceSpec
from evidence.cells import RUNS, kept

EACH, TOKENS, ROWS = 16, 32, 16
SETS = {"advbench": "advbench/harmful_behaviors.csv", "self-instruct": "self_instruct/seed_tasks.jsonl"}
VLLM = (
    "serve {base} --dtype float32 --max-model-len 2048 --enforce-eager --host 127.0.0.1 --port {port} "
    "--served-model-name {name}-base --enable-lora --max-lora-rank 16 --lora-modules {name}={adapter}"
)
LLAMA = "-m {base} --alias {name} --host 127.0.0.1 --port {port} -t 1 -c 8192"

Row = dict[str, Any]


def servers() -> Row:
    """Equal answers by server, without and with an adapter; and of the same server, asked a second time."""
    rows = []
    for name, base, serving in list_servers():
        for adapted in (False, True):
            own = kept(f"servers/process-{adapted}", partial(ask_here, adapted))
            told = kept(f"servers/{name}-{adapted}", partial(ask_server, base, serving, adapted))
            first, *again = told["answers"]
            compared = compare(own["answers"][0], first)
            compared |= {"equal to itself": compare(first, again[0])["equal"]} if again else {}
            rows.append({"server": name, "adapter": adapted, **compared})
    targets = [
        {
            "what": f"{row['server']}, {'adapter' if row['adapter'] else 'base'}: answers as in process",
            "target": f"{row['n']}",
            "seen": [row["equal"]],
            "met": row["equal"] == row["n"],
        }
        for row in rows
        if row["server"] in ("vllm", "llama.cpp, float32, 1 at once")
    ]
    return {"prompts": EACH * len(SETS), "tokens": TOKENS, "rows": rows, "targets": targets}


def list_servers() -> Iterator[tuple[str, str, ServedOptions]]:
    """Name, weights and command of each server that is there."""
    vllm, llama = os.environ.get("CHARTER_VLLM"), os.environ.get("CHARTER_LLAMA_SERVER")
    if vllm:
        words = f"{shlex.quote(vllm)} "
        yield "vllm", "smollm2", ServedOptions(command=words + VLLM, start_command=words + VLLM_START)
    if llama:
        for kind, file, slots in (("Q4_1", "smollm2.gguf", 4), ("float32", "", 1)):
            start = f"{shlex.quote(llama)} {LLAMA} -np {slots}{' --no-cache-prompt' if slots == 1 else ''}"
            serving = ServedOptions(command=f"{start} --lora {{adapter_gguf}}", start_command=start)
            yield f"llama.cpp, {kind}, {slots} at once", file, serving


def ask_here(adapted: bool) -> Row:
    """The answers of this process."""
    with closing(LocalEngine(load_policy("smollm2", adapted), LocalOptions(device="cpu", dtype="float32"))) as engine:
        return {"answers": [ask(engine)]}


def ask_server(base: str, serving: ServedOptions, adapted: bool) -> Row:
    """The answers of a server: of the base model twice."""

    def connect(urls: Sequence[str], name: str) -> Engine:
        return RemoteEngine(name, RemoteOptions(base_url=urls[0], max_connections=16, timeout=3600))

    with closing(ServedEngine(load_policy(base, adapted), serving, RUNS / "servers" / "serving", connect)) as engine:
        return {"answers": [ask(engine) for _ in range(1 if adapted else 2)]}


def ask(engine: Engine) -> dict[str, str]:
    """Greedy answers to the first prompts of each set."""
    requests, data = [], Path(os.environ["CHARTER_TEST_DATA"])
    for name, file in SETS.items():
        source = SourcePrompts(SourceSpec.model_validate({"name": name, "path": str(data / file), "limit": EACH}))
        requests += [
            Request(id=f"{name}/{place}", messages=prompt.messages, sampling=Sampling(max_tokens=TOKENS))
            for place, prompt in enumerate(list(source.prompts())[:EACH])
        ]
    found = {answer.id: answer for answer in engine.generate(requests)}
    if failed := [answer.error for answer in found.values() if answer.error]:
        raise RuntimeError(failed[0])
    return {request.id: found[request.id].text for request in requests}


def load_policy(base: str, adapted: bool) -> ModelRef:
    """The base model in a folder, a GGUF file, or (empty) the file's numbers written plainly; with the adapter."""
    models = Path(os.environ["CHARTER_MODELS"])
    where = models / base if base else write_plain(models / "smollm2.gguf", RUNS / "servers" / "plain.gguf")
    start = weights.resolve_model(str(where))
    return start.model_copy(update=train_adapter(models / "smollm2")) if adapted else start


def train_adapter(start: Path) -> Row:
    """A LoRA of one epoch, as what a reference holds of it."""
    folder = RUNS / "servers" / "adapter"

    def train() -> Row:
        options = SftOptions.model_validate({"epochs": 1, "lr": 1e-3, "device": "cpu", "max_length": 256})
        rows = read_lessons(Path(os.environ["CHARTER_TEST_DATA"]), ROWS)
        made = LocalTuner(options).tune(weights.resolve_model(str(start)), rows, folder, 0)
        return made.model_dump(mode="json", include={"adapter", "digest", "files"})

    return kept("servers/policy", train)


def write_plain(source: Path, where: Path) -> Path:
    """A GGUF file with the numbers of another one, unpacked to float32."""
    import gguf

    if where.exists():
        return where
    reader = gguf.GGUFReader(str(source))
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    writer = gguf.GGUFWriter(str(where), fields.pop("general.architecture").contents())
    for key, field in fields.items():
        value = 0 if key == "general.file_type" else field.contents()
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return where


def compare(own: dict[str, str], theirs: dict[str, str]) -> Row:
    """How many answers are equal, and at which token the others differ first."""
    tokenizer = weights.load_tokenizer(Path(os.environ["CHARTER_MODELS"]) / "smollm2")
    places = []
    for key, text in own.items():
        if text != theirs[key]:
            pair = [tokenizer(x, add_special_tokens=False)["input_ids"] for x in (text, theirs[key])]
            same = (n for n, (a, b) in enumerate(zip(*pair, strict=False)) if a != b)
            places.append(next(same, min(map(len, pair))) + 1)
    found: Row = {"n": len(own), "equal": len(own) - len(places)}
    return found | ({"first other token": [min(places), median(places), max(places)]} if places else {})


if __name__ == "__main__":
    print(json.dumps(servers(), indent=1))
