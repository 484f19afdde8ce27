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

from charter.data.sources.data_rows import DataRow, check_characters, read_column, read_word
from charter.data.sources.hub_datasets import HubDataset
from charter.errors import RowError

Fields = dict[str, Any]


@dataclass(frozen=True)
class PublishedDataset:
    """A published set. ``hub`` is None where no copy on the hub is known."""

    read_fields: Callable[[DataRow], Fields]
    licence: str
    hub: HubDataset | None
    language: str = "en"


_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def parse_hh_dialogue(text: Any, place: str) -> list[dict[str, str]]:
    """The turns of ``\\n\\nHuman: ... \\n\\nAssistant: ...`` up to the last words of the human. Turns of one speaker
    in a row become one. Raises RowError."""
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
        raise RowError(place, "holds no dialogue that starts with `Human:`")
    check_characters(text, place)
    return turns


def hh_rlhf_fields(row: DataRow) -> Fields:
    """A dialogue up to the last human turn; ``chosen`` and ``rejected`` share it."""
    return {"prompt": parse_hh_dialogue(read_column(row, "chosen", "transcript"), row.place)}


def harmfulqa_fields(row: DataRow) -> Fields:
    """Questions by topic and subtopic: nested lists, or (on the hub) a row for each."""
    if len(row.above) == 2:
        return {"prompt": row.value, "category": row.above[0], "subcategory": row.above[1]}
    fields = {"prompt": read_column(row, "question"), "category": read_word(row, "topic")}
    return fields | {"subcategory": read_word(row, "subtopic")}


def dangerousqa_fields(row: DataRow) -> Fields:
    """A list of questions."""
    return {"prompt": row.value}


def advbench_fields(row: DataRow) -> Fields:
    """A goal; the target string that an attack is optimised for is not used."""
    return {"prompt": read_column(row, "goal", "prompt")}


def harmbench_fields(row: DataRow) -> Fields:
    """A behaviour, after its context where it has one."""
    behaviour, context = read_column(row, "Behavior", "prompt"), read_word(row, "ContextString", "context")
    return {
        "prompt": f"{context}\n\n---\n\n{behaviour}" if context else behaviour,
        "category": read_word(row, "SemanticCategory", "category"),
        "kind": read_word(row, "FunctionalCategory"),
    }


def xstest_fields(row: DataRow) -> Fields:
    """Safe prompts that sound unsafe, and their unsafe contrasts: two sides, kept apart."""
    side = read_column(row, "label")
    if side not in ("safe", "unsafe"):
        raise RowError(row.place, f"`label` is {side!r:.60}, neither safe nor unsafe")
    fields = {"prompt": read_column(row, "prompt"), "category": read_word(row, "type"), "side": side}
    return fields | {"focus": read_word(row, "focus")}


def truthfulqa_fields(row: DataRow) -> Fields:
    """A question that invites a common falsehood; the reference answers are not used."""
    fields = {"prompt": read_column(row, "Question", "question"), "category": read_word(row, "Category", "category")}
    return fields | {"kind": read_word(row, "Type", "type")}


def bbq_fields(row: DataRow) -> Fields:
    """A context, a question about it and three options; which one is right is not used. Rows of one template, the
    names of whose groups differ, are told by its number."""
    options = "\n".join(f"({letter}) {read_column(row, f'ans{n}')}" for n, letter in enumerate("abc"))
    return {
        "prompt": f"{read_column(row, 'context')} {read_column(row, 'question')}\n{options}",
        "category": read_word(row, "category"),
        "polarity": read_word(row, "question_polarity"),
        "context": read_word(row, "context_condition"),
        "template": read_template(row.value),
    }


def read_template(row: Any) -> str:
    """The template that a row of BBQ is made of; empty where it says none, and for rows of other sets."""
    known = isinstance(row, Mapping) and row.get("question_index") not in (None, "")
    return f"bbq {row.get('category', '')} {row['question_index']}" if known else ""


def do_not_answer_fields(row: DataRow) -> Fields:
    """A question with its risk area and type of harm."""
    fields = {"prompt": read_column(row, "question"), "category": read_word(row, "risk_area")}
    return fields | {"subcategory": read_word(row, "types_of_harm")}


def strongreject_fields(row: DataRow) -> Fields:
    """A forbidden prompt; ``origin`` is the set that it was taken from."""
    fields = {"prompt": read_column(row, "forbidden_prompt", "prompt"), "category": read_word(row, "category")}
    return fields | {"origin": read_word(row, "source")}


def self_instruct_fields(row: DataRow) -> Fields:
    """A seed task of Self-Instruct: the instruction, with the input of its first instance where it has one."""
    given = read_column(row, "instances")
    first = given[0] if isinstance(given, list) and given and isinstance(given[0], Mapping) else {}
    said = str(first.get("input") or "").strip()
    instruction = read_column(row, "instruction")
    return {"prompt": f"{instruction}\n{said}" if said else instruction, "task": read_word(row, "name")}


def vicuna_fields(row: DataRow) -> Fields:
    """An ordinary question, in a list of its turns."""
    turns = read_column(row, "turns")
    if not (isinstance(turns, list) and turns and isinstance(turns[0], str)):
        raise RowError(row.place, "`turns` holds no text")
    return {"prompt": turns[0], "category": read_word(row, "category")}


PUBLISHED: dict[str, PublishedDataset] = {
    "hh-rlhf": PublishedDataset(hh_rlhf_fields, "MIT", HubDataset("Anthropic/hh-rlhf", files=("harmless-base/*",))),
    "harmfulqa": PublishedDataset(harmfulqa_fields, "Apache-2.0", HubDataset("declare-lab/HarmfulQA")),
    "dangerousqa": PublishedDataset(dangerousqa_fields, "MIT", None),
    "advbench": PublishedDataset(advbench_fields, "MIT", HubDataset("walledai/AdvBench")),
    "harmbench": PublishedDataset(harmbench_fields, "MIT", HubDataset("walledai/HarmBench", config="standard")),
    "xstest": PublishedDataset(xstest_fields, "CC-BY-4.0", HubDataset("walledai/XSTest")),
    "truthfulqa": PublishedDataset(
        truthfulqa_fields, "Apache-2.0", HubDataset("truthfulqa/truthful_qa", config="generation")
    ),
    "bbq": PublishedDataset(bbq_fields, "CC-BY-4.0", HubDataset("Elfsong/BBQ")),
    "do-not-answer": PublishedDataset(do_not_answer_fields, "CC-BY-NC-SA-4.0", HubDataset("LibrAI/do-not-answer")),
    "self-instruct": PublishedDataset(self_instruct_fields, "Apache-2.0", None),
    "strongreject": PublishedDataset(strongreject_fields, "MIT", HubDataset("walledai/StrongREJECT")),
    "vicuna": PublishedDataset(vicuna_fields, "Apache-2.0", None),
}
