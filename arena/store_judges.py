"""What judges said, out of an arena's store: their last word on each battle, and one battle's calls in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, func, select

from paragone.arena.schema import battles, judge_calls, votes
from paragone.arena.store import Store
from paragone.arena.store_cursor import rows_of
from paragone.arena.store_rows import read_battle
from paragone.data.errors import InputError
from paragone.data.records import Battle, Status, Verdict, VoterKind, Winner


@dataclass(frozen=True, slots=True)
class StoredCall:
    """One row of `judge_calls`: what a judge was asked of a battle in one order of the sides, and what came of it."""

    battle_id: str
    judge: str
    attempt: int
    exchanged: bool  # the sides were shown exchanged; the winner is read in the battle's own order all the same
    status: Status
    winner: Winner | None
    reason: str
    created_at: str
    cost_usd: Decimal | None
    details: Mapping[str, Any]


def coverage_rows(store: Store, judge: str) -> list[tuple[str, str, bool]]:
    """Model A, model B, and whether every order of the last attempt was answered, for each battle a judge was asked."""
    call = judge_calls.c
    last = _last_attempts(judge).subquery()
    answered = func.min(func.coalesce(func.length(call.winner), 0)) > 0
    query = (
        select(battles.c.model_a, battles.c.model_b, answered)
        .join_from(judge_calls, last, (call.battle_id == last.c.battle_id) & (call.attempt == last.c.attempt))
        .join(battles, battles.c.id == call.battle_id)
        .where(call.judge == judge)
        .group_by(call.battle_id, battles.c.model_a, battles.c.model_b)
    )
    with store._database.read() as connection:
        return [(model_a, model_b, bool(said)) for model_a, model_b, said in rows_of(connection, query)]


def last_verdicts(store: Store, judge: str) -> dict[str, tuple[Verdict, ...]]:
    """By battle: the verdicts of the judge's last attempt, all read in the battle's own order of sides."""
    call = judge_calls.c
    last = _last_attempts(judge).subquery()
    columns = (call.battle_id, call.status, call.winner, call.reason, call.score_a, call.score_b, call.document)
    query = (
        select(*columns)
        .join_from(judge_calls, last, (call.battle_id == last.c.battle_id) & (call.attempt == last.c.attempt))
        .where(call.judge == judge)
        .order_by(call.id)
    )
    found: dict[str, tuple[Verdict, ...]] = {}
    with store._database.read() as connection:
        for battle_id, status, winner, reason, score_a, score_b, document in rows_of(connection, query):
            verdict = Verdict(
                None if winner is None else Winner(winner),
                Status(status),
                reason,
                judge,
                None if score_a is None or score_b is None else (score_a, score_b),
                json.loads(document) if document else {},
            )
            found[battle_id] = (*found.get(battle_id, ()), verdict)
    return found


def judged_battle(store: Store, name: str) -> tuple[Battle, tuple[StoredCall, ...]]:
    """The battle called `name`, or that the vote of this number is on, and its judges' calls in their order.

    A beginning of a battle's id will do when no other begins so. Of a judge's vote, only that judge's calls are given.
    Raises `InputError` when there is no such battle, or no judge was asked about it.
    """
    with store._database.read() as connection:
        battle_id, judge = name, None
        if name.isdecimal():
            vote = connection.execute(
                select(votes.c.battle_id, votes.c.voter_kind, votes.c.voter).where(votes.c.id == int(name))
            ).one_or_none()
            if vote is not None:
                battle_id = vote.battle_id
                judge = vote.voter if vote.voter_kind == VoterKind.JUDGE else None
        rows = connection.execute(
            select(battles).where(battles.c.id.startswith(battle_id, autoescape=True)).limit(2)
        ).all()
        exact = [row for row in rows if row.id == battle_id] or rows
        if len(exact) != 1:
            several = "several battles begin" if exact else "no vote and no battle is called so, or begins"
            raise InputError(f"{store.name}: {several} with {name!r}; give a vote's number or a battle's whole id")
        battle = read_battle(exact[0])
        asked = select(judge_calls).where(judge_calls.c.battle_id == battle.id).order_by(judge_calls.c.id)
        calls = tuple(_stored_call(row) for row in connection.execute(asked))
    mine = tuple(call for call in calls if judge is None or call.judge == judge) or calls
    if not mine:
        raise InputError(f"{store.name}: no judge was asked about the battle {battle.id}")
    return battle, mine


def _last_attempts(judge: str) -> Select[Any]:
    call = judge_calls.c
    last = func.max(call.attempt).label("attempt")
    return select(call.battle_id, last).where(call.judge == judge).group_by(call.battle_id)


def _stored_call(row: Any) -> StoredCall:
    return StoredCall(
        row.battle_id,
        row.judge,
        row.attempt,
        row.side_order == "ba",
        Status(row.status),
        None if row.winner is None else Winner(row.winner),
        row.reason,
        row.created_at,
        None if row.cost_usd is None else Decimal(row.cost_usd),
        json.loads(row.document) if row.document else {},
    )
