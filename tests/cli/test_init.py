"""``charter init`` with a person at the terminal, and with options in a script."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from charter.cli import init
from charter.cli.app import app
from charter.cli.spec_questions import ask_questions, write_spec
from charter.spec import parse_spec
from tests.fakes import tiny_models


def begin(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["init", *words], input=typed)


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a tiny model, two files of prompts, and one that has none."""
    monkeypatch.chdir(tmp_path)
    tiny_models.build(tmp_path / "model")
    for name in ("red", "kind"):
        rows = (json.dumps({"prompt": f"the {name} prompt number {n} about {n * n} things"}) for n in range(40))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "wrong.jsonl").write_text('{"question": "?"}\n', encoding="utf-8")
    return tmp_path


OWN = ("--oracle", "openai/gpt-4o", "--redteam", "red.jsonl", "--helpful", "kind.jsonl")


def test_yes_takes_the_defaults_and_says_what_a_run_would_do(tmp_path: Path) -> None:
    done = begin("--yes", "--out", str(tmp_path / "a.yaml"), "--calls", "77")
    assert done.exit_code == 0, done.output
    spec = parse_spec((tmp_path / "a.yaml").read_text(encoding="utf-8"))
    assert (spec.target.model, spec.world, spec.budget.calls) == ("organism", "village", 77)
    assert "oracle calls at most" in done.output
    assert "This machine" in done.output
    assert "the target is loaded, and answers for about 20 seconds" in done.output


def test_options_are_answers(prompts: Path) -> None:
    done = begin("--model", "model", *OWN, "--out", "own.yaml")
    assert done.exit_code == 0, done.output
    text = (prompts / "own.yaml").read_text(encoding="utf-8")
    spec = parse_spec(text)
    assert len(text.splitlines()) <= 12
    assert spec.target.model == "model"
    assert [source.path for source in spec.prompts.redteam if not isinstance(source, str)] == ["red.jsonl"]
    assert spec.evaluator == spec.oracle
    assert spec.budget.calls == 2000


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--model", "nowhere"), "no folder, and no hub id"),
        (("--model", "models/empty"), "holds no config.json"),
        (("--model", "red.jsonl"), "is no GGUF file"),
        (("--model", "model", "--oracle", "gpt"), "neither provider/name"),
        (("--model", "model", "--oracle", "http://127.0.0.1:8000/v1"), "write NAME@http://127.0.0.1:8000/v1"),
        (("--model", "model", "--redteam", "wrong.jsonl"), "after a colon: wrong.jsonl:COLUMN"),
        (("--model", "model", "--redteam", "wrong.jsonl:answer"), "has no column `answer` (it has: question)"),
        (("--model", "model", "--redteam", "nowhere:question"), "nowhere:question is no file"),
        (("--model", "model", "--helpful", "harmfulq"), "harmfulqa"),
        (("--calls", "0"), "no whole number"),
        (("--redteam", "red.jsonl"), "brings oracle"),
    ],
)
def test_a_bad_option_is_refused_with_its_reason(prompts: Path, words: tuple[str, ...], fault: str) -> None:
    (prompts / "models" / "empty").mkdir(parents=True)
    done = begin(*words, "--out", "bad.yaml")
    assert done.exit_code == 2
    assert fault in " ".join(done.output.replace("│", " ").split())
    assert not (prompts / "bad.yaml").exists()


def test_a_column_stands_after_the_file_and_a_server_after_its_model(tmp_path: Path) -> None:
    for name in ("a.csv", "b:c.csv"):
        (tmp_path / name).write_text(f"No.;What was typed ;\n1;the {name} prompt;\n", encoding="utf-8")
    given = {
        "model": "owner/name",
        "oracle": "judge@http://127.0.0.1:8000/v1",
        "redteam": f"{tmp_path / 'a.csv'}:What was typed",
        "helpful": f"{tmp_path / 'b:c.csv'}:what was typed",
    }
    spec = parse_spec(write_spec(ask_questions(given, asks=False)))
    assert (spec.oracle.model, spec.oracle.base_url) == ("judge", "http://127.0.0.1:8000/v1")
    assert spec.evaluator == spec.oracle
    sources = [source for source in (*spec.prompts.redteam, *spec.prompts.helpful) if not isinstance(source, str)]
    assert [source.columns.prompt for source in sources] == ["What was typed", "what was typed"]
    assert sources[1].path == str(tmp_path / "b:c.csv")


def test_a_gguf_file_is_a_model(prompts: Path) -> None:
    (prompts / "model.gguf").touch()
    assert ask_questions({"model": "model.gguf", "redteam": "red.jsonl", "helpful": "kind.jsonl"}, asks=False)


def test_a_bad_answer_is_asked_for_again(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "_is_terminal", lambda: True)
    typed = ["nowhere", "model", "gpt", "openai/gpt-4o", "", "wrong.jsonl", "red.jsonl", "kind.jsonl", "many", "50"]
    done = begin(typed="\n".join(typed) + "\n")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "nowhere is no folder" in said
    assert "gpt is neither" in said
    assert "many is no whole number" in said
    spec = parse_spec((prompts / "align.yaml").read_text(encoding="utf-8"))
    assert (spec.target.model, spec.oracle.model, spec.budget.calls) == ("model", "openai/gpt-4o", 50)


def test_a_file_that_is_there_is_not_asked_about(prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "_is_terminal", lambda: True)
    (prompts / "align.yaml").write_text("mine", encoding="utf-8")
    done = begin(typed="organism\n\n")
    assert done.exit_code != 0
    assert "Model to align" not in done.output
    assert (prompts / "align.yaml").read_text(encoding="utf-8") == "mine"


def test_elsewhere_it_prints_what_it_printed() -> None:
    assert begin().stdout == init.short_spec()


def test_on_a_terminal_it_asks(prompts: Path) -> None:
    """A terminal of the system's own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "charter.cli", "init"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=prompts)
    os.close(theirs)
    os.write(ours, b"organism\n123\n")
    said = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so where the other side is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait() == 0, said.decode()
    assert b"Model to align" in said
    assert b"Evaluator" not in said
    assert parse_spec((prompts / "align.yaml").read_text(encoding="utf-8")).budget.calls == 123
