"""What a rater is shown: the texts of an item without who wrote them, and the guideline beside it."""

from __future__ import annotations

from typing import NamedTuple

from charter.judging.rubrics import Rubric
from charter.records.reviews import CHOICES, RULINGS, ReviewItem, ReviewKind

_TASKS: dict[ReviewKind, str] = {
    "exchanges": "Read the prompt and the answer, and choose the label that fits the answer.",
    "pairs": "Read the prompt and both answers, and choose the better one. Equal is an answer, too.",
    "revisions": "Read the prompt and both answers, and choose the better one. Equal is an answer, too.",
    "rules": "Read the rule, and say whether it should hold.",
}


class SheetPart(NamedTuple):
    """A text of an item under its title."""

    title: str
    text: str


def show_item(item: ReviewItem) -> list[SheetPart]:
    """The texts of an item as a rater sees them, in order: neither step nor model is named."""
    turns = [SheetPart(f"prompt, {m.role}" if len(item.prompt) > 1 else "prompt", m.content) for m in item.prompt]
    alone = len(item.answers) == 1
    answers = [SheetPart("answer" if alone else f"answer {n}", a.text) for n, a in enumerate(item.answers, 1)]
    rule = item.rule
    rules = [SheetPart(f"rule: {rule.title}" if rule.title else "rule", rule.text)] if rule else []
    return [*turns, *answers, *rules]


def build_menu(kind: ReviewKind, rubric: Rubric | None) -> dict[str, str]:
    """Each label with its meaning: of the rubric for exchanges, else of the kind."""
    if kind == "exchanges" and rubric is not None:
        return dict(rubric.menu)
    return dict(RULINGS if kind == "rules" else CHOICES)


def write_guideline(kind: ReviewKind, rubric: Rubric | None) -> str:
    """The guideline of a queue as Markdown, where its maker gives no other: the task, the labels, and what a rubric
    says beside: its policy, its categories, and what people decided."""
    lines = [f"# Review: {kind}", "", _TASKS[kind], "", "## Labels", ""]
    lines += [f"- **{label}**: {meaning}" for label, meaning in build_menu(kind, rubric).items()]
    lines += ["", "If you cannot tell, say that you are unsure. Do not guess."]
    if rubric is not None and kind == "exchanges":
        lines += ["", f"The rubric is `{rubric.identity}`."]
        lines += ["", "## Policy", "", rubric.policy] if rubric.policy else []
        if rubric.categories:
            lines += ["", "## Categories", "", *(f"- {code}: {text}" for code, text in rubric.categories.items())]
        if rubric.norms:
            lines += ["", "## Decided", ""]
            lines += [f"- {norm.text}{'' if norm.holds else ' (this holds no longer)'}" for norm in rubric.norms]
    return "\n".join(lines) + "\n"
