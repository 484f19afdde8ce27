"""Mutations of a finished run: what a disk, a slip or ill will can do to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from charter.records.record import canonical, digest
from charter.runs import store

KINDS_OF_FILES = (
    store.JOURNAL,
    store.HEAD,
    store.SPEC,
    store.ENVIRONMENT,
    "000/rows.jsonl",
    "000/rows.parquet",
    "000/rows.seal.json",
    "001/policy/config.json",
    "000/heldout_scores.jsonl",
    "000/heldout_scores.seal.json",
    "constitution.yaml",
    "outcome.json",
    "adapter/weights.bin",
)
"""A file of each kind, of the small run and of the told one."""
DEEP = 100_000
"""Lists within one another: enough to end any reader that calls itself."""
OTHER_TYPES: tuple[Any, ...] = (None, 7, -1, 1.5, True, "", "../../etc", [], ["x"], {}, {"x": "y"})
"""What is put in the place of a field's value."""


@dataclass(frozen=True)
class Mutation:
    """A change of a run. ``harmless`` says why it is no fault; ``foreign``: it is listed, and a fault when strict."""

    name: str
    apply: Callable[[Path], object]
    harmless: str = ""
    foreign: bool = False


def list_mutations(run: Path) -> Iterator[Mutation]:
    """Every mutation of a finished run."""
    files = [name for name in KINDS_OF_FILES if (run / name).exists()]
    for name in files:
        yield from _byte_mutations(name)
        yield from _entry_mutations(name)
    for name in files:
        if name.endswith(".jsonl"):
            yield from _line_mutations(name)
        if name.endswith((".json", ".jsonl")) or name == store.HEAD:
            yield from _json_mutations(name)
    yield from _foreign_mutations()
    yield from _folder_mutations()


def _byte_mutations(name: str) -> Iterator[Mutation]:
    def flip(place: float, mask: int) -> Callable[[Path], object]:
        def apply(run: Path) -> None:
            data = bytearray((run / name).read_bytes())
            data[int(place * (len(data) - 1))] ^= mask
            (run / name).write_bytes(data)

        return apply

    def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        return lambda run: (run / name).write_bytes(change((run / name).read_bytes()))

    yield Mutation(f"{name}: first bit flipped", flip(0, 1))
    yield Mutation(f"{name}: a bit in the middle flipped", flip(0.5, 0x20))
    yield Mutation(f"{name}: a high bit flipped, so that it is no UTF-8", flip(0.3, 0x80))
    yield Mutation(f"{name}: cut in half", edit(lambda data: data[: len(data) // 2]))
    yield Mutation(f"{name}: last byte cut", edit(lambda data: data[:-1]))
    yield Mutation(f"{name}: emptied", edit(lambda data: b""))
    yield Mutation(f"{name}: written twice", edit(lambda data: data * 2))
    yield Mutation(f"{name}: zeros appended", edit(lambda data: data + bytes(64)))
    if name.endswith((".jsonl", ".seal.json")) or "." not in name:
        yield Mutation(f"{name}: a sparse terabyte", lambda run: os.truncate(run / name, 1 << 40))


def _entry_mutations(name: str) -> Iterator[Mutation]:
    def replace(make: Callable[[Path], object]) -> Callable[[Path], object]:
        def apply(run: Path) -> None:
            (run / name).unlink()
            make(run / name)

        return apply

    yield Mutation(f"{name}: removed", replace(lambda path: None))
    yield Mutation(f"{name}: a link to itself", replace(lambda path: path.symlink_to(path)))
    yield Mutation(f"{name}: a link to nothing", replace(lambda path: path.symlink_to("nothing")))
    yield Mutation(f"{name}: a link to its own copy", lambda run: _move_out(run, name))
    yield Mutation(f"{name}: a FIFO", replace(os.mkfifo))
    yield Mutation(f"{name}: a folder", replace(Path.mkdir))
    yield Mutation(f"{name}: a socket", replace(_bind_socket))
    yield Mutation(f"{name}: a link to a device", replace(lambda path: path.symlink_to("/dev/zero")))
    yield Mutation(f"{name}: touched", lambda run: os.utime(run / name, (0, 0)), harmless="times of files say nothing")
    yield Mutation(f"{name}: executable", lambda run: (run / name).chmod(0o755), harmless="modes say nothing")


def _line_mutations(name: str) -> Iterator[Mutation]:
    def edit(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
        def apply(run: Path) -> None:
            lines = (run / name).read_bytes().splitlines(keepends=True)
            (run / name).write_bytes(b"".join(change(lines)))

        return apply

    deep = b"[" * DEEP + b"]" * DEEP + b"\n"
    yield Mutation(f"{name}: first line removed", edit(lambda lines: lines[1:]))
    yield Mutation(f"{name}: first line twice", edit(lambda lines: [*lines[:1], *lines]))
    yield Mutation(f"{name}: lines reversed", edit(lambda lines: lines[::-1] if len(lines) > 1 else lines * 2))
    yield Mutation(f"{name}: an empty line", edit(lambda lines: [*lines[:1], b"\n", *lines[1:]]))
    yield Mutation(f"{name}: a deep line first", edit(lambda lines: [deep, *lines]))
    yield Mutation(f"{name}: a deep line last", edit(lambda lines: [*lines, deep]))
    yield Mutation(f"{name}: bytes that are no UTF-8", edit(lambda lines: [*lines, b'{"id":"\xff\xfe"}\n']))


def _json_mutations(name: str) -> Iterator[Mutation]:
    texts = {
        "a list": b"[]\n",
        "a string": b'"x"\n',
        "null": b"null\n",
        "a number of 10,000 digits": b"9" * 10_000 + b"\n",
        "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"\n",
        "deep lists": b"[" * DEEP + b"]" * DEEP + b"\n",
        "NaN": b'{"n":NaN}\n',
        "Infinity": b'{"n":-Infinity}\n',
        "a key twice": b'{"n":1,"n":2}\n',
        "half a surrogate": b'{"event":"\\ud800"}\n',
    }
    for kind, text in texts.items():
        yield Mutation(f"{name}: holds {kind}", partial(_write, name, text))


def _foreign_mutations() -> Iterator[Mutation]:
    def write(name: str) -> Callable[[Path], object]:
        def apply(run: Path) -> None:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(b"{}\n")

        return apply

    for name in ("evil.py", "001/evil.py", "tokenizer.json", "adapter2/adapter.bin", ".hidden", ".HEAD.tmp", "a b\n"):
        yield Mutation(f"{name!r} is there too", write(name), foreign=True)
    for name in ("001/more.jsonl", "9.seal.json", "adapter/more.bin", "001/policy/more.bin", "001/policy/x/y.py"):
        yield Mutation(f"{name} is there too", write(name))
    for name in ("evil", "001/evil", "001/policy/evil", "adapter/evil"):
        yield Mutation(f"{name} is a FIFO", partial(_place_fifo, name))
        yield Mutation(f"{name} is a link", partial(_place_link, name))
    yield Mutation("an empty folder", lambda run: (run / "empty").mkdir(), harmless="an empty folder holds nothing")


def _folder_mutations() -> Iterator[Mutation]:
    for name in ("000", "001", "adapter", "001/policy", "001/policy/deep"):
        yield Mutation(f"{name}: a link to its own copy", partial(_move_out, name=name))
        yield Mutation(f"{name}: removed", partial(_remove_folder, name))
        yield Mutation(f"{name}: a file", partial(_remove_folder, name, file=True))
    yield Mutation(".lock: a link", lambda run: _move_out(run, store.LOCK))
    yield Mutation(".lock: a FIFO", partial(_place_fifo, store.LOCK))


def _write(name: str, data: bytes, run: Path) -> None:
    (run / name).write_bytes(data)


def _place_fifo(name: str, run: Path) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)


def _place_link(name: str, run: Path) -> None:
    (run / name).symlink_to("/etc")


def _remove_folder(name: str, run: Path, file: bool = False) -> None:
    shutil.rmtree(run / name)
    if file:
        (run / name).touch()


def _move_out(run: Path, name: str) -> None:
    outside = run.parent / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)


def _bind_socket(path: Path) -> None:
    """A name in the file system may be longer than a socket's address, so it is bound from its folder."""
    back = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(back)


def forge_journal(run: Path, edit: Callable[[list[store.Event]], object]) -> None:
    """A forger's work: the journal edited, its hash chain and HEAD made to fit."""
    path = run / store.JOURNAL
    events = [json.loads(line) for line in path.read_text().splitlines()]
    edit(events)
    with suppress(TypeError, ValueError):  # a field of another type may have no place in the records' hash
        for number, event in enumerate(events):
            if event["event"] == "finished":
                event["records"] = store.records_hash(events[:number])
    previous, lines = "", []
    for n, event in enumerate(events, 1):
        body = {**{k: v for k, v in event.items() if k != "hash"}, "n": n, "previous": previous}
        previous = digest(body)
        lines.append({**body, "hash": previous})
    path.write_text("".join(f"{canonical(line)}\n" for line in lines))
    end = next((line for line in lines if line["event"] == "finished"), lines[-1])
    head = {"head": end["hash"], "records": end.get("records"), "journal_lines": end["n"]}
    (run / store.HEAD).write_bytes(canonical(head).encode() + b"\n")


def list_journal_fields(run: Path) -> list[tuple[int, str]]:
    """One line of each kind of event, with each of its own fields."""
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, line in enumerate((run / store.JOURNAL).read_text().splitlines()):
        event = json.loads(line)
        first.setdefault(event["event"], (number, event))
    return [(number, key) for number, event in first.values() for key in event if key not in ("n", "previous", "hash")]


def reseal(run: Path, step: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """A forger's work: a step's seal edited, and the journal made to fit."""
    path = run / f"{step}.seal.json"
    seal = json.loads(path.read_bytes())
    edit(seal)
    path.write_bytes(canonical(seal).encode() + b"\n")

    def mark(events: list[store.Event]) -> None:
        for event in events:
            if event["event"] == "sealed" and event["step"] == step:
                event["seal"] = store.sha256(path.read_bytes())

    forge_journal(run, mark)
