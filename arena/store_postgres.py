"""A store on a PostgreSQL server (13 or later).

Writers take turns by a transaction-long advisory lock, as SQLite's do by BEGIN IMMEDIATE: the chain of votes needs one
order, and a vote every few milliseconds is far more than people give. Readers see one snapshot and wait for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from paragone.arena.schema import create_tables, metadata, schema_info
from paragone.arena.store_version import check_version
from paragone.data.errors import InputError, UsageError

WRITERS = 0x70617261  # the key of the advisory lock: "para"
CONNECT_S = 10
LOCK_MS = 30_000


class PostgresDatabase:
    """The open database of a server; see `Database`."""

    def __init__(self, url: URL, *, create: bool, any_version: bool = False) -> None:
        self.name = url.render_as_string()  # the password is hidden
        self._writer = _engine(url, isolation="READ COMMITTED")
        self._reader = _engine(url, isolation="REPEATABLE READ").execution_options(postgresql_readonly=True)
        event.listen(self._writer, "begin", _take_turn)
        try:
            self._check_identity(create=create, any_version=any_version)
        except Exception:
            self.close()
            raise

    def _check_identity(self, *, create: bool, any_version: bool) -> None:
        with self.read() as connection:
            tables = set(inspect(connection).get_table_names())
        if schema_info.name not in tables:
            if taken := sorted(tables & set(metadata.tables)):
                raise InputError(
                    f"{self.name}: has a table {taken[0]!r}, but not of paragone's; use a database of its own"
                )
            if not create:
                raise InputError(f"{self.name}: has no arena yet; make one with: paragone import SOURCE --db URL")
            with self.write() as connection:
                if not inspect(connection).has_table(schema_info.name):  # another process may have been first
                    create_tables(connection)
        if not any_version:
            with self.read() as connection:
                check_version(self.name, connection.execute(select(schema_info.c.version)).scalar_one())

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot of the database; raises `InputError` when the server cannot be asked."""
        with _named_errors(self.name, "read"), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, all or nothing; raises `InputError` when the server cannot be written to."""
        with _named_errors(self.name, "write to"), self._writer.begin() as connection:
            yield connection

    def data_version(self) -> int:
        """The next transaction's number: it grows with every change on this server."""
        with self.read() as connection:
            version: int = connection.exec_driver_sql(
                "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
            ).scalar_one()
            return version

    def problems(self) -> list[str]:
        """Nothing: PostgreSQL checks references and pages by itself."""
        return []

    def backup(self, target: Path) -> None:
        """Not ours to do: raises `UsageError` with the command for it."""
        raise UsageError(f"{self.name}: back it up with: pg_dump --format=custom --file={target} URL")

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


def _engine(url: URL, *, isolation: str) -> Engine:
    options = f"-c lock_timeout={LOCK_MS} -c timezone=UTC"
    try:
        return create_engine(
            url,
            isolation_level=isolation,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_S, "application_name": "paragone", "options": options},
        )
    except ModuleNotFoundError:
        raise UsageError("PostgreSQL needs psycopg; install it with: pip install 'paragone[postgres]'") from None


def _take_turn(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")


@contextmanager
def _named_errors(name: str, doing: str) -> Iterator[None]:
    """Trouble with the server as an `InputError` that names it; broken rules of the tables stay as they are."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        text = str(error.orig).strip().splitlines()
        cause = text[0] if text else type(error.orig).__name__
        if "append-only" in cause:
            raise
        raise InputError(f"{name}: cannot {doing} this database: {cause}") from error
