"""Training rows as tokens, with the loss on the responses alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from charter.errors import TuningError
from charter.models.chat_format import ChatFormat
from charter.records.chat import Prompt
from charter.records.training_rows import Example, PreferencePair, RatedAnswer, TrainingRow

IGNORE_INDEX = -100
"""The label of a token that carries no loss."""

R = TypeVar("R", bound=TrainingRow)
TokenTable = list[dict[str, list[int]]]
SkippedRows = dict[str, str]


def tokenize_examples(
    examples: Sequence[Example], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    """Token ids and labels per row (tokens before the response are ``IGNORED``), and the rows that are left out, by id
    with the reason: those that the chat template cannot render, that have no response, or more than ``longest`` tokens.
    Raises TuningError where no row is left."""

    def lesson(example: Example) -> tuple[dict[str, list[int]], int]:
        before, after = _encode_answer(example, example.response, dialogue)
        return {"input_ids": before + after, "labels": [IGNORE_INDEX] * len(before) + after}, len(before) + len(after)

    return _drop_too_long(examples, lesson, dialogue, longest)


def tokenize_pairs(
    preferred: Sequence[TrainingRow], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    """Token ids of prompt, chosen and rejected answer. A lesson among them is a pair of equal answers: only what is
    learnt from the chosen one alone is learnt from it. Raises as ``rows``."""

    def pair(row: TrainingRow) -> tuple[dict[str, list[int]], int]:
        both = (row.chosen, row.rejected) if isinstance(row, PreferencePair) else (row.response,) * 2  # type: ignore[union-attr]
        read = [_encode_answer(row, text, dialogue) for text in both]
        (before, chosen), (again, rejected) = read
        if before != again:  # where tokens run over the seam
            raise ValueError("its answers split the prompt's tokens in two ways")
        tokens = {"prompt_ids": before, "chosen_ids": chosen, "rejected_ids": rejected}
        return tokens, len(before) + max(len(chosen), len(rejected))

    return _drop_too_long(preferred, pair, dialogue, longest)


def tokenize_rated_answers(
    answers: Sequence[RatedAnswer], dialogue: ChatFormat, longest: int
) -> tuple[TokenTable, SkippedRows]:
    """Token ids of prompt and answer. Raises as ``rows``."""

    def read(row: RatedAnswer) -> tuple[dict[str, list[int]], int]:
        before, after = _encode_answer(row, row.response, dialogue)
        return {"prompt_ids": before, "completion_ids": after}, len(before) + len(after)

    return _drop_too_long(answers, read, dialogue, longest)


def tokenize_prompts(asked: Sequence[Prompt], dialogue: ChatFormat, longest: int) -> tuple[TokenTable, SkippedRows]:
    """Token ids of each prompt. Raises as ``rows``."""

    def read(prompt: Prompt) -> tuple[dict[str, list[int]], int]:
        ids = dialogue.encode_prompt(prompt.messages)
        return {"input_ids": ids}, len(ids)

    return _drop_too_long(asked, read, dialogue, longest)


def _encode_answer(row: TrainingRow, response: str, dialogue: ChatFormat) -> tuple[list[int], list[int]]:
    if not response.strip():
        raise ValueError("it has an empty response")
    return dialogue.encode_training(row.messages, response, row.thought if isinstance(row, Example) else "")


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
        try:
            tokens, size = read(row)
        except ValueError as refused:
            left_out[row.id] = f"not usable: {refused}"
            continue
        if size > longest:
            left_out[row.id] = f"longer than a row may be: {size} tokens of {longest}"
        else:
            table.append(tokens)
    if not table:
        key, reason = next(iter(left_out.items()))
        raise TuningError(
            f"No row can be learnt; row {key} is {reason}.",
            "Where rows are too long, raise `scale.row_tokens`; where the template refuses them, mend or drop them.",
        )
    return table, left_out
