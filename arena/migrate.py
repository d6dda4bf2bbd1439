"""Bringing an older database up to today's schema, in one transaction, after a backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from paragone.arena.schema import VERSION, schema_info
from paragone.arena.store_engine import Database, database_target, open_database

SCRIPTS = "paragone.arena:migrations"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What was done."""

    before: int
    after: int
    backup: Path | None  # None on a server, or when there was nothing to do


def upgrade(url_or_path: str | Path) -> Upgrade:
    """Bring a database up to `VERSION`; a file is copied beside itself first. Nothing changes when a step fails."""
    target = database_target(url_or_path)
    database = open_database(url_or_path, any_version=True)
    try:
        before = version(database)
        if before >= VERSION:
            return Upgrade(before, before, None)
        backup = None
        if isinstance(target, Path):
            moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            backup = target.with_name(f"{target.stem}-version{before}-{moment}{target.suffix}")
            database.backup(backup)
        with database.write() as connection:
            run_steps(connection, before)
        return Upgrade(before, VERSION, backup)
    finally:
        database.close()


def version(database: Database) -> int:
    """The schema version of an open database."""
    with database.read() as connection:
        found: int = connection.execute(select(schema_info.c.version)).scalar_one()
        return found


def run_steps(connection: Connection, before: int) -> None:
    """Run the steps after version `before` (0: an empty database) within the transaction of `connection`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    if before and not inspect(connection).has_table("alembic_version"):  # made whole, not by steps
        command.stamp(config, f"{before:04d}")
    command.upgrade(config, "head")
