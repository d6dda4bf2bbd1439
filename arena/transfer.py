"""An arena as files: a folder or a zip with one csv or parquet file a table, and `manifest.json` over them.

The same arena gives the same bytes, whatever database it is in: rows are in the order of their keys, missing values are
empty and empty text is "" (csv), and there is no time in it. Votes and events carry the digests of their chains; in the
other files the last column, `check`, is of the row, so that a changed byte is found and its row named.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
from sqlalchemy import Integer, Select, select
from sqlalchemy.types import REAL

from paragone.arena import schema
from paragone.arena.chain import EVENT_FACTS, VOTE_FACTS, first_break
from paragone.arena.store_cursor import Values
from paragone.data.errors import InputError

SCHEMA = "paragone.export/1"
MANIFEST = "manifest.json"
MEDIA = "media"
CHECK = "check"
ROWS = 20_000  # in memory at a time
FileFormat = Literal["csv", "parquet"]

# In the order in which rows may be added: what a row refers to comes before it.
TABLES = (
    schema.generators,
    schema.prices,
    schema.prompts,
    schema.samples,
    schema.attempts,
    schema.provenance,
    schema.safety_scores,
    schema.battles,
    schema.votes,
    schema.vote_events,
    schema.judge_calls,
    schema.metric_results,
    schema.rating_snapshots,
)
CHAINS = {schema.votes.name: VOTE_FACTS, schema.vote_events.name: EVENT_FACTS}
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of an export."""

    name: str  # of the table
    file: str
    columns: tuple[str, ...]

    @property
    def arrow(self) -> Any:
        """The types of its columns."""
        table = schema.metadata.tables[self.name]
        kinds = []
        for column in self.columns:
            type_ = table.c[column].type if column in table.c else None
            number = pa.int64() if isinstance(type_, Integer) else pa.float64()
            kinds.append(pa.field(column, number if isinstance(type_, Integer | REAL) else pa.string()))
        return pa.schema(kinds)

    def blocks(self, path: Path) -> Iterator[list[Values]]:
        """The rows of a file, checked for its columns and their types; `InputError` names the file and the line."""
        try:
            reader = self._csv(path) if self.file.endswith(".csv") else self._parquet(path)
            for batch in reader:
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {' '.join(str(error).split())}") from error

    def _csv(self, path: Path) -> Iterator[Any]:
        convert = pa_csv.ConvertOptions(
            column_types=self.arrow, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        # With one thread an error names the line.
        reading = pa_csv.ReadOptions(use_threads=False, block_size=1 << 24)
        parsing = pa_csv.ParseOptions(newlines_in_values=True)
        with pa_csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=convert) as file:
            self._check_columns(path, file.schema.names)
            yield from file

    def _parquet(self, path: Path) -> Iterator[Any]:
        with pa_parquet.ParquetFile(path) as file:
            self._check_columns(path, file.schema_arrow.names)
            for batch in file.iter_batches(ROWS):
                yield batch.cast(self.arrow)

    def _check_columns(self, path: Path, found: Sequence[str]) -> None:
        if tuple(found) != self.columns:
            raise InputError(f"{path}: has the columns {', '.join(found)}; an export has {', '.join(self.columns)}")


def table_files(file_format: FileFormat) -> list[TableFile]:
    """The files of an export, in the order in which they are imported."""
    return [
        TableFile(table.name, f"{table.name}.{file_format}", tuple(c.name for c in exported(table).selected_columns))
        if table.name in CHAINS
        else TableFile(table.name, f"{table.name}.{file_format}", (*(c.name for c in table.c), CHECK))
        for table in TABLES
    ]


def exported(table: Any) -> Select[Any]:
    """All rows of a table in the order of their keys; votes with all that their digests cover."""
    query = select(table)
    if table is schema.votes:
        battle = schema.battles.c
        query = select(table, battle.sample_a, battle.sample_b).join_from(table, schema.battles)
    return query.order_by(*table.primary_key.columns)


def row_check(row: Sequence[Any]) -> str:
    """64 bits (hex) over a row's values."""
    return hashlib.blake2b(_ENCODER.encode(list(row)).encode(), digest_size=8).hexdigest()


def damage(table: TableFile, path: Path) -> str:
    """The first row of a file that is not what was exported; of a file whose rows are sound, that there are others."""
    rows = (row for block in table.blocks(path) for row in block)
    if table.name in CHAINS:
        named = (dict(zip(table.columns, row, strict=True)) for row in rows)
        position = first_break(named, CHAINS[table.name])
        if position is not None:
            return f"row {position + 1} does not follow from the row before it: one was changed, or one is missing"
    else:
        for number, row in enumerate(rows, 1):
            if row_check(row[:-1]) != row[-1]:
                return f"row {number} was changed"
    return "rows are missing, were added or stand in another order"


class Package:
    """The files of an export, in a folder or in a zip."""

    def __init__(self, source: Path, files: Path, archive: zipfile.ZipFile | None) -> None:
        self.source = source
        self._files = files  # the folder itself, or where the zip's files go when they are wanted
        self._archive = archive

    def path(self, name: str) -> Path:
        """A file of the export; raises `InputError` when it lacks it."""
        path = self._files / name
        if self._archive is not None and not path.exists():
            try:
                with self._archive.open(name) as packed:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("xb") as file:
                        shutil.copyfileobj(packed, file)
            except KeyError:
                pass
            except (zipfile.BadZipFile, OSError) as error:
                raise InputError(f"{self.source}: {name}: {error}") from error
        if not path.is_file():
            raise InputError(f"{self.source}: the export has no {name}")
        return path

    def manifest(self) -> Mapping[str, Any]:
        """What the export says of itself."""
        try:
            manifest = json.loads(self.path(MANIFEST).read_bytes())
        except ValueError as error:
            raise InputError(f"{self.source}: {MANIFEST} is not JSON: {error}") from None
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise InputError(f"{self.source}: {MANIFEST} is not of an arena that paragone exported ({SCHEMA})")
        if manifest.get("schema_version") != schema.VERSION:
            raise InputError(
                f"{self.source}: is of schema version {manifest.get('schema_version')}, this paragone has "
                f"{schema.VERSION}; export it again with the same version"
            )
        return manifest


@contextmanager
def open_package(source: Path) -> Iterator[Package]:
    """The export at `source`; raises `InputError` for what is none."""
    if source.is_dir():
        yield Package(source, source, None)
        return
    if not source.is_file():
        raise InputError(f"{source}: no such file or folder")
    try:
        with zipfile.ZipFile(source) as archive, tempfile.TemporaryDirectory(prefix="paragone-") as folder:
            yield Package(source, Path(folder), archive)
    except zipfile.BadZipFile as error:
        raise InputError(f"{source}: is not a zip: {error}") from error


def is_package(source: Path) -> bool:
    """Whether this is an export of an arena rather than a file of votes."""
    return source.is_dir() or source.suffix.lower() == ".zip"


def pack(folder: Path, target: Path) -> None:
    """Make a zip of a folder; the same files give the same bytes."""
    with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            entry.file_size = path.stat().st_size  # so that large files get their 64 bits
            with path.open("rb") as file, archive.open(entry, "w") as packed:
                shutil.copyfileobj(file, packed)
