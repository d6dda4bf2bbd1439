"""Votes of other arenas, or of a file, into a store: their models and prompts with them, as battles without pictures.

A battle that came so is never shown to anybody; its votes count as any other's. What makes a vote is its content and,
of equal ones, which of them it is: the same file again, or a longer one of the same log, adds only what is new.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, func, insert, select

from paragone.arena import schema, vote_events
from paragone.arena.chain import VOTE_FACTS, EventKind, link
from paragone.arena.importing import Imported, Row, advance_sequences, insert_named
from paragone.arena.store import Store
from paragone.arena.store_cursor import rows_of
from paragone.arena.store_rows import generator_values, prompt_values
from paragone.arena.store_votes import CRITERION, battle_facts, chain_head, now
from paragone.arena.vote_events import VoteEvent
from paragone.arena.vote_files import read_votes, vote_columns
from paragone.data.errors import InputError
from paragone.data.progress import Progress, silent
from paragone.data.records import GeneratorCard, Prompt, Task, VoterKind, fingerprint

NOT_BLIND = "not anonymous"  # the rule that keeps votes out whose voters saw the models' names
UNKNOWN_VOTER = "unknown"
NOT_RECORDED = "(the prompt was not recorded)"
BLOCK = 5_000
COLUMNS = tuple(column.name for column in schema.votes.c)
BATTLE_COLUMNS = ("id", "prompt_id", "model_a", "model_b", "sample_a", "sample_b")


def import_votes(
    store: Store, source: Path, *, task: Task = Task.TEXT_TO_IMAGE, progress: Progress = silent
) -> Imported:
    """Add the votes of a csv, json, jsonl or parquet file (see `read_votes`), all of them or none.

    New names become models, new prompts become prompts of `task`, with `category` as their tag. A vote with `anony`
    false was not blind: it is stored, and excluded by an event that can be taken back. Raises `InputError` with the
    file and the row.
    """
    extra = ["anony"] if "anony" in vote_columns(source) else []
    votes = read_votes(source, extra=extra)
    done = Imported()
    if "weight" in votes:
        raise InputError(
            f"{source}: votes of unequal weight cannot be stored, a vote counts once; rate the file instead"
        )
    if note := votes.attrs.get("read_as"):
        done.notes.append(note)
    prompts, prompt_ids = _prompts(votes, task)
    rows = _Rows(votes, prompt_ids, str(source), done)
    with store._database.write() as connection:
        _add_missing(connection, schema.generators, "name", _generators(votes, source), done)
        _add_missing(connection, schema.prompts, "id", [prompt_values(prompt) for prompt in prompts], done)
        not_blind: list[int] = []
        added = iter(rows)
        while block := list(islice(added, BLOCK)):
            not_blind += _add_block(connection, block, done, str(source))
            progress("import votes", rows.taken, len(votes))
        progress("import votes", len(votes), len(votes))
        if done.new["votes"]:
            vote_events.derive_again(connection)
        events = [
            VoteEvent(vote, EventKind.EXCLUDE, NOT_BLIND, "the models were named", "import") for vote in not_blind
        ]
        for start in range(0, len(events), BLOCK):
            vote_events.add_events(connection, events[start : start + BLOCK], now())
        done.new["vote_events"] += len(events)
        advance_sequences(connection)
    if not_blind:
        done.notes.append(f"{len(not_blind):,} votes on named models (anony is false) are excluded from every board")
    return done


class _Rows:
    """The votes of a file as rows of a battle and its vote, in their order."""

    def __init__(self, votes: pd.DataFrame, prompt_ids: list[str], source: str, done: Imported) -> None:
        self.taken = 0
        self._votes = votes
        self._prompts = prompt_ids
        self._source = source
        self._done = done
        self._written_at = now()

    def __iter__(self) -> Iterator[Row]:
        seen: Counter[bytes] = Counter()
        first: dict[str, str | None] = {}  # battle -> the person who shares it with judges; others get their own
        missing: Counter[str] = Counter()
        for row in self._cells():
            model_a, model_b, winner, prompt, voter, time, kind, dwell, anonymous, battle = row
            missing.update(voter=int(voter is None), time=int(time is None))
            self.taken += 1
            if battle is None:
                facts = [winner, voter, time]
            else:
                alone = kind == VoterKind.HUMAN and first.setdefault(battle, voter) != voter
                facts = [battle, voter] if alone else [battle]
            name = fingerprint(["imported", model_a, model_b, prompt, *facts])
            if battle is None:
                key = bytes.fromhex(name[:24])
                seen[key] += 1
                if seen[key] > 1:
                    name = fingerprint([name, seen[key]])
            yield {
                "battle_id": name[:32],
                "prompt_id": prompt,
                "model_a": model_a,
                "model_b": model_b,
                "sample_a": None,
                "sample_b": None,
                "criterion": CRITERION,
                "winner": winner,
                "voter": voter or UNKNOWN_VOTER,
                "voter_kind": kind,
                "dwell_ms": dwell,
                "created_at": time or self._written_at,
                "blind": anonymous,
                "row": self.taken,
            }
        if n := missing["voter"]:
            self._done.notes.append(f"{n:,} votes do not say who gave them; their voter is {UNKNOWN_VOTER!r}")
        if n := missing["time"]:
            self._done.notes.append(f"{n:,} votes do not say when they were given; they have the time of import")

    def _cells(self) -> Iterator[tuple[Any, ...]]:
        """What each vote says, checked; a block of them is in memory at a time."""
        for start in range(0, len(self._votes), BLOCK):
            part = self._votes.iloc[start : start + BLOCK]
            yield from zip(
                part["model_a"],
                part["model_b"],
                part["winner"],
                self._prompts[start : start + BLOCK],
                _texts(part, "voter"),
                [self._time(number, value) for number, value in enumerate(_column(part, "created_at"), start + 1)],
                [self._kind(number, value) for number, value in enumerate(_column(part, "kind"), start + 1)],
                [self._dwell(number, value) for number, value in enumerate(_column(part, "dwell_ms"), start + 1)],
                [_is_blind(value) for value in _column(part, "anony")],
                _texts(part, "battle"),
                strict=True,
            )

    def _time(self, number: int, value: object) -> str | None:
        """ISO 8601 in UTC; numbers are seconds since 1970."""
        if _missing(value):
            return None
        try:
            if isinstance(value, str) and not _is_number(value):
                moment = datetime.fromisoformat(value)
            elif isinstance(value, datetime):
                moment = value
            else:
                moment = datetime.fromtimestamp(float(value), UTC)  # type: ignore[arg-type]
        except (ValueError, TypeError, OverflowError, OSError):
            raise InputError(f"{self._source}: row {number}: created_at {value!r} is not a time (ISO 8601)") from None
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _kind(self, number: int, value: object) -> str:
        if _missing(value):
            return str(VoterKind.HUMAN)
        if value not in list(VoterKind):
            raise InputError(f"{self._source}: row {number}: kind {value!r} is neither human nor judge")
        return str(value)

    def _dwell(self, number: int, value: object) -> int | None:
        if _missing(value):
            return None
        try:
            dwell = float(value)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            dwell = math.nan
        if not (math.isfinite(dwell) and dwell >= 0):
            raise InputError(f"{self._source}: row {number}: dwell_ms {value!r} is not a number of milliseconds")
        return round(dwell)


def _add_block(connection: Connection, block: list[Row], done: Imported, source: str) -> list[int]:
    """Add battles and votes that are not stored; returns the ids of new votes that were not blind."""
    wanted = {row["battle_id"] for row in block}
    fought = battle_facts(connection, wanted)
    battles = {row["battle_id"]: row for row in block if row["battle_id"] not in fought}
    named = [(f"{source}: row {row['row']}", row | {"id": battle}) for battle, row in battles.items()]
    insert_named(connection, schema.battles, BATTLE_COLUMNS, named)
    done.new["battles"] += len(battles)
    vote = schema.votes.c
    query = select(vote.battle_id, vote.criterion, vote.voter).where(vote.battle_id.in_(wanted))
    stored = set(rows_of(connection, query)) if fought else set()
    digest = chain_head(connection)
    last: int = connection.execute(select(func.coalesce(func.max(vote.id), 0))).scalar_one()
    rows, not_blind = [], []
    for row in block:
        if (row["battle_id"], CRITERION, row["voter"]) in stored:
            done.present["votes"] += 1
            continue
        last += 1
        digest = link(digest, row, VOTE_FACTS)
        rows.append((f"{source}: row {row['row']}", row | {"id": last, "digest": digest}))
        if not row["blind"]:
            not_blind.append(last)
    insert_named(connection, schema.votes, COLUMNS, rows)
    done.new["votes"] += len(rows)
    return not_blind


def _add_missing(connection: Connection, table: Any, key: str, rows: list[Row], done: Imported) -> None:
    known = {row[0] for row in rows_of(connection, select(table.c[key]))}
    new = [row for row in rows if row[key] not in known]
    if new:
        connection.execute(insert(table), new)
    done.new[table.name] += len(new)
    done.present[table.name] += len(rows) - len(new)


def _generators(votes: pd.DataFrame, source: Path) -> list[Row]:
    names = sorted({*votes["model_a"], *votes["model_b"]})
    return [generator_values(GeneratorCard(name, description=f"votes imported from {source.name}")) for name in names]


def _prompts(votes: pd.DataFrame, task: Task) -> tuple[list[Prompt], list[str]]:
    """The prompts of the votes with their categories as tags, and the prompt's id of each vote."""
    texts, tags = _texts(votes, "prompt"), _texts(votes, "category")
    found: dict[str | None, set[str]] = {}
    for text, tag in zip(texts, tags, strict=True):
        found.setdefault(text, set()).update([tag] if tag else [])
    prompts: dict[str | None, Prompt] = {}
    for text, words in found.items():
        name = fingerprint(["prompt", str(task), text])[:32]
        prompts[text] = Prompt(name, NOT_RECORDED if text is None else text, task, tuple(sorted(words)))
    return list(prompts.values()), [prompts[text].id for text in texts]


def _column(votes: pd.DataFrame, name: str) -> list[Any]:
    return votes[name].tolist() if name in votes else [None] * len(votes)


def _texts(votes: pd.DataFrame, name: str) -> list[str | None]:
    return [None if _missing(value) else str(value) for value in _column(votes, name)]


def _missing(value: object) -> bool:
    nothing = value is None or value is pd.NA or value is pd.NaT or (isinstance(value, str) and not value)
    return nothing or (isinstance(value, float) and math.isnan(value))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and not (text.isdigit() and len(text) == 8)
    except ValueError:
        return False


def _is_blind(value: object) -> bool:
    """Only what says that it was not: false, 0."""
    return _missing(value) or str(value).strip().lower() not in ("false", "0", "0.0")
