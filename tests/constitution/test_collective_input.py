"""What many people said becomes rules, with the support of each group."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.constitution.collective_input import import_polis
from charter.constitution.document import from_yaml, read_document, to_yaml
from charter.errors import RowError, SpecError
from tests.fakes.published_files import DATA, needs_data

COMMENTS = """timestamp,datetime,comment-id,author-id,agrees,disagrees,moderated,comment-body
1,x,0,7,9,1,1,"Say what is true, also where it hurts."
2,x,1,7,5,5,1,"Never joke."
3,x,2,7,1,0,-1,<script>spam()</script>
"""


def export(folder: Path, votes: dict[str, list[str]], comments: str = COMMENTS) -> Path:
    """``votes``: by group, the votes of each of its members on comments 0 and 1."""
    folder.mkdir()
    (folder / "comments.csv").write_text(comments, encoding="utf-8")
    lines = [f"{n},{group},0,2,1,1,{vote}" for group, cast in votes.items() for n, vote in enumerate(cast)]
    text = "\n".join(["participant,group-id,n-comments,n-votes,n-agree,n-disagree,0,1", *lines]) + "\n"
    (folder / "participants-votes.csv").write_text(text, encoding="utf-8")
    return folder


def test_what_every_group_agrees_with_is_in_force(tmp_path: Path) -> None:
    votes = {"0": ["1,1"] * 8, "1": ["1,-1"] * 6 + ["0,-1"], "": ["-1,1"] * 30}
    found = read_document(export(tmp_path / "talk", votes))
    assert [(p.id, p.status, p.by) for p in found.principles] == [
        ("polis-0", "approved", "people"),
        ("polis-1", "proposed", "people"),
    ]
    assert [c.reason for c in found.amendments] == [
        "group 0: 8 of 8 agree (68% to 100%); group 1: 6 of 7 agree (49% to 97%)",
        "group 0: 8 of 8 agree (68% to 100%); group 1: 0 of 7 agree (0% to 35%)",
    ]
    assert found.source.startswith("talk@sha256:")
    assert from_yaml(to_yaml(found)) == found


@pytest.mark.parametrize("votes", [{"0": ["1,1"] * 9}, {"0": ["1,1"] * 9, "1": ["1,1"] * 4}, {"": ["1,1"] * 9}])
def test_one_group_and_too_few_votes_are_no_common_ground(tmp_path: Path, votes: dict[str, list[str]]) -> None:
    found = read_document(export(tmp_path / "talk", votes))
    assert {p.status for p in found.principles} == {"proposed"}


def test_what_is_no_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"comments\.csv cannot be read"):
        import_polis(tmp_path)
    with pytest.raises(SpecError, match="no column comment-id"):
        import_polis(export(tmp_path / "a", {}, "a,b\n1,2\n"))
    with pytest.raises(RowError, match=r"line 2: the vote on comment 0 is '=cmd'"):
        import_polis(export(tmp_path / "b", {"0": ["=cmd,1"]}))
    with pytest.raises(SpecError, match="no comment"):
        import_polis(export(tmp_path / "c", {}, COMMENTS.splitlines()[0] + "\n"))


@needs_data
def test_a_published_conversation_is_read() -> None:
    """A conversation about a minimum wage of 15 dollars, in two groups that agree on nothing: no common ground."""
    found = read_document(DATA / "polis")
    assert len(found.principles) == 31
    assert not found.active
    (change,) = [c for c in found.amendments if c.principles == ("polis-48",)]
    assert change.reason == "group 0: 30 of 36 agree (68% to 92%); group 1: 2 of 10 agree (6% to 51%)"
