"""The command line: what it prints where, its exit codes, and that it costs nothing to ask for help."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import typer
import yaml
from pydantic import BaseModel

from charter import cli
from charter.cli import init, terminal
from charter.cli.app import app
from charter.cli.reference import render_reference
from charter.cli.run_commands import run_progress
from charter.records.chat import CallProgress
from charter.reports import progress
from charter.reports.page import render_page
from charter.reports.printable_text import escape_controls
from charter.reports.progress import ProgressWatcher
from charter.reports.run_summary import summarise_run
from charter.runs import Run
from charter.spec import Spec, list_recipes, parse_spec
from tests.fakes import tiny_models
from tests.fakes.recorded_run import SPEC, Tale, tell

COMMANDS = (
    "run",
    "resume",
    "fork",
    "erase",
    "show",
    "verify",
    "compare",
    "report",
    "explain",
    "export",
    "evaluate",
    "curate",
    "audit",
    "battery",
    "studio",
    "chat",
    "init",
    "doctor",
    "organism",
    "constitution",
    "judge",
    "review",
    "feedback",
)
NOWHERE = f"{SPEC}target: {{model: /nowhere/at/all}}\n"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Charter = Callable[..., Ended]


@pytest.fixture
def charter(capsys: pytest.CaptureFixture[str]) -> Charter:
    """Runs a command in this process."""

    def run(*words: object) -> Ended:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ended(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tell(tmp_path_factory.mktemp("runs") / "told")


# ---------------------------------------------------------------- help


def test_doctor_shows_what_a_model_reads_and_learns(charter: Charter, tmp_path: Path) -> None:
    ended = charter("doctor", str(tiny_models.build(tmp_path / "model")), "--json")
    found = {line["what"]: line["found"] for line in json.loads(ended.out)}
    assert found["prompt"].startswith("<s> <user>")
    assert found["end tokens"] == "</s>"
    assert "before the next user turn" in found["turns"]


def test_help_is_cheap() -> None:
    def cost() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "charter.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cost() for _ in range(3)) < 0.5


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, charter.cli.app; print([m for m in ('torch', 'pydantic', 'scipy', 'yaml') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(("own", "told"), [(None, "True"), ("0", "False")])
def test_no_library_tells_that_it_was_used(own: str | None, told: str) -> None:
    code = (
        "from charter.cli import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY as off\nprint(off)"
    )
    variables = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")}
    variables |= {} if own is None else {"HF_HUB_DISABLE_TELEMETRY": own}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=variables)
    assert found.stdout.splitlines()[-1] == told


def test_every_command_has_help(charter: Charter) -> None:
    ended = charter("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert name in ended.out
        assert charter(name, "--help").code == 0


def test_reference_holds_every_command_and_option() -> None:
    text = render_reference()
    for name in (*COMMANDS[:11], "organism build", "organism check", "organism serve", "constitution approve"):
        assert f"## charter {name}\n" in text
    for option in ("--set KEY=VALUE", "--dry-run", "--expect HASH", "--at STEP", "--redact", "--port N"):
        assert f"| `{option}` |" in text
    assert "None" not in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert all(row.split("|")[2].strip() for row in rows)


def test_version(charter: Charter) -> None:
    from charter import __version__

    assert charter("--version").out == f"charter {__version__}\n"


# ---------------------------------------------------------------- init


def leaves(record: BaseModel, above: str = "") -> dict[str, Any]:
    """Every key path of a spec with its value."""
    found: dict[str, Any] = {}
    for name in type(record).model_fields:
        value, path = getattr(record, name), f"{above}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, BaseModel) else {path: value}
    return found


def test_the_full_spec_parses_and_holds_every_default() -> None:
    written, defaults = leaves(parse_spec(init.full_spec())), leaves(Spec())
    own = {"target.model", "oracle.model", "evaluator", "prompts.redteam", "prompts.helpful"}
    assert defaults.keys() - written.keys() == {"evaluator"}
    assert {key for key in defaults if written.get(key) != defaults[key]} == own


def test_the_full_spec_spells_every_key_out() -> None:
    value: Any = yaml.safe_load(init.full_spec())
    paths = leaves(init.example_spec())
    assert len(paths) > 100
    for path in paths:
        place = value
        for part in path.split(".") if not path.startswith("evaluator.") else ["evaluator"]:
            place = place[part]


def test_the_short_spec_holds_what_a_person_needs() -> None:
    text = init.short_spec()
    assert parse_spec(text) == parse_spec(init.full_spec()) == init.example_spec()
    keys = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(keys) <= 14
    for key in ("target", "oracle", "evaluator", "prompts", "budget"):
        assert f"\n{key}:\n" in text


def test_a_recipe_is_not_written_with_every_key(charter: Charter) -> None:
    assert charter("init", "--recipe", "iteralign", "--all").code == 2


def test_init_lists_and_writes(charter: Charter, tmp_path: Path) -> None:
    listed = charter("init", "--list").out
    assert all(name in listed for name in list_recipes())
    assert parse_spec(charter("init").out) == init.example_spec()
    target = tmp_path / "align.yaml"
    assert charter("init", "--recipe", "iteralign", "--out", target).code == 0
    assert target.read_bytes() == list_recipes()["iteralign"].read_bytes()
    again = charter("init", "--out", target)
    assert again.code == 3
    assert "exists already" in again.err
    assert charter("init", "--recipe", "nothing").code == 2


# ---------------------------------------------------------------- run, resume, fork


def test_every_fault_of_a_spec_is_told(charter: Charter, tmp_path: Path) -> None:
    spec = tmp_path / "bad.yaml"
    spec.write_text("sed: 1\nseed: -1\noptions: {drw: {}, draw: {batch: none}}\nbudget: {calls: 0}\n")
    ended = charter("run", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    for fault in (
        "sed: unknown key",
        "seed:",
        "options.drw: unknown key; did you mean `draw`?",
        "batch",
        "budget.calls",
    ):
        assert fault in ended.err
    assert ended.out == ""
    assert not (tmp_path / "run").exists()


def test_unknown_recipe_and_bad_change(charter: Charter) -> None:
    ended = charter("run", "no-such-recipe")
    assert ended.code == 2
    assert "charter init --list" in ended.err
    assert charter("run", "iteralign", "--set", "seed").code == 2
    wrong = charter("run", "iteralign", "--set", "options.draw.batch=0")
    assert wrong.code == 2
    assert "options.draw.batch" in wrong.err


def test_finished_run_is_shown_again(charter: Charter, told: Path, tmp_path: Path) -> None:
    spec = tmp_path / "same.yaml"
    spec.write_text(f"# other words, the same spec\n{SPEC}")
    journal = (told / "journal.jsonl").read_bytes()
    ended = charter("run", spec, "--out", told, "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == summarise_run(told).model_dump(mode="json")
    assert (told / "journal.jsonl").read_bytes() == journal
    other = charter("run", spec, "--out", told, "--seed", 5)
    assert other.code == 3
    assert "another spec" in other.err


def test_unfinished_run_goes_on(charter: Charter, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(NOWHERE)
    run = tell(tmp_path / "run", Tale(finished=False, spec=NOWHERE))
    ended = charter("run", spec, "--out", run)
    assert ended.code == 4  # it goes on as far as its model, which is not there
    assert "goes on" in ended.err
    assert "/nowhere/at/all" in ended.err


def test_only_the_budget_can_change_when_a_run_goes_on(charter: Charter, told: Path) -> None:
    ended = charter("resume", told, "--set", "seed=1", "--set", "options.draw.batch=3")
    assert ended.code == 2
    assert "seed" in ended.err
    assert "options.draw.batch" in ended.err
    assert charter("resume", told, "--set", "budget.calls=many").code == 2


def test_fork_keeps_the_steps_before(charter: Charter, told: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    words = ("fork", told, new, "--at", "001/kept", "--set", "options.replay.ratio=1", "--set", "seed=9")
    ended = charter(*words)
    assert ended.code == 0
    assert f"charter resume {new}" in ended.err
    assert (new / "001/helps.jsonl").read_bytes() == (told / "001/helps.jsonl").read_bytes()
    assert not (new / "001/kept.jsonl").exists()
    assert parse_spec((new / "spec.yaml").read_text()).options.replay.ratio == 1
    with Run.open(new) as run:
        assert run.seed == 9
    assert charter(*words).code == 3


def test_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(typer.Exit) as stop, run_progress(tmp_path, quiet=True):
        raise KeyboardInterrupt
    assert stop.value.exit_code == 130
    said = capsys.readouterr().err
    assert "what was answered is kept" in said
    assert f"charter resume {tmp_path}" in said


def test_watcher_tells_what_was_made_and_not_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_NOTEWORTHY_SECONDS", 0.0)
    lines: list[str] = []
    watcher = ProgressWatcher(lines.append)
    for step, done, total in (("000/a", 3, 3), ("000/b", 0, 2), ("000/b", 1, 2), ("000/b", 2, 2), ("000/b", 2, 2)):
        watcher(step, done, total)
    assert [line.split(":")[0] for line in lines] == ["000/b"]


# ---------------------------------------------------------------- show, verify, compare, report


def test_show_names_what_matters(charter: Charter, told: Path) -> None:
    ended = charter("show", told)
    assert ended.code == 0
    for part in (
        "75.0% (59.8 to 85.8)",
        "Useless rules, measured: the words of title 2",
        "19 for aligning",
        "5 unjudged",
        "HEAD ",
    ):
        assert part in ended.out
    assert "It stopped because the last batch was done." in ended.out
    assert "Not independent" not in ended.out
    assert json.loads(charter("show", told, "--json").out)["head"] == summarise_run(told).head


def test_show_names_the_report_where_there_is_one(charter: Charter, tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    (run / "report.html").unlink(missing_ok=True)
    assert "The report" not in charter("show", run).out
    (run / "report.html").touch()
    assert f"The report: {run / 'report.html'}" in charter("show", run).out.replace("\n", "")


def test_a_finished_run_without_a_policy_of_its_own_says_so(charter: Charter, tmp_path: Path) -> None:
    note, run = "Nothing was learnt: the run ended with the model that it began with", tell(tmp_path / "run")
    assert note in charter("show", run).out
    assert note in render_page(run)
    assert note not in charter("show", tell(tmp_path / "half", Tale(finished=False))).out
    (run / "adapter").mkdir()
    assert note not in charter("show", run).out
    assert note not in render_page(run)
    attacked = Tale(spec="version: 1\nmethod: red_team\nworld: village\n")
    assert note not in charter("show", tell(tmp_path / "attacked", attacked)).out, "it never trains"


def test_show_of_a_dependent_unfinished_run(charter: Charter, tmp_path: Path) -> None:
    half = charter("show", tell(tmp_path / "half", Tale(finished=False))).out
    assert "not finished" in half
    assert "charter resume" in half
    assert "Not independent" in charter("show", tell(tmp_path / "run", Tale(independent=False))).out


def test_model_text_cannot_steer_the_terminal(charter: Charter, tmp_path: Path) -> None:
    run = tell(tmp_path / "run", Tale(words=lambda name: f"\x1b[2J\x07[bold]{name}\u202e"))
    shown = charter("show", run).out
    assert "[bold]title 1" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert escape_controls("a\x1bb\r\n") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}\n"


def test_verify_finds_a_flipped_bit(charter: Charter, tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    head = summarise_run(run).head
    assert charter("verify", run).out.splitlines()[0].endswith("consistent, not anchored")
    assert "intact" in charter("verify", run, "--expect", head).out
    assert charter("verify", run, "--expect", "0" * 64).code == 3
    records = run / "001/critiques.jsonl"
    data = bytearray(records.read_bytes())
    data[-9] ^= 1
    records.write_bytes(data)
    ended = charter("verify", run, "--json")
    assert ended.code == 3
    fault = json.loads(ended.out)["faults"][0]
    assert (fault["file"], fault["line"]) == ("001/critiques.jsonl", 6)


def test_compare_in_three_forms(charter: Charter, told: Path, tmp_path: Path) -> None:
    other = tell(tmp_path / "other", Tale(outcomes=(0.25, 1.0)))
    assert "only the second" in charter("compare", told, other).out
    assert charter("compare", told, other, "--markdown").out.startswith("|  | told | other |")
    found = json.loads(charter("compare", told, other, "--json").out)
    assert [run["run"] for run in found["runs"]] == ["told", "other"]


def test_report_is_written_beside_the_run(charter: Charter, told: Path, tmp_path: Path) -> None:
    assert charter("report", told).code == 0
    assert "the words of answer x1" in (told.parent / "told-report.html").read_text()
    assert charter("report", told, "--redact", "--out", tmp_path / "page.html").code == 0
    assert "the words of" not in (tmp_path / "page.html").read_text()
    inside = charter("report", told, "--out", told / "report.html")
    assert inside.code == 3
    assert "inside the run" in inside.err
    assert charter("verify", told).code == 0


def test_no_run_there(charter: Charter, tmp_path: Path) -> None:
    for command in ("show", "verify", "compare", "report", "resume"):
        ended = charter(command, tmp_path / "nothing")
        assert ended.code != 0
        assert ended.err.startswith("charter: ")
        assert "Traceback" not in ended.err


# ---------------------------------------------------------------- constitution, doctor


def test_decisions_about_rules(charter: Charter, tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    file = tmp_path / "before.yaml"
    file.write_text(charter("constitution", "show", run, "--as", "yaml").out)
    assert charter("constitution", "diff", file, run).out == ""
    assert charter("constitution", "reject", run, "p-2", "--note", "useless").code == 0
    assert "+p-2 [rejected]" in charter("constitution", "diff", file, run).out
    assert charter("constitution", "approve", run, "p-2").code == 0
    assert charter("constitution", "diff", file, run).out == ""
    shown = json.loads(charter("constitution", "show", run, "--as", "json").out)
    assert [p["id"] for p in shown["principles"]] == ["p-1", "p-2", "p-3"]
    unknown = charter("constitution", "approve", run, "p-9")
    assert unknown.code == 3
    assert "p-1, p-2, p-3" in unknown.err
    assert charter("verify", run).code == 0


def test_people_decide_by_name_and_the_log_says_it(charter: Charter, tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    lead = ("--by", "Ada", "--role", "policy lead")
    edited = charter("constitution", "edit", run, "p-2", "Say no to \x1b[31mit.", *lead, "--note", "clearer")
    assert "+p-2 [approved]" in edited.out
    assert "\x1b" not in edited.out
    assert "approved by Ada (policy lead): clearer" in edited.err
    assert charter("constitution", "merge", run, "p-1", "p-3", "--text", "Both.", "--by", "Ben").code == 0
    assert charter("constitution", "tag", run, "p-1", "May I?", "--by", "Ben").code == 0
    assert charter("constitution", "propose", run, "Be kind.", "--by", "Ben").code == 0
    assert charter("constitution", "edit", run, "p-2", "  ").code == 2
    shown = {p["id"]: p for p in json.loads(charter("constitution", "show", run, "--as", "json").out)["principles"]}
    assert (shown["p-1"]["text"], shown["p-3"]["status"]) == ("Both.", "retired")
    assert [p["status"] for p in shown.values()] == ["approved", "approved", "retired", "proposed"]
    log = charter("constitution", "log", run).out
    assert all(word in log for word in ("Ada (policy lead)", "clearer", "merge p-3", "May I?", "Be kind."))
    assert "edit by Ada (policy lead): clearer" in charter("constitution", "blame", run, "p-2").out
    assert "asked:" in charter("constitution", "blame", run, "p-1").out


def test_a_version_is_released_with_what_changed(charter: Charter, tmp_path: Path) -> None:
    run, out = tell(tmp_path / "run"), tmp_path / "releases"
    assert charter("constitution", "release", run, "--as", "1.0", "--out", out, "--by", "Ada").code == 0
    charter("constitution", "reject", run, "p-2", "--by", "Ben", "--note", "useless")
    second = charter("constitution", "release", run, "--as", "1.1", "--out", out, "--by", "Ada").out
    assert "+p-2 [rejected]" in second
    assert "Ben reject p-2: useless" in second
    log = (out / "CHANGELOG.md").read_text(encoding="utf-8")
    assert log.index("## 1.1") < log.index("## 1.0")
    assert charter("constitution", "diff", run, out / "constitution-1.1.yaml").out == ""
    assert charter("constitution", "release", run, "--as", "1.1", "--out", out).code == 2
    assert charter("constitution", "release", run, "--as", "../x", "--out", out).code == 2
    assert charter("verify", run).code == 0


def test_doctor_names_keys_and_keeps_them(charter: Charter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "do-not-print-me")
    ended = charter("doctor", "--json")
    found = {row["what"]: row for row in json.loads(ended.out)}
    assert "SOME_API_KEY" in found["keys"]["found"]
    assert "do-not-print-me" not in ended.out
    assert {"Python", "threads", "device", "disk", "organism"} <= found.keys()
    assert ended.code == int(any(row["mend"] for row in found.values()))


def test_every_command_is_in_the_app() -> None:
    names = [
        command.name or (command.callback.__name__ if command.callback else "") for command in app.registered_commands
    ]
    assert (*names, *(group.name for group in app.registered_groups)) == COMMANDS


# ---------------------------------------------------------------- organism


def test_what_is_no_organism_is_told_apart(charter: Charter, tmp_path: Path) -> None:
    ended = charter("organism", "check", tmp_path)
    assert ended.code == 2
    assert "holds no organism" in ended.err
    assert charter("organism", "build", "--world", "no-such-world", "--out", tmp_path / "new").code == 2
    assert charter("organism", "build", "--out", tmp_path).code == 2


def test_oracle_is_served_until_it_is_interrupted() -> None:
    words = [sys.executable, "-m", "charter.cli", "organism", "serve", "--world", "village"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            with urlopen(f"{url}/models", timeout=30) as reply:
                assert json.load(reply)["data"][0]["id"].startswith("oracle:village")
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


# ---------------------------------------------------------------- progress


def test_a_slow_rate_is_said_in_a_unit_that_shows_it() -> None:
    rates = [(640, 10.0), (5, 2.0), (1, 4.0), (1, 1200.0)]
    told = [progress.rate_in_words(made, seconds) for made, seconds in rates]
    assert told == ["64 a second", "2.5 a second", "15 a minute", "3.0 an hour"]


def test_a_long_step_is_told_while_it_is_at_work() -> None:
    lines: list[str] = []
    watcher = ProgressWatcher(lines.append)
    watcher.beat()
    watcher("000/answers", 3, 64)
    watcher.beat()
    watcher("000/answers", 64, 64)
    watcher.beat()
    assert [line.partition(" after")[0] for line in lines] == ["000/answers: 3 of 64"]


def test_how_far_a_call_is_in_words() -> None:
    begun, half, first = (CallProgress(0, 64, 0.0, 0), CallProgress(16, 64, 0.5, 2000), CallProgress(1, 64, 0.25, 100))
    assert progress.call_in_words(begun, 0.0) == "answers 0 of 64"
    assert progress.call_in_words(half, 100.0) == "answers 16 of 64, tokens 20 a second, 100 s left"
    assert progress.call_in_words(first, 100.0) == "answers 1 of 64, tokens 1.0 a second, 5 min left"


def test_a_bar_shows_how_far_a_call_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from rich.console import Console

    out = Console(file=io.StringIO(), force_terminal=True, width=160)
    monkeypatch.setattr(terminal, "open_console", lambda stderr: out)
    with terminal.watch_progress() as watcher:
        assert isinstance(watcher, ProgressWatcher)
        watcher("000/answers", 0, 64)
        watcher.watch_call(CallProgress(0, 64, 0.0, 0))
        watcher.watch_call(CallProgress(16, 64, 0.5, 2000))
        assert watcher._bars is not None
        watcher._bars.refresh()
        shown = out.file.getvalue()  # type: ignore[attr-defined]
        watcher("000/verdicts", 0, 64)
        assert watcher._call == ""
    assert "answers 16 of 64, tokens " in shown
