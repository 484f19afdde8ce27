"""Curation: what a spec's rows are sifted with, and the sieve over a file that is too large to hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from charter import store
from charter.curation.carding import Counts, settings
from charter.curation.contamination import Contamination
from charter.curation.records import DataCard, Row, Sifted, Tools
from charter.curation.sieve import Sieve
from charter.errors import SpecError, StoreError
from charter.nouns import Prompt
from charter.reports.data_card import markdown
from charter.spec import Curating, SourceSpec, Spec
from charter.stages.curate import Sifting
from charter.wiring import models, prompts
from charter.wiring.offline import offline
from charter.wiring.rejudging import verdicts_of

if TYPE_CHECKING:
    from charter.wiring.exams import Exams

KEPT, DROPPED, CARD, README = "kept.jsonl", "dropped.jsonl", "card.json", "README.md"
WORLDS = "made by charter's world"
"""What stands for the licence of a world's prompts."""


def tools(options: Curating) -> Tools:
    """The recognisers and the teller of languages that these filters need."""
    from charter.recognisers.languages import Languages
    from charter.recognisers.personal import Personal
    from charter.recognisers.secrets import Secrets

    return Tools(
        recognisers=(Secrets(), Personal()) if options.mask else (),
        tongue=Languages() if options.language_share < 1 else None,
    )


def sifting(spec: Spec, held: Mapping[str, Sequence[Prompt]], known: Sequence[Prompt], exams: Exams) -> Sifting | None:
    """What a run's rows are sifted with, clear of ``held`` and of what the exams ask; None where the spec asks for
    nothing."""
    options = spec.options.curate
    if not options.enabled:
        return None
    protected = {name: [p.text for p in prompts] for name, prompts in held.items()} | exams.texts
    return Sifting(protected, tools(options), [_stated(p) for p in known], exams.uncovered)


def _stated(prompt: Prompt) -> Prompt:
    """A prompt that says whose it is."""
    if not prompt.source.startswith("world:") or prompt.meta.get("licence"):
        return prompt
    return prompt.model_copy(update={"meta": {**prompt.meta, "licence": WORLDS}})


def curate(
    file: Path,
    out: Path,
    options: Curating,
    used: tuple[Mapping[str, Sequence[str]], Mapping[str, str]],
    licence: str = "",
    judging: AbstractContextManager[Callable[[Sequence[Row]], list[str]] | None] | None = None,
) -> DataCard:
    """Sifts a file into the new folder ``out``: what is kept, what is dropped and why, and the card. ``used``: the
    texts in use, and why others are not known, as ``benchmarks`` gives them. Memory does not
    grow with the file, but for JSON that is one document. Raises StoreError, SpecError, EngineError, BudgetError; then
    nothing is left behind but the verdicts of a judge."""
    against, uncovered = used
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another folder with --out.")
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise SpecError(f"{file} is read more than once, which a pipe cannot be", cure="Write it to a file first.")
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
            held = {name: len(texts) for name, texts in against.items()}
            card = counts.card(settings(options, using, held, uncovered))
            (new / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (new / README).write_text(markdown(card, file.name), encoding="utf-8")
            new.replace(out)
            verdicts_of(out).unlink(missing_ok=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return card


def benchmarks(asked: Sequence[str], spec: Spec | None) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The texts in use by name, and benchmarks of which nothing is known with the reason: files given as
    ``[NAME=]FILE`` (NAME of a published set), and a spec's gate, held-out and benchmarks. Raises SpecError."""
    from charter.wiring.exams import Exams

    found = {name: texts for name, texts in map(_against, asked)}
    if spec is None:
        return found, {}
    world = models.world(spec)
    exams = Exams(spec, world, models.templates(spec, world))
    with offline(spec.offline):
        return found | prompts.measured(spec, world) | exams.texts, exams.uncovered


def _against(asked: str) -> tuple[str, list[str]]:
    """A benchmark's name and its texts. Raises SpecError."""
    from charter.sources.asked import asked_in
    from charter.sources.prompts import SourcePrompts
    from charter.sources.published import PUBLISHED

    name, equals, path = asked.partition("=")
    if not equals or (name not in PUBLISHED and Path(asked).exists()):
        return Path(asked).name, asked_in(asked)
    if name not in PUBLISHED:
        raise SpecError(
            f"--against {asked}: no published set is called {name!r} (known: {', '.join(PUBLISHED)})",
            cure="Name one of them, or give the file alone.",
        )
    source = SourceSpec.model_validate({"name": name, "path": path})
    sides = [SourcePrompts(source, side, offline=True).prompts() for side in ("unsafe", "safe")]
    return name, list(dict.fromkeys(p.text for side in sides for p in side))


def _written(file: Path, fates: Iterator[Sifted], folder: Path) -> Counts:
    """Each row to where it belongs, one at a time."""
    from charter.sources.rows import file_rows
    from charter.sources.training import with_texts

    counts = Counts()
    with (folder / KEPT).open("w", encoding="utf-8") as kept, (folder / DROPPED).open("w", encoding="utf-8") as dropped:
        for row, fate in zip_longest(file_rows(str(file)), fates):
            if row is None or fate is None:
                raise SpecError(f"{file} changed while it was read", cure="Try again when nothing writes it.")
            counts.add(fate)
            if fate.dropped:
                said = {"row": fate.id, "place": row.place, "dropped": fate.dropped}
                match = fate.match.model_dump(mode="json") if fate.match else None
                _line(dropped, {**said, "match": match}, row.place)
            else:
                _line(kept, with_texts(row.value, (*fate.texts, *fate.beside)), row.place)
    return counts


def _line(file: TextIO, value: Any, place: str) -> None:
    try:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")
    except UnicodeEncodeError as error:
        raise SpecError(
            f"{place} holds half a character, which no UTF-8 file can hold", cure="Mend that row."
        ) from error
    except (TypeError, ValueError) as error:
        raise SpecError(f"{place} cannot be written as JSON: {error}", cure="Leave out that column.") from error


def _rows(file: Path, licence: str) -> Iterator[Row]:
    from charter.sources.rows import file_rows
    from charter.sources.training import given

    for number, line in enumerate(file_rows(str(file)), 1):
        yield given(line, f"row {number}", file.name, licence)
