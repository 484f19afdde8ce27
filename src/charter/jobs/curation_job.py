"""Curation: what a spec's rows are sifted with, and the sieve over a file that is too large to hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, TextIO

from charter.data.curation.contamination import ContaminationIndex
from charter.data.curation.curation_records import CurationRow, CurationTools, DataCard, FilterResult
from charter.data.curation.data_card_builder import DataCardCounts, describe_settings
from charter.data.curation.filter_pipeline import FilterPipeline
from charter.errors import SpecError, StoreError
from charter.jobs.curation_judge import verdict_cache_path
from charter.reports.data_card_markdown import render_data_card
from charter.runs import store
from charter.spec import CurationSpec, SourceSpec, Spec
from charter.wiring import prompt_sets, role_models
from charter.wiring.curation_setup import build_tools
from charter.wiring.offline import block_network

KEPT_FILE, DROPPED_FILE, CARD_FILE, README_FILE = "kept.jsonl", "dropped.jsonl", "card.json", "README.md"


@dataclass(frozen=True)
class TextsInUse:
    """The texts in use by the name of their benchmark, and why those of other benchmarks are not known."""

    against: Mapping[str, Sequence[str]] = field(default_factory=dict)
    uncovered: Mapping[str, str] = field(default_factory=dict)


def curate_file(
    file: Path,
    out: Path,
    options: CurationSpec,
    used: TextsInUse,
    licence: str = "",
    judging: AbstractContextManager[Callable[[Sequence[CurationRow]], list[str]] | None] | None = None,
) -> DataCard:
    """Sifts a file into the new folder ``out``. Memory does not grow with the file, but for JSON that is one document.

    Args:
        file: What is sifted.
        out: Takes what is kept, what is dropped and why, and the card.
        options: The filters.
        used: What no kept row may hold.
        licence: That of rows that state none.
        judging: Opens the judge of the answers.

    Returns:
        The data card.

    Raises:
        StoreError, SpecError, EngineError, BudgetError: Nothing is left behind but the verdicts of a judge.
    """
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another folder with --out.")
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise SpecError(f"{file} is read more than once, which a pipe cannot be", cure="Write it to a file first.")
    new = out.with_name(f".{out.name}.new")
    with store.translate_os_errors(out, "written"):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            with judging or nullcontext() as judge:
                using = build_tools(options)
                using = CurationTools(using.detectors, using.language_detector, judge)
                known = ContaminationIndex(used.against, options.ngram, options.words_per_change)
                fates = FilterPipeline(options, known, using, new / ".table").filter_rows(
                    lambda: _read_rows(file, licence)
                )
                counts = _write_rows(file, fates, new)
            held = {name: len(texts) for name, texts in used.against.items()}
            card = counts.build_card(describe_settings(options, using, held, used.uncovered))
            (new / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
            (new / README_FILE).write_text(render_data_card(card, file.name), encoding="utf-8")
            new.replace(out)
            verdict_cache_path(out).unlink(missing_ok=True)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return card


def collect_protected_texts(asked: Sequence[str], spec: Spec | None) -> TextsInUse:
    """The texts of files given as ``[NAME=]FILE`` (NAME of a published set), and of a spec's gate, held-out and
    benchmarks. Raises SpecError."""
    from charter.wiring.benchmark_suite import SpecBenchmarks

    found = {name: texts for name, texts in map(_read_benchmark_texts, asked)}
    if spec is None:
        return TextsInUse(found)
    world = role_models.load_world(spec)
    benchmarks = SpecBenchmarks(spec, world, role_models.build_templates(spec, world))
    with block_network(spec.offline):
        measured = prompt_sets.load_measured_texts(spec, world)
        return TextsInUse(found | measured | benchmarks.texts_by_name, benchmarks.uncovered)


def _read_benchmark_texts(asked: str) -> tuple[str, list[str]]:
    """A benchmark's name and its texts. Raises SpecError."""
    from charter.data.sources.benchmark_texts import read_benchmark_texts
    from charter.data.sources.published_datasets import PUBLISHED
    from charter.data.sources.source_prompts import SourcePrompts

    name, equals, path = asked.partition("=")
    if not equals or (name not in PUBLISHED and Path(asked).exists()):
        return Path(asked).name, read_benchmark_texts(asked)
    if name not in PUBLISHED:
        raise SpecError(
            f"--against {asked}: no published set is called {name!r} (known: {', '.join(PUBLISHED)})",
            cure="Name one of them, or give the file alone.",
        )
    source = SourceSpec.model_validate({"name": name, "path": path})
    sides = [SourcePrompts(source, side, offline=True, may_be_empty=True).prompts() for side in ("unsafe", "safe")]
    return name, list(dict.fromkeys(p.text for side in sides for p in side))


def _write_rows(file: Path, fates: Iterator[FilterResult], folder: Path) -> DataCardCounts:
    """Each row to where it belongs, one at a time."""
    from charter.data.sources.data_files import read_files
    from charter.data.sources.training_files import replace_texts

    counts = DataCardCounts()
    with (
        (folder / KEPT_FILE).open("w", encoding="utf-8") as kept,
        (folder / DROPPED_FILE).open("w", encoding="utf-8") as dropped,
    ):
        for row, fate in zip_longest(read_files(str(file)), fates):
            if row is None or fate is None:
                raise SpecError(f"{file} changed while it was read", cure="Try again when nothing writes it.")
            counts.add(fate)
            if fate.dropped:
                said = {"row": fate.id, "place": row.place, "dropped": fate.dropped}
                match = fate.match.model_dump(mode="json") if fate.match else None
                _write_line(dropped, {**said, "match": match}, row.place)
            else:
                _write_line(kept, replace_texts(row.value, (*fate.texts, *fate.other_texts)), row.place)
    return counts


def _write_line(file: TextIO, value: Any, place: str) -> None:
    try:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")
    except UnicodeEncodeError as error:
        raise SpecError(
            f"{place} holds half a character, which no UTF-8 file can hold", cure="Mend that row."
        ) from error
    except (TypeError, ValueError) as error:
        raise SpecError(f"{place} cannot be written as JSON: {error}", cure="Leave out that column.") from error


def _read_rows(file: Path, licence: str) -> Iterator[CurationRow]:
    from charter.data.sources.data_files import read_files
    from charter.data.sources.training_files import parse_training_row

    for number, line in enumerate(read_files(str(file)), 1):
        yield parse_training_row(line, f"row {number}", file.name, licence)
