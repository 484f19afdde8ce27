"""What ``charter init`` asks on a terminal, and the short spec that the answers make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from charter.cli.terminal import print_message
from charter.errors import CharterError, RowError

Answers = Mapping[str, str]
"""What was answered so far, by the question's key. Empty: the test world's own."""

ORGANISM = "organism"
_SERVER = re.compile(r"(?:([^@\s]+)@)?(https?://\S+)")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WORLD_FAULT = "the organism's test world brings oracle, evaluator and prompts; name another model with --model"
_HEAD = "# Written by `charter init`. Every other key has its default: `charter init --all` shows them.\n"


@dataclass(frozen=True)
class Question:
    """``default`` and ``find_fault`` are given what was answered before; a fault is a reason in words."""

    key: str
    text: str
    default: Callable[[Answers], str]
    find_fault: Callable[[str], str]


def ask_questions(given: Mapping[str, str | None], asks: bool) -> dict[str, str]:
    """An answer to each question: the given one, else what a person types or, where nobody is asked, the default.

    Args:
        given: Options of the command line by key; None where there is none.
        asks: Whether a person sits at the terminal. A bad answer is asked for again, with the reason.

    Raises:
        BadParameter: An answer is bad, and nobody is asked.
    """
    answers: dict[str, str] = {}
    for question in QUESTIONS:
        if answers.get("model") == ORGANISM and question.key != "calls":
            if given.get(question.key) is not None:
                raise typer.BadParameter(_WORLD_FAULT, param_hint=f"--{question.key}")
            continue
        answer = given.get(question.key)
        while True:
            if answer is None:
                default = question.default(answers)
                answer = str(typer.prompt(question.text, default=default)) if asks else default
            fault = question.find_fault(answer.strip())
            if not fault:
                break
            if not asks:
                raise typer.BadParameter(fault, param_hint=f"--{question.key}")
            print_message(f"  {fault}")
            answer = None
        answers[question.key] = answer.strip()
    return answers


def write_spec(answers: Answers) -> str:
    """The spec of these answers, validated. Raises SpecError."""
    from charter import spec as specs

    if answers["model"] == ORGANISM:
        recipe = specs.list_recipes()["iteralign"].read_text(encoding="utf-8")
        return _HEAD + specs.change_spec(recipe, {"budget.calls": answers["calls"]})
    lines = [
        "version: 1",
        "method: iteralign",
        f"target: {{model: {_quote(answers['model'])}}}",
        *(f"{role}: {{{_oracle_text(answers[role])}}}" for role in ("oracle", "evaluator")),
        "prompts:",
        *(f"  {side}: [{_source_text(answers[side])}]" for side in ("redteam", "helpful")),
        f"budget: {{calls: {answers['calls']}}}",
    ]
    text = _HEAD + "\n".join(lines) + "\n"
    specs.parse_spec(text)
    return text


def _find_model_fault(answer: str) -> str:
    """A folder, a GGUF file or a hub id; whether a hub model is there is seen when it is looked at."""
    path = Path(answer)
    if answer == ORGANISM:
        return ""
    if path.is_dir():
        return "" if (path / "config.json").is_file() else f"{answer} holds no config.json, so it is no model"
    if path.is_file():
        return "" if path.suffix == ".gguf" else f"{answer} is no GGUF file; give that, or the model's folder"
    if _HUB_ID.fullmatch(answer):
        return ""
    return f"{answer or 'nothing'} is no folder, and no hub id such as Qwen/Qwen2.5-0.5B-Instruct"


def _find_oracle_fault(answer: str) -> str:
    """A hosted model, weights, or a server's model with the server's address."""
    name, server = _split_server(answer)
    if server:
        return "" if name else f"{answer} lacks the model's name at that server: write NAME@{answer}"
    if "/" in answer and " " not in answer:
        return ""
    return (
        f"{answer or 'nothing'} is neither provider/name, such as openai/gpt-4o, nor a folder of weights (./name), "
        "nor a server's model, such as judge@http://127.0.0.1:8000/v1"
    )


def _split_server(answer: str) -> tuple[str, str]:
    """The model's name and the address of its server; no address where none is given."""
    found = _SERVER.fullmatch(answer)
    return (found[1] or "", found[2]) if found else (answer, "")


def _oracle_text(answer: str) -> str:
    name, server = _split_server(answer)
    return f"model: {_quote(name)}" + (f", base_url: {_quote(server)}" if server else "")


def _find_source_fault(answer: str) -> str:
    """A published set's name, or a file whose prompts can be read."""
    from charter.spec import SourceSpec
    from charter.spec.prompt_spec import Columns
    from charter.wiring.prompt_sets import open_source

    if answer in _published_sets():
        return ""
    path, column = _split_column(answer)
    if not Path(path).exists():
        return f"{answer or 'nothing'} is no file, and none of the published sets: {', '.join(_published_sets())}"
    try:
        found = open_source(SourceSpec(path=path, columns=Columns(prompt=column)), "unsafe", offline=True).prompts()
    except RowError as error:
        return f"{error.message}\n  Name the column that holds the prompts after a colon: {path}:COLUMN"
    except CharterError as error:
        return str(error)
    return "" if found else f"{path} holds no prompts"


def _split_column(answer: str) -> tuple[str, str]:
    """The file and the column of its prompts: ``FILE``, or ``FILE:COLUMN`` where no file has the whole name."""
    path, mark, column = answer.rpartition(":")
    return (path, column.strip()) if mark and not Path(answer).exists() else (answer, "prompt")


def _find_calls_fault(answer: str) -> str:
    return "" if answer.isascii() and answer.isdigit() and int(answer) > 0 else f"{answer} is no whole number above 0"


def _published_sets() -> tuple[str, ...]:
    from typing import get_args

    from charter.spec.prompt_spec import PublishedSet

    return get_args(PublishedSet)


def _source_text(answer: str) -> str:
    if answer in _published_sets():
        return f"{{name: {_quote(answer)}}}"
    path, column = _split_column(answer)
    return f"{{path: {_quote(path)}{f', column: {_quote(column)}' if column != 'prompt' else ''}}}"


def _quote(text: str) -> str:
    """A text as YAML on one line."""
    from charter.spec.yaml_text import render_value

    return render_value(text)


QUESTIONS = (
    Question(
        "model",
        "Model to align (a folder, a GGUF file, a hub id, or `organism`: the small model that ships with charter)",
        lambda _: ORGANISM,
        _find_model_fault,
    ),
    Question(
        "oracle",
        "Oracle, a stronger model that judges and proposes rules (provider/name, a folder, or NAME@http://SERVER/v1)",
        lambda _: "openai/gpt-4o",
        _find_oracle_fault,
    ),
    Question(
        "evaluator",
        "Evaluator, which scores before and after (best a third model)",
        lambda answers: answers["oracle"],
        _find_oracle_fault,
    ),
    Question(
        "redteam",
        "Prompts that the model should withstand (FILE, FILE:COLUMN, or a published set)",
        lambda _: "harmfulqa",
        _find_source_fault,
    ),
    Question(
        "helpful",
        "Ordinary prompts that it should still answer (FILE, FILE:COLUMN, or a published set)",
        lambda _: "self-instruct",
        _find_source_fault,
    ),
    Question("calls", "Most calls of the oracle, at which the run pauses", lambda _: "2000", _find_calls_fault),
)
"""In the order in which they are asked. The defaults are ours."""
