"""Curation: what a spec's rows are sifted with, and the sieve over a file that is too large to hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from charter import store
from charter.curation.contamination import Contamination
from charter.curation.records import DataCard, Row, Sifted, Tools
from charter.curation.sieve import Counts, Sieve, settings
from charter.errors import SpecError, StoreError
from charter.nouns import Exchange, Message, Prompt, Sampling, Step
from charter.reports.data_card import markdown
from charter.spec import Curating, SourceSpec, Spec
from charter.stages.curate import Sifting
from charter.wiring import models

KEPT, DROPPED, CARD, README = "kept.jsonl", "dropped.jsonl", "card.json", "README.md"
PROMPTS = ("prompt", "instruction", "question", "input", "text")
RESPONSES = ("response", "completion", "output", "answer", "chosen")
"""Columns that hold a row's prompt and its target, the first that is there."""


def tools(options: Curating) -> Tools:
    """The recognisers and the teller of languages that these filters need."""
    from charter.recognisers.languages import Languages
    from charter.recognisers.personal import Personal
    from charter.recognisers.secrets import Secrets

    return Tools(
        recognisers=(Secrets(), Personal()) if options.mask else (),
        tongue=Languages() if options.language_share < 1 else None,
    )


def sifting(spec: Spec, protected: Mapping[str, Sequence[str]], known: Sequence[Prompt]) -> Sifting | None:
    """What a run's rows are sifted with; None where the spec asks for nothing."""
    options = spec.options.curate
    if not options.enabled:
        return None
    return Sifting(protected, tools(options), known)


def curate(
    file: Path,
    out: Path,
    options: Curating,
    against: Mapping[str, Sequence[str]],
    licence: str = "",
    judging: AbstractContextManager[Callable[[Sequence[Row]], list[str]] | None] | None = None,
) -> DataCard:
    """Sifts a file into the new folder ``out``: what is kept, what is dropped and why, and the card. Memory does not
    grow with the file, but for JSON that is one document. Raises StoreError, SpecError, EngineError; then nothing is
    left behind."""
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another folder with --out.")
    new = out.with_name(f".{out.name}.new")
    with store.translated(out, "written"):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            with judging or nullcontext() as judge:
                using = tools(options)
                using = Tools(using.recognisers, using.tongue, judge)
                known = Contamination(against, options.ngram, options.changed)
                fates = Sieve(options, known, using, new / ".table").sift(lambda: _rows(file, licence))
                counts = _written(file, fates, new)
            said = settings(options, using, {name: len(held) for name, held in against.items()})
            card = counts.card(said)
            (new / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (new / README).write_text(markdown(card, file.name), encoding="utf-8")
            new.replace(out)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return card


def benchmarks(asked: Sequence[str], spec: Spec | None) -> dict[str, list[str]]:
    """The texts of benchmarks in use: files given as ``[NAME=]FILE`` (NAME of a published set), and those of a spec.
    Raises SpecError."""
    from charter.sources.prompts import SourcePrompts
    from charter.wiring.exams import Exams

    found: dict[str, list[str]] = {}
    for text in asked:
        name, equals, path = text.rpartition("=")
        source = SourceSpec.model_validate({"name": name, "path": path} if equals else {"path": path})
        sides = [SourcePrompts(source, side, offline=True).prompts() for side in ("unsafe", "safe")]
        found[name or Path(path).name] = list(dict.fromkeys(p.text for side in sides for p in side))
    if spec is not None and spec.benchmarks:
        world = models.world(spec)
        found |= Exams(spec, world, models.templates(spec, world)).texts
    return found


@contextmanager
def judging(spec: Spec) -> Iterator[Callable[[Sequence[Row]], list[str]]]:
    """The spec's judge, asked whether targets comply."""
    from charter.judging.rubrics import CONDUCT
    from charter.stages.curate import reason
    from charter.stages.judging import judge

    world = models.world(spec)
    templates, step = models.templates(spec, world), Step(path="curate", run_seed=spec.seed)
    engine = models.oracle(spec.judge or spec.oracle, world, spec.offline)

    def judged(rows: Sequence[Row]) -> list[str]:
        exchanges = [_exchange(row) for row in rows]
        said = {v.id: v for v in judge(exchanges, engine, CONDUCT, templates, spec.options.judge, step=step)}
        return [reason(said.get(row.id)) for row in rows]

    try:
        yield judged
    finally:
        engine.close()


def _exchange(row: Row) -> Exchange:
    turns = tuple(
        Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(row.texts[: row.asked])
    )
    prompt = Prompt(id=row.id, messages=turns)
    response = "\n".join(row.texts[row.asked :])
    return Exchange(id=row.id, prompt=prompt, response=response, stop="stop", model="row", sampling=Sampling())


def _written(file: Path, fates: Iterator[Sifted], folder: Path) -> Counts:
    """Each row to where it belongs, one at a time."""
    from charter.sources.rows import file_rows

    counts = Counts()
    with (folder / KEPT).open("w", encoding="utf-8") as kept, (folder / DROPPED).open("w", encoding="utf-8") as dropped:
        for row, fate in zip(file_rows(str(file)), fates, strict=True):
            counts.add(fate)
            if fate.dropped:
                said = {"row": fate.id, "place": row.place, "dropped": fate.dropped}
                match = fate.match.model_dump(mode="json") if fate.match else None
                dropped.write(json.dumps({**said, "match": match}, ensure_ascii=False) + "\n")
            else:
                kept.write(json.dumps(_with(row.value, fate.texts), ensure_ascii=False) + "\n")
    return counts


def _rows(file: Path, licence: str) -> Iterator[Row]:
    from charter.sources.rows import file_rows

    for number, row in enumerate(file_rows(str(file)), 1):
        value = row.value if isinstance(row.value, dict) else {"text": row.value}
        places, asked = _places(value, row.place)
        named = {key: str(value.get(key) or "") for key in ("source", "licence", "language")}
        yield Row(
            id=f"row {number}",
            texts=tuple(_at(value, place) for place in places),
            asked=asked,
            source=named["source"] or file.name,
            licence=named["licence"] or licence,
            language=named["language"],
        )


def _places(value: Mapping[str, Any], where: str) -> tuple[list[tuple[str, int]], int]:
    """Where a row's turns stand, and how many of them are the prompt. Raises SpecError."""
    turns = value.get("messages")
    if (
        isinstance(turns, list)
        and turns
        and all(isinstance(t, dict) and isinstance(t.get("content"), str) for t in turns)
    ):
        target = turns[-1].get("role") == "assistant"
        return [("messages", n) for n in range(len(turns))], len(turns) - 1 if target else 0
    prompts = [name for name in PROMPTS if isinstance(value.get(name), str)]
    responses = [name for name in RESPONSES if isinstance(value.get(name), str)]
    if not prompts:
        raise SpecError(f"{where}: no text is found in it", cure=f"Give `messages`, or one of {', '.join(PROMPTS)}.")
    asked = [name for name in prompts if name in ("instruction", "input")] if "instruction" in prompts else prompts[:1]
    return [(name, -1) for name in (*asked, *responses[:1])], len(asked) if responses else 0


def _turn(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("content"), str)


def _at(value: Mapping[str, Any], place: tuple[str, int]) -> str:
    name, number = place
    return str(value[name] if number < 0 else value[name][number]["content"])


def _with(value: Any, texts: Sequence[str]) -> Any:
    """A row in its own form with the texts as they stay."""
    if not isinstance(value, dict):
        return texts[0]
    made = {**value}
    for (name, number), text in zip(_places(value, "")[0], texts, strict=True):
        if number < 0:
            made[name] = text
        else:
            made[name] = [*made[name][:number], {**made[name][number], "content": text}, *made[name][number + 1 :]]
    return made
