"""Rows of small tables that users write: .csv with a header, or .jsonl with one object a line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from paragone.data.errors import InputError

SUFFIXES = (".csv", ".jsonl")


def read_text(file: Path, *, what: str) -> str:
    """The text of a file of `what` in UTF-8; raises `InputError` that names it."""
    if not file.is_file():
        raise InputError(f"{file}: no such file of {what}")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 text ({error})") from error


def rows_of(file: Path, text: str, *, what: str) -> list[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of `text`, which was read from `file`; raises `InputError` that names the line."""
    suffix = file.suffix.lower()
    if suffix == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
        try:
            return [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise InputError(f"{file}: line {reader.line_num}: not CSV ({error})") from error
    if suffix != ".jsonl":
        raise InputError(f"{file}: {what} are read from {' and '.join(SUFFIXES)}")
    rows = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError as error:
            raise InputError(f"{file}: line {line}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{file}: line {line}: a {type(row).__name__}, not an object")
        rows.append((line, row))
    return rows
