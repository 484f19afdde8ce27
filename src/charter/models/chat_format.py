"""Messages to tokens: the one place that decides what a model reads, for generating, scoring and training alike.

With a chat template the tokenizer's own template speaks; where it has no system turns, a system turn's words come
before the user turn that follows, with a blank line between.

Without a template (base models) the **plain format** holds: turns joined by blank lines, system words as they are,
``User: ...`` and ``Assistant: ...``; the answer follows ``Assistant:`` and ends before the next ``User:``. With
``plain`` the text is **raw**: the turns' contents joined by blank lines. In both, an answer follows after one space,
unless there is white space at the seam already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from charter.records.chat import Message

ROLE_PREFIXES = {"system": "", "user": "User: ", "assistant": "Assistant: "}
"""How a turn begins in the plain format."""
ChatTextForm = Literal["template", "plain", "raw"]


class ChatFormat:
    """Renders messages with a transformers tokenizer. ``ends`` are the tokens that end an answer, ``stops`` the texts;
    ``arguments`` are handed to the chat template.

    Raises ValueError where the chat template refuses the messages (its own words)."""

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int] = (),
        plain: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template_arguments = dict(arguments or {})
        self.form: ChatTextForm = (
            "raw" if plain else "template" if getattr(tokenizer, "chat_template", None) else "plain"
        )
        self.stop_texts = ("\nUser:",) if self.form == "plain" else ()
        own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys((*own, *ends)))

    @cached_property
    def merges_system(self) -> bool:
        """Whether system turns are put before the next user turn: the template refuses them, or drops them."""
        if self.form != "template":
            return False
        words = "a system turn in a test of the template"
        try:
            turns = (Message(role="system", content=words), Message(role="user", content="a user turn"))
            return words not in self._apply_template(turns, add_generation_prompt=True)
        except ValueError:
            return True

    @property
    def description(self) -> str:
        """How messages become text, in words."""
        if self.form != "template":
            return {"plain": "no chat template: the plain format", "raw": "raw text"}[self.form]
        return f"its chat template, system turns {'before the next user turn' if self.merges_system else 'as such'}"

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt, up to where the answer starts."""
        return self._encode(self._render(messages))

    def encode_scored(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of ``answer`` after it, without an end token."""
        prefix, full = self._render(messages), self._render_answered(messages, answer)
        cut = full.find(answer, len(prefix)) if full.startswith(prefix) else -1
        return self._split_at_seam(prefix, full[: cut + len(answer)] if cut >= 0 else prefix + answer)

    def encode_training(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of what is to be learnt: the answer and the end token after it."""
        prefix, full = self._render(messages), self._render_answered(messages, answer)
        if not full.startswith(prefix):
            raise ValueError("the chat template renders the prompt differently once it is answered")
        before, after = self._split_at_seam(prefix, full)
        last = max((place for place, token in enumerate(after) if token in self.stop_ids), default=None)
        return before, [*after, self.stop_ids[0]] if last is None else after[: last + 1]

    def encode_continuation(self, text: str) -> list[int]:
        """Token ids of a text that is gone on with as it stands; an empty one is the opening token."""
        ids = self._encode_raw(text)
        return ids or self._opening_token()

    def encode_scored_continuation(self, context: str, completion: str) -> tuple[list[int], list[int]]:
        """Token ids of a text and of what follows it, with nothing put between. White space at the end of the first
        goes with the second, and both are read as one, as lm-evaluation-harness does."""
        seam = len(context.rstrip()) if context.strip() else 0
        whole, before = self._encode_raw(context + completion), self._encode_raw(context[:seam]) if seam else []
        if not before:
            opening, bare = self._opening_token(), self._encode_raw(context + completion, special=False)
            return (opening, bare) if bare[:1] != opening else (bare[:1], bare[1:])
        return before, whole[len(before) :]

    def _opening_token(self) -> list[int]:
        """The token that stands for the beginning of a text."""
        known = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return [next(int(token) for token in known if token is not None)]

    def _encode_raw(self, text: str, special: bool = True) -> list[int]:
        """Token ids of bare text, with the tokenizer's own special tokens, once."""
        begins = self.tokenizer.decode(self._opening_token())
        special = special and not (begins and text.startswith(begins))
        return list(self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def decode_answer(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, without special tokens and surrounding white space."""
        return self.decode_raw(tokens).strip()

    def decode_raw(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special tokens, white space and all."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _render(self, messages: Sequence[Message]) -> str:
        if self.form == "raw":
            return "\n\n".join(message.content for message in messages)
        if self.form == "plain":
            return "\n\n".join(
                [*(ROLE_PREFIXES[m.role] + m.content for m in messages), ROLE_PREFIXES["assistant"].rstrip()]
            )
        return self._apply_template(self._fit_roles(messages), add_generation_prompt=True)

    def _render_answered(self, messages: Sequence[Message], answer: str) -> str:
        if self.form != "template":
            prefix = self._render(messages)
            seam = "" if not prefix or prefix[-1].isspace() or answer[:1].isspace() else " "
            return prefix + seam + answer
        answered = [*self._fit_roles(messages), Message(role="assistant", content=answer)]
        return self._apply_template(answered, add_generation_prompt=False)

    def _fit_roles(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the roles that the template has."""
        if not self.merges_system or all(message.role != "system" for message in messages):
            return list(messages)
        turns: list[Message] = []
        waiting: list[str] = []
        for message in messages:
            if message.role == "system":
                waiting.append(message.content)
            elif message.role == "user" and waiting:
                turns.append(Message(role="user", content="\n\n".join([*waiting, message.content])))
                waiting = []
            else:
                turns.append(message)
        return [*turns, Message(role="user", content="\n\n".join(waiting))] if waiting else turns

    def _apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        from jinja2.exceptions import TemplateError

        turns = [message.model_dump() for message in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=add_generation_prompt, **self.template_arguments
                )
            )
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error

    def _split_at_seam(self, prefix: str, full: str) -> tuple[list[int], list[int]]:
        """Tokens of ``full`` at the seam after ``prefix``; where tokens run over the seam, both are read apart."""
        before, whole = self._encode(prefix), self._encode(full)
        if whole[: len(before)] == before:
            return before, whole[len(before) :]
        rest = self.tokenizer(full[len(prefix) :], add_special_tokens=False, verbose=False)["input_ids"]
        return before, list(rest)

    def _encode(self, text: str) -> list[int]:
        """Token ids; text without a template gets the tokenizer's opening token, a template writes its own."""
        bare = self.form != "template"
        ids = list(self.tokenizer(text, add_special_tokens=bare, verbose=False)["input_ids"])
        while bare and ids and ids[-1] in self.stop_ids:
            ids.pop()
        return ids
