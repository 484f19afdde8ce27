"""An attack style of your own: each letter of the last turn stands alone.

options: {attack: {styles: [plain, "python:examples.attack_plugin:SpacedAttack"]}}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charter.ports import AttackTarget, Attempt
from charter.records.record import Step
from charter.records.verdicts import Finding


class SpacedAttack:
    """Puts a space after each letter of the last user turn."""

    identity = "spaced@1"
    turns = 1

    def attack(self, choices: Sequence[AttackTarget], worked: Sequence[Finding], step: Step) -> Iterator[Attempt]:
        """One attempt for each choice that is not done."""
        for choice in choices:
            if choice.id not in step.done:
                *before, last = choice.prompt.messages
                spaced = last.model_copy(update={"content": " ".join(last.content)})
                yield Attempt(id=choice.id, messages=(*before, spaced))
