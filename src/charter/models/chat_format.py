"""Messages to tokens: the one place that decides what a model reads, for generating, scoring and training alike.

With a chat template the tokenizer's own template speaks; where it has no system turns, a system turn's words come
before the user turn that follows, with a blank line between.

Without a template (base models) the **plain format** holds: turns joined by blank lines, system words as they are,
``User: ...`` and ``Assistant: ...``; the answer follows ``Assistant:`` and ends before the next ``User:``. With
``plain`` the text is **raw**: the turns' contents joined by blank lines. In both, an answer follows after one space,
unless there is white space at the seam already.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from typing import Any, Literal

from charter.models.thought_marks import ThoughtMarks, read_marks
from charter.records.chat import Message, fold_system_turns

ROLE_PREFIXES = {"system": "", "user": "User: ", "assistant": "Assistant: "}
"""How a turn begins in the plain format."""
ChatTextForm = Literal["template", "plain", "raw"]


Thoughts = Literal["drop", "keep"]
"""Whether thoughts, empty ones too, are learnt beside answers."""
_TODAY = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
_ASKED, _SAID = "a user turn", "an answer in a test of the template"


def _name_turn(place: int) -> str:
    return f"qz{place}vx"


@dataclass(frozen=True)
class TemplateTurn:
    """An answered prompt as text: the prompt, the whole, and where the answer's own words begin and end in it."""

    prompt: str
    whole: str
    start: int
    end: int


class ChatFormat:
    """Renders messages with a transformers tokenizer. ``ends`` are the tokens that end an answer, ``stops`` the texts.

    Args:
        tokenizer: the model's own.
        ends: further end tokens, such as those of its generation config.
        plain: raw text instead of the chat template.
        arguments: handed to the chat template.
        today: the date that the template writes, as 2026-01-31; empty: today's.
        thoughts: whether thoughts are part of a lesson.

    Raises ValueError where the chat template refuses the messages (its own words)."""

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int] = (),
        plain: bool = False,
        arguments: Mapping[str, Any] | None = None,
        *,
        today: str = "",
        thoughts: Thoughts = "drop",
    ) -> None:
        self.tokenizer = tokenizer
        self.template_arguments = dict(arguments or {})
        self.today, self.thoughts = today, thoughts
        self.form: ChatTextForm = (
            "raw" if plain else "template" if getattr(tokenizer, "chat_template", None) else "plain"
        )
        self.stop_texts = ("\nUser:",) if self.form == "plain" else ()
        own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys((*own, *ends)))
        self._render_names = cache(self._template_names)

    @cached_property
    def merges_system(self) -> bool:
        """Whether system turns are put before the next user turn: the template refuses them, or drops them."""
        words = "a system turn in a test of the template"
        return not self._shows(words, Message(role="system", content=words), Message(role="user", content=_ASKED))

    @cached_property
    def joins(self) -> bool:
        """Whether neighbouring turns of one speaker are made into one: the template refuses or drops one of them."""
        words = "an earlier turn in a test of the template"
        return not self._shows(words, Message(role="user", content=words), Message(role="user", content=_ASKED))

    def _shows(self, words: str, *turns: Message) -> bool:
        if self.form != "template":
            return True
        try:
            return words in self._apply_template(turns, add_generation_prompt=True)
        except ValueError:
            return False

    @cached_property
    def marks(self) -> ThoughtMarks:
        """How the template treats thoughts."""
        if self.form != "template":
            return ThoughtMarks(pairs=())
        asked = (Message(role="user", content=_ASKED),)
        try:
            prompt = self._apply_template(asked, add_generation_prompt=True)
            whole = self._apply_template(
                (*asked, Message(role="assistant", content=_SAID)), add_generation_prompt=False
            )
        except ValueError:
            return ThoughtMarks()
        shared = prompt[: next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))]
        if shared != prompt:  # no mark is cut in two
            cut = max(shared.rfind("<"), shared.rfind("["))
            shared = shared if cut < 0 or set(">]") & set(shared[cut:]) else shared[:cut]
        lead = whole[len(shared) : max(len(shared), whole.find(_SAID, len(shared)))]
        return read_marks(prompt, prompt[len(shared) :], lead, self._knows)

    def _knows(self, mark: str) -> bool:
        """Whether a mark is a token, or stands in the template."""
        return mark in self.tokenizer.get_vocab() or mark in str(self.tokenizer.chat_template)

    @cached_property
    def dated(self) -> bool:
        """Whether the template writes today's date."""
        if self.form != "template":
            return False
        asked = [{"role": "user", "content": _ASKED}]
        try:
            one, two = (self._apply(asked, True, day) for day in ("2001-02-03", "2014-05-16"))
        except ValueError:
            return False
        return one != two

    def alters(self, messages: Sequence[Message]) -> bool:
        """Whether the template takes words out of these messages, or renders others around them because of them."""
        if self.form != "template":
            return False
        turns = [m.model_copy(update={"content": self._answer_in(m)}) for m in self._fit_roles(messages)]
        try:
            found = self._apply_template(turns, add_generation_prompt=True)
            wanted = self._render_names(*(turn.role for turn in turns))
        except ValueError:
            return False
        for place, turn in enumerate(turns):
            wanted = wanted.replace(_name_turn(place), turn.content)
        return "".join(found.split()) != "".join(wanted.split())

    def _template_names(self, *roles: Literal["system", "user", "assistant"]) -> str:
        """What the template makes of turns that hold nothing but their names."""
        turns = [Message(role=role, content=_name_turn(place)) for place, role in enumerate(roles)]
        return self._apply_template(turns, add_generation_prompt=True)

    def _answer_in(self, message: Message) -> str:
        """A message's content; of an earlier answer without its thought, which templates drop."""
        place = ThoughtMarks(self.marks.pairs).find_answer(message.content) if message.role == "assistant" else 0
        return message.content[place or 0 :]

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
        """Token ids of the prompt and of ``answer`` after it, without an end token. What a template writes for a
        thought belongs to the prompt."""
        try:
            turn = self._turn(messages, answer)
        except LookupError:
            prompt = self._render(messages)
            turn = TemplateTurn(prompt, prompt + answer, len(prompt), len(prompt) + len(answer))
        return self._split_at_seam(turn.whole[: turn.start], turn.whole[: turn.end])

    def encode_training(
        self, messages: Sequence[Message], answer: str, thought: str = ""
    ) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of what is to be learnt: the answer and the end token after it. Thoughts, empty
        ones too, stand before what is learnt; with ``thoughts`` keep they are learnt too."""
        try:
            turn = self._turn(messages, answer, thought if self.thoughts == "keep" else "")
        except LookupError as lost:
            raise ValueError(str(lost.args[0])) from lost
        start = len(turn.prompt) if self.thoughts == "keep" else turn.start
        before, after = self._split_at_seam(turn.whole[:start], turn.whole)
        last = max((place for place, token in enumerate(after) if token in self.stop_ids), default=None)
        return before, [*after, self.stop_ids[0]] if last is None else after[: last + 1]

    def _turn(self, messages: Sequence[Message], answer: str, thought: str = "") -> TemplateTurn:
        """An answered prompt. Raises LookupError where the template shows the prompt otherwise once it is answered."""
        prompt, marks = self._render(messages), self.marks
        if self.form != "template" or not (marks.thinks or thought or self._thinks(answer)):
            whole = self._render_answered(messages, answer)
            if not whole.startswith(prompt):
                raise LookupError("the chat template renders the prompt differently once it is answered")
            cut = whole.find(answer, len(prompt))
            return TemplateTurn(prompt, whole, len(prompt), cut + len(answer) if cut >= 0 else len(whole))
        place = 0 if marks.channels else ThoughtMarks(marks.pairs).find_answer(answer)
        if place is None:
            raise LookupError("its thought does not end")
        own, said = marks.strip(answer[:place]) or thought, answer[place:].strip()
        whole = self._render_answered(messages, said, own)
        at = self._find_said(whole, said)
        if marks.opened and not whole.startswith(prompt):
            close = marks.pairs[0][1]
            lead = f"{own} {close}\n\n" if own else f"{chr(10) if prompt.endswith(chr(10)) else ''}{close}\n\n"
            return TemplateTurn(prompt, prompt + lead + whole[at:], len(prompt + lead), len(prompt + lead + said))
        if not whole.startswith(prompt):
            raise LookupError("the chat template renders the prompt differently once it is answered")
        return TemplateTurn(prompt, whole, at, at + len(said))

    def _thinks(self, answer: str) -> bool:
        """Whether an answer begins with a thought in the marks of this template."""
        return any(answer.lstrip().startswith(opener) for opener, _ in self.marks.pairs)

    def _find_said(self, whole: str, said: str) -> int:
        """Where the answer stands in an answered prompt, before what the template writes after it."""
        turns = (Message(role="user", content=_ASKED), Message(role="assistant", content=_SAID))
        after = self._apply_template(turns, add_generation_prompt=False).partition(_SAID)[2]
        body = whole[: len(whole) - len(after)] if whole.endswith(after) else whole
        at = body.rfind(said)
        if at < 0:
            raise LookupError("the chat template changes the words of the answer")
        return at

    def render_answered(self, messages: Sequence[Message], answer: str) -> str:
        """An answered prompt as text."""
        return self._render_answered(messages, answer)

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
        """The text of an answer's tokens, without thought, special tokens and surrounding white space."""
        return self.split_thought(tokens)[1].strip()

    def split_thought(self, tokens: Sequence[int]) -> tuple[str, str]:
        """Thought and answer in a model's tokens, each without special tokens. A thought without an end is all there
        is."""
        marks, ids = self.marks, list(tokens)
        text = str(self.tokenizer.decode(ids, skip_special_tokens=False))
        place = marks.find_answer(text) if self.form == "template" else 0
        if place == 0:
            return "", self.decode_raw(ids)
        cut = len(ids) if place is None else bisect_left(range(len(ids)), place, key=lambda n: self._length(ids[:n]))
        thought = marks.strip(text[:place])
        for token in self.tokenizer.all_special_tokens:
            thought = thought.replace(token, " ")
        return " ".join(thought.split(" ")).strip(), self.decode_raw(ids[cut:])

    def _length(self, tokens: list[int]) -> int:
        return len(self.tokenizer.decode(tokens, skip_special_tokens=False))

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

    def _render_answered(self, messages: Sequence[Message], answer: str, thought: str = "") -> str:
        if self.form != "template":
            prefix = self._render(messages)
            seam = "" if not prefix or prefix[-1].isspace() or answer[:1].isspace() else " "
            return prefix + seam + answer
        known = [message.model_dump() for message in self._fit_roles(messages)]
        last = {"role": "assistant", "content": answer}
        if not thought:
            return self._apply([*known, last], False)
        whole = self._apply([*known, last | {"reasoning_content": thought, "thinking": thought}], False)
        if thought in whole or self.marks.opened:
            return whole
        opener, closer = self.marks.pairs[0]
        whole = self._apply([*known, last | {"content": f"{opener} {thought} {closer} {answer}"}], False)
        if thought not in whole:
            raise LookupError("the chat template drops the answer's thought")
        return whole

    def _fit_roles(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the roles that the template has, and in the turns that it takes."""
        turns = list(messages)
        if self.merges_system and any(message.role == "system" for message in messages):
            turns = fold_system_turns(messages)
        return _join_speakers(turns) if self.joins else turns

    def _apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        return self._apply([message.model_dump() for message in messages], add_generation_prompt)

    def _apply(self, turns: list[dict[str, Any]], add_generation_prompt: bool, today: str = "") -> str:
        from jinja2.exceptions import TemplateError

        asked = dict(self.template_arguments)
        if day := today or self.today:
            asked["chat_template"] = _write_date(self.tokenizer.get_chat_template(), date.fromisoformat(day))
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=add_generation_prompt, **asked
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


def _write_date(template: str, day: date) -> str:
    """A chat template in which ``day`` stands for today, in the formats that it asks for."""
    return _TODAY.sub(lambda found: repr(day.strftime(found[2])), template)


def _join_speakers(messages: Sequence[Message]) -> list[Message]:
    """Neighbouring turns of one speaker as one, with a blank line between."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1].role == message.role:
            text = f"{turns[-1].content}\n\n{message.content}"
            turns[-1] = message.model_copy(update={"content": text})
        else:
            turns.append(message)
    return turns
