"""Replies held to a JSON schema: which tokens may come next, by llguidance.

A reply has the spacing of ``json.dumps``, since free white space lets small models go on with it for ever. One space
may come before it, as models write one after a prompt in the plain format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charter.errors import EngineError

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from torch import Tensor

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""What llguidance is told of white space."""


class ReplyGrammar:
    """A reply under a schema, as far as it has come."""

    def __init__(self, matcher: LLMatcher, width: int) -> None:
        self._matcher, self._width = matcher, width

    def copy(self) -> ReplyGrammar:
        """The same reply, to be continued apart from this one."""
        return ReplyGrammar(self._matcher.deep_copy(), self._width)

    def forbid_tokens(self, vocabulary: int) -> Tensor:
        """Whether each of a model's tokens may not come next: [vocabulary]."""
        import numpy as np
        import torch
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        mask = allocate_token_bitmask(1, self._width)
        fill_next_token_bitmask(self._matcher, mask)
        bits = np.unpackbits(mask[0].view(np.uint8), count=self._width, bitorder="little")
        forbidden = torch.ones(vocabulary, dtype=torch.bool)
        forbidden[: self._width] = torch.from_numpy(bits == 0)[:vocabulary]
        return forbidden

    def append_token(self, token: int) -> bool:
        """Goes on by a token that was not forbidden; whether the reply is complete now. Raises ValueError where the
        grammar cannot be followed further."""
        self._matcher.consume_token(token)
        if self._matcher.is_error():
            raise ValueError(f"the reply schema cannot be followed: {self._matcher.get_error()}")
        return self._matcher.is_stopped()


class ReplyGrammars:
    """The grammars of one tokenizer.

    Args:
        tokenizer: the model's own.
        ends: the tokens that end an answer.
        vocabulary: the tokens that the model knows, which may be more than the tokenizer's.

    Raises EngineError where llguidance cannot read the tokenizer.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int], vocabulary: int) -> None:
        from llguidance.hf import from_tokenizer

        self._known: dict[str, ReplyGrammar] = {}
        self._width = max(vocabulary, len(tokenizer))
        try:
            self._tokens = from_tokenizer(tokenizer, self._width, list(ends) or None)
        except ValueError as error:
            raise EngineError(
                f"Replies cannot be held to a schema with this model's tokenizer: {error}",
                "Set reply_schema: false for this role.",
            ) from error

    def compile_schema(self, schema: Mapping[str, Any]) -> ReplyGrammar:
        """The grammar of a reply, before its first token. Raises ValueError where llguidance cannot keep the schema."""
        from llguidance import LLMatcher

        key = json.dumps({**schema, "x-guidance": SPACING})
        if key not in self._known:
            text = f'start: " "? reply\nreply: %json {key}'
            matcher = LLMatcher(self._tokens, text, log_level=0)
            if matcher.is_error():
                raise ValueError(f"the reply schema cannot be kept: {matcher.get_error()}")
            self._known[key] = ReplyGrammar(matcher, self._width)
        return self._known[key]
