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

from charter.nouns import Example, Exchange, ModelRef, Prompt, Record, Score
from charter.reports.compare import changed, spoken
from charter.reports.losses import failed_answers, policies
from charter.reports.paired import FINAL, START, before_after
from charter.reports.reading import Reading

UNKNOWN = "not known to the run"
KINDS = {
    "adapter": "A LoRA adapter (PEFT, safetensors) for",
    "merged": "A model with its adapter merged in, made from",
    "checkpoint": "A model, all of whose weights were tuned, made from",
}


class Exported(Record):
    """What the card describes: ``kind`` adapter, merged or checkpoint; ``alike``: a line on how the merged model was
    compared with base + adapter, empty where it was not."""

    kind: str
    policy: ModelRef
    alike: str = ""

    @property
    def base(self) -> str:
        """The base model's name: its hub id, or the last part of its folder."""
        return self.policy.base if self.policy.revision else Path(self.policy.base).name


def card(reading: Reading, exported: Exported) -> str:
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
    jinja.filters |= {"inline": inline, "fenced": fenced}
    return jinja.get_template("card.md.j2").render(_contents(reading, exported))


def fenced(text: str) -> str:
    """Text in a fence longer than any that it holds, without control characters."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def inline(text: str) -> str:
    """Text in one line that Markdown and HTML read as text."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", html.escape(" ".join(shown.split()), quote=False))


def _contents(reading: Reading, exported: Exported) -> dict[str, Any]:
    """Everything that the template names."""
    spec, after = reading.spec, reading.scores(f"{FINAL}_scores")
    return {
        "front": _front(exported),
        "name": reading.name,
        "kinds": KINDS,
        "unknown": UNKNOWN,
        "exported": exported,
        "method": spec.method,
        "world": spec.world,
        "target": {key: str(value) for key, value in reading.environment.get("target", {}).items()},
        "rules": reading.constitution.active,
        "version": reading.constitution.version,
        "independent": reading.outcome.get("independent", True),
        "scores": list(_scores(reading)),
        "benchmark": ", ".join(sorted({score.benchmark for score in after.values()})),
        "failed": failed_answers(reading),
        "data": _data(reading),
        "rows": _rows(reading),
        "proposer": (spec.proposer or spec.oracle).model,
        "judge": (spec.judge or spec.oracle).model,
        "head": reading.head,
    }


def _front(exported: Exported) -> str:
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


def _scores(reading: Reading) -> Iterator[dict[str, Any]]:
    before, after, pairs = reading.scores(f"{START}_scores"), reading.scores(f"{FINAL}_scores"), before_after(reading)
    for name in dict.fromkeys([*before, *after]):
        score = after.get(name) or before[name]
        yield {
            "name": spoken(name),
            "lower": score.better == "lower",
            "before": _share(before.get(name)),
            "after": _share(after.get(name)),
            "n": score.n,
            "unjudged": score.unjudged,
            "change": changed(pairs[name]) if name in pairs else "–",
            "p": f"{pairs[name].p_holm:.2g}" if name in pairs else "–",
        }


def _share(score: Score | None) -> str:
    if score is None or score.value is None or score.low is None or score.high is None:
        return "–"
    return f"{score.value:.1%} ({score.low:.1%} to {score.high:.1%})"


def _data(reading: Reading) -> list[tuple[str, str, str, int]]:
    """(source, licence, use, prompts), from what the run drew and scored."""
    sets: dict[str, Iterable[Prompt]] = {
        "red-team draws": reading.records("000/prompts", Prompt),
        "ordinary prompts": reading.records("000/helpful", Prompt),
        "gate": (e.prompt for e in reading.records("000/gate_exchanges", Exchange)),
        "held-out": (e.prompt for e in reading.records(f"{START}_exchanges", Exchange)),
    }
    counts = Counter((p.source, p.meta.get("licence", ""), use) for use, prompts in sets.items() for p in prompts)
    return [(*key, count) for key, count in sorted(counts.items())]


def _rows(reading: Reading) -> dict[str, int]:
    """Rows by origin of the training that made the policy."""
    made = [
        step for step, ref in policies(reading).items() if ref.digest == (reading.outcome["policy"] or {})["digest"]
    ]
    folder = made[-1].rsplit("/", 1)[0] if made else ""
    return dict(sorted(Counter(str(row.origin) for row in reading.records(f"{folder}/rows", Example)).items()))
