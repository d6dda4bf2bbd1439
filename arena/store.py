"""The store: one database with all that happened in an arena, open to the CLI, the judges and the web UI at once.

Facts are added and never changed: votes are append-only and chained, what is said of them later (flags, exclusions,
corrections) are facts of their own, and a battle's token is good for one vote. `pair_counts` is kept in the vote's own
transaction, so a board costs the same after a thousand votes and after a million.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Integer, Select, Table, cast, func, insert, select

from paragone.arena import schema, store_checks, store_votes, vote_events
from paragone.arena.store_cursor import rows_of
from paragone.arena.store_engine import database_target, open_database
from paragone.arena.store_facts import append, upsert
from paragone.arena.store_rows import (
    attempt_values,
    generator_values,
    metric_values,
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
from paragone.arena.store_votes import IssuedBattle
from paragone.arena.vote_events import VoteEvent
from paragone.data.records import (
    Attempt,
    GeneratorCard,
    Judgement,
    MetricResult,
    Price,
    Prompt,
    Provenance,
    SafetyScore,
    Sample,
    Status,
    Vote,
    VoterKind,
    Winner,
)

if TYPE_CHECKING:  # loaded by what needs them: who only stores judgements waits for neither pandas nor scipy
    import pandas as pd

    from paragone.arena.running import RunningVotes, VoteEffect

__all__ = ["IssuedBattle", "Store", "VoteEvent"]

BATCH = 64  # judgements to a transaction, when they come fast
BATCH_S = 1.0  # and the longest that a judgement waits to be stored


class Store:
    """An arena's database: `arena.db` of a project folder, or one on a PostgreSQL server; threads may share it.

    `create=True` makes it when there is none. Raises `InputError` for a database that is missing, not paragone's or of
    another version, and `UsageError` for a URL of another kind of database.
    """

    def __init__(self, url_or_path: str | Path, *, create: bool = False) -> None:
        target = database_target(url_or_path)
        self.path = target if isinstance(target, Path) else None  # None: on a server
        self._database = open_database(url_or_path, create=create)
        self.name = self._database.name  # as messages call it
        self._attempts: list[Attempt] = []  # as they were read last: append-only, so their number is their version

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @cached_property
    def running(self) -> RunningVotes:
        """The votes as integers and online Elo, kept up with the store."""
        from paragone.arena.running import RunningVotes

        return RunningVotes(self._database)

    def data_version(self) -> int:
        """A number that changes whenever anything in the store does: the key of every cache over it."""
        return self._database.data_version()

    # Facts in

    def add_generators(self, cards: Iterable[GeneratorCard]) -> None:
        """Add models, or correct what the leaderboard says of them."""
        upsert(self._database, schema.generators, [generator_values(card) for card in cards], key=("name",))

    def add_prices(self, prices: Iterable[Price]) -> None:
        """Add prices, or correct those of the same model, unit and day."""
        rows = [price_values(price) for price in prices]
        upsert(self._database, schema.prices, rows, key=("model", "unit", "valid_from"))

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Add prompts. Tags may change; raises `InputError` when a stored one would change what it asks for."""
        rows = [prompt_values(prompt) for prompt in prompts]
        upsert(self._database, schema.prompts, rows, key=("id",), fixed=("text", "task", "source", "mask"))

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Add samples of stored models and prompts.

        Raises `InputError` when a model has another picture for the same prompt and seed: votes on the old one would
        otherwise pass to the new.
        """
        rows = [sample_values(sample) for sample in samples]
        upsert(self._database, schema.samples, rows, key=("model", "prompt_id", "seed"), fixed=("id", "sha256"))

    def add_attempts(self, attempts: Iterable[Attempt]) -> None:
        """Add how requests ended, after the samples that they gave; an attempt that is stored already is left alone."""
        append(self._database, schema.attempts, [attempt_values(attempt) for attempt in attempts], key=("id",))

    def add_provenance(self, found: Iterable[Provenance]) -> None:
        """Add what files say of their origin; a later check of the same bytes replaces an earlier one."""
        upsert(self._database, schema.provenance, [provenance_values(one) for one in found], key=("sha256",))

    def add_safety_scores(self, scores: Iterable[SafetyScore]) -> None:
        """Add what a classifier says of samples; its later word on a sample replaces the earlier one."""
        rows = [safety_values(score) for score in scores]
        upsert(self._database, schema.safety_scores, rows, key=("sample_id", "classifier"))

    def add_metric_results(self, model: str, results: Iterable[MetricResult]) -> None:
        """Add a model's measurements; the same measurement (metric and signature) again replaces the old value."""
        rows = [metric_values(model, result) for result in results]
        upsert(self._database, schema.metric_results, rows, key=("model", "metric", "signature"))

    def record_judgements(
        self,
        judgements: Iterable[Judgement],
        *,
        judge: str,
        voter: str | None = None,
        retried: Collection[Status] = (),
    ) -> int:
        """Store judgements as they come and return how many were new. `voter` is the votes' name, by default `judge`.

        A judgement (its battle, its calls and, when there is a winner, its vote) is stored whole or not at all, in
        transactions of up to `BATCH` judgements or about `BATCH_S` seconds. Battles that this judge has answered are
        left alone, so a killed run is simply started again; an answer with a status of `retried` (no vote came of it)
        is one that may be made again. What had come before an error is stored, too.
        """
        recorded = 0
        batch: list[Judgement] = []
        flushed = time.monotonic()

        def flush() -> int:
            new, batch[:] = list(batch), []
            with self._database.write() as connection:
                return store_votes.insert_judgements(
                    connection, new, judge=judge, voter=voter or judge, retried=retried
                )

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

    # What is said of votes

    def add_events(self, events: Sequence[VoteEvent]) -> None:
        """Flag, exclude, restore or correct votes (by their `id`): all of it or nothing; the counts follow at once."""
        with self._database.write() as connection:
            vote_events.add_events(connection, events, store_votes.now())

    def events(self) -> pd.DataFrame:
        """All that was said of votes, in order: id, vote_id, kind, winner, rule, reason, actor, created_at, digest."""
        return self._frame(select(schema.vote_events).order_by(schema.vote_events.c.id))

    # Snapshots

    def save_snapshot(self, *, voters: str, method: str, document: str) -> int:
        """Keep a board as it is now, with what names the votes that it was made from; returns its number."""
        with self._database.write() as connection:
            row = {"voters": voters, "method": method, "document": document, "created_at": store_votes.now()}
            result = connection.execute(insert(schema.rating_snapshots), row | store_checks.high_water(connection))
            key = result.inserted_primary_key
            assert key is not None  # SQLAlchemy gives it for an INSERT of one row
            return int(key[0])

    def snapshots(self) -> pd.DataFrame:
        """All kept boards, in order; `head` is the digest of the last vote that is in one."""
        return self._frame(select(schema.rating_snapshots).order_by(schema.rating_snapshots.c.id))

    # Facts out

    def generators(self) -> list[GeneratorCard]:
        """All models, by name."""
        return [read_generator(row) for row in self._rows(select(schema.generators).order_by(schema.generators.c.name))]

    def prices(self) -> list[Price]:
        """All prices, by model, unit and day."""
        table = schema.prices
        return [read_price(row) for row in self._rows(select(table).order_by(*table.primary_key.columns))]

    def prompts(self) -> list[Prompt]:
        """All prompts, by id."""
        return [read_prompt(row) for row in self._rows(select(schema.prompts).order_by(schema.prompts.c.id))]

    def voted_prompts(self) -> set[str]:
        """The ids of the prompts that votes were given on."""
        return {row.prompt_id for row in self._rows(select(schema.votes.c.prompt_id).distinct())}

    def samples(self, *, model: str | None = None, prompt: str | None = None) -> list[Sample]:
        """Samples by model, prompt and seed; of one `model`, or of one `prompt` (its id), when named."""
        table = schema.samples
        query = select(table).order_by(table.c.model, table.c.prompt_id, table.c.seed)
        if model is not None:
            query = query.where(table.c.model == model)
        if prompt is not None:
            query = query.where(table.c.prompt_id == prompt)
        return [read_sample(row) for row in self._rows(query)]

    def attempts(self, model: str | None = None) -> list[Attempt]:
        """How requests ended, by model, prompt, seed and time; of one `model` when named."""
        table = schema.attempts.c
        with self._database.read() as connection:
            if _count(connection, schema.attempts) != len(self._attempts):
                order = (table.model, table.prompt_id, table.seed, func.coalesce(table.created_at, ""), table.id)
                rows = connection.execute(select(schema.attempts).order_by(*order))
                self._attempts = [read_attempt(row) for row in rows]
            found = self._attempts
        return [attempt for attempt in found if model is None or attempt.model == model]

    def provenance(self, of: Iterable[str] | None = None) -> dict[str, Provenance]:
        """What files say of their origin, by sha256; of these files when named."""
        table = schema.provenance
        query = select(table).order_by(table.c.sha256)
        rows = self._rows(query if of is None else query.where(table.c.sha256.in_(set(of))))
        return {row.sha256: read_provenance(row) for row in rows}

    def safety_scores(self) -> list[SafetyScore]:
        """What classifiers say of samples, by sample and classifier."""
        table = schema.safety_scores
        return [read_safety(row) for row in self._rows(select(table).order_by(*table.primary_key.columns))]

    def flagged(self, samples: Iterable[str]) -> set[str]:
        """Which of these samples (ids) any classifier flags."""
        score = schema.safety_scores.c
        query = select(score.sample_id).where(score.sample_id.in_(set(samples)), score.score >= score.threshold)
        return {row.sample_id for row in self._rows(query.distinct())}

    def votes(self, kind: VoterKind | None = None, *, excluded: bool = False) -> pd.DataFrame:
        """The votes that count, of one kind of voter or of both, in the order they were given, as they were corrected.

        Columns: model_a, model_b, winner, voter, voter_kind, prompt (its id), created_at, battle, id, dwell_ms,
        propensity, issued_at, shown_at, given (the winner as it was given), sample_a, sample_b (their ids), flags (how
        many), excluded. With `excluded=True` the votes that do not count are there too.
        """
        query = store_votes.select_votes(excluded=excluded)
        frame = self._frame(query if kind is None else query.where(schema.votes.c.voter_kind == kind))
        return frame.astype({"excluded": bool})

    def human_vote(self, battle_id: str) -> Vote | None:
        """What the person who was shown a battle decided, once they have."""
        table = schema.votes
        query = select(table).where(table.c.battle_id == battle_id, table.c.voter_kind == VoterKind.HUMAN)
        for row in self._rows(query):
            return Vote(row.battle_id, Winner(row.winner), row.voter, VoterKind.HUMAN, row.created_at, row.dwell_ms)
        return None

    def vote_effect(self, battle_id: str) -> VoteEffect | None:
        """What the person's vote on a battle did to the Elo of both models; None without one that counts."""
        return self.running.effect(battle_id)

    def judge_calls(self) -> pd.DataFrame:
        """Every call of a judge, in order.

        Columns: model_a, model_b, winner (None without an answer; read in the battle's own order of sides even where
        side_order is "ba", that is, the call saw them exchanged), judge, side_order, status, reason, attempt, battle,
        created_at.
        """
        call, battle = schema.judge_calls.c, schema.battles.c
        columns = (battle.model_a, battle.model_b, call.winner, call.judge, call.side_order, call.status, call.reason)
        query = select(*columns, call.attempt, call.battle_id.label("battle"), call.created_at)
        return self._frame(query.join_from(schema.judge_calls, schema.battles).order_by(call.id))

    def judge_details(self, judge: str) -> pd.DataFrame:
        """Every call of one judge, in order, with what is known of how its verdict came about.

        Columns: battle, side_order, attempt, status, winner, cost_usd (`Decimal`, None when unknown), details (what
        `Verdict.details` held).
        """
        call = schema.judge_calls.c
        columns = (call.battle_id.label("battle"), call.side_order, call.attempt, call.status, call.winner)
        query = select(*columns, call.cost_usd, call.document).where(call.judge == judge).order_by(call.id)
        import pandas as pd

        frame = self._frame(query)
        frame["cost_usd"] = pd.Series(
            [None if text is None else Decimal(text) for text in frame["cost_usd"]], dtype=object
        )
        frame["details"] = [json.loads(text) if text else {} for text in frame.pop("document")]
        return frame

    def pair_counts(self, kind: VoterKind | None = None) -> pd.DataFrame:
        """Votes summed by model_a, model_b and winner, with their `count`; of one kind of voter, or of both."""
        cell = schema.pair_counts.c
        keys = (cell.model_a, cell.model_b, cell.winner)
        total = func.sum(cell.count)
        query = select(*keys, cast(total, Integer).label("count")).group_by(*keys).having(total > 0).order_by(*keys)
        return self._frame(query if kind is None else query.where(cell.voter_kind == kind))

    def metric_results(self) -> pd.DataFrame:
        """All measurements in the order they were made; `details` holds what each metric says besides its number."""
        table = schema.metric_results
        frame = self._frame(select(table).order_by(table.c.id)).drop(columns="id")
        frame["higher_is_better"] = frame["higher_is_better"].astype(bool)
        frame["details"] = [json.loads(document)["details"] for document in frame.pop("document")]
        return frame

    def judged_battle_ids(self, judge: str, *, retried: Collection[Status] = ()) -> set[str]:
        """Battles that need not be put to this judge again.

        Those that ended in an error or timeout are left out, and those with a status of `retried`.
        """
        with self._database.read() as connection:
            judged = store_votes.judged_battles(connection, judge, retried=retried)
        return {battle_id for battle_id, (answered, _) in judged.items() if answered}

    def counts(self) -> dict[str, int]:
        """How many rows the store has of each thing, votes apart by who gave them."""
        tables = ("generators", "prompts", "samples", "attempts", "battles", "judge_calls", "metric_results")
        with self._database.read() as connection:
            counts = {name: _count(connection, schema.metadata.tables[name]) for name in tables}
            kinds = select(schema.votes.c.voter_kind, func.count()).group_by(schema.votes.c.voter_kind)
            votes = {row[0]: row[1] for row in connection.execute(kinds)}
        return counts | {f"{kind}_votes": votes.get(str(kind), 0) for kind in VoterKind}

    def verify(self) -> list[str]:
        """What is wrong: damage, a broken chain, counts or states that do not follow; empty when all is sound."""
        with self._database.read() as connection:
            return self._database.problems() + store_checks.problems(connection)

    def backup(self, target: Path) -> None:
        """Write a whole copy to a new file, also while others write; a server has its own way (`UsageError`)."""
        self._database.backup(target)

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _frame(self, query: Select[Any]) -> pd.DataFrame:
        import pandas as pd

        with self._database.read() as connection:
            return pd.DataFrame(rows_of(connection, query), columns=[column.name for column in query.selected_columns])


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
