"""Attempts: what attacks make of the chosen prompts, turn by turn, less what must not be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from charter.ports import Attack, AttackTarget, Attempt
from charter.records.chat import AttackPrompt, Exchange, Message, Prompt, user_prompt
from charter.records.item_ids import text_mark
from charter.records.record import Step
from charter.records.verdicts import Finding
from charter.similarity.splits import LeakageFilter


def attack(
    choices: Sequence[AttackTarget], attacks: Mapping[str, Attack], worked: Sequence[Finding], *, step: Step
) -> Iterator[Attempt]:
    """One attempt for each choice, by the attack of its style."""
    for style, attacking in attacks.items():
        own = [choice for choice in choices if choice.style == style]
        if own:
            yield from attacking.attack(own, worked, step)


def open_conversations(
    choices: Sequence[AttackTarget], attempts: Sequence[Attempt], attacks: Mapping[str, Attack], turn: int
) -> list[Prompt]:
    """Conversations that go on after this turn, for the target to answer."""
    said = {a.id: a.messages for a in attempts if a.messages}
    return [Prompt(id=c.id, messages=said[c.id]) for c in choices if attacks[c.style].turns > turn and c.id in said]


def continue_conversations(choices: Sequence[AttackTarget], replies: Sequence[Exchange]) -> list[AttackTarget]:
    """The choices whose conversation goes on, with the target's reply. One that it did not answer ends here."""
    by_id = {e.id: e for e in replies if e.stop != "error"}
    return [
        c.model_copy(
            update={
                "history": (
                    *by_id[c.id].prompt.messages,
                    Message(role="assistant", content=by_id[c.id].response or "-"),
                )
            }
        )
        for c in choices
        if c.id in by_id
    ]


def filter_attempts(
    choices: Sequence[AttackTarget], attempts: Sequence[Attempt], known: Sequence[str], guard: LeakageFilter
) -> list[AttackPrompt]:
    """What the target is asked for each choice: its last attempt, as a prompt with its parent's source and meta.
    Dropped are attempts without a text, those close to gate or held-out, and texts that stand among the prompts
    already or were asked before (``known``: their ids, which begin with a digest of the text)."""
    last = {a.id: a for a in attempts}
    met = {text_mark(key) for key in known}
    made = []
    for choice in choices:
        attempt = last[choice.id]
        if attempt.messages == choice.prompt.messages:
            made.append(AttackPrompt(id=choice.id, prompt=choice.prompt))
            continue
        prompt = attempt_to_prompt(choice, attempt)
        mark = text_mark(prompt.id)
        reason = ""
        if not attempt.messages:
            reason = "the attacker's reply could not be used"
        elif mark in met:
            reason = "known already"
        elif guard.is_protected(prompt.text) or guard.is_protected(prompt.last):
            reason = "close to gate or held-out"
        met.add(mark)
        made.append(AttackPrompt(id=choice.id, prompt=None if reason else prompt, dropped=reason))
    return made


def prompts_to_ask(tried: Sequence[AttackPrompt]) -> list[Prompt]:
    """The prompts among them, for the target."""
    return [t.prompt for t in tried if t.prompt is not None]


def attempt_to_prompt(choice: AttackTarget, attempt: Attempt) -> Prompt:
    """An attempt as a prompt of its own: the parent's source and meta, with ``attack`` and ``parent``."""
    parent = choice.prompt
    meta = {**parent.meta, "attack": choice.style, "parent": parent.id}
    if attempt.language:
        meta["language"] = attempt.language
    text = "\n".join(message.content for message in attempt.messages)
    return Prompt(id=user_prompt(text).id, messages=attempt.messages, source=parent.source, meta=meta)
