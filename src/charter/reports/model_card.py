"""The model card of an exported policy. What models and users wrote is fenced or escaped: it cannot pass for the card's
own words."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from charter.records.chat import Exchange, Prompt
from charter.records.measurements import Score
from charter.records.model_refs import ModelRef
from charter.records.record import Record
from charter.records.training_rows import Example
from charter.reports.paired_tests import FINAL_STEP, START_STEP, compare_before_after
from charter.reports.run_comparison import change_text, metric_name
from charter.reports.skipped import count_failed_answers, read_policies
from charter.runs.reader import RunReader

UNKNOWN = "not known to the run"
KIND_TEXTS = {
    "adapter": "A LoRA adapter (PEFT, safetensors) for",
    "merged": "A model with its adapter merged in, made from",
    "checkpoint": "A model, all of whose weights were tuned, made from",
}


class ExportedPolicy(Record):
    """What the card describes: ``kind`` adapter, merged or checkpoint; ``alike``: a line on how the merged model was
    compared with base + adapter, empty where it was not."""

    kind: str
    policy: ModelRef
    alike: str = ""

    @property
    def base(self) -> str:
        """The base model's name: its hub id, or the last part of its folder."""
        return self.policy.base if self.policy.revision else Path(self.policy.base).name


def render_model_card(reading: RunReader, exported: ExportedPolicy) -> str:
    """The card of a finished run's policy, in Markdown with the hub's front matter."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("charter.reports"),
        autoescape=False,  # Markdown: the filters escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters |= {"inline": escape_inline, "fenced": fence_text}
    return jinja.get_template("card.md.j2").render(_card_contents(reading, exported))


def fence_text(text: str) -> str:
    """Text in a fence longer than any that it holds, without control characters."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def escape_inline(text: str) -> str:
    """Text in one line that Markdown and HTML read as text."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", html.escape(" ".join(shown.split()), quote=False))


def _card_contents(reading: RunReader, exported: ExportedPolicy) -> dict[str, Any]:
    """Everything that the template names."""
    spec, after = reading.spec, reading.scores(f"{FINAL_STEP}_scores")
    return {
        "front": _front_matter(exported),
        "name": reading.name,
        "kinds": KIND_TEXTS,
        "unknown": UNKNOWN,
        "exported": exported,
        "method": spec.method,
        "world": spec.world,
        "target": {key: str(value) for key, value in reading.environment.get("target", {}).items()},
        "rules": reading.constitution.active,
        "version": reading.constitution.version,
        "independent": reading.outcome.get("independent", True),
        "scores": list(_score_rows(reading)),
        "benchmark": ", ".join(sorted({score.benchmark for score in after.values()})),
        "failed": count_failed_answers(reading),
        "data": _data_sources(reading),
        "rows": _rows_by_origin(reading),
        "proposer": (spec.proposer or spec.oracle).model,
        "judge": (spec.judge or spec.oracle).display_name,
        "head": reading.head,
    }


def _front_matter(exported: ExportedPolicy) -> str:
    """What the hub reads: only a hub id names a base there."""
    merged = exported.kind != "adapter"
    value = {
        **({"base_model": exported.base} if exported.policy.revision else {}),
        "base_model_relation": "finetune" if merged else "adapter",
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["charter", "constitution"],
    }
    return str(yaml.safe_dump(value, sort_keys=False)).strip()


def _score_rows(reading: RunReader) -> Iterator[dict[str, Any]]:
    before, after, pairs = (
        reading.scores(f"{START_STEP}_scores"),
        reading.scores(f"{FINAL_STEP}_scores"),
        compare_before_after(reading),
    )
    for name in dict.fromkeys([*before, *after]):
        score = after.get(name) or before[name]
        yield {
            "name": metric_name(name),
            "lower": score.better == "lower",
            "before": _share_text(before.get(name)),
            "after": _share_text(after.get(name)),
            "n": score.n,
            "unjudged": score.unjudged,
            "change": change_text(pairs[name]) if name in pairs else "–",
            "p": f"{pairs[name].p_holm:.2g}" if name in pairs else "–",
        }


def _share_text(score: Score | None) -> str:
    if score is None or score.value is None or score.low is None or score.high is None:
        return "–"
    return f"{score.value:.1%} ({score.low:.1%} to {score.high:.1%})"


def _data_sources(reading: RunReader) -> list[tuple[str, str, str, int]]:
    """(source, licence, use, prompts), from what the run drew and scored."""
    sets: dict[str, Iterable[Prompt]] = {
        "red-team draws": reading.records("000/prompts", Prompt),
        "ordinary prompts": reading.records("000/helpful", Prompt),
        "gate": (e.prompt for e in reading.records("000/gate_exchanges", Exchange)),
        "held-out": (e.prompt for e in reading.records(f"{START_STEP}_exchanges", Exchange)),
    }
    counts = Counter((p.source, p.meta.get("licence", ""), use) for use, prompts in sets.items() for p in prompts)
    return [(*key, count) for key, count in sorted(counts.items())]


def _rows_by_origin(reading: RunReader) -> dict[str, int]:
    """Rows by origin of the training that made the policy."""
    made = [
        step
        for step, ref in read_policies(reading).items()
        if ref.digest == (reading.outcome["policy"] or {})["digest"]
    ]
    folder = made[-1].rsplit("/", 1)[0] if made else ""
    return dict(sorted(Counter(str(row.origin) for row in reading.records(f"{folder}/rows", Example)).items()))
