"""Which database a path or URL names, and what the store asks of it: reading, writing, and a number that tells change.

SQLite is the default; a `postgresql://…` URL leads to a PostgreSQL server. The two differ in how writers take turns and
in little else: see `store_sqlite` and `store_postgres`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from paragone.data.errors import UsageError

FORMS = "write sqlite:///folder/arena.db or postgresql://user@host/name"


class Database(Protocol):
    """An open database."""

    name: str  # as messages call it, without a password

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent view; it never waits for a writer."""
        ...

    def write(self) -> AbstractContextManager[Connection]:
        """One transaction, all or nothing; writers of all processes take turns."""
        ...

    def data_version(self) -> int:
        """A number that changes whenever anybody commits a change (comparable within this object's life only)."""
        ...

    def problems(self) -> list[str]:
        """What the database itself finds wrong."""
        ...

    def backup(self, target: Path) -> None:
        """Write a whole copy to a new file; raises `UsageError` where the database has its own tool for that."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def database_target(url_or_path: str | Path) -> Path | URL:
    """The file of a path or of a `sqlite:///…` URL, or the URL of a server. Raises `UsageError` for anything else."""
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return Path(url_or_path)
    try:
        url = make_url(url_or_path)
    except ArgumentError:
        raise UsageError(f"{url_or_path}: not a database URL; {FORMS}") from None
    if url.get_backend_name() == "postgresql":
        if not url.database:
            raise UsageError(f"{url.render_as_string()}: the URL names no database; {FORMS}")
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        raise UsageError(f"{url.render_as_string()}: only SQLite and PostgreSQL are supported; {FORMS}")
    if not url.database or url.database == ":memory:":
        raise UsageError(f"{url_or_path}: the URL names no file; {FORMS}")
    return Path(url.database)


def open_database(url_or_path: str | Path, *, create: bool = False, any_version: bool = False) -> Database:
    """Open a database, or make one; `any_version` is for migrations alone."""
    target = database_target(url_or_path)
    if isinstance(target, Path):
        from paragone.arena.store_sqlite import SQLiteDatabase

        return SQLiteDatabase(target, create=create, any_version=any_version)
    from paragone.arena.store_postgres import PostgresDatabase

    return PostgresDatabase(target, create=create, any_version=any_version)
