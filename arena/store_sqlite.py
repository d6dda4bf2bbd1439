"""A store in one SQLite file: an engine that reads, an engine that writes, and the locks around every write.

Writes begin with BEGIN IMMEDIATE: a transaction that reads first and writes later is refused under WAL, without a
retry, when another writer came between, and would lose votes. Each write also holds a lock on `<file>-lock`. It makes
the writers of all processes take turns, and keeps SQLite before 3.51.3 from running a checkpoint while another
connection resets the log, which can corrupt the file (sqlite.org/wal.html#walresetbug): the automatic checkpoint is
part of COMMIT, so it runs under the lock.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DatabaseError, OperationalError

from paragone.arena.schema import APPLICATION_ID, create_tables, schema_info
from paragone.arena.store_version import check_version
from paragone.data.errors import InputError

BUSY_TIMEOUT_MS = 10_000
LOCK_S = 30.0  # longer than any of our own writes takes


class SQLiteDatabase:
    """The open file. Reading never waits for a writer; writers queue."""

    def __init__(self, path: Path, *, create: bool, any_version: bool = False) -> None:
        if not create and not path.is_file():
            raise InputError(f"{path}: no such database; make one with: paragone demo --dir DIR")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.name = str(path)
        self._lock = threading.Lock()
        self._watch_lock = threading.Lock()
        self._writer = _engine(path, begin="BEGIN IMMEDIATE", settings=_WRITER_SETTINGS)
        self._reader = _engine(path, begin="BEGIN", settings=_READER_SETTINGS, frozen=_is_frozen(path))
        try:
            self._check_identity(create=create, any_version=any_version)
        except InputError:
            self.close()
            raise
        # SQLite counts foreign commits per connection, so the count is always asked of this one.
        self._watch = self._reader.raw_connection()

    def _check_identity(self, *, create: bool, any_version: bool) -> None:
        # An existing file is looked at before a writer, which changes its journal mode, comes near it.
        if self.path.is_file() and self.path.stat().st_size > 0:
            self._check_file(any_version=any_version)
        elif create:
            with self.write() as connection:
                tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
                if not tables:  # another process may have been first
                    create_tables(connection)
        else:
            raise InputError(f"{self.path}: is empty, not a paragone database")

    def _check_file(self, *, any_version: bool) -> None:
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
            if found != APPLICATION_ID:
                raise InputError(f"{self.path}: is a database, but not one of paragone's")
            if not any_version:
                check_version(self.name, connection.execute(select(schema_info.c.version)).scalar_one())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the database; raises `InputError` when the file is damaged or gone."""
        with _named_errors(self.path, "read"), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, all or nothing; raises `InputError` when the file cannot be written to."""
        with (
            self._lock,
            _file_lock(self.path),
            _named_errors(self.path, "write to"),
            self._writer.begin() as connection,
        ):
            yield connection

    def data_version(self) -> int:
        """A number that changes whenever anybody commits a change (comparable within this object's life only)."""
        with self._watch_lock:
            cursor = self._watch.cursor()
            cursor.execute("PRAGMA data_version")
            version: int = cursor.fetchone()[0]  # type: ignore[index]
            cursor.close()
            return version

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        with self.read() as connection:
            found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                found.append(f"{row[0]} row {row[1]} refers to a missing row of {row[2]}")
        return found

    def backup(self, target: Path) -> None:
        """Write a whole, compact copy, also while others write; raises `InputError` when `target` is there."""
        if target.exists():
            raise InputError(f"{target}: is there already; name a new file")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self.path)) as connection:  # our readers may not even write elsewhere
                connection.execute("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            target.unlink(missing_ok=True)
            raise InputError(f"{self.path}: cannot copy this database to {target}: {error}") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close every connection; the last one to go folds the log into the file."""
        if hasattr(self, "_watch"):
            self._watch.close()
        self._reader.dispose()
        self._writer.dispose()


_SETTINGS = (
    "foreign_keys = ON",
    "recursive_triggers = ON",  # else INSERT OR REPLACE would delete votes past their trigger
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
)
# An import of a million votes writes all over its indexes: 64 MiB of them stay in memory, where there are so many.
_WRITER_SETTINGS = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536", *_SETTINGS)
_READER_SETTINGS = ("query_only = ON", *_SETTINGS)


def _is_frozen(path: Path) -> bool:
    """Whether we cannot write beside the file: SQLite must then do without the marks that its readers leave there.

    A log that was not folded into the file would be missed so; then SQLite has to refuse.
    """
    log = path.with_name(f"{path.name}-wal")
    unfolded = log.is_file() and log.stat().st_size > 0
    return path.is_file() and not os.access(path.parent, os.W_OK) and not unfolded


def _engine(path: Path, *, begin: str, settings: tuple[str, ...], frozen: bool = False) -> Engine:
    if frozen:
        file = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"immutable": "1", "uri": "true"})
        engine = create_engine(file)
    else:
        engine = create_engine(URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _named_errors(path: Path, doing: str) -> Iterator[None]:
    """Trouble with the file (not a database, damaged, full disk, read-only) as an `InputError` that names it."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(error, OperationalError) or type(error) is DatabaseError:
            raise InputError(f"{path}: cannot {doing} this database: {error.orig}") from error
        raise


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of all processes that write to the database at `path`; it is let go of when a process dies."""
    if sys.platform == "win32":  # no flock here: SQLite's own lock is left, all that is lost is the guard above
        yield
        return
    import fcntl

    lock = path.with_name(f"{path.name}-lock")
    try:
        file = lock.open("ab")
    except OSError as error:
        raise InputError(f"{lock}: cannot write: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{lock}: held by another process for over {LOCK_S:.0f} s; end that first"
                    ) from None
                time.sleep(0.005)
        yield
