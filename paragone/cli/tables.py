"""Tables of numbers: on stdout without losing a digit, and in files as their suffix says, csv, json or parquet."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rich.console import Console
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


def write_table(rows: list[dict[str, Any]], path: Path, *, schema: str) -> None:
    """Write `rows`, which share their keys; in JSON under `rows`, beside the name of the `schema`."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_json({"schema": schema, "rows": rows}, str(path))
    elif suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())
    else:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), content)
        write_atomically(path, content.getvalue())
