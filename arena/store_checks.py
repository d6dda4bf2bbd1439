"""Does the store hold together: the chains of votes and events, and what is derived from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from paragone.arena.chain import EVENT_FACTS, VOTE_FACTS, first_break
from paragone.arena.schema import attempts, battles, pair_counts, samples, vote_events, votes
from paragone.arena.store_votes import chain_head
from paragone.arena.vote_events import CELL, derive_counts, derive_states, states

BLOCK = 10_000  # rows held in memory at a time


def high_water(connection: Connection) -> dict[str, Any]:
    """Up to which vote and event the store has come, and the digest that names the votes."""
    last_vote = connection.execute(select(func.max(votes.c.id))).scalar_one()
    last_event = connection.execute(select(func.max(vote_events.c.id))).scalar_one()
    return {"last_vote": last_vote or 0, "last_event": last_event or 0, "head": chain_head(connection)}


def chained_votes() -> Select[Any]:
    """All that the digests of votes cover, in the chain's order."""
    columns = [(votes.c if name not in battles.c or name == "voter" else battles.c)[name] for name in VOTE_FACTS]
    return select(votes.c.id, *columns, votes.c.digest).join_from(votes, battles).order_by(votes.c.id)


def problems(connection: Connection) -> list[str]:
    """What does not follow from the facts, or shows that they were changed."""
    return [
        *_broken(connection, "vote", chained_votes(), VOTE_FACTS),
        *_broken(connection, "vote event", select(vote_events).order_by(vote_events.c.id), EVENT_FACTS),
        *_wrong_states(connection),
        *_wrong_counts(connection),
        *_misplaced(connection),
        *_wrong_attempts(connection),
    ]


def _misplaced(connection: Connection) -> Iterator[str]:
    """Votes whose copy of their battle's prompt and models is another."""
    differ = or_(*(votes.c[name] != battles.c[name] for name in ("prompt_id", "model_a", "model_b")))
    for vote_id in connection.execute(select(votes.c.id).join_from(votes, battles).where(differ).order_by(votes.c.id)):
        yield f"vote {vote_id[0]} and its battle disagree on the prompt or the models"


def _wrong_attempts(connection: Connection) -> Iterator[str]:
    """Attempts that name a sample of something else."""
    differ = or_(*(attempts.c[name] != samples.c[name] for name in ("model", "prompt_id", "seed")))
    query = select(attempts.c.id, samples.c.id).join_from(attempts, samples).where(differ).order_by(attempts.c.id)
    for attempt_id, sample_id in connection.execute(query):
        yield f"attempt {attempt_id} and its sample {sample_id} disagree on the model, the prompt or the seed"


def _broken(connection: Connection, what: str, query: Select[Any], facts: tuple[str, ...]) -> Iterator[str]:
    with connection.execute(query, execution_options={"yield_per": BLOCK}) as result:
        position = first_break((row._mapping for row in result), facts)
    if position is not None:
        number = connection.execute(query.offset(position).limit(1)).one().id
        yield f"{what} {number} does not follow from the row before it: one of them was changed, or one was removed"


def _wrong_states(connection: Connection) -> Iterator[str]:
    kept, derived = states(connection), derive_states(connection)
    for vote_id in sorted(kept.keys() | derived.keys()):
        if kept.get(vote_id) != derived.get(vote_id):
            yield f"vote_state and vote_events disagree on vote {vote_id}"


def _wrong_counts(connection: Connection) -> Iterator[str]:
    columns = [pair_counts.c[name] for name in CELL]
    kept = {tuple(row[:5]): row[5] for row in connection.execute(select(*columns, pair_counts.c.count)) if row[5]}
    derived = dict(derive_counts(connection))
    for cell in sorted(kept.keys() | derived.keys()):
        if kept.get(cell, 0) != derived.get(cell, 0):
            yield f"pair_counts and votes disagree on {cell}"
