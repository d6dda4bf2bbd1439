"""Votes as an auditor reads them: a page at a time, days at a time, and what each event has said.

Everything is counted in the database, so that a page costs the same after a thousand votes and after a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd
from sqlalchemy import ColumnElement, Integer, and_, cast, func, or_, select

from paragone.arena import store_checks, vote_events
from paragone.arena.schema import vote_events as event_table
from paragone.arena.schema import vote_state, votes
from paragone.arena.store import Store
from paragone.arena.store_votes import select_votes
from paragone.data.errors import UsageError

State = Literal["all", "counted", "excluded", "flagged", "corrected"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class VoteFilter:
    """Which votes to read; an empty word leaves them all."""

    voter: str = ""
    model: str = ""
    rule: str = ""  # of an event that was said of the vote
    kind: str = ""  # human or judge
    state: State = "all"

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise UsageError(f"state={self.state!r}: use one of {', '.join(STATES)}")

    def condition(self) -> ColumnElement[bool]:
        """What the rows of votes and (outer) states must meet."""
        excluded = func.coalesce(vote_state.c.excluded, 0)
        states: dict[str, ColumnElement[bool]] = {
            "counted": excluded == 0,
            "excluded": excluded == 1,
            "flagged": func.coalesce(vote_state.c.flags, 0) > 0,
            "corrected": vote_state.c.winner.is_not(None),
        }
        wanted = [states[self.state]] if self.state in states else []
        if self.voter:
            wanted.append(votes.c.voter == self.voter)
        if self.kind:
            wanted.append(votes.c.voter_kind == self.kind)
        if self.model:
            wanted.append(or_(votes.c.model_a == self.model, votes.c.model_b == self.model))
        if self.rule:
            wanted.append(votes.c.id.in_(select(event_table.c.vote_id).where(event_table.c.rule == self.rule)))
        return and_(*wanted, votes.c.id > 0)


def count_votes(store: Store, wanted: VoteFilter) -> int:
    """How many votes a filter lets through."""
    joined = votes.outerjoin(vote_state)
    query = select(func.count()).select_from(joined).where(wanted.condition())
    with store._database.read() as connection:
        return connection.execute(query).scalar_one()


def vote_page(store: Store, wanted: VoteFilter, *, page: int, size: int) -> pd.DataFrame:
    """One page (from 0) of the votes that a filter lets through, the latest first, in the columns of `Store.votes`."""
    query = select_votes(excluded=True).where(wanted.condition())
    query = query.order_by(None).order_by(votes.c.id.desc()).limit(size).offset(page * size)
    with store._database.read() as connection:
        result = connection.execute(query)
        frame = pd.DataFrame(result.all(), columns=list(result.keys()))
    return frame.astype({"excluded": bool})


def vote_ids(store: Store, wanted: VoteFilter) -> list[int]:
    """The ids of all votes that a filter lets through."""
    query = select(votes.c.id).select_from(votes.outerjoin(vote_state)).where(wanted.condition())
    with store._database.read() as connection:
        return [int(number) for number in connection.execute(query.order_by(votes.c.id)).scalars()]


def events_of(store: Store, ids: list[int]) -> pd.DataFrame:
    """All that was said of these votes, in order."""
    query = select(event_table).where(event_table.c.vote_id.in_(ids)).order_by(event_table.c.id)
    with store._database.read() as connection:
        result = connection.execute(query)
        return pd.DataFrame(result.all(), columns=list(result.keys()))


def rules(store: Store) -> list[str]:
    """The rules that events name."""
    with store._database.read() as connection:
        return list(connection.execute(select(event_table.c.rule).distinct().order_by(event_table.c.rule)).scalars())


def daily_votes(store: Store) -> pd.DataFrame:
    """Votes of people by day (UTC): day, n_votes, n_excluded, n_flagged."""
    day = func.substr(votes.c.created_at, 1, 10).label("day")
    flagged = func.coalesce(vote_state.c.flags, 0) > 0
    query = (
        select(
            day,
            func.count().label("n_votes"),
            cast(func.sum(func.coalesce(vote_state.c.excluded, 0)), Integer).label("n_excluded"),
            cast(func.sum(cast(flagged, Integer)), Integer).label("n_flagged"),
        )
        .select_from(votes.outerjoin(vote_state))
        .where(votes.c.voter_kind == "human")
        .group_by(day)
        .order_by(day)
    )
    with store._database.read() as connection:
        result = connection.execute(query)
        return pd.DataFrame(result.all(), columns=list(result.keys()))


def chain_summary(store: Store) -> dict[str, Any]:
    """How far the store has come: last_vote, last_event, head (the last vote's digest), event_head, n_excluded."""
    excluded = select(func.count()).select_from(vote_state).where(vote_state.c.excluded == 1)
    with store._database.read() as connection:
        return {
            **store_checks.high_water(connection),
            "event_head": vote_events.head(connection),
            "n_excluded": connection.execute(excluded).scalar_one(),
        }
