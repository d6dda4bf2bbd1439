"""Many rows at once, past SQLAlchemy's Row and parameter objects: plain tuples out, COPY or executemany in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.exc import DBAPIError

BLOCK = 500  # rows in memory at a time: with more, the garbage collector takes longer than the rows
Values = tuple[Any, ...]


def rows_of(connection: Connection, query: Select[Any]) -> list[Values]:
    """All rows, as the driver gives them: for columns of text, integers and floats, which need no conversion."""
    result = connection.execute(query)
    rows: list[Values] = list(result.cursor.fetchall())
    result.close()
    return rows


def blocks_of(connection: Connection, query: Select[Any], size: int = BLOCK) -> Iterator[list[Values]]:
    """The same in blocks, of which one is in memory at a time."""
    options = {"stream_results": connection.dialect.name == "postgresql", "max_row_buffer": size}
    with connection.execute(query, execution_options=options) as result:
        strategy: Any = result.cursor_strategy  # the driver's cursor may be some rows ahead of it
        rows: Sequence[Values] = ()
        while result.cursor is not None and (rows := strategy.fetchmany(result, result.cursor, size)):
            yield list(rows)


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Values]) -> None:
    """Append rows of these columns; the table's rules hold for them as for any other."""
    names = ", ".join(f'"{table.c[name].name}"' for name in columns)
    cursor: Any = connection.connection.cursor()
    dbapi: Any = connection.dialect.loaded_dbapi
    try:
        if connection.dialect.name == "postgresql":
            with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(columns))
            cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)
    except dbapi.Error as error:
        raise DBAPIError.instance(
            f"INSERT INTO {table.name}", None, error, dbapi.Error, dialect=connection.dialect
        ) from error
    finally:
        cursor.close()
