"""Servers started for a policy: real processes, small ones here, ``transformers serve`` in test_serving.py."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from charter.errors import EngineError
from charter.models import processes, weights
from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
from charter.models.engines.served_engine import ServedEngine, ServedOptions
from charter.ports import Engine
from charter.records.model_refs import ModelRef
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow

SERVER = f"{sys.executable} -S {Path(__file__).parents[2] / 'fakes/chat_server.py'}"
OWNER = """
import sys
from pathlib import Path
from charter.records.model_refs import ModelRef
from tests.models.engines.test_served_engine import served
from tests.fakes.tiny_models import ask
model = ModelRef.model_validate_json(sys.argv[2])
engine = served(model, Path(sys.argv[1]))
print([answer.text for answer in engine.generate([ask("a", "hi")])][0].split()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("model"))))


def served(model: ModelRef, folder: Path, extra: str = "", **options: Any) -> ServedEngine:
    command = {"command": f"{SERVER} {{port}} {{name}} --folder {{base}} --pid {extra}", "ready_s": 60, **options}
    return ServedEngine(model, ServedOptions(**command), folder, connect)


def connect(urls: Sequence[str], name: str) -> Engine:
    return RemoteEngine(name, RemoteOptions(base_url=urls[0], more_urls=tuple(urls[1:]), give_up_after=0.5))


def answers(engine: ServedEngine, count: int = 1) -> list[tuple[str, int]]:
    """(name, pid) of who answers."""
    found = [c.text.split() for c in engine.generate([tiny_models.ask(str(n), "hi") for n in range(count)])]
    return [(name, int(pid)) for name, pid in found]


@pytest.fixture
def engine(model: ModelRef, tmp_path: Path) -> Iterator[ServedEngine]:
    with closing(served(model, tmp_path / "serving")) as engine:
        yield engine


def test_one_server_answers_under_a_name_that_holds_the_digest_until_it_is_closed(engine: ServedEngine) -> None:
    first = answers(engine, 3) + answers(engine)
    assert len(set(first)) == 1
    name, pid = first[0]
    assert name == engine.name == f"charter-{engine.model.digest[:16]}"
    assert engine.identity.endswith(f"@{engine.model.digest[:16]}")
    engine.close()
    assert not psutil.pid_exists(pid)
    assert answers(engine)[0][1] != pid


def test_nothing_starts_where_nothing_is_asked(engine: ServedEngine) -> None:
    assert list(engine.generate([tiny_models.ask("a", "hi")], done={"a"})) == []
    assert not engine.folder.exists()


def test_a_server_that_lists_no_names_is_asked_for_its_own_and_for_another(model: ModelRef, tmp_path: Path) -> None:
    with closing(served(model, tmp_path, "--unlisted")) as engine:
        assert answers(engine)[0][0] == engine.name
    with (
        closing(served(model, tmp_path, "--unlisted --any-name")) as engine,
        pytest.raises(EngineError, match="answers under any name"),
    ):
        answers(engine)


def test_a_server_that_answers_under_every_name_is_taken_by_the_one_that_it_lists(
    model: ModelRef, tmp_path: Path
) -> None:
    """As llama.cpp does it."""
    with closing(served(model, tmp_path, "--any-name")) as engine:
        assert answers(engine)[0][0] == engine.name


def test_weights_under_another_name_never_answer(model: ModelRef, tmp_path: Path) -> None:
    command = f"{SERVER} {{port}} charter-stale --folder {{base}}"
    with (
        closing(served(model, tmp_path, command=command, ready_s=60)) as engine,
        pytest.raises(EngineError, match=r"does not know the name .*, only charter-stale"),
    ):
        answers(engine)


def test_a_server_that_ends_says_its_last_words_without_secrets(
    model: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "hush-hush-1")
    ending = r"(?s)before it was ready \(status 3\).*no memory for \*\*\*\n.*target\.serve"
    talkative = served(model, tmp_path, "--last-words 'no memory for hush-hush-1'")
    with closing(talkative) as engine, pytest.raises(EngineError, match=ending):
        answers(engine)
    with (
        closing(served(model, tmp_path, "--dies-when-asked")) as engine,
        pytest.raises(EngineError, match=r"(?s)ended while it was asked.*out of memory, says the server"),
    ):
        answers(engine)


def test_a_command_that_is_not_there(model: ModelRef, tmp_path: Path) -> None:
    with (
        closing(served(model, tmp_path, command="no-such-server {base} {name} {port}")) as engine,
        pytest.raises(EngineError, match="no-such-server cannot be started"),
    ):
        answers(engine)


def test_an_error_while_it_answers_leaves_it_to_be_closed(engine: ServedEngine) -> None:
    stream = engine.generate([tiny_models.ask("a", "hi"), tiny_models.ask("b", "hi")])
    pid = int(next(stream).text.split()[1])
    stream.close()  # type: ignore[attr-defined]
    engine.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_server_outlives_charter(number: signal.Signals, model: ModelRef, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), model.model_dump_json()]
    owner = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        owner.send_signal(number)
    with processes.exclusive_lock(tmp_path / "lock", 60):
        assert not psutil.pid_exists(pid)


def test_a_policy_that_the_command_has_no_place_for(model: ModelRef, tmp_path: Path) -> None:
    full = model.model_copy(update={"adapter": model.base, "digest": "f" * 64})
    lora = f"{SERVER} {{port}} {{name}} --folder {{adapter}}"
    for command in (lora, f"{SERVER} {{port}} {{name}} --folder {{base}}"):
        with (
            closing(served(full, tmp_path, command=command, start_command=command)) as engine,
            pytest.raises(EngineError, match="no place for this policy's weights"),
        ):
            answers(engine)
    with closing(served(full, tmp_path, command=f"{SERVER} {{port}} {{name}} --pid --folder {{merged_dir}}")) as engine:
        assert answers(engine)[0][0] == "charter-ffffffffffffffff"
        assert (tmp_path / engine.name / "config.json").exists()
    assert not (tmp_path / engine.name).exists()


def test_several_servers_share_the_requests(model: ModelRef, tmp_path: Path) -> None:
    with closing(served(model, tmp_path, replicas=3)) as engine:
        found = answers(engine, 30)
        assert {name for name, _ in found} == {engine.name}
        pids = {pid for _, pid in found}
        assert len(pids) == 3
        assert engine.notes == ()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_server_that_dies_is_done_without_and_started_again(model: ModelRef, tmp_path: Path) -> None:
    """The one that comes to its third answer first dies of it; all is answered, and said, and then it is back."""
    command = f"{SERVER} {{port}} {{name}} --folder {{base}} --dies-once {tmp_path / 'died'}"
    with closing(served(model, tmp_path, command=command, replicas=2)) as engine:
        asked = [tiny_models.ask(str(n), f"hi {n}") for n in range(30)]
        found = {c.id: c.text for c in engine.generate(asked)}
        assert found == {str(n): f"{engine.name} hi {n}" for n in range(30)}
        assert [note.partition(" ")[2] for note in engine.notes] == ["went away, and others were asked in its place"]
        ended = [server.status is None for server in engine._servers]
        assert sorted(ended) == [False, True]
        assert len(list(engine.generate(asked))) == 30
        assert f"server {ended.index(False)} of 2 ended (status 1) and was started again" in engine.notes
        assert all(server.status is None for server in engine._servers)


def test_a_server_that_does_not_come_back_is_left_out(model: ModelRef, tmp_path: Path) -> None:
    command = f"sh -c 'exec {SERVER} {{port}} $(test -e {tmp_path}/died || echo {{name}}) --dies-once {tmp_path}/died'"
    with closing(served(model, tmp_path, command=command + " {base} {name}", replicas=2)) as engine:
        asked = [tiny_models.ask(str(n), "hi") for n in range(10)]
        for _ in range(3):
            assert len([c for c in engine.generate(asked) if not c.error]) == 10
        assert len([note for note in engine.notes if "did not come back and is left out" in note]) == 1


def test_where_all_servers_have_ended_the_first_says_its_last_words(model: ModelRef, tmp_path: Path) -> None:
    with (
        closing(served(model, tmp_path, "--dies-when-asked", replicas=2)) as engine,
        pytest.raises(EngineError, match=r"(?s)ended while it was asked.*out of memory, says the server"),
    ):
        answers(engine, 4)


def test_servers_know_their_number(model: ModelRef, tmp_path: Path) -> None:
    command = f"{SERVER} {{port}} {{name}} --folder {{base}} --hold {tmp_path}/held-{{replica}}"
    with closing(served(model, tmp_path, command=command, replicas=2)) as engine:
        for number in (0, 1):
            (tmp_path / f"held-{number}").touch()
        assert len(list(engine.generate([tiny_models.ask(str(n), "hi") for n in range(10)]))) == 10
        assert (tmp_path / "log").exists()
        assert (tmp_path / "log-1").exists()


def test_an_adapter_is_written_as_gguf_where_the_command_asks_for_it(model: ModelRef, tmp_path: Path) -> None:
    """The file is there while the server is at work; the adapter itself is checked in test_gguf_adapters.py."""
    policy = make_adapter(model, tmp_path / "policy")
    command = f"{SERVER} {{port}} {{name}} --pid --folder {{adapter_gguf}}"
    with closing(served(policy, tmp_path / "s", command=command, start_command="never {base} {name} {port}")) as engine:
        assert answers(engine)[0][0] == engine.name
        file = tmp_path / "s" / f"{engine.name}.gguf"
        assert file.read_bytes()[:4] == b"GGUF"
    assert not file.exists()


def make_adapter(model: ModelRef, where: Path) -> ModelRef:
    from peft import LoraConfig, get_peft_model

    with weights.quiet_libraries():
        tuned = get_peft_model(
            weights.load_model(Path(model.base), "cpu"), LoraConfig(r=2, target_modules="all-linear")
        )
        tuned.save_pretrained(str(where))
    files = weights.file_digests(where)
    return model.model_copy(update={"adapter": str(where), "digest": "a" * 64, "files": files})
