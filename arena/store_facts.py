"""Adding facts: rows go in all together or not at all, and a refusal names the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from sqlalchemy import Connection, Table, and_, true
from sqlalchemy.exc import IntegrityError

from paragone.arena.dialects import Insert, insert_into
from paragone.arena.store_engine import Database
from paragone.arena.store_rows import Values
from paragone.data.errors import InputError


def upsert(
    database: Database, table: Table, rows: Sequence[Values], *, key: tuple[str, ...], fixed: tuple[str, ...] = ()
) -> None:
    """Insert rows, or update those with the same key; `fixed` columns of a stored row must stay as they are."""
    if not rows:
        return
    try:
        with database.write() as connection:
            if _run(connection, _statement(connection, table, rows[0], key, fixed), rows) != len(rows):
                raise _ConflictError
    except (IntegrityError, _ConflictError):
        _blame(database, table, rows, key, fixed)


def append(database: Database, table: Table, rows: Sequence[Values], *, key: tuple[str, ...]) -> None:
    """Insert rows of an append-only table; those whose key is stored are there already."""
    if not rows:
        return
    try:
        with database.write() as connection:
            _run(connection, _statement(connection, table, rows[0], key, None), rows)
    except IntegrityError:
        _blame(database, table, rows, key, None)


def _statement(
    connection: Connection, table: Table, row: Values, key: tuple[str, ...], fixed: tuple[str, ...] | None
) -> Insert:
    statement = insert_into(connection, table)
    if fixed is None:
        return statement.on_conflict_do_nothing(index_elements=list(key))
    changing = {name: statement.excluded[name] for name in row if name not in (*key, *fixed)}
    same = [table.c[name].is_not_distinct_from(statement.excluded[name]) for name in fixed]
    return statement.on_conflict_do_update(index_elements=list(key), set_=changing, where=and_(true(), *same))


def _blame(
    database: Database, table: Table, rows: Sequence[Values], key: tuple[str, ...], fixed: tuple[str, ...] | None
) -> NoReturn:
    """Do refused work again, row by row, to raise an `InputError` that names the row; nothing of it is kept."""
    with database.write() as connection:
        statement = _statement(connection, table, rows[0], key, fixed)
        for row in rows:
            name = f"{table.name[:-1].replace('_', ' ')} {' '.join(str(row[column]) for column in key)}"
            try:
                changed = _run(connection, statement, [row])
            except IntegrityError as error:
                cause = str(error.orig).splitlines()[0]
                if "foreign key" in cause.lower():
                    cause = "the model or the prompt that it belongs to is not in the store; add that first"
                raise InputError(f"{name}: {cause}") from error
            if changed != 1 and fixed is not None:
                raise InputError(
                    f"{name}: is stored with another {' or '.join(fixed)}; give the new one its own name, "
                    "so that votes on the old one stay its own"
                )
        raise InputError(f"{database.name}: {table.name} changed while they were being added; try again")


class _ConflictError(Exception):
    """Some row of an upsert contradicts a stored one."""


def _run(connection: Connection, statement: Insert, rows: Sequence[Values]) -> int:
    result = connection.execute(statement, rows, execution_options={"preserve_rowcount": True})
    return result.rowcount
