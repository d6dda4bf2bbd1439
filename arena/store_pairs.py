"""Votes as the pages of results read them: those of one pair of models, and where moments fall among all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from sqlalchemy import and_, func, or_, select

from paragone.arena.schema import vote_state, votes
from paragone.arena.store import Store
from paragone.arena.store_cursor import rows_of
from paragone.data.records import VoterKind


def pair_votes(store: Store, model_a: str, model_b: str, kind: VoterKind | None = None) -> pd.DataFrame:
    """The votes between two models that count, in order: model_a, model_b, winner (as corrected), prompt (its id)."""
    vote = votes.c
    met = or_(
        and_(vote.model_a == model_a, vote.model_b == model_b), and_(vote.model_a == model_b, vote.model_b == model_a)
    )
    winner = func.coalesce(vote_state.c.winner, vote.winner).label("winner")
    query = (
        select(vote.model_a, vote.model_b, winner, vote.prompt_id.label("prompt"))
        .select_from(votes.outerjoin(vote_state))
        .where(met, func.coalesce(vote_state.c.excluded, 0) == 0)
        .order_by(vote.id)
    )
    if kind is not None:
        query = query.where(vote.voter_kind == kind)
    with store._database.read() as connection:
        return pd.DataFrame(rows_of(connection, query), columns=["model_a", "model_b", "winner", "prompt"])


def vote_times(store: Store, ids: Sequence[int]) -> list[str]:
    """When the votes with these ids were given, in their order; `KeyError` for an id that is none."""
    found: dict[int, str] = {}
    with store._database.read() as connection:
        for start in range(0, len(ids), 500):
            query = select(votes.c.id, votes.c.created_at).where(votes.c.id.in_(ids[start : start + 500]))
            found |= dict(rows_of(connection, query))
    return [found[vote] for vote in ids]


def last_vote_before(store: Store, moments: Sequence[str]) -> list[int]:
    """For each moment (as `created_at` has them) the id of the last vote that was given by then; 0 before the first."""
    with store._database.read() as connection:
        queries = (select(func.coalesce(func.max(votes.c.id), 0)).where(votes.c.created_at <= at) for at in moments)
        return [connection.execute(query).scalar_one() for query in queries]
