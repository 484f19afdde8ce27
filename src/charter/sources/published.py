"""Published sets of prompts: where each lies on the hub, under which licence, and what its columns mean.

A function for each format gives a row's ``prompt`` with what is kept beside it: ``category``, ``side`` (``safe`` or
``unsafe``, where a set has both) and whatever else the set says. Columns of the original files come first, those of the
hub's copies after them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from charter.errors import SpecError
from charter.sources.hub import HubSet
from charter.sources.rows import Row

Fields = dict[str, Any]


@dataclass(frozen=True)
class Publication:
    """A published set. ``hub`` is None where no copy on the hub is known."""

    fields: Callable[[Row], Fields]
    licence: str
    hub: HubSet | None
    language: str = "en"


def column(row: Row, *names: str) -> Any:
    """The first of the named columns that the row has. Raises SpecError naming file and line."""
    value = row.value
    found = [name for name in names if isinstance(value, Mapping) and value.get(name) is not None]
    if found:
        return value[found[0]]
    known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "no columns"
    raise SpecError(
        f"{row.place} has no column `{'` or `'.join(names)}` (it has: {known:.200})",
        cure="Give the set's own file, or name the columns with `path` and `columns`.",
    )


def maybe(row: Row, *names: str) -> str:
    """The same as a text; empty where the row has none of them."""
    value = row.value if isinstance(row.value, Mapping) else {}
    return next((str(value[name]) for name in names if value.get(name) not in (None, "")), "")


_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def dialogue(text: Any, place: str) -> list[dict[str, str]]:
    """The turns of ``\\n\\nHuman: ... \\n\\nAssistant: ...`` up to the last words of the human. Turns of one speaker
    in a row become one. Raises SpecError."""
    parts = _SPEAKER.split(text) if isinstance(text, str) else []
    turns: list[dict[str, str]] = []
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role = "user" if speaker == "Human" else "assistant"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{said.strip()}".strip()
        else:
            turns.append({"role": role, "content": said.strip()})
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    if not turns or parts[0].strip():
        raise SpecError(f"{place} holds no dialogue that starts with `Human:`", cure="Mend or drop that row.")
    return turns


def hh_rlhf(row: Row) -> Fields:
    """A dialogue up to the last human turn; ``chosen`` and ``rejected`` share it."""
    return {"prompt": dialogue(column(row, "chosen", "transcript"), row.place)}


def harmfulqa(row: Row) -> Fields:
    """Questions by topic and subtopic: nested lists, or (on the hub) a row for each."""
    if len(row.above) == 2:
        return {"prompt": row.value, "category": row.above[0], "subcategory": row.above[1]}
    fields = {"prompt": column(row, "question"), "category": maybe(row, "topic")}
    return fields | {"subcategory": maybe(row, "subtopic")}


def dangerousqa(row: Row) -> Fields:
    """A list of questions."""
    return {"prompt": row.value}


def advbench(row: Row) -> Fields:
    """A goal; the target string that an attack is optimised for is not used."""
    return {"prompt": column(row, "goal", "prompt")}


def harmbench(row: Row) -> Fields:
    """A behaviour, after its context where it has one."""
    behaviour, context = column(row, "Behavior", "prompt"), maybe(row, "ContextString", "context")
    return {
        "prompt": f"{context}\n\n---\n\n{behaviour}" if context else behaviour,
        "category": maybe(row, "SemanticCategory", "category"),
        "kind": maybe(row, "FunctionalCategory"),
    }


def xstest(row: Row) -> Fields:
    """Safe prompts that sound unsafe, and their unsafe contrasts: two sides, kept apart."""
    side = column(row, "label")
    if side not in ("safe", "unsafe"):
        raise SpecError(f"{row.place}: `label` is {side!r:.60}, neither safe nor unsafe", cure="Mend that row.")
    fields = {"prompt": column(row, "prompt"), "category": maybe(row, "type"), "side": side}
    return fields | {"focus": maybe(row, "focus")}


def truthfulqa(row: Row) -> Fields:
    """A question that invites a common falsehood; the reference answers are not used."""
    fields = {"prompt": column(row, "Question", "question"), "category": maybe(row, "Category", "category")}
    return fields | {"kind": maybe(row, "Type", "type")}


def bbq(row: Row) -> Fields:
    """A context, a question about it and three options; which one is right is not used."""
    options = "\n".join(f"({letter}) {column(row, f'ans{n}')}" for n, letter in enumerate("abc"))
    return {
        "prompt": f"{column(row, 'context')} {column(row, 'question')}\n{options}",
        "category": maybe(row, "category"),
        "polarity": maybe(row, "question_polarity"),
        "context": maybe(row, "context_condition"),
    }


def do_not_answer(row: Row) -> Fields:
    """A question with its risk area and type of harm."""
    fields = {"prompt": column(row, "question"), "category": maybe(row, "risk_area")}
    return fields | {"subcategory": maybe(row, "types_of_harm")}


def strongreject(row: Row) -> Fields:
    """A forbidden prompt; ``origin`` is the set that it was taken from."""
    fields = {"prompt": column(row, "forbidden_prompt", "prompt"), "category": maybe(row, "category")}
    return fields | {"origin": maybe(row, "source")}


def self_instruct(row: Row) -> Fields:
    """A seed task of Self-Instruct: the instruction, with the input of its first instance where it has one."""
    given = column(row, "instances")
    first = given[0] if isinstance(given, list) and given and isinstance(given[0], Mapping) else {}
    said = str(first.get("input") or "").strip()
    instruction = column(row, "instruction")
    return {"prompt": f"{instruction}\n{said}" if said else instruction, "task": maybe(row, "name")}


def vicuna(row: Row) -> Fields:
    """An ordinary question, in a list of its turns."""
    turns = column(row, "turns")
    if not (isinstance(turns, list) and turns and isinstance(turns[0], str)):
        raise SpecError(f"{row.place}: `turns` holds no text", cure="Mend that row.")
    return {"prompt": turns[0], "category": maybe(row, "category")}


PUBLISHED: dict[str, Publication] = {
    "hh-rlhf": Publication(hh_rlhf, "MIT", HubSet("Anthropic/hh-rlhf", files=("harmless-base/*",))),
    "harmfulqa": Publication(harmfulqa, "Apache-2.0", HubSet("declare-lab/HarmfulQA")),
    "dangerousqa": Publication(dangerousqa, "MIT", None),
    "advbench": Publication(advbench, "MIT", HubSet("walledai/AdvBench")),
    "harmbench": Publication(harmbench, "MIT", HubSet("walledai/HarmBench", config="standard")),
    "xstest": Publication(xstest, "CC-BY-4.0", HubSet("walledai/XSTest")),
    "truthfulqa": Publication(truthfulqa, "Apache-2.0", HubSet("truthfulqa/truthful_qa", config="generation")),
    "bbq": Publication(bbq, "CC-BY-4.0", HubSet("Elfsong/BBQ")),
    "do-not-answer": Publication(do_not_answer, "CC-BY-NC-SA-4.0", HubSet("LibrAI/do-not-answer")),
    "self-instruct": Publication(self_instruct, "Apache-2.0", None),
    "strongreject": Publication(strongreject, "MIT", HubSet("walledai/StrongREJECT")),
    "vicuna": Publication(vicuna, "Apache-2.0", None),
}
