"""Messages to tokens: the one place that decides what a model reads, for generating, scoring and training alike.

With a chat template the tokenizer's own template speaks. Without one (or with ``plain``) the **plain format** holds:
the turns' contents joined by blank lines, as they are; an answer follows after one space, unless there is white
space at the seam already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.nouns import Message


class Dialogue:
    """Renders messages with a transformers tokenizer. ``ends`` are the tokens that end an answer.

    Raises ValueError where the chat template refuses the messages (its own words)."""

    def __init__(self, tokenizer: Any, ends: Sequence[int] = (), plain: bool = False) -> None:
        self.tokenizer = tokenizer
        self.plain = plain or not getattr(tokenizer, "chat_template", None)
        own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.ends: tuple[int, ...] = tuple(dict.fromkeys((*own, *ends)))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt, up to where the answer starts."""
        return self._encode(self._render(messages))

    def pair(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of ``answer`` after it, without an end token."""
        prefix, full = self._render(messages), self._answered(messages, answer)
        cut = full.find(answer, len(prefix)) if full.startswith(prefix) else -1
        return self._split(prefix, full[: cut + len(answer)] if cut >= 0 else prefix + answer)

    def lesson(self, messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of what is to be learnt: the answer and the end token after it."""
        prefix, full = self._render(messages), self._answered(messages, answer)
        if not full.startswith(prefix):
            raise ValueError("the chat template renders the prompt differently once it is answered")
        before, after = self._split(prefix, full)
        last = max((place for place, token in enumerate(after) if token in self.ends), default=None)
        return before, [*after, self.ends[0]] if last is None else after[: last + 1]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, without special tokens and surrounding white space."""
        return self.raw(tokens).strip()

    def raw(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special tokens, white space and all."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _render(self, messages: Sequence[Message]) -> str:
        if self.plain:
            return "\n\n".join(message.content for message in messages)
        return self._template(messages, add_generation_prompt=True)

    def _answered(self, messages: Sequence[Message], answer: str) -> str:
        if self.plain:
            prefix = self._render(messages)
            seam = "" if not prefix or prefix[-1].isspace() or answer[:1].isspace() else " "
            return prefix + seam + answer
        return self._template([*messages, Message(role="assistant", content=answer)], add_generation_prompt=False)

    def _template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        from jinja2.exceptions import TemplateError

        turns = [message.model_dump() for message in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
            )
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error

    def _split(self, prefix: str, full: str) -> tuple[list[int], list[int]]:
        """Tokens of ``full`` at the seam after ``prefix``; where tokens run over the seam, both are read apart."""
        before, whole = self._encode(prefix), self._encode(full)
        if whole[: len(before)] == before:
            return before, whole[len(before) :]
        rest = self.tokenizer(full[len(prefix) :], add_special_tokens=False, verbose=False)["input_ids"]
        return before, list(rest)

    def _encode(self, text: str) -> list[int]:
        """Token ids; the plain format gets the tokenizer's opening token, a template writes its own."""
        ids = list(self.tokenizer(text, add_special_tokens=self.plain, verbose=False)["input_ids"])
        while self.plain and ids and ids[-1] in self.ends:
            ids.pop()
        return ids
