"""``charter review`` as a person and as a script has it; the keys at a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.app import app
from charter.errors import SpecError
from charter.jobs.review_desk import Rater, ReviewDesk
from charter.organism.world import World
from charter.records.reviews import ReviewLabel
from charter.reports.integrity import verify_run
from tests.fakes.reviewed_runs import answered, make_queue, record_run

PATIENCE = 30.0
PROMPT = "q stop "
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[1A\rall is well\u202e\n1 harmless: choose me"
UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1bOB", "\x1b[C", "\x1b[D"
DELETE = "\x1b[3~"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    answers = [answered(f"question {n}?", HOSTILE if n == 0 else f"answer {n}") for n in range(5)]
    return record_run(tmp_path_factory.mktemp("cli") / "run", answers)


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "run"))


def charter(*words: object) -> str:
    found = CliRunner().invoke(app, ["review", *map(str, words)], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def labels(run: Path) -> dict[str, dict[str, ReviewLabel]]:
    with ReviewDesk(run, "q1") as desk:
        return desk.read_board().labels


class Terminal:
    """A process at a terminal of its own."""

    def __init__(self, handle: int, process: subprocess.Popen[bytes]) -> None:
        self.handle, self.process = handle, process
        self.shown = ""

    def wait_for(self, words: str) -> str:
        """What was shown up to these words, which must come."""
        until = time.monotonic() + PATIENCE
        while words not in self.shown:
            left = until - time.monotonic()
            assert left > 0, f"{words!r} did not come: {self.shown!r}"
            if select.select([self.handle], [], [], left)[0]:
                try:
                    piece = os.read(self.handle, 1 << 16)
                except OSError:
                    piece = b""
                assert piece or words in self.shown, f"it ended without {words!r}: {self.shown!r}"
                self.shown += piece.decode(errors="replace")
        before, _, self.shown = self.shown.partition(words)
        return before

    def press(self, keys: str, *, then: str = PROMPT) -> str:
        """Presses keys and gives what is shown until these words come."""
        os.write(self.handle, keys.encode())
        return self.wait_for(then)


def _take_terminal() -> None:
    """Makes standard input the terminal that Ctrl-C comes from."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(*words: object, **environment: str) -> Iterator[Terminal]:
    handle, inner = pty.openpty()
    command = [sys.executable, "-m", "charter.cli", "review", *map(str, words)]
    clean = {key: value for key, value in os.environ.items() if key not in ("VISUAL", "EDITOR")}
    ours = {"stdin": inner, "stdout": inner, "stderr": inner, "start_new_session": True}
    process = subprocess.Popen(command, **ours, env=clean | environment, preexec_fn=_take_terminal)  # type: ignore[call-overload]
    os.close(inner)
    try:
        yield Terminal(handle, process)
    finally:
        process.kill()
        process.wait()
        os.close(handle)


@pytest.mark.slow
def test_every_key_at_a_real_terminal(run: Path, tmp_path: Path) -> None:
    make_queue(run, raters=2)
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nprintf 'I would rather not.\\n' > \"$1\"\n")
    editor.chmod(0o755)
    with ReviewDesk(run, "q1") as desk:
        order = list(desk.items)
    with terminal(run, "--rater", "ada", "--role", "linguist", EDITOR=str(editor)) as screen:
        assert order[0] in screen.wait_for(PROMPT)
        assert "left        the item before" in screen.press("?")
        assert "Read the prompt and the answer" in screen.press("g")
        for nothing in ("9", "x", DELETE):
            assert "> harmful (Enter)" in screen.press(nothing)
        assert "> harmless (Enter)" in screen.press(DOWN)
        assert "> harmful (Enter)" in screen.press(UP)
        screen.press("c", then="comment:")
        assert "+ comment" in screen.press("2 knives, 1 fork\n")
        assert "+ comment + correction" in screen.press("e")
        assert "> harmless (Enter)" in screen.press(DOWN)
        assert order[1] in screen.press("\n")
        assert order[2] in screen.press("1")
        assert order[3] in screen.press("s")
        assert order[4] in screen.press("u")
        assert "you said: unsure" in screen.press(LEFT)
        assert "you said: harmful" in screen.press(LEFT)
        assert "you said: unsure" in screen.press(RIGHT)
        assert order[4] in screen.press("2")  # changes what was said of the item before
        assert order[2] in screen.press("1")  # what was skipped comes at the end
        screen.press("1", then="Nothing is left for you here.")
        assert screen.process.wait(PATIENCE) == 0
    found = labels(run)
    assert [found[item]["ada"].label for item in order] == ["harmless", "harmful", "harmful", "harmless", "harmful"]
    first = found[order[0]]["ada"]
    assert (first.comment, first.corrected, first.role) == ("2 knives, 1 fork", "I would rather not.", "linguist")
    assert verify_run(run, strict=True).ok


@pytest.mark.slow
def test_hostile_texts_cannot_steer_the_terminal_and_a_kill_loses_the_item_at_hand_alone(run: Path) -> None:
    make_queue(run)
    with terminal(run, "q1", "--rater", "ada") as screen:
        shown = screen.wait_for(PROMPT)
        for _ in range(3):
            shown += screen.press("1")
        screen.press("c", then="comment:")
        os.killpg(screen.process.pid, signal.SIGKILL)
    assert sum(map(bool, labels(run).values())) == 3
    with terminal(run, "q1", "--rater", "ada") as screen:
        shown += screen.wait_for(PROMPT) + screen.press("1") + screen.press("1", then="Nothing is left for you here.")
    assert all(said["ada"].label == "harmful" for said in labels(run).values())
    assert "  | 1 harmless: choose me" in shown
    assert re.findall(r"\x1b[^\r]{0,4}", shown.replace("\x1b[K", "")) == []
    assert not set("\x07\u202e") & set(shown)
    with terminal(run, "q1", "--rater", "bo") as screen:
        screen.wait_for("Nothing is left for you here.")


@pytest.mark.slow
def test_disputes_are_settled_at_a_terminal_and_ctrl_c_keeps_what_was_said(run: Path) -> None:
    make_queue(run, count=2, raters=2)
    with ReviewDesk(run, "q1") as desk:
        one, two = desk.items
    for rater, label in (("ada", "harmful"), ("bo", "harmless")):
        charter(run, "--rater", rater, "--label", f"{one}={label}", "--label", f"{two}={label}")
    with terminal("adjudicate", run, "--by", "cy") as screen:
        assert re.search(r"ada: harmful\s+bo: harmless", screen.wait_for(PROMPT))
        assert "> harmful (Enter)" in screen.press("u")  # which is no decision
        assert two in screen.press("2")
        screen.press("\x03", then="What you said is kept.")
        assert screen.process.wait(PATIENCE) == 0
    with ReviewDesk(run, "q1") as desk:
        assert {item: (s.by, s.label) for item, s in desk.read_board().settled.items()} == {one: ("cy", "harmless")}


def test_a_script_goes_the_whole_way(run: Path, tmp_path: Path) -> None:
    assert "No queue yet" in charter("status", run)
    made = json.loads(
        charter("create", run, "--kind", "exchanges", "--rubric", "harm", "--n", 4, "--raters", 2, "--json")
    )
    assert (made["id"], made["items"], made["population"], made["rubric"][:5]) == ("q1", 4, 5, "harm@")
    ids = [json.loads(line)["item"] for line in charter("items", run).splitlines()]
    for rater, said in (("ada", "harmful"), ("bo", "harmless")):
        first = (
            ("--label", f"{ids[0]}=harmless", "--comment", "why?") if rater == "bo" else ("--label", f"{ids[0]}=unsure")
        )
        charter("rate", run, "q1", "--rater", rater, *first)
        more = [word for item in ids[1:3] for word in ("--label", f"{item}={said}")]
        charter(run, "--rater", rater, *more, "--label", f"{ids[3]}=harmful")
    shown = charter("agree", run)
    assert "3 items labelled by two or more of 2 raters" in shown
    assert "agreement            0.333" in shown
    assert "Krippendorff's alpha" in shown
    assert shown.count("to adjudicate ") == 3
    told = json.loads(charter("agree", run, "--json"))
    assert told["agreement"]["pairs"][0]["raters"] == ["ada", "bo"]
    for item in ids[:3]:
        charter("adjudicate", run, "--by", "cy", "--label", f"{item}=harmless", "--note", "read again")
    assert json.loads(charter("status", run, "--json"))[0]["settled"] == 3
    assert "4 rows" in charter("export", run, "q1", "--out", tmp_path / "labelled.jsonl")
    assert "11 rows" in charter("export", run, "--as", "csv", "--out", tmp_path / "labels.csv")
    assert "are new" in charter("import", run, "q1", tmp_path / "labels.csv", "--from", "csv")


@pytest.mark.slow
def test_labels_calibrate_a_judge(tmp_path: Path) -> None:
    world, answers = World.load("village"), dict[str, str]()
    for place, prompt in enumerate(world.prompts("harmful", "gate")[:40]):
        topic = world.parse_prompt(prompt.text).topic
        helps, refuses = world.compliant_answer(topic, prompt.text), f"sorry , i will not help with {topic} ."
        answers[prompt.text] = refuses if place % 2 else helps
    run = record_run(tmp_path / "run", [answered(*pair) for pair in answers.items()])
    charter("create", run, "--kind", "exchanges", "--rubric", "harm", "--step", "000/heldout_exchanges")
    with ReviewDesk(run, "q1") as desk:
        said = {i: "harmless" if "sorry" in item.answers[0].text else "harmful" for i, item in desk.items.items()}
    charter(run, "--rater", "ada", *(word for i, label in said.items() for word in ("--label", f"{i}={label}")))
    charter("export", run, "--out", tmp_path / "labelled.jsonl")
    words = ["judge", "calibrate", "--rubric", "harm", "--labelled", str(tmp_path / "labelled.jsonl"), "--json"]
    words += ["--set", "world=village", "--set", "judge.model=world", "--out", str(tmp_path / "measured"), "--quiet"]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    labels = json.loads(found.stdout)["calibration"]["labels"]
    assert (labels["sensitivity"]["hits"], labels["specificity"]["hits"]) == (20, 20)


def test_what_is_not_meant_is_said(run: Path) -> None:
    make_queue(run, count=1)
    runner = CliRunner()
    for words, says in (
        (["rate", str(run)], "needs a name"),
        ([str(run), "--rater", "ada"], "no terminal"),
        ([str(run), "--rater", "ada", "--label", "x=harmful"], "no item 'x'"),
        (["agree", str(run), "q9"], "no review queue q9"),
    ):
        found = runner.invoke(app, ["review", *words])
        assert says in str(found.exception)
    assert runner.invoke(app, ["review", str(run), "--rater", "ada", "--label", "x"]).exit_code == 2
    with ReviewDesk(run, "q1") as desk, pytest.raises(SpecError):
        desk.take_item(Rater(" "))


def test_a_review_of_rules_decides(run: Path) -> None:
    make_queue(run, "rules")
    with ReviewDesk(run, "q1") as desk:
        first, second = desk.items
    charter(
        "rate", run, "--rater", "ada", "--role", "policy", "--label", f"{first}=approve", "--label", f"{second}=reject"
    )
    found = CliRunner().invoke(app, ["review", "decide", str(run)])
    assert isinstance(found.exception, SpecError)
    assert "--role" in found.exception.cure
    said = charter("decide", run, "--role", "policy")
    assert "rejected by ada (policy)" in said
    assert "2 votes are new, 0 were there" in said
    assert json.loads(charter("decide", run, "q1", "--role", "policy", "--json"))["known"] == 2
    assert "review q1#" in CliRunner().invoke(app, ["constitution", "log", str(run)]).output
