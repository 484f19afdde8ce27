"""Ids that are made of other ids, and read again: one function builds each form, and one takes it apart."""

from __future__ import annotations

from collections.abc import Sequence


def join_id(parent: str, part: str | int) -> str:
    """The id of a part of an item: a draw for a prompt, an answer of a pair, a question in an attack's style."""
    return f"{parent}/{part}"


def split_id(id: str) -> tuple[str, str]:
    """The item that a part belongs to, and the part; an empty item where ``id`` names no part."""
    parent, _, part = id.rpartition("/")
    return parent, part


def parent_id(id: str) -> str:
    """The item that a part belongs to; empty where ``id`` names no part."""
    return split_id(id)[0]


def trial_id(finding: str, omitted: Sequence[str] = ()) -> str:
    """The id of a finding that is answered again under the constitution less the ``omitted`` rules."""
    return f"{finding}|{'+'.join(omitted)}"


def split_trial_id(id: str) -> tuple[str, tuple[str, ...]]:
    """The finding of a trial, and the rules that it leaves out."""
    finding, _, omitted = id.rpartition("|")
    return finding, tuple(omitted.split("+")) if omitted else ()


def copy_id(row: str, turn: int) -> str:
    """The id of a row's copy; turn 0 is the row itself."""
    return f"{row}+{turn}" if turn else row


def original_row_id(id: str) -> str:
    """A row's id without the mark of a copy."""
    row, plus, turn = id.rpartition("+")
    return row if plus and turn.isdigit() else id


def prompt_id(text_mark: str, ordinal: int) -> str:
    """The id of a prompt: the mark of its text, and a number that tells equal texts apart."""
    return f"{text_mark}-{ordinal}"


def text_mark(id: str) -> str:
    """The part of a prompt's id that comes of its text alone."""
    return id.rsplit("-", 1)[0]


def group_cell_id(by: str, group: str, metric: str) -> str:
    """The id of a metric's figure in one group of a breakdown."""
    return f"{by}|{group}|{metric}"
