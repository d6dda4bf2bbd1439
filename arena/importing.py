"""Reading an exported arena (`transfer`) into a new arena or an old one: everything or nothing, and again without harm.

Into an empty arena, rows come as they were, with their numbers and digests, so that its export is the same to the byte.
Into another, what it lacks is added and what it has is left: facts that contradict stored ones are an error, and what
may change there (cards, prices, tags, measurements, checks of origin and safety) stays as it is. Votes go to the end of
its chain in their order.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import InvalidOperation
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Table, func, select, tuple_
from sqlalchemy.exc import DataError, IntegrityError

from paragone.arena import schema, vote_events
from paragone.arena.chain import EVENT_FACTS, GENESIS, VOTE_FACTS, link
from paragone.arena.store import Store
from paragone.arena.store_cursor import insert_rows, rows_of
from paragone.arena.store_rows import (
    attempt_values,
    generator_values,
    price_values,
    prompt_values,
    provenance_values,
    read_attempt,
    read_generator,
    read_price,
    read_prompt,
    read_provenance,
    read_safety,
    read_sample,
    safety_values,
    sample_values,
)
from paragone.arena.store_votes import battle_facts, chain_head
from paragone.arena.transfer import CHAINS, CHECK, MEDIA, Package, TableFile, damage, open_package, table_files
from paragone.data.errors import InputError
from paragone.data.files import file_digest, write_atomically
from paragone.data.progress import Progress, silent

Row = dict[str, Any]
SIDES = ("prompt_id", "model_a", "model_b", "sample_a", "sample_b")
BLOCK = 1000  # rows that are looked up and added at once


@dataclass(frozen=True, slots=True)
class _Rule:
    """How rows of a table meet stored ones: known by `key`; `fixed` columns must agree, the others stay as stored."""

    key: tuple[str, ...]
    fixed: tuple[str, ...]


_RULES = {
    "generators": _Rule(("name",), ()),
    "prices": _Rule(("model", "unit", "valid_from"), ()),
    "prompts": _Rule(("id",), ("text", "task", "source", "mask")),
    "samples": _Rule(("id",), ("sha256", "prompt_id", "model", "seed")),
    "attempts": _Rule(("id",), ()),
    "provenance": _Rule(("sha256",), ()),
    "safety_scores": _Rule(("sample_id", "classifier"), ()),
    "battles": _Rule(("id",), SIDES),
    "judge_calls": _Rule(("judge", "battle_id", "attempt", "side_order"), ("status", "winner")),
    "metric_results": _Rule(("model", "metric", "signature"), ()),
}
_NOUNS: dict[str, Callable[[Any], Row]] = {  # through the noun and back: what it refuses, an import refuses
    "generators": lambda row: generator_values(read_generator(row)),
    "prices": lambda row: price_values(read_price(row)),
    "prompts": lambda row: prompt_values(read_prompt(row)),
    "samples": lambda row: sample_values(read_sample(row)),
    "attempts": lambda row: attempt_values(read_attempt(row)),
    "provenance": lambda row: provenance_values(read_provenance(row)),
    "safety_scores": lambda row: safety_values(read_safety(row)),
}


@dataclass(slots=True)
class Imported:
    """What an import did: rows that are new and rows that were there, by table; `notes` for people."""

    new: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def import_arena(store: Store, source: Path, *, project: Path | None = None, progress: Progress = silent) -> Imported:
    """Add an exported arena to a store; the files of samples go to the `project` folder when the export has them.

    Raises `InputError` that names the file and the row that is not as it was exported, or that contradicts the store;
    nothing is kept then.
    """
    with open_package(source) as package:
        manifest = package.manifest()
        files = _sound_files(package, manifest)
        done = Imported()
        if project is not None and "media" in manifest:
            _import_media(package, files, project, progress)
        elif "media" in manifest:
            done.notes.append("the files of the samples were left out: there is no project folder to put them in")
        with store._database.write() as connection:
            _Import(connection, package, manifest, done, progress).run(files)
        return done


def _sound_files(package: Package, manifest: Mapping[str, Any]) -> list[TableFile]:
    """The files of an export, whose bytes are those that were written; else an `InputError` that names the row."""
    file_format = manifest.get("format")
    if file_format not in ("csv", "parquet"):
        raise InputError(f"{package.source}: the format {file_format!r} is neither csv nor parquet")
    files = table_files(file_format)
    for file in files:
        path = package.path(file.file)
        said = manifest.get("tables", {}).get(file.name, {}).get("sha256")
        if file_digest(path) != said:
            raise InputError(f"{package.source}: {file.file} is not what was exported: {damage(file, path)}")
    return files


class _Import:
    """One import within one transaction."""

    def __init__(
        self, connection: Connection, package: Package, manifest: Mapping[str, Any], done: Imported, progress: Progress
    ) -> None:
        self.connection = connection
        self.package = package
        self.manifest = manifest
        self.done = done
        self.progress = progress
        self.fresh_votes = not self._count(schema.votes)
        self.vote_ids: dict[int, int] = {}  # in the export -> here, where they differ
        self.wanted_ids: set[int] = set()  # votes that something was said of

    def run(self, files: list[TableFile]) -> None:
        """Import every table, in order, and derive what follows."""
        by_name = {file.name: file for file in files}
        events = by_name["vote_events"]
        self.wanted_ids = {row["vote_id"] for _, row in self._rows(events)} if not self.fresh_votes else set()
        for name, file in by_name.items():
            match name:
                case "votes":
                    self._insert(file, self._new_votes(file))
                case "vote_events":
                    self._insert(file, self._new_events(file))
                case "rating_snapshots":
                    self._import_snapshots(file)
                case _:
                    self._insert(file, self._new_rows(file))
        if self.done.new["votes"] or self.done.new["vote_events"]:
            vote_events.derive_again(self.connection)
        advance_sequences(self.connection)

    def _count(self, table: Table) -> int:
        return self.connection.execute(select(func.count()).select_from(table)).scalar_one()

    def _rows(self, file: TableFile) -> Iterator[tuple[str, Row]]:
        """Each row of a file with its name for messages."""
        number = 0
        for block in file.blocks(self.package.path(file.file)):
            for values in block:
                number += 1
                yield f"{self.package.source}: {file.file} row {number}", dict(zip(file.columns, values, strict=True))

    def _insert(self, file: TableFile, rows: Iterator[tuple[str, Row]]) -> None:
        table = schema.metadata.tables[file.name]
        columns = [column.name for column in table.c]
        if "id" in table.c and table.c["id"].autoincrement is True and file.name not in CHAINS and self._count(table):
            columns.remove("id")  # the next numbers
        total = self.manifest["tables"][file.name]["rows"]
        while block := list(islice(rows, BLOCK)):  # whole blocks: PostgreSQL can be asked nothing during a COPY
            insert_named(self.connection, table, columns, block)
            self.done.new[file.name] += len(block)
            self.progress(f"import {file.name}", min(self.done.new[file.name], total), total)
        self.progress(f"import {file.name}", total, total)

    def _new_rows(self, file: TableFile) -> Iterator[tuple[str, Row]]:
        """The rows that the store lacks."""
        rule, noun = _RULES[file.name], _NOUNS.get(file.name)
        table = schema.metadata.tables[file.name]
        fresh = not self._count(table)
        block: list[tuple[str, Row]] = []
        for place, row in self._rows(file):
            del row[CHECK]
            if noun is not None:
                _check_noun(place, row, noun)
            elif file.name == "metric_results":
                _check_measurement(place, row)
            if fresh:
                yield place, row
                continue
            block.append((place, row))
            if len(block) == BLOCK:
                yield from self._lacking(table, rule, block)
                block = []
        yield from self._lacking(table, rule, block)

    def _lacking(self, table: Table, rule: _Rule, block: list[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        if not block:
            return
        columns = [table.c[name] for name in rule.key]
        keys = [tuple(row[name] for name in rule.key) for _, row in block]
        match_ = columns[0].in_([key[0] for key in keys]) if len(columns) == 1 else tuple_(*columns).in_(keys)
        fixed = [table.c[name] for name in rule.fixed]
        known = {
            tuple(row[: len(columns)]): tuple(row[len(columns) :])
            for row in rows_of(self.connection, select(*columns, *fixed).where(match_))
        }
        for (place, row), key in zip(block, keys, strict=True):
            stored = known.get(key)
            if stored is None:
                yield place, row
                continue
            for name, value in zip(rule.fixed, stored, strict=True):
                if row[name] != value:
                    raise InputError(f"{place}: {' '.join(map(str, key))} is stored with another {name}: {value!r}")
            self.done.present[table.name] += 1

    def _new_votes(self, file: TableFile) -> Iterator[tuple[str, Row]]:
        """The votes that the store lacks, with their place in its chain; the file's own chain is checked first."""
        there, here = GENESIS, chain_head(self.connection)
        next_id = self._last_id(schema.votes) + 1
        block: list[tuple[str, Row]] = []

        def flush() -> Iterator[tuple[str, Row]]:
            nonlocal there, here, next_id
            fought = battle_facts(self.connection, {row["battle_id"] for _, row in block})
            stored = {} if self.fresh_votes else self._stored_votes(block)
            for place, row in block:
                there = _follow(place, there, row, VOTE_FACTS)
                if fought.get(row["battle_id"]) != {name: row[name] for name in SIDES}:
                    raise InputError(f"{place}: its battle is missing, or has another prompt, models or samples")
                number = row["id"]
                if self.fresh_votes:
                    yield place, row
                    continue
                known = stored.get((row["battle_id"], row["criterion"], row["voter"]))
                if known is None:
                    here = link(here, row, VOTE_FACTS)
                    yield place, row | {"id": next_id, "digest": here}
                    known_id, next_id = next_id, next_id + 1
                else:
                    known_id = known[0]
                    self.done.present["votes"] += 1
                    if known[1:] != (row["winner"], row["voter_kind"], row["created_at"], row["dwell_ms"]):
                        raise InputError(f"{place}: is stored as vote {known_id}, with another winner or time")
                if number in self.wanted_ids:
                    self.vote_ids[number] = known_id

        for place, row in self._rows(file):
            block.append((place, row))
            if len(block) == BLOCK:
                yield from flush()
                block.clear()
        yield from flush()
        self._check_head("votes", there)

    def _stored_votes(self, block: list[tuple[str, Row]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        vote = schema.votes.c
        facts = (vote.id, vote.winner, vote.voter_kind, vote.created_at, vote.dwell_ms)
        query = select(vote.battle_id, vote.criterion, vote.voter, *facts)
        query = query.where(vote.battle_id.in_({row["battle_id"] for _, row in block}))
        return {row[:3]: row[3:] for row in rows_of(self.connection, query)}

    def _new_events(self, file: TableFile) -> Iterator[tuple[str, Row]]:
        there, here = GENESIS, vote_events.head(self.connection)
        next_id = self._last_id(schema.vote_events) + 1
        said = self._said_before()
        for place, row in self._rows(file):
            there = _follow(place, there, row, EVENT_FACTS)
            if self.fresh_votes:
                yield place, row
                continue
            if row["vote_id"] not in self.vote_ids:
                raise InputError(f"{place}: is about vote {row['vote_id']}, which the export lacks")
            row["vote_id"] = self.vote_ids[row["vote_id"]]
            facts = tuple(row[name] for name in EVENT_FACTS)
            if said[facts]:
                said[facts] -= 1
                self.done.present["vote_events"] += 1
                continue
            here = link(here, row, EVENT_FACTS)
            yield place, row | {"id": next_id, "digest": here}
            next_id += 1
        self._check_head("vote_events", there)

    def _said_before(self) -> Counter[tuple[Any, ...]]:
        event = schema.vote_events.c
        return Counter(rows_of(self.connection, select(*(event[name] for name in EVENT_FACTS))))

    def _import_snapshots(self, file: TableFile) -> None:
        if self.fresh_votes and not self._count(schema.rating_snapshots):
            self._insert(file, ((place, row) for place, row in self._rows(file)))
        elif n := self.manifest["tables"][file.name]["rows"]:
            self.done.notes.append(f"{n} kept boards were left out: they are of the exported votes alone")

    def _last_id(self, table: Table) -> int:
        last: int = self.connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
        return last

    def _check_head(self, name: str, digest: str) -> None:
        if self.manifest.get("heads", {}).get(name) != digest:
            raise InputError(f"{self.package.source}: the last of the {name} is not the one that was exported")


def insert_named(
    connection: Connection, table: Table, columns: Sequence[str], block: Sequence[tuple[str, Row]]
) -> None:
    """Insert rows that come with names for messages; raises `InputError` with the name of the one that is refused."""
    taken = 0

    def values() -> Iterator[tuple[Any, ...]]:
        nonlocal taken
        for _, row in block:
            taken += 1
            yield tuple(row[column] for column in columns)

    try:
        insert_rows(connection, table, columns, values())
    except (IntegrityError, DataError) as error:
        cause = " ".join(str(error.orig).split())
        line = re.search(r"COPY \w+, line (\d+)", str(getattr(getattr(error.orig, "diag", None), "context", "")))
        place = block[int(line[1]) - 1 if line else taken - 1][0]
        raise InputError(f"{place}: {cause}") from error


def _follow(place: str, previous: str, row: Row, facts: tuple[str, ...]) -> str:
    digest = link(previous, row, facts)
    if digest != row["digest"]:
        raise InputError(f"{place}: does not follow from the row before it: one was changed, or one is missing")
    return digest


def _check_noun(place: str, row: Row, noun: Callable[[Any], Row]) -> None:
    try:
        written = noun(SimpleNamespace(**row))
    except (InputError, ValueError, TypeError, InvalidOperation) as error:
        raise InputError(f"{place}: {error or type(error).__name__}") from error
    if different := [name for name, value in written.items() if row[name] != value]:
        raise InputError(f"{place}: {different[0]} {row[different[0]]!r} is not as paragone writes it")


def _check_measurement(place: str, row: Row) -> None:
    numbers = (row[name] for name in ("value", "standard_error", "ci_low", "ci_high"))
    try:
        details = json.loads(row["document"])["details"]
    except (ValueError, TypeError, KeyError):
        details = None
    if not isinstance(details, dict) or not all(number is None or math.isfinite(number) for number in numbers):
        raise InputError(f"{place}: is not a measurement: a number is not finite, or the document is not one")


def _import_media(package: Package, files: list[TableFile], project: Path, progress: Progress) -> None:
    """Copy the files of samples into the project. What the rows say is checked here, before any path is used."""
    [file] = [file for file in files if file.name == "samples"]
    rows = [row for block in file.blocks(package.path(file.file)) for row in block]
    for number, values in enumerate(rows, 1):
        row = dict(zip(file.columns, values, strict=True))
        place = f"{package.source}: {file.file} row {number}"
        _check_noun(place, {name: value for name, value in row.items() if name != CHECK}, _NOUNS["samples"])
        packed, target = package.path(f"{MEDIA}/{row['path']}"), project / row["path"]
        if file_digest(packed) != row["sha256"]:
            raise InputError(f"{place}: {MEDIA}/{row['path']} is not the file that was exported")
        if not target.exists():
            write_atomically(target, packed.read_bytes(), durable=True)
        elif file_digest(target) != row["sha256"]:
            raise InputError(f"{place}: {target} is there already, with another content")
        progress("import media", number, len(rows))


def advance_sequences(connection: Connection) -> None:
    """PostgreSQL numbers the next row by a counter that rows with a number of their own do not move."""
    if connection.dialect.name != "postgresql":
        return
    for table in schema.metadata.sorted_tables:
        if "id" in table.c and table.c["id"].autoincrement is True:
            counter = f"pg_get_serial_sequence('{table.name}', 'id')"
            connection.exec_driver_sql(f"SELECT setval({counter}, max(id)) FROM {table.name} HAVING max(id) > 0")
