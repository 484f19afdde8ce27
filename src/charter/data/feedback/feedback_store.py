"""The feedback of users in a database: a row is acknowledged only once it is on the disk, and stands there once.

SQLite writes ahead (WAL) and waits for the disk at each commit, as PostgreSQL does by itself. Erasing a row leaves a
tombstone: its id and kind stay, its words and whoever said them go.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, case, create_engine, event, func, make_url, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from charter.data.feedback.feedback_table import FEEDBACK, LOCK_NUMBER
from charter.errors import SpecError, StoreError
from charter.records.feedback import Feedback, FeedbackCount, FeedbackReceipt, FeedbackRow
from charter.records.record import canonical, digest

BUSY_SECONDS = 30
"""How long SQLite waits for another process that writes."""
POOLED = 10
"""Connections that are kept open."""
_ONE_MIGRATION = threading.Lock()
"""Alembic keeps what it works on in a module of its own, so that one process migrates one store at a time."""
_A_PIECE = 1_000
"""Rows that are read at once."""


class FeedbackStore:
    """A store of feedback, opened; an older one is brought to the latest version.

    Args:
        place: The file of an SQLite database, or a URL such as ``postgresql://user@host/name``.
        create: A file that is not there is made.

    Raises:
        SpecError: No such kind of database.
        StoreError: It cannot be reached or read.
    """

    def __init__(self, place: str, create: bool = True) -> None:
        self._url = _parse_place(place)
        self.name = self._url.render_as_string(hide_password=True)
        file = self._url.database or ""
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        if self._is_sqlite and not create and not Path(file).is_file():
            raise StoreError(f"there is no store of feedback at {file}", "Give the one that feedback was taken into.")
        self._writing = threading.Lock() if self._is_sqlite else nullcontext()
        with self._translate():
            self._engine = _connect_sqlite(self._url) if self._is_sqlite else _connect(self._url)
            try:
                with _ONE_MIGRATION, self._begin("BEGIN IMMEDIATE") as connection:
                    self._migrate(connection)
            except BaseException:
                self._engine.dispose()
                raise

    def add_rows(self, rows: Sequence[FeedbackRow]) -> list[FeedbackReceipt]:
        """Takes rows in, on the disk when this returns. Where one is ``changed`` (its id stands there with other
        words), none is taken; one that was ``erased`` is passed over. Raises StoreError."""
        with self._translate(), self._writing, self._begin() as connection:
            receipts = [_add_row(connection, row) for row in rows]
            if any(receipt.state == "changed" for receipt in receipts):
                connection.rollback()
            else:
                connection.commit()
        return receipts

    def read_rows(self) -> Iterator[FeedbackRow]:
        """Every row in the order of arrival, erased ones too. Raises StoreError."""
        last = 0
        while True:
            asked = select(FEEDBACK).where(FEEDBACK.c.number > last).order_by(FEEDBACK.c.number).limit(_A_PIECE)
            with self._translate(), self._begin() as connection:
                found = connection.execute(asked).mappings().all()
            for fields in found:
                yield _read_row(fields)
            if len(found) < _A_PIECE:
                return
            last = found[-1]["number"]

    def find_row(self, id: str) -> FeedbackRow | None:
        """A row; None where there is none of this id. Raises StoreError."""
        with self._translate(), self._begin() as connection:
            found = connection.execute(select(FEEDBACK).where(FEEDBACK.c.id == id)).mappings().first()
        return None if found is None else _read_row(found)

    def count_rows(self) -> list[FeedbackCount]:
        """How many rows there are by kind and consent. Raises StoreError."""
        gone = func.sum(case((FEEDBACK.c.erased != "", 1), else_=0))
        by = (FEEDBACK.c.kind, FEEDBACK.c.consent)
        with self._translate(), self._begin() as connection:
            found = connection.execute(select(*by, func.count(), gone).group_by(*by).order_by(*by)).all()
        return [FeedbackCount(kind=k, consent=c, rows=rows, erased=erased) for k, c, rows, erased in found]

    def erase_row(self, id: str, at: str) -> bool:
        """Puts a tombstone in the place of a row, at this time (ISO 8601). False where there is no such row, or it was
        erased before. Raises StoreError."""
        gone = {"said": None, "digest": "", "masked": "{}", "consent": "none", "sender": "", "erased": at}
        asked = update(FEEDBACK).where(FEEDBACK.c.id == id, FEEDBACK.c.erased == "").values(gone)
        with self._translate(), self._writing, self._begin() as connection:
            changed = connection.execute(asked).rowcount
            connection.commit()
            if self._is_sqlite:
                connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the words stay in its log
        return changed > 0

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    def __enter__(self) -> FeedbackStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _begin(self, word: str = "BEGIN") -> Iterator[Connection]:
        with self._engine.connect().execution_options(begin_word=word) as connection:
            yield connection

    def _migrate(self, connection: Connection) -> None:
        """Brings the table to the latest version, one process at a time."""
        if not self._is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK_NUMBER})
        config = Config(attributes={"connection": connection})
        with resources.as_file(resources.files("charter.data.feedback") / "migrations") as folder:
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                what = f"{self.name} has a version of the table that this charter does not know"
                raise StoreError(what, "Use the charter that made it, or a newer one.") from error
        connection.commit()

    @contextmanager
    def _translate(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
            raise StoreError(f"the feedback store {self.name} cannot be used: {reason}", _OPENING) from error


_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_KINDS = "Give the file of an SQLite database, or a URL: sqlite:///FILE, postgresql://USER@HOST/NAME"
_OPENING = "See that it is there, that it is a store of feedback, and that you may write into it."


def _parse_place(place: str) -> URL:
    if "://" not in place:
        return URL.create("sqlite", database=place)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError) as error:
        raise SpecError("the URL of the store cannot be read", cure=_KINDS) from error
    if url.get_backend_name() not in _DRIVERS:
        raise SpecError(f"{url.get_backend_name()} is no kind of store", cure=_KINDS)
    return url.set(drivername=_DRIVERS[url.get_backend_name()])


def _connect(url: URL) -> Engine:
    return create_engine(url, pool_size=POOLED, max_overflow=POOLED, pool_pre_ping=True)


def _connect_sqlite(url: URL) -> Engine:
    """An engine that begins transactions itself, so that they hold for changes of the table too."""
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:
        del record
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin_word", "BEGIN"))

    return engine


def _add_row(connection: Connection, row: FeedbackRow) -> FeedbackReceipt:
    assert row.said is not None
    said, masked = row.said, dict(row.masked)
    fields = {
        **{"id": row.id, "sender": row.sender, "kind": said.kind, "consent": said.consent, "said": canonical(said)},
        **{"digest": digest(said), "masked": canonical(masked), "received": row.received, "erased": ""},
    }
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    asked = insert(FEEDBACK).values(fields).on_conflict_do_nothing(index_elements=["id"]).returning(FEEDBACK.c.number)
    if connection.execute(asked).first() is not None:
        return FeedbackReceipt(id=row.id, state="new", masked=masked)
    columns = (FEEDBACK.c.digest, FEEDBACK.c.erased)
    held, erased = connection.execute(select(*columns).where(FEEDBACK.c.id == row.id)).one()
    if erased:
        return FeedbackReceipt(id=row.id, state="erased")
    return FeedbackReceipt(id=row.id, state="known" if held == digest(said) else "changed", masked=masked)


def _read_row(fields: Any) -> FeedbackRow:
    said = None if fields["said"] is None else Feedback.model_validate_json(fields["said"])
    named = {name: fields[name] for name in ("id", "sender", "received", "erased")}
    return FeedbackRow(said=said, masked=json.loads(fields["masked"]), **named)
