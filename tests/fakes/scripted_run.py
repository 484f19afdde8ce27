"""A small run with every kind of step, played by a scripted engine: map (one phase and two), once, a directory step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from charter.models.engines.scripted_engine import ScriptedEngine
from charter.ports import Engine
from charter.records.chat import Message, Request
from charter.records.record import Record, Step, digest
from charter.runs import Run
from charter.runs.store import Head

RESULTS: dict[str, str | bytes | Path] = {"constitution.yaml": "- be kind\n", "adapter/weights.bin": b"\x00\x01" * 64}


class Word(Record):
    id: str
    text: str


class Answer(Record):
    id: str
    reply: str


class Policy(Record):
    id: str
    adapter: str
    rows: int


WORDS = [Word(id=f"w{n}", text=f"word {n}") for n in range(6)]


def request(id: str, text: str, step: Step) -> Request:
    return Request(id=id, messages=(Message(role="user", content=text),), seed=step.seed(id))


def probe(items: Sequence[Word], engine: Engine, *, step: Step) -> Iterator[Answer]:
    """One call per item."""
    for done in engine.generate([request(item.id, item.text, step) for item in items], step.done):
        yield Answer(id=done.id, reply=done.text)


def reflect(items: Sequence[Answer], engine: Engine, *, step: Step) -> Iterator[Answer]:
    """Two calls per item: the second needs the first, so what is done already is asked for neither."""
    left = [item for item in items if item.id not in step.done]
    first = {c.id: c.text for c in engine.generate([request(f"{item.id}/1", item.reply, step) for item in left])}
    asked = [request(f"{item.id}/2", first[f"{item.id}/1"], step) for item in left]
    for done in engine.generate(asked):
        yield Answer(id=done.id.removesuffix("/2"), reply=done.text)


def gather(answers: Sequence[Answer], note: str = "") -> list[Answer]:
    """A pure step."""
    return [Answer(id=answer.id, reply=f"{note}{answer.reply[::-1]}") for answer in answers[::2]]


def tune(rows: Sequence[Answer], *, step: Step) -> Policy:
    """Writes files beside its record."""
    assert step.directory is not None
    assert not any(step.directory.iterdir())
    (step.directory / "deep").mkdir()
    (step.directory / "config.json").write_text('{"r": 16}')
    (step.directory / "deep" / "weights.bin").write_bytes(digest(list(rows)).encode() * 4)
    return Policy(id="policy", adapter=step.path, rows=len(rows))


def reply(request: Request) -> str:
    """An answer that depends on the request's seed and text alone."""
    return digest([request.seed, request.messages[-1].content])[:12]


def echo(shuffle: int | None = None) -> ScriptedEngine:
    """Answers every request, in any order."""
    return ScriptedEngine(reply, shuffle=shuffle)


def breaking(after: int, error: BaseException | None = None) -> ScriptedEngine:
    """An engine that breaks after so many answers."""

    def answer(request: Request) -> str:
        if engine.calls > after:
            raise error or RuntimeError("broken")
        return reply(request)

    engine = ScriptedEngine(answer)
    return engine


def play(run: Run, engine: Engine | None = None) -> Head:
    """The whole run, twice over the same steps, then the results."""
    engine = engine or echo()
    judge, target = run.meter_engine(engine, "judge", "aligning"), run.meter_engine(engine, "target", "target")
    words: Sequence[Word] = WORDS
    for number in range(2):
        steps = run.steps(f"{number:03d}")
        answers = steps.map("answers", probe, words, target)
        steps.map("verdicts", probe, words, judge)
        rows = steps.once("rows", gather, answers)
        second = steps.map("second", reflect, answers, judge)
        policy = steps.once("policy", tune, rows)
        assert policy.rows == len(rows)
        words = [Word(id=item.id, text=item.reply) for item in second]
    run.publish({**RESULTS, "calls.txt": f"{run.count_calls('aligning')} {run.count_calls('target')}\n"})
    return run.finish()


def begin(directory: Path, **options: Any) -> Run:
    """Opens the run, or makes it."""
    make: Callable[..., Run] = Run.open
    if not (directory / "journal.jsonl").exists():
        make, options = Run.create, {"spec_text": "name: small\n", "seed": 7, "environment": {"python": "3"}, **options}
    return make(directory, **options)


def substance(directory: Path) -> dict[str, bytes]:
    """Every file that must be equal between equal runs: all but the journal, HEAD (which names it) and the lock."""
    skipped = {"journal.jsonl", "HEAD", ".lock"}
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.name not in skipped)
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def count_lines(directory: Path) -> int:
    """Lines of journal, records and answers on the disk; a file that goes while it is looked for counts nothing."""
    found = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                found += Path(folder, name).read_bytes().count(b"\n") if name.endswith(".jsonl") else 0
    return found
