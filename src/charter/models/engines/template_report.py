"""What a chat template makes of one made-up conversation, told before anything is paid."""

from __future__ import annotations

from collections.abc import Sequence

from charter.models.chat_format import ChatFormat
from charter.records.chat import Message, Prompt
from charter.records.record import Record

_ASKED, _SAID = "What is tea?", "Tea is a drink."
_NAMED = 5


class TemplateReport(Record):
    """How a target reads and learns a made-up conversation.

    Attributes:
        prompt: what the model reads before it answers, special tokens and all.
        row: a training row; what carries loss stands between two arrows.
        ends: the tokens that end an answer.
        turns: what happens to system turns and to two turns of one speaker.
        thought: how thoughts are opened and closed; empty where the template knows none.
        notes: what a user must know before the run begins.
    """

    prompt: str
    row: str
    ends: tuple[str, ...]
    turns: str
    thought: str = ""
    notes: tuple[str, ...] = ()


def report_template(dialogue: ChatFormat) -> TemplateReport:
    """Renders a prompt and a row, and says what stands out. Refusals of the template become notes."""
    asked, decode = (Message(role="user", content=_ASKED),), dialogue.tokenizer.decode
    notes = [note for note in (_note_thoughts(dialogue), _note_end(dialogue)) if note]
    prompt = row = ""
    try:
        prompt = decode(dialogue.encode_prompt(asked))
        before, after = dialogue.encode_training(asked, _SAID)
        row = f"{decode(before)}→{decode(after)}←"
    except ValueError as refused:
        notes.append(f"a made-up row cannot be rendered: {refused}")
    if dialogue.dated:
        notes.append(f"the chat template writes the date: {dialogue.today or 'that of each day'} in this run")
    return TemplateReport(
        prompt=prompt,
        row=row,
        ends=tuple(decode([token]) for token in dialogue.stop_ids),
        turns=_describe_turns(dialogue),
        thought=_describe_thought(dialogue),
        notes=tuple(notes),
    )


def note_altered(dialogue: ChatFormat, prompts: Sequence[Prompt]) -> str:
    """Names the prompts that the template does not render word by word; empty where there are none."""
    altered = [prompt.id for prompt in prompts if dialogue.alters(prompt.messages)]
    if not altered:
        return ""
    more = f" and {len(altered) - _NAMED} more" if len(altered) > _NAMED else ""
    return (
        f"the chat template drops words of {len(altered)} prompts, or takes them as a switch; the model does not read "
        f"all of them as written: {', '.join(altered[:_NAMED])}{more}"
    )


def _describe_turns(dialogue: ChatFormat) -> str:
    if dialogue.form != "template":
        return "each turn by itself"
    system = "before the next user turn" if dialogue.merges_system else "as such"
    return f"system turns {system}; two turns of one speaker {'as one' if dialogue.joins else 'as such'}"


def _describe_thought(dialogue: ChatFormat) -> str:
    marks = dialogue.marks
    if marks.opened:
        return f"opened by the prompt, closed by {marks.pairs[0][1]}"
    if marks.closes:
        return f"an empty one before each answer: {' '.join(marks.lead.split())}"
    return f"in channels; the answer follows {' '.join(marks.lead.split())}" if marks.channels else ""


def _note_thoughts(dialogue: ChatFormat) -> str:
    """What rows without thoughts teach a model that thinks."""
    if not dialogue.marks.thinks:
        return ""
    how = _describe_thought(dialogue)
    if dialogue.thoughts == "keep":
        return f"the chat template knows thoughts ({how}); they are learnt, and rows without one teach empty ones"
    return f"the chat template knows thoughts ({how}); they are not judged, and carry no loss (target.thoughts: drop)"


def _note_end(dialogue: ChatFormat) -> str:
    """Whether the template ends an answer with one of the model's end tokens."""
    if dialogue.form != "template":
        return ""
    if not dialogue.stop_ids:
        return "the tokenizer has no end token: answers do not end, and nothing can be learnt"
    asked, said = Message(role="user", content=_ASKED), Message(role="assistant", content=_SAID)
    try:
        after = dialogue.render_answered((asked,), said.content).rpartition(_SAID)[2]
    except ValueError:
        return ""
    ids = dialogue.tokenizer(after, add_special_tokens=False, verbose=False)["input_ids"]
    if set(ids) & set(dialogue.stop_ids):
        return ""
    ends = ", ".join(dialogue.tokenizer.decode([token]) for token in dialogue.stop_ids)
    return (
        f"the chat template does not end an answer with the model's end token ({ends}): it was probably never trained "
        "on this template (a base model?); set target.plain: true, or name a tuned model"
    )
