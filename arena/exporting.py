"""Writing an arena to files (`transfer`), and its votes alone as other tools read them."""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]
from sqlalchemy import Connection, func, select

from paragone.arena import schema, vote_events
from paragone.arena.chain import GENESIS, link
from paragone.arena.store import Store
from paragone.arena.store_cursor import Values, blocks_of
from paragone.arena.store_votes import chain_head
from paragone.arena.transfer import (
    CHAINS,
    MANIFEST,
    MEDIA,
    ROWS,
    SCHEMA,
    FileFormat,
    TableFile,
    exported,
    pack,
    row_check,
    table_files,
)
from paragone.data.errors import InputError, UsageError
from paragone.data.files import file_digest
from paragone.data.progress import Progress, silent
from paragone.data.records import VoterKind, Winner

VOTE_FORMATS = (".csv", ".jsonl", ".parquet", ".json")


def export_arena(
    store: Store,
    target: Path,
    *,
    file_format: FileFormat = "csv",
    media: Path | None = None,
    pseudonymise: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a whole arena, as it is at one moment, to the new folder or `.zip` at `target`; returns its manifest.

    `media` is the project folder whose samples' files go with it. With `pseudonymise` the names of people who voted, or
    said something of votes, become names of this export alone; the chains are then made anew over these names, for the
    old digests would let anybody try names on them. Judges keep their names, and reasons stay as they were written.
    Raises `InputError` when `target` is there, or a sample's file is missing or another.
    """
    if target.exists():
        raise InputError(f"{target}: is there already; name a new folder or zip")
    hide = Pseudonyms() if pseudonymise else None
    with _appearing(target) as folder:
        with store._database.read() as connection:
            manifest = _write_tables(connection, folder, file_format, hide, progress)
        if media is not None:
            manifest["media"] = _copy_media(store, media, folder / MEDIA, progress)
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


class Pseudonyms:
    """Other names for people, the same one for the same name within one export; the key is nowhere kept."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def name(self, person: str) -> str:
        """The pseudonym; nobody stays nobody."""
        if not person:
            return person
        return f"voter-{hmac.new(self._key, person.encode(), hashlib.sha256).hexdigest()[:16]}"


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to write to, which becomes the folder or zip `target` when all went well, and nothing when not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    packed = folder.with_suffix(".zip")
    folder.mkdir()
    try:
        yield folder
        if target.suffix.lower() == ".zip":
            pack(folder, packed)
            packed.replace(target)
        else:
            folder.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        packed.unlink(missing_ok=True)


def _write_tables(
    connection: Connection, folder: Path, file_format: FileFormat, hide: Pseudonyms | None, progress: Progress
) -> dict[str, Any]:
    heads = {"votes": chain_head(connection), "vote_events": vote_events.head(connection)}
    change = _Change(hide, heads)
    tables = {}
    for file in table_files(file_format):
        table = schema.metadata.tables[file.name]
        total = connection.execute(select(func.count()).select_from(table)).scalar_one()
        written = 0
        with _writer(folder / file.file, file) as write:
            for rows in blocks_of(connection, exported(table), ROWS):
                write(change.rows(file, rows))
                written += len(rows)
                progress(f"export {file.name}", written, total)
        tables[file.name] = {"file": file.file, "rows": written, "sha256": file_digest(folder / file.file)}
    return {
        "schema": SCHEMA,
        "schema_version": schema.VERSION,
        "paragone": importlib.metadata.version("paragone"),
        "format": file_format,
        "pseudonymised": hide is not None,
        "heads": change.heads,
        "tables": tables,
    }


class _Change:
    """What rows become on their way out: with a check of each, and with pseudonyms and new chains where asked for."""

    def __init__(self, hide: Pseudonyms | None, heads: dict[str, str]) -> None:
        self.heads = heads if hide is None else dict.fromkeys(heads, GENESIS)
        self._hide = hide
        self._digests: dict[str, str] = {}  # of votes: as stored -> as exported

    def rows(self, file: TableFile, rows: list[Values]) -> list[Values]:
        """The rows as they are written."""
        if self._hide is not None:
            rows = [self._hidden(file, row, self._hide) for row in rows]
        return rows if file.name in CHAINS else [(*row, row_check(row)) for row in rows]

    def _hidden(self, file: TableFile, values: Values, hide: Pseudonyms) -> Values:
        row = dict(zip(file.columns, values, strict=False))
        voted = file.name == schema.votes.name and row["voter_kind"] == VoterKind.HUMAN
        if voted or (file.name == schema.battles.name and row["voter"] is not None):
            row["voter"] = hide.name(row["voter"])
        elif file.name == schema.vote_events.name:
            row["actor"] = hide.name(row["actor"])
        elif file.name == schema.rating_snapshots.name:
            row["head"] = self._digests.get(row["head"], row["head"])
        if file.name in CHAINS:
            digest = self.heads[file.name] = link(self.heads[file.name], row, CHAINS[file.name])
            if file.name == schema.votes.name:
                self._digests[row["digest"]] = digest
            row["digest"] = digest
        return tuple(row.values())


@contextmanager
def _writer(path: Path, file: TableFile) -> Iterator[Callable[[list[Values]], None]]:
    """Writes blocks of rows to a csv or parquet file."""
    types = file.arrow
    csv = path.suffix == ".csv"
    opened = pa_csv.CSVWriter(path, types) if csv else pa_parquet.ParquetWriter(path, types, compression="zstd")
    with opened as writer:

        def write(rows: list[Values]) -> None:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=types))

        yield write


def _copy_media(store: Store, project: Path, folder: Path, progress: Progress) -> dict[str, int]:
    samples = store.samples()
    paths = {sample.path: sample for sample in samples}
    size = 0
    for number, (name, sample) in enumerate(sorted(paths.items()), 1):
        path = project / name
        if not path.is_file() or file_digest(path) != sample.sha256:
            raise InputError(f"{path}: is missing, or not the file that was stored; see: paragone doctor")
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        size += copy.stat().st_size
        progress("export media", number, len(paths))
    return {"files": len(paths), "bytes": size}


def export_votes(store: Store, target: Path, *, pseudonymise: bool = False) -> int:
    """Write the votes that count to a csv, jsonl or parquet file (ours) or json (LMArena's); returns how many.

    Ours has model_a, model_b, winner, voter, kind, prompt (its text), battle, created_at, dwell_ms, and is read by
    `read_votes`. LMArena's has question_id, model_a, model_b, winner, judge, anony and tstamp.
    """
    if target.suffix.lower() not in VOTE_FORMATS:
        raise UsageError(f"{target}: cannot tell the format; name the file {', '.join(VOTE_FORMATS)}")
    if target.exists():
        raise InputError(f"{target}: is there already; name a new file")
    stored = store.votes()
    texts = {prompt.id: prompt.text for prompt in store.prompts()}
    votes = stored[["model_a", "model_b", "winner", "voter"]].assign(
        kind=stored["voter_kind"],
        prompt=stored["prompt"].map(texts),
        battle=stored["battle"],
        created_at=stored["created_at"],
        dwell_ms=stored["dwell_ms"].astype("Int64"),
    )
    if pseudonymise:
        hide = Pseudonyms()
        people = votes["kind"] == VoterKind.HUMAN
        votes["voter"] = votes["voter"].where(~people, votes["voter"].map(hide.name))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_votes(votes, temporary, target.suffix.lower())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return len(votes)


def _write_votes(votes: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pa_parquet.write_table(pa.Table.from_pandas(votes, preserve_index=False), path, compression="zstd")
    elif suffix == ".csv":
        votes.to_csv(path, index=False, lineterminator="\n")
    elif suffix == ".jsonl":
        votes.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        rows = [_as_lmarena(row) for row in votes.to_dict("records")]
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _as_lmarena(vote: dict[Any, Any]) -> dict[str, Any]:
    bad = vote["winner"] == Winner.BOTH_BAD
    return {
        "question_id": vote["battle"],
        "model_a": vote["model_a"],
        "model_b": vote["model_b"],
        "winner": "tie (bothbad)" if bad else vote["winner"],
        "judge": vote["voter"],
        "anony": True,
        "tstamp": datetime.fromisoformat(vote["created_at"]).timestamp(),
    }
