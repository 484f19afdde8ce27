"""Answers that came before their step began: found again by who was asked what, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import CharterError, DamagedError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Completion, LogLikelihood, Message, Request, ScoreRequest
from charter.runs.ahead_answers import AheadAnswers, AheadWriter

ENGINE = ScriptedEngine(identity="one")
ASKED = Request(id="w1", messages=(Message(role="user", content="Is it fine?"),), seed=3)
WEIGHED = ScoreRequest(id="w2", messages=ASKED.messages, completion="yes")
SAID = Completion(id="w1", text="yes, “fine”", tokens_in=7, thought="hm", refused=True)
WEIGHT = LogLikelihood(id="w2", value=-1.25, tokens=1, greedy=False)


def keep(directory: Path) -> Path:
    """Two answers ahead of a step; the file."""
    writer = AheadWriter(directory, "001/verdicts")
    writer.keep(ENGINE, ASKED, "w1#aa", SAID)
    writer.keep(ENGINE, WEIGHED, "w2#bb", WEIGHT)
    writer.close()
    return directory / ".ahead/001/verdicts.jsonl"


def test_answers_are_found_as_they_were_kept(tmp_path: Path) -> None:
    assert AheadAnswers(tmp_path, "001/verdicts").find(ENGINE, [ASKED]) == {}
    file = keep(tmp_path)
    found = AheadAnswers(tmp_path, "001/verdicts")
    assert found.find(ENGINE, [ASKED, WEIGHED]) == {"w1": SAID, "w2": WEIGHT}
    assert found.calls == {"w1#aa", "w2#bb"}
    assert AheadAnswers(tmp_path, "001/checks").find(ENGINE, [ASKED]) == {}
    found.remove()
    assert not file.exists()


@pytest.mark.parametrize(
    "changed",
    [{"seed": 4}, {"id": "w9"}, {"messages": (Message(role="user", content="Is it?"),)}, {"sampling": {"top_p": 0.5}}],
)
def test_another_question_finds_none(changed: dict[str, object], tmp_path: Path) -> None:
    keep(tmp_path)
    other = Request.model_validate(ASKED.model_dump() | changed)
    assert AheadAnswers(tmp_path, "001/verdicts").find(ENGINE, [other]) == {}


def test_another_model_finds_none(tmp_path: Path) -> None:
    keep(tmp_path)
    assert AheadAnswers(tmp_path, "001/verdicts").find(ScriptedEngine(identity="two"), [ASKED]) == {}


def test_a_torn_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    file = keep(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert AheadAnswers(tmp_path, "001/verdicts").find(ENGINE, [ASKED, WEIGHED]) == {"w1": SAID}
    writer = AheadWriter(tmp_path, "001/verdicts")
    writer.keep(ENGINE, WEIGHED, "w2#bb", WEIGHT)
    writer.close()
    assert file.read_bytes() == whole


def test_damage_is_named_with_file_and_line(tmp_path: Path) -> None:
    file = keep(tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"w2#bb"', b"7"))
    with pytest.raises(DamagedError, match=r"verdicts\.jsonl, line 2: call"):
        AheadAnswers(tmp_path, "001/verdicts")


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    file = keep(tmp_path / "elsewhere")
    (tmp_path / "run/.ahead").symlink_to(file.parents[1])
    with pytest.raises(CharterError, match="link"):
        AheadAnswers(tmp_path / "run", "001/verdicts")
    with pytest.raises(CharterError, match="link"):
        AheadWriter(tmp_path / "run", "001/verdicts")
