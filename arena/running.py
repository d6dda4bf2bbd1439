"""Ratings that keep up with the votes: a board after one more vote costs that vote, not all of them.

`RunningVotes` mirrors a store's votes as columns of integers (about 20 bytes a vote). Votes are append-only, so only
newer rows are ever read, and of the older ones those that something was said of. Online Elo is carried along, with its
state kept every `STRIDE` votes: a vote's own effect, or what follows from an exclusion, is played again from there.
Nothing of this is stored; each process makes it anew from the facts.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, case, func, select

from paragone.arena.elo import SCORES, SIGNS, elo_update, expected_score
from paragone.arena.schema import vote_events, vote_state, votes
from paragone.arena.store_cursor import blocks_of, rows_of
from paragone.arena.store_engine import Database
from paragone.arena.votes import OUTCOMES, CodedVotes, IntArray
from paragone.data.records import VoterKind, Winner

STRIDE = 4096  # votes between kept states of Elo
K, SCALE, BASE, INITIAL = 4.0, 400.0, 10.0, 1000.0  # as `fit_elo` has them
# Of a vote, as one number: its outcome, and whether a person gave it.
_CODE = case({str(word): code for code, word in enumerate(OUTCOMES)}, value=votes.c.winner) + case(
    (votes.c.voter_kind == VoterKind.HUMAN, len(OUTCOMES)), else_=0
)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VoteEffect:
    """What one person's vote did to the online Elo (over the votes of people) of both models."""

    model_a: str
    model_b: str
    before_a: float
    before_b: float
    after_a: float
    after_b: float
    expected_a: float  # score that A was expected to have, in [0, 1]


@dataclass(frozen=True, slots=True, eq=False)
class VoteColumns:
    """All votes of a store in their order, as they stand. The arrays are shared: look, do not change."""

    models: tuple[str, ...] = ()  # index: new ones come last
    ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [V] ascending
    a: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))  # [V] index into models
    b: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    outcome: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))  # [V] index into OUTCOMES
    human: Mask = field(default_factory=lambda: np.zeros(0, bool))
    excluded: Mask = field(default_factory=lambda: np.zeros(0, bool))
    last_event: int = 0

    def counting(self, kind: VoterKind | None) -> Mask:
        """[V] which votes count, of one kind of voter or of both."""
        counts = ~self.excluded
        return counts if kind is None else counts & (self.human == (kind is VoterKind.HUMAN))

    def coded(self, rows: Mask) -> CodedVotes:
        """These votes for a rater: only the models that are in them, sorted by name."""
        a, b = self.a[rows], self.b[rows]
        present = np.flatnonzero(
            np.bincount(a, minlength=len(self.models)) + np.bincount(b, minlength=len(self.models))
        )
        present = np.array(sorted(present.tolist(), key=self.models.__getitem__), np.int64)
        place = np.zeros(len(self.models), np.int64)
        place[present] = np.arange(present.size)
        names = tuple(self.models[k] for k in present)
        return CodedVotes(names, place[a], place[b], self.outcome[rows].astype(np.int64), None)

    def frame(self, rows: Mask) -> pd.DataFrame:
        """The same as a table with `model_a`, `model_b` and `winner`."""
        names, words = np.array(self.models, object), np.array([str(word) for word in OUTCOMES], object)
        return pd.DataFrame(
            {"model_a": names[self.a[rows]], "model_b": names[self.b[rows]], "winner": words[self.outcome[rows]]}
        )


class RunningVotes:
    """A store's votes and online Elo, brought up to date when asked; threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._columns = VoteColumns()
        self._models: dict[str, int] = {}
        self._elo: dict[VoterKind | None, _RunningElo] = {}
        self._prompts: dict[str, int] = {}
        self._prompt_of = np.zeros(0, np.int32)

    def columns(self) -> VoteColumns:
        """All votes up to now."""
        with self._lock, self._database.read() as connection:
            return self._refresh(connection)

    def elo(self, kind: VoterKind | None) -> tuple[VoteColumns, dict[str, float]]:
        """The votes up to now, and online Elo after those that count of one kind of voter, or of both, by model."""
        with self._lock, self._database.read() as connection:
            columns = self._refresh(connection)
            return columns, self._running(kind).ratings(columns)

    def of_prompts(self, prompts: Collection[str]) -> tuple[VoteColumns, Mask]:
        """The votes up to now, and which of them are on these prompts (ids)."""
        with self._lock, self._database.read() as connection:
            columns = self._refresh(connection)
            if self._prompt_of.size < columns.ids.size:
                since = int(columns.ids[self._prompt_of.size - 1]) if self._prompt_of.size else 0
                query = select(votes.c.prompt_id).where(votes.c.id > since).order_by(votes.c.id)
                new = [
                    np.array([self._prompts.setdefault(row[0], len(self._prompts)) for row in rows], np.int32)
                    for rows in blocks_of(connection, query)
                ]
                self._prompt_of = np.concatenate([self._prompt_of, *new])
            wanted = np.zeros(len(self._prompts), bool)
            wanted[[self._prompts[prompt] for prompt in prompts if prompt in self._prompts]] = True
            return columns, wanted[self._prompt_of]

    def effect(self, battle_id: str) -> VoteEffect | None:
        """What the person's vote on a battle did; None when there is none, or it does not count."""
        query = select(votes.c.id).where(votes.c.battle_id == battle_id, votes.c.voter_kind == VoterKind.HUMAN)
        with self._lock, self._database.read() as connection:
            columns = self._refresh(connection)
            found = rows_of(connection, query)
            if not found:
                return None
            row = int(np.searchsorted(columns.ids, found[0][0]))
            if columns.excluded[row]:
                return None
            before_a, before_b = self._running(VoterKind.HUMAN).before(columns, row)
        a, b = columns.models[columns.a[row]], columns.models[columns.b[row]]
        after = elo_update(before_a, before_b, float(SCORES[columns.outcome[row]]), k=K, scale=SCALE, base=BASE)
        return VoteEffect(a, b, before_a, before_b, *after, expected_score(before_a, before_b, scale=SCALE, base=BASE))

    def _running(self, kind: VoterKind | None) -> _RunningElo:
        return self._elo.setdefault(kind, _RunningElo(kind))

    def _refresh(self, connection: Connection) -> VoteColumns:
        known = self._columns
        columns = self._with_new_votes(connection, known)
        last_event = connection.execute(select(func.coalesce(func.max(vote_events.c.id), 0))).scalar_one()
        if last_event != known.last_event:
            columns = self._with_states(connection, columns, last_event)
        self._columns = columns
        return columns

    def _with_new_votes(self, connection: Connection, known: VoteColumns) -> VoteColumns:
        since = int(known.ids[-1]) if known.ids.size else 0
        query = select(votes.c.model_a, votes.c.model_b, _CODE).where(votes.c.id > since).order_by(votes.c.id)
        parts = [self._coded(rows) for rows in blocks_of(connection, query)]
        if not parts:
            return known
        a, b, code = (np.concatenate(column) for column in zip(*parts, strict=True))
        return VoteColumns(
            models=tuple(self._models),
            ids=np.concatenate([known.ids, _ids_after(connection, since, code.size)]),
            a=np.concatenate([known.a, a]),
            b=np.concatenate([known.b, b]),
            outcome=np.concatenate([known.outcome, (code % len(OUTCOMES)).astype(np.int8)]),
            human=np.concatenate([known.human, code >= len(OUTCOMES)]),
            excluded=np.concatenate([known.excluded, np.zeros(code.size, bool)]),
            last_event=known.last_event,
        )

    def _coded(self, rows: list[tuple[str, str, int]]) -> tuple[NDArray[np.int32], ...]:
        one, two, code = zip(*rows, strict=True)
        for name in sorted({*one, *two}.difference(self._models)):
            self._models[name] = len(self._models)
        place = self._models.__getitem__
        return tuple(np.fromiter(column, np.int32, len(rows)) for column in (map(place, one), map(place, two), code))

    def _with_states(self, connection: Connection, columns: VoteColumns, last_event: int) -> VoteColumns:
        """Take over what was said of votes since the last look."""
        said = select(vote_events.c.vote_id).where(vote_events.c.id > columns.last_event)
        query = (
            select(votes.c.id, func.coalesce(vote_state.c.winner, votes.c.winner), vote_state.c.excluded)
            .join_from(vote_state, votes)
            .where(vote_state.c.vote_id.in_(said))
        )
        found = rows_of(connection, query)
        rows = np.searchsorted(columns.ids, np.array([row[0] for row in found], np.int64))
        outcome, excluded = columns.outcome.copy(), columns.excluded.copy()
        outcome[rows] = [OUTCOMES.index(Winner(row[1])) for row in found]
        excluded[rows] = [bool(row[2]) for row in found]
        changed = rows[(outcome[rows] != columns.outcome[rows]) | (excluded[rows] != columns.excluded[rows])]
        if changed.size:
            for elo in self._elo.values():
                elo.forget_from(int(changed.min()))
        return replace(columns, outcome=outcome, excluded=excluded, last_event=last_event)


class _RunningElo:
    """Online Elo over the votes of one kind of voter, or of both: `fit_elo`, stopped and resumed."""

    def __init__(self, kind: VoterKind | None) -> None:
        self.kind = kind
        self.done = 0  # votes that were played
        self.strength: list[float] = []  # (rating − initial)·ln(base)/(2·scale), by model
        self.kept: list[list[float]] = [[]]  # the strengths before each STRIDE-th vote

    def ratings(self, columns: VoteColumns) -> dict[str, float]:
        """Ratings after all votes, of every model that has a vote of any kind."""
        while self.done < columns.ids.size:
            stop = min(columns.ids.size, (self.done // STRIDE + 1) * STRIDE)
            self.strength = self._played(columns, self.strength, self.done, stop)
            self.done = stop
            if stop % STRIDE == 0:
                self.kept.append(list(self.strength))
        return {name: _rating(strength) for name, strength in zip(columns.models, self.strength, strict=False)}

    def before(self, columns: VoteColumns, row: int) -> tuple[float, float]:
        """The ratings of both sides of a vote just before it."""
        self.ratings(columns)
        start = row - row % STRIDE
        strength = self._played(columns, self.kept[row // STRIDE], start, row)
        a, b = (strength[side] if side < len(strength) else 0.0 for side in (columns.a[row], columns.b[row]))
        return _rating(a), _rating(b)

    def forget_from(self, row: int) -> None:
        """A vote is another than it was: go back to the state before it."""
        if row < self.done:
            del self.kept[row // STRIDE + 1 :]
            self.strength = list(self.kept[-1])
            self.done = (len(self.kept) - 1) * STRIDE

    def _played(self, columns: VoteColumns, before: list[float], start: int, stop: int) -> list[float]:
        """The strengths after the votes from `start` to `stop`: `elo_update`, inlined."""
        strength = before + [0.0] * (len(columns.models) - len(before))
        gain, tanh = K * math.log(BASE) / (4 * SCALE), math.tanh
        rows = start + np.flatnonzero(columns.counting(self.kind)[start:stop])
        sides = zip(
            columns.a[rows].tolist(), columns.b[rows].tolist(), SIGNS[columns.outcome[rows]].tolist(), strict=True
        )
        for a, b, sign in sides:
            delta = gain * (sign - tanh(strength[a] - strength[b]))
            strength[a] += delta
            strength[b] -= delta
        return strength


def _rating(strength: float) -> float:
    return INITIAL + strength * 2 * SCALE / math.log(BASE)


def _ids_after(connection: Connection, since: int, count: int) -> IntArray:
    """The ids of the votes after `since`, of which there are `count`; mostly there are no gaps, and none are read."""
    query = select(func.min(votes.c.id), func.max(votes.c.id)).where(votes.c.id > since)
    first, last = connection.execute(query).one()
    if last - first + 1 == count:
        return np.arange(first, last + 1)
    ids = select(votes.c.id).where(votes.c.id > since).order_by(votes.c.id)
    return np.array([row[0] for row in rows_of(connection, ids)], np.int64)
