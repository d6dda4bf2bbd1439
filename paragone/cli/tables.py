"""Tables of numbers: on stdout without losing a digit, and in files as their suffix says, csv, json or parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paragone.cli.output import check_writable, stdout, write_json
from paragone.data.errors import UsageError
from paragone.data.files import write_atomically

LEAST_WIDTH = 120  # characters
SUFFIXES = (".csv", ".json", ".parquet")


def print_table(table: Table) -> None:
    """Print to stdout; a line that a narrow terminal breaks is better than a number that is cut."""
    Console(highlight=False, width=max(stdout.width, LEAST_WIDTH)).print(table)


def check_table(path: Path | None) -> None:
    """Fail before the expensive part when a table could not be written to `path` afterwards."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: the suffix says what to write; use one of {', '.join(SUFFIXES)}")
    check_writable(str(path))


def write_table(rows: list[dict[str, Any]], path: Path, *, schema: str, columns: Sequence[str] = ()) -> None:
    """Write `rows`, which share their keys; in JSON under `rows`, beside the name of the `schema`.

    `columns` are those keys, for a table that may have no rows.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_json({"schema": schema, "rows": rows}, str(path))
    elif suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())
    else:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), content)
        write_atomically(path, content.getvalue())


def cell_table(headings: list[str], rows: list[list[str]], *, left: tuple[str, ...] = (), title: str = "") -> Table:
    """A table of text for the terminal; the columns of `left` are aligned left, and no cell can steer the terminal."""
    table = Table(box=None, title=escape(printable(title)) or None, title_justify="left")
    for heading in headings:
        if heading in left:
            table.add_column(escape(heading), overflow="fold")
        else:
            table.add_column(escape(heading), justify="right")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    return table


def markdown_table(headings: list[str], rows: list[list[str]], *, left: tuple[str, ...] = ()) -> str:
    """The same as Markdown."""
    lines = [headings, [":--" if heading in left else "--:" for heading in headings], *rows]
    shown = [line if line is lines[1] else [markdown_words(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def markdown_words(text: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(printable(text.replace("\n", " ")).split()))


_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~!&$]")


def printable(text: str) -> str:
    """Text as a terminal may show it: no control characters."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
