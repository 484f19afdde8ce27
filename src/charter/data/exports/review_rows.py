"""What people labelled as rows of other programs: labelled exchanges, preferences, tasks of Label Studio, records of
Argilla. Each row names the labels that it comes from.

Label Studio's tasks are those of its guide (labelstud.io/guide/task_format), Argilla's records those of
``Record.to_dict`` of its version 2.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from charter.records.chat import Exchange, Prompt, Sampling
from charter.records.reviews import UNSURE, ReviewedItem, ReviewItem, ReviewLabel, ReviewQueue

Row = dict[str, Any]
TEXT_FIELDS = ("comment", "corrected", "role")
"""What a rater may add to a label, as both programs ask for it."""


def make_labelled_rows(queue: ReviewQueue, reviewed: Sequence[ReviewedItem]) -> list[Row]:
    """A row for each exchange that is decided, in the columns prompt, response and label of a labelled file."""
    return [
        {
            "prompt": _prompt_cell(one.item),
            "response": one.item.answers[0].text,
            "label": one.final.label,
            "ratings": {said.rater: said.label for said in one.labels if said.label is not None},
            "by": one.final.by,
            **_lineage(queue, one.item, one.final.labels),
        }
        for one in reviewed
        if one.final is not None and len(one.item.answers) == 1
    ]


def make_preference_rows(queue: ReviewQueue, reviewed: Sequence[ReviewedItem]) -> list[Row]:
    """A row for each choice of a rater, in the columns prompt, chosen, rejected and rater of a file of pairs; of a
    settled item the settlement alone. ``equal`` prefers nothing. A corrected answer is preferred to each answer of its
    item."""
    return [row for one in reviewed for row in _preferences(queue, one)]


def _preferences(queue: ReviewQueue, one: ReviewedItem) -> Iterator[Row]:
    item, texts = one.item, [answer.text for answer in one.item.answers]
    choices = [(said.label, said.rater, said.id) for said in one.labels]
    if one.settlement is not None:
        choices = [(one.settlement.label, one.settlement.by, one.settlement.id)]
    sides = {"first": texts, "second": texts[::-1]} if len(texts) == 2 else {}
    made = [(*sides[label], rater, id) for label, rater, id in choices if label in sides]
    made += [
        (said.corrected, text, said.rater, said.id)
        for said in one.labels
        for text in texts
        if said.corrected.strip() and said.corrected.strip() != text.strip()
    ]
    for chosen, rejected, rater, id in made:
        row = {"prompt": _prompt_cell(item), "chosen": chosen, "rejected": rejected, "rater": rater}
        yield row | _lineage(queue, item, (id,))


def make_label_studio_tasks(queue: ReviewQueue, reviewed: Sequence[ReviewedItem]) -> list[Row]:
    """A task for each item with an annotation for each label: choices ``label``, and text areas for what was added.
    Neither step nor model is told, so that further raters stay blind."""
    raters = _number_raters(reviewed)
    return [
        {
            "id": number,
            "data": {"item": one.item.id, "queue": queue.id, **_texts(one.item)},
            "annotations": [_annotation(said, raters[said.rater]) for said in one.labels],
            "predictions": [],
        }
        for number, one in enumerate(reviewed, 1)
    ]


def _annotation(said: ReviewLabel, number: int) -> Row:
    def region(name: str, kind: str, value: Row) -> Row:
        place = {"id": f"{said.id}-{name}", "from_name": name, "to_name": "text"}
        return {**place, "type": kind, "origin": "manual", "value": value}

    added = {name: getattr(said, name) for name in TEXT_FIELDS}
    return {
        "unique_id": said.id,
        "completed_by": {"id": number, "email": said.rater, "first_name": "", "last_name": ""},
        "created_at": said.at,
        "was_cancelled": False,
        "ground_truth": False,
        "result": [
            region("label", "choices", {"choices": [_word(said)]}),
            *(region(name, "textarea", {"text": [text]}) for name, text in added.items() if text),
        ],
    }


def make_argilla_records(queue: ReviewQueue, reviewed: Sequence[ReviewedItem]) -> list[Row]:
    """A record for each item with a response for each label. A user's id is a UUID made of the rater's name;
    ``metadata.raters`` says which."""
    ids = {rater: str(uuid.uuid5(uuid.NAMESPACE_URL, f"charter:rater:{rater}")) for rater in _number_raters(reviewed)}
    made = []
    for one in reviewed:
        responses = {"label": [{"value": _word(said), "user_id": ids[said.rater]} for said in one.labels]}
        for name in TEXT_FIELDS:
            added = [(getattr(said, name), ids[said.rater]) for said in one.labels]
            responses[name] = [{"value": text, "user_id": user} for text, user in added if text]
        names = {ids[said.rater]: said.rater for said in one.labels}
        about = {"queue": queue.id, "label_ids": [said.id for said in one.labels], "raters": json.dumps(names)}
        texts = {"id": one.item.id, "fields": _texts(one.item), "metadata": about}
        made.append({**texts, "suggestions": {}, "responses": responses, "vectors": {}})
    return made


def make_exchanges(reviewed: Sequence[ReviewedItem]) -> list[Exchange]:
    """Every item as one exchange under its id, for a log: two answers, or a rule, stand in it one after another."""
    made = []
    for one in reviewed:
        texts = [answer.text for answer in one.item.answers]
        said = texts[0] if len(texts) == 1 else "\n\n".join(f"answer {n}:\n{text}" for n, text in enumerate(texts, 1))
        prompt = Prompt(id=one.item.id, messages=one.item.prompt)
        said = one.item.rule.text if one.item.rule else said
        fields = {"stop": "stop", "model": "", "sampling": Sampling()}
        made.append(Exchange.model_validate({"id": one.item.id, "prompt": prompt, "response": said, **fields}))
    return made


def _lineage(queue: ReviewQueue, item: ReviewItem, labels: Sequence[str]) -> Row:
    records = [{"step": answer.step, "id": answer.id, "model": answer.model} for answer in item.answers]
    return {"queue": queue.id, "item": item.id, "label_ids": list(labels), "records": records}


def _prompt_cell(item: ReviewItem) -> str | list[dict[str, str]]:
    """The one turn of the user as a text, else all turns."""
    if len(item.prompt) == 1 and item.prompt[0].role == "user":
        return item.prompt[0].content
    return [message.model_dump() for message in item.prompt]


def _texts(item: ReviewItem) -> dict[str, str]:
    """What a rater reads, by the names of fields."""
    prompt = "\n\n".join(f"{m.role}: {m.content}" if len(item.prompt) > 1 else m.content for m in item.prompt)
    texts = {"prompt": prompt} if item.prompt else {}
    texts |= {f"answer_{number}": answer.text for number, answer in enumerate(item.answers, 1)}
    return texts | ({"rule": item.rule.text} if item.rule else {})


def _number_raters(reviewed: Sequence[ReviewedItem]) -> dict[str, int]:
    names = sorted({said.rater for one in reviewed for said in one.labels})
    return {name: number for number, name in enumerate(names, 1)}


def _word(said: ReviewLabel) -> str:
    return UNSURE if said.label is None else said.label
