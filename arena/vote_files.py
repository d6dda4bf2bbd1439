"""Files of votes, read strictly: csv, json, jsonl (ndjson) and parquet, ours and other arenas' exports (`exchange`)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pa_compute  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.json as pa_json  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from paragone.arena.exchange import (
    OPTIONAL,
    Reading,
    array_rows,
    fields_of,
    frame_of,
    is_log,
    leaves,
    log_votes,
    read_as,
)
from paragone.arena.votes import OUTCOMES, code_votes
from paragone.data.errors import InputError

Found = tuple[pd.DataFrame, Reading, str]  # votes, how they were read, and a note on it
Reader = Callable[[Path, Sequence[str], Iterable[str]], Found]
_CSV = pa_csv.ParseOptions(newlines_in_values=True)


def read_votes(path: str | Path, *, extra: Sequence[str] = (), optional: Iterable[str] = OPTIONAL) -> pd.DataFrame:
    """Read and check a csv, json, jsonl (ndjson) or parquet file of votes; text files may be compressed (gz, bz2, zst).

    The table holds the required columns, those of `optional` that the file has, and those named in `extra` (nested ones
    with dots). Exports of other arenas are known by their columns (see `exchange`); `votes.attrs["read_as"]` then says
    what was taken for what. Model names stay text ("007", "NA" and "null" are names); `winner` is spelled as in
    `Winner`; `weight` is a number. Raises `InputError` or `UnknownOutcome` that names the file and the row.
    """
    path = Path(path)
    try:
        votes, reading, note = _reader(path)(path, extra, optional)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {_first_line(error)}") from error
    votes["winner"] = reading.outcomes(votes, str(path))
    votes = votes.drop(columns=[name for name in reading.layout.flags if name not in extra])
    coded = code_votes(votes, source=str(path))
    votes["winner"] = np.array([str(outcome) for outcome in OUTCOMES], object)[coded.outcome]
    if coded.weight is not None:
        votes["weight"] = coded.weight
    if note:
        votes.attrs["read_as"] = f"{path}: {note}"
    return votes


def vote_columns(path: str | Path) -> list[str]:
    """The names of a file's columns, nested ones with dots; of a json or jsonl file, those of its first row."""
    path = Path(path)
    reader = _reader(path)
    try:
        if reader is _read_csv:
            with pa_csv.open_csv(path, parse_options=_CSV) as file:
                return list(file.schema.names)
        if reader is _read_parquet:
            with pa_parquet.ParquetFile(path) as file:
                return leaves(_schema_fields(file.schema_arrow))
        rows = _array_or_lines(path)
        return leaves(fields_of(next(iter(rows), {})))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {_first_line(error)}") from error


def _reader(path: Path) -> Reader:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in (".gz", ".bz2", ".zst")]
    reader = _READERS.get(suffixes[-1].lower() if suffixes else "")
    if reader is None:
        raise InputError(f"{path}: cannot tell the format of the votes; name the file .csv, .json, .jsonl or .parquet")
    return reader


def _read_csv(path: Path, extra: Sequence[str], optional: Iterable[str]) -> Found:
    with pa_csv.open_csv(path, parse_options=_CSV) as file:
        columns = file.schema.names
    reading = read_as({name: {} for name in columns}, extra=extra, optional=optional, source=str(path))
    wanted = list(dict.fromkeys(name for (name,) in reading.paths.values()))
    if twice := [name for name in wanted if columns.count(name) > 1]:
        raise InputError(f"{path}: the column {twice[0]!r} is there twice; keep one")
    convert = pa_csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()))
    try:
        table = pa_csv.read_csv(path, parse_options=_CSV, convert_options=convert)
    except pa.ArrowInvalid:
        # Only the reader with one thread knows the number of the line that it stumbles on.
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(use_threads=False),
            parse_options=_CSV,
            convert_options=convert,
        )
    return _columns(table, reading), reading, reading.note


def _read_parquet(path: Path, extra: Sequence[str], optional: Iterable[str]) -> Found:
    with pa_parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        reading = read_as(_schema_fields(file.schema_arrow), extra=extra, optional=optional, source=str(path))
        if twice := [ours for ours, (name, *_) in reading.paths.items() if names.count(name) > 1]:
            raise InputError(f"{path}: the column {twice[0]!r} is there twice; keep one")
        table = file.read(columns=[".".join(place) for place in reading.paths.values()])
    return _columns(table, reading), reading, reading.note


def _columns(table: pa.Table, reading: Reading) -> pd.DataFrame:
    """The columns of a reading from a table that may be nested."""
    found = {}
    for ours, (name, *below) in reading.paths.items():
        found[ours] = pa_compute.struct_field(table[name], below) if below else table[name]
    return cast("pd.DataFrame", pa.table(found).to_pandas())


def _schema_fields(schema: Any) -> dict[str, Any]:
    """The names in an arrow schema or struct type."""
    return {field.name: _schema_fields(field.type) if pa.types.is_struct(field.type) else {} for field in schema}


def _read_jsonl(path: Path, extra: Sequence[str], optional: Iterable[str]) -> Found:
    """Read by arrow with the types of the first vote; a file whose types vary is read again, slowly and row by row."""
    first = next(_json_rows(path), None)
    if first is None:
        raise InputError(f"{path}: the file holds no votes")
    if is_log(first):
        return _read_log(_json_rows(path), path, extra, optional)
    reading = _open_reading(first, extra, optional, path)
    kinds = {name: _arrow_type(first.get(name)) for name, *_ in reading.paths.values()}
    kinds |= dict.fromkeys((name for name in reading.layout.columns if name not in reading.layout.flags), pa.string())
    kinds |= {"weight": pa.float64()} if "weight" in kinds else {}
    options = pa_json.ParseOptions(explicit_schema=pa.schema(kinds), unexpected_field_behavior="ignore")
    try:
        if any(len(place) > 1 for place in reading.paths.values()):
            raise pa.ArrowInvalid("nested columns are picked row by row")
        votes = _columns(pa_json.read_json(path, parse_options=options), reading)
    except pa.ArrowInvalid:
        votes = frame_of(list(_json_rows(path)), reading)
    return _without_unused(votes, extra), reading, reading.note


def _read_json(path: Path, extra: Sequence[str], optional: Iterable[str]) -> Found:
    """A JSON array of votes, or lines (FastChat's logs are lines in files called .json)."""
    rows = _array_or_lines(path)
    if not isinstance(rows, list):
        return _read_jsonl(path, extra, optional)
    if not rows:
        raise InputError(f"{path}: the file holds no votes")
    if is_log(rows[0]):
        return _read_log(rows, path, extra, optional)
    reading = _open_reading(rows[0], extra, optional, path)
    return _without_unused(frame_of(rows, reading), extra), reading, reading.note


def _read_log(rows: Iterable[dict[str, Any]], path: Path, extra: Sequence[str], optional: Iterable[str]) -> Found:
    votes, note = log_votes(rows, str(path))
    if not votes:
        raise InputError(f"{path}: the log holds no votes")
    reading = read_as(fields_of(votes[0]), extra=extra, optional=optional, source=str(path))
    return frame_of(votes, reading), reading, note


def _open_reading(first: dict[str, Any], extra: Sequence[str], optional: Iterable[str], path: Path) -> Reading:
    """How to read JSON whose first row is this; an optional column may come up in a later row."""
    reading = read_as(fields_of(first), extra=extra, optional=optional, source=str(path))
    later = {name: (name,) for name in optional if name not in reading.paths}
    return replace(reading, paths={**reading.paths, **later})


def _without_unused(votes: pd.DataFrame, extra: Sequence[str]) -> pd.DataFrame:
    unused = [name for name in OPTIONAL if name in votes and name not in extra and votes[name].isna().all()]
    return votes.drop(columns=unused)


def _array_or_lines(path: Path) -> list[dict[str, Any]] | Iterator[dict[str, Any]]:
    """The rows of a JSON array, or an iterator over the rows of JSON lines."""
    with pa.input_stream(str(path), compression="detect") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8")
        start = text.read(1)
        while start.isspace():
            start = text.read(1)
        if start == "[":
            return array_rows(start + text.read(), str(path))
    return _json_rows(path)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with pa.input_stream(str(path), compression="detect") as stream:
        number = 0
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            if not line.strip():
                continue
            number += 1
            try:
                row = json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}: row {number} is not JSON: {error}; write one object a line") from None
            except KeyError as error:
                raise InputError(f"{path}: row {number} has {error} twice; keep one") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}: row {number} is not a JSON object")
            yield row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises `KeyError` on a name that is there twice."""
    row: dict[str, Any] = {}
    for name, value in pairs:
        if name in row:
            raise KeyError(name)
        row[name] = value
    return row


def _arrow_type(value: object) -> Any:
    kinds: dict[type, Any] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return kinds.get(type(value), pa.string())


_READERS: dict[str, Reader] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
