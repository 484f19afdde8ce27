"""Attacks that a model writes: translation, escalation over several turns, and new attempts from those that worked."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from charter.judging.reply_schemas import MESSAGE_SCHEMA, parse_json_object
from charter.ports import AttackTarget, Attempt, Engine
from charter.records.chat import Completion, Message, Request, Sampling
from charter.records.record import Step, digest
from charter.records.templates import Templates, draw_nonce, fence_text, render, render_conversation, user_turn
from charter.records.verdicts import Finding

_SAMPLING = Sampling(temperature=1.0, max_tokens=1024)


class _CallPart(NamedTuple):
    """What a style adds to the call for one choice: fields of the template, the turns before the attacker's, and the
    language that it is to write."""

    fields: dict[str, str]
    before: tuple[Message, ...]
    language: str = ""


class _ModelWrittenAttack(ABC):
    """What they share: one call to the attacker for each choice, and its ``message`` as the further user turn."""

    turns = 1
    template: ClassVar[str]

    def __init__(self, style: str, attacker: Engine, templates: Templates) -> None:
        self._attacker = attacker
        self._template = str(getattr(templates, self.template))
        self.identity = f"{style}@{digest(self._template)[:12]} by {attacker.identity}"

    @abstractmethod
    def _call_part(self, choice: AttackTarget, worked: Sequence[Finding], fence: str, step: Step) -> _CallPart: ...

    def attack(self, choices: Sequence[AttackTarget], worked: Sequence[Finding], step: Step) -> Iterator[Attempt]:
        """As the port says. Every request is planned, so that a resumed step batches as the first one did."""
        parts: dict[str, _CallPart] = {}
        requests = []
        for choice in choices:
            fence = draw_nonce(step.random(f"fence {choice.id}"))
            part = parts[choice.id] = self._call_part(choice, worked, fence, step)
            fields = {"prompt": fence_text("request", choice.prompt.last, fence), "schema": json.dumps(MESSAGE_SCHEMA)}
            requests.append(
                Request(
                    id=choice.id,
                    messages=user_turn(render(self._template, fields | part.fields)),
                    sampling=_SAMPLING,
                    seed=step.seed(choice.id),
                    response_schema=MESSAGE_SCHEMA,
                )
            )
        for answer in self._attacker.generate(requests, step.done):
            text, part = _read_message(answer), parts[answer.id]
            yield Attempt(
                id=answer.id,
                messages=(*part.before, Message(role="user", content=text)) if text else (),
                language=part.language if text else "",
                raw=answer.error or answer.text,
            )


class TranslationAttack(_ModelWrittenAttack):
    """The last user turn in another language, drawn for each choice (languages with little training data: Yong,
    Menghini and Bach 2023, arXiv 2310.02446)."""

    template = "translate"

    def __init__(self, style: str, attacker: Engine, templates: Templates, languages: Sequence[str]) -> None:
        super().__init__(style, attacker, templates)
        self._languages = tuple(languages)
        self.identity += f" into {', '.join(languages)}"

    def _call_part(self, choice: AttackTarget, worked: Sequence[Finding], fence: str, step: Step) -> _CallPart:
        del worked, fence
        language = step.random(f"language {choice.id}").choice(self._languages)
        return _CallPart({"language": language}, choice.prompt.messages[:-1], language)


class EscalationAttack(_ModelWrittenAttack):
    """A conversation of ``turns`` user turns that goes from the harmless to the request (Russinovich, Salem and Eldan
    2024, arXiv 2404.01833)."""

    template = "escalate"

    def __init__(self, style: str, attacker: Engine, templates: Templates, turns: int) -> None:
        super().__init__(style, attacker, templates)
        self.turns = turns
        self.identity += f" in {turns} turns"

    def _call_part(self, choice: AttackTarget, worked: Sequence[Finding], fence: str, step: Step) -> _CallPart:
        del worked, step
        said = "\n".join(f"{m.role}: {m.content}" for m in choice.history) or "(not begun)"
        fields = {
            "conversation": fence_text("conversation", said, fence),
            "turn": str(1 + sum(m.role == "user" for m in choice.history)),
            "turns": str(self.turns),
        }
        return _CallPart(fields, choice.history)


class InventionAttack(_ModelWrittenAttack):
    """A new attempt, written after attempts that worked; ``SHOWN`` of them, drawn for each choice."""

    SHOWN_ATTEMPTS = 5
    template = "invent"

    def _call_part(self, choice: AttackTarget, worked: Sequence[Finding], fence: str, step: Step) -> _CallPart:
        shown = step.random(f"worked {choice.id}").sample(list(worked), min(self.SHOWN_ATTEMPTS, len(worked)))
        texts = [fence_text("attempt", render_conversation(f.exchange.prompt), fence) for f in shown]
        return _CallPart({"worked": "\n".join(texts) or "(none has worked yet)"}, ())


def _read_message(answer: Completion) -> str:
    """What the attacker wrote; empty where its reply cannot be used."""
    said = (parse_json_object(answer.text) or {}).get("message")
    return said.strip() if isinstance(said, str) else ""
