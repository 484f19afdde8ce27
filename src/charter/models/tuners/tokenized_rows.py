"""Training rows as tokens, with the loss on the responses alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from charter.errors import TuningError
from charter.models.chat_format import ChatFormat
from charter.records.chat import Message, Prompt
from charter.records.training_rows import Example, PreferencePair, TrainingRow

IGNORE_INDEX = -100
"""The label of a token that carries no loss."""

R = TypeVar("R", bound=TrainingRow)
TokenTable = list[dict[str, list[int]]]
SkippedRows = dict[str, str]


def tokenize_examples(
    examples: Sequence[Example], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    """Token ids and labels per row (tokens before the response are ``IGNORED``), and the rows that are longer than
    ``longest`` tokens, by id. Raises TuningError naming the row that cannot be read, or where every row is too long."""

    def lesson(example: Example) -> tuple[dict[str, list[int]], int]:
        before, after = _encode_answer(example.id, example.messages, example.response, dialogue)
        return {"input_ids": before + after, "labels": [IGNORE_INDEX] * len(before) + after}, len(before) + len(after)

    return _drop_too_long(examples, lesson, dialogue, longest)


def tokenize_pairs(
    preferred: Sequence[TrainingRow], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    """Token ids of prompt, chosen and rejected answer. A lesson among them is a pair of equal answers: only what is
    learnt from the chosen one alone is learnt from it. Raises as ``rows``."""

    def pair(row: TrainingRow) -> tuple[dict[str, list[int]], int]:
        both = (row.chosen, row.rejected) if isinstance(row, PreferencePair) else (row.response,) * 2  # type: ignore[union-attr]
        read = [_encode_answer(row.id, row.messages, text, dialogue) for text in both]
        (before, chosen), (again, rejected) = read
        if before != again:  # where tokens run over the seam
            raise TuningError(f"Row {row.id}: its answers split the prompt's tokens in two ways.", "Drop the row.")
        tokens = {"prompt_ids": before, "chosen_ids": chosen, "rejected_ids": rejected}
        return tokens, len(before) + max(len(chosen), len(rejected))

    return _drop_too_long(preferred, pair, dialogue, longest)


def tokenize_prompts(asked: Sequence[Prompt], dialogue: ChatFormat, longest: int) -> tuple[TokenTable, SkippedRows]:
    """Token ids of each prompt. Raises as ``rows``."""

    def read(prompt: Prompt) -> tuple[dict[str, list[int]], int]:
        try:
            ids = dialogue.encode_prompt(prompt.messages)
        except ValueError as refused:
            raise TuningError(f"Row {prompt.id}: {refused}.", "Drop the row, or set `plain: true`.") from refused
        return {"input_ids": ids}, len(ids)

    return _drop_too_long(asked, read, dialogue, longest)


def _encode_answer(
    id: str, messages: tuple[Message, ...], response: str, dialogue: ChatFormat
) -> tuple[list[int], list[int]]:
    try:
        before, after = dialogue.encode_training(messages, response)
    except ValueError as refused:
        raise TuningError(f"Row {id}: {refused}.", "Drop the row, or set `plain: true`.") from refused
    if not response.strip():
        raise TuningError(f"Row {id} has an empty response.", "Drop the row.")
    return before, after


def _drop_too_long(
    given: Sequence[R], read: Callable[[R], tuple[dict[str, list[int]], int]], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    if not dialogue.stop_ids:
        raise TuningError(
            "The tokenizer has no end token, so the policy could not learn to stop.",
            "Set `eos_token` in the model's tokenizer_config.json.",
        )
    table: TokenTable = []
    left_out: SkippedRows = {}
    for row in given:
        tokens, size = read(row)
        if size > longest:
            left_out[row.id] = f"longer than a row may be: {size} tokens of {longest}"
        else:
            table.append(tokens)
    if not table:
        key, reason = next(iter(left_out.items()))
        raise TuningError(
            f"Every row is too long; row {key} is {reason}.", "Raise `scale.row_tokens` (up to the model's context)."
        )
    return table, left_out
