"""The store: one SQLite file with all that happened in an arena, open to the CLI, the judges and the web UI at once.

Facts are added and never changed: votes and judge calls are append-only, a battle's token is good for one vote.
`pair_counts` is kept in the vote's own transaction, so a board costs the same after a thousand votes and after a
million.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import pandas as pd
from sqlalchemy import Connection, Select, Table, and_, func, select, true
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError

from paragone.arena import schema, store_votes
from paragone.arena.store_engine import Database, database_file
from paragone.arena.store_rows import (
    Values,
    generator_values,
    metric_values,
    prompt_values,
    read_generator,
    read_prompt,
    read_sample,
    sample_values,
)
from paragone.arena.store_votes import IssuedBattle
from paragone.data.errors import InputError
from paragone.data.records import GeneratorCard, Judgement, MetricResult, Prompt, Sample, Vote, VoterKind, Winner

__all__ = ["IssuedBattle", "Store"]

BATCH = 64  # judgements to a transaction, when they come fast
BATCH_S = 1.0  # and the longest that a judgement waits to be stored


class Store:
    """An arena's database, `arena.db` of a project folder. Threads may share it; so may processes share the file.

    `create=True` makes the file when there is none. Raises `InputError` for a file that is missing, empty or not a
    paragone database, and `UsageError` for a URL that is not SQLite's.
    """

    def __init__(self, url_or_path: str | Path, *, create: bool = False) -> None:
        self.path = database_file(url_or_path)
        self._database = Database(self.path, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def data_version(self) -> int:
        """A number that changes whenever anything in the store does: the key of every cache over it."""
        return self._database.data_version()

    # Facts in

    def add_generators(self, cards: Iterable[GeneratorCard]) -> None:
        """Add models, or correct what the leaderboard says of them."""
        self._upsert(schema.generators, [generator_values(card) for card in cards], key=("name",))

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Add prompts. Tags may change; raises `InputError` when a stored one would change its text, task or source."""
        rows = [prompt_values(prompt) for prompt in prompts]
        self._upsert(schema.prompts, rows, key=("id",), fixed=("text", "task", "source"))

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Add samples of stored models and prompts.

        Raises `InputError` when a model has another picture for the same prompt and seed: votes on the old one would
        otherwise pass to the new.
        """
        rows = [sample_values(sample) for sample in samples]
        self._upsert(schema.samples, rows, key=("model", "prompt_id", "seed"), fixed=("id", "sha256"))

    def add_metric_results(self, model: str, results: Iterable[MetricResult]) -> None:
        """Add a model's measurements; the same measurement (metric and signature) again replaces the old value."""
        rows = [metric_values(model, result) for result in results]
        self._upsert(schema.metric_results, rows, key=("model", "metric", "signature"))

    def record_judgements(self, judgements: Iterable[Judgement], *, judge: str, voter: str | None = None) -> int:
        """Store judgements as they come and return how many were new. `voter` is the votes' name, by default `judge`.

        A judgement (its battle, its calls and, when there is a winner, its vote) is stored whole or not at all, in
        transactions of up to `BATCH` judgements or about `BATCH_S` seconds. Battles that this judge has answered are
        left alone, so a killed run is simply started again. What had come before an error is stored, too.
        """
        recorded = 0
        batch: list[Judgement] = []
        flushed = time.monotonic()

        def flush() -> int:
            new, batch[:] = list(batch), []
            with self._database.write() as connection:
                return store_votes.insert_judgements(connection, new, judge=judge, voter=voter or judge)

        try:
            for judgement in judgements:
                batch.append(judgement)
                if len(batch) >= BATCH or time.monotonic() - flushed >= BATCH_S:
                    recorded += flush()
                    flushed = time.monotonic()
        finally:
            if batch:
                recorded += flush()
        return recorded

    # Battles of people

    def issue_battle(self, voter: str, rng: random.Random | None = None) -> IssuedBattle:
        """Draw a battle for a person: pair by `paragone.arena.matchmaking`, then prompt, seed and sides uniformly.

        `rng` defaults to the system's cryptographic source. Raises `InputError` when no two models share a prompt.
        """
        with self._database.read() as connection:
            battle, propensity = store_votes.draw_battle(connection, rng or secrets.SystemRandom())
        with self._database.write() as connection:
            return store_votes.insert_issued(connection, battle, voter=voter, propensity=propensity)

    def mark_shown(self, token: str) -> None:
        """Write down that both pictures of an issued battle were sent (the first time counts)."""
        with self._database.write() as connection:
            store_votes.mark_shown(connection, token)

    def record_vote(self, token: str, winner: Winner, *, voter: str, dwell_ms: int | None = None) -> Vote:
        """Spend the token of an issued battle on one vote; raises `VoteRefused` when it cannot be spent (again)."""
        with self._database.write() as connection:
            battle_id = store_votes.spend_token(connection, token, voter=voter)
            vote = Vote(battle_id, winner, voter, VoterKind.HUMAN, store_votes.now(), dwell_ms)
            store_votes.insert_vote(connection, vote)
            return vote

    # Facts out

    def generators(self) -> list[GeneratorCard]:
        """All models, by name."""
        return [read_generator(row) for row in self._rows(select(schema.generators).order_by(schema.generators.c.name))]

    def prompts(self) -> list[Prompt]:
        """All prompts, by id."""
        return [read_prompt(row) for row in self._rows(select(schema.prompts).order_by(schema.prompts.c.id))]

    def samples(self, *, model: str | None = None, prompt: str | None = None) -> list[Sample]:
        """Samples by model, prompt and seed; of one `model`, or of one `prompt` (its id), when named."""
        table = schema.samples
        query = select(table).order_by(table.c.model, table.c.prompt_id, table.c.seed)
        if model is not None:
            query = query.where(table.c.model == model)
        if prompt is not None:
            query = query.where(table.c.prompt_id == prompt)
        return [read_sample(row) for row in self._rows(query)]

    def votes(self, kind: VoterKind | None = None) -> pd.DataFrame:
        """Votes in the order they were given.

        Columns: model_a, model_b, winner, voter, voter_kind, prompt (its id), created_at, battle.
        """
        vote, battle = schema.votes.c, schema.battles.c
        columns = (battle.model_a, battle.model_b, vote.winner, vote.voter, vote.voter_kind)
        query = (
            select(*columns, battle.prompt_id.label("prompt"), vote.created_at, vote.battle_id.label("battle"))
            .join_from(schema.votes, schema.battles)
            .order_by(vote.id)
        )
        return self._frame(query if kind is None else query.where(vote.voter_kind == kind))

    def human_vote(self, battle_id: str) -> Vote | None:
        """What the person who was shown a battle decided, once they have."""
        table = schema.votes
        query = select(table).where(table.c.battle_id == battle_id, table.c.voter_kind == VoterKind.HUMAN)
        for row in self._rows(query):
            return Vote(row.battle_id, Winner(row.winner), row.voter, VoterKind.HUMAN, row.created_at, row.dwell_ms)
        return None

    def pair_counts(self, kind: VoterKind | None = None) -> pd.DataFrame:
        """Votes summed by model_a, model_b and winner, with their `count`; of one kind of voter, or of both."""
        cell = schema.pair_counts.c
        keys = (cell.model_a, cell.model_b, cell.winner)
        query = select(*keys, func.sum(cell.count).label("count")).group_by(*keys).order_by(*keys)
        return self._frame(query if kind is None else query.where(cell.voter_kind == kind))

    def metric_results(self) -> pd.DataFrame:
        """All measurements in the order they were made; `details` holds what each metric says besides its number."""
        table = schema.metric_results
        frame = self._frame(select(table).order_by(table.c.id)).drop(columns="id")
        frame["higher_is_better"] = frame["higher_is_better"].astype(bool)
        frame["details"] = [json.loads(document)["details"] for document in frame.pop("document")]
        return frame

    def judged_battle_ids(self, judge: str) -> set[str]:
        """Battles that need not be put to this judge again; those that ended in an error or timeout are left out."""
        with self._database.read() as connection:
            judged = store_votes.judged_battles(connection, judge)
        return {battle_id for battle_id, (answered, _) in judged.items() if answered}

    def counts(self) -> dict[str, int]:
        """How many rows the store has of each thing, votes apart by who gave them."""
        tables = ("generators", "prompts", "samples", "battles", "judge_calls", "metric_results")
        with self._database.read() as connection:
            counts = {name: _count(connection, schema.metadata.tables[name]) for name in tables}
            kinds = select(schema.votes.c.voter_kind, func.count()).group_by(schema.votes.c.voter_kind)
            votes = {row[0]: row[1] for row in connection.execute(kinds)}
        return counts | {f"{kind}_votes": votes.get(str(kind), 0) for kind in VoterKind}

    def verify(self) -> list[str]:
        """What is wrong with the file: damage, dangling references, pair counts that miss a vote. Empty when sound."""
        with self._database.read() as connection:
            problems = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                problems.append(f"{row[0]} row {row[1]} refers to a missing row of {row[2]}")
            vote, battle, cell = schema.votes.c, schema.battles.c, schema.pair_counts.c
            keys = (battle.model_a, battle.model_b, vote.winner, vote.voter_kind, vote.criterion)
            counted = select(*keys, func.count()).join_from(schema.votes, schema.battles).group_by(*keys)
            kept = select(cell.model_a, cell.model_b, cell.winner, cell.voter_kind, cell.criterion, cell.count)
            differing = {tuple(row) for row in connection.execute(counted)} ^ {
                tuple(row) for row in connection.execute(kept)
            }
        return problems + [f"pair_counts and votes disagree on {row[:5]}" for row in sorted(differing)]

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _frame(self, query: Select[Any]) -> pd.DataFrame:
        with self._database.read() as connection:
            result = connection.execute(query)
            return pd.DataFrame(result.all(), columns=list(result.keys()))

    def _upsert(
        self, table: Table, rows: Sequence[Values], *, key: tuple[str, ...], fixed: tuple[str, ...] = ()
    ) -> None:
        """Insert rows, or update those with the same key; `fixed` columns of a stored row must stay as they are."""
        if not rows:
            return
        statement = sqlite_insert(table)
        changing = {name: statement.excluded[name] for name in rows[0] if name not in (*key, *fixed)}
        same = [table.c[name].is_not_distinct_from(statement.excluded[name]) for name in fixed]
        upsert = statement.on_conflict_do_update(index_elements=list(key), set_=changing, where=and_(true(), *same))
        try:
            with self._database.write() as connection:
                if _run(connection, upsert, rows) != len(rows):
                    raise _ConflictError
        except (IntegrityError, _ConflictError):
            self._blame(table, upsert, rows, key, fixed)

    def _blame(
        self, table: Table, upsert: Insert, rows: Sequence[Values], key: tuple[str, ...], fixed: tuple[str, ...]
    ) -> NoReturn:
        """Do refused work again, row by row, to raise an `InputError` that names the row; nothing of it is kept."""
        with self._database.write() as connection:
            for row in rows:
                name = f"{table.name[:-1].replace('_', ' ')} {' '.join(str(row[column]) for column in key)}"
                try:
                    changed = _run(connection, upsert, [row])
                except IntegrityError as error:
                    cause = str(error.orig)
                    if "FOREIGN KEY" in cause:
                        cause = "the model or the prompt that it belongs to is not in the store; add that first"
                    raise InputError(f"{name}: {cause}") from error
                if changed != 1:
                    raise InputError(
                        f"{name}: is stored with another {' or '.join(fixed)}; give the new one its own name, "
                        "so that votes on the old one stay its own"
                    )
            raise InputError(f"{self.path}: {table.name} changed while they were being added; try again")


class _ConflictError(Exception):
    """Some row of an upsert contradicts a stored one."""


def _run(connection: Connection, statement: Insert, rows: Sequence[Values]) -> int:
    result = connection.execute(statement, rows, execution_options={"preserve_rowcount": True})
    return result.rowcount


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
