"""A voter's own votes: how many there are, how far they go with the crowd's, and taking the last one back.

The names are revealed right after a vote, so a vote cannot be changed: whoever knows the names would decide on them.
All that a voter can do is to take a vote back, soon and seldom, since leaving votes out by name is a choice, too.
Taking back adds an exclusion to the vote's events, under a rule of its own; the vote stays in the log as it was given.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from paragone.arena.chain import EventKind
from paragone.arena.schema import battles, pair_counts, vote_events, vote_state, votes
from paragone.arena.store import Store
from paragone.arena.store_votes import CRITERION, now
from paragone.arena.vote_events import VoteEvent, add_events
from paragone.data.errors import VoteRefused
from paragone.data.records import VoterKind, Winner

TAKEN_BACK = "taken back"  # the rule of such an event
FREE = 2  # votes that anybody may take back, and one more for every …
VOTES_PER_TAKE_BACK = 20  # … so many given: what a voter can leave out by name stays below what a board would notice

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class VoterRecord:
    """What one person's votes come to. `n_agreeing` of `n_compared` went with the majority of all others."""

    n_votes: int  # that count; all that were given, where they are not compared
    n_taken_back: int
    n_compared: int  # decisive votes, on pairs where the others' decisive votes have a majority
    n_agreeing: int


def take_back(store: Store, battle_id: str, *, voter: str, within_s: float) -> None:
    """Exclude the voter's own vote on a battle, at most `within_s` seconds after it.

    Raises `VoteRefused` for another's vote, one that is too old or does not count any more, and for a voter who has
    taken back as many as is allowed.
    """
    with store._database.write() as connection:
        vote_id = _may_be_taken_back(connection, battle_id, voter, within_s)
        add_events(connection, [VoteEvent(vote_id, EventKind.EXCLUDE, TAKEN_BACK, actor=voter)], now())


def _may_be_taken_back(connection: Connection, battle_id: str, voter: str, within_s: float) -> int:
    query = (
        select(votes.c.id, votes.c.created_at, func.coalesce(vote_state.c.excluded, 0))
        .select_from(votes.outerjoin(vote_state))
        .where(votes.c.battle_id == battle_id, votes.c.criterion == CRITERION, *_of(voter))
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise VoteRefused("there is no vote of yours on this battle")
    vote_id, created_at, excluded = row
    if excluded:
        raise VoteRefused("this vote does not count any more")
    if (_time(now()) - _time(created_at)).total_seconds() > within_s:
        raise VoteRefused(f"a vote can be taken back within {within_s:.0f} s; this one is older")
    given, taken = _given(connection, voter), _taken_back(connection, voter)
    if taken >= FREE + given // VOTES_PER_TAKE_BACK:
        raise VoteRefused(f"you have taken back {taken} of {given} votes; this one stays")
    return int(vote_id)


def voter_record(store: Store, voter: str, *, enough: int = 1) -> VoterRecord:
    """How many votes a person gave, and how often they went with the majority of all other people's votes.

    Below `enough` votes they are counted and not compared.
    """
    with store._database.read() as connection:
        given = _given(connection, voter)
        if given < enough:
            return VoterRecord(given, 0, 0, 0)
        return _record(connection, voter)


def _record(connection: Connection, voter: str) -> VoterRecord:
    winner = func.coalesce(vote_state.c.winner, votes.c.winner)
    query = (
        select(battles.c.model_a, battles.c.model_b, winner, func.count())
        .select_from(votes.join(battles).outerjoin(vote_state))
        .where(*_of(voter), func.coalesce(vote_state.c.excluded, 0) == 0)
        .group_by(battles.c.model_a, battles.c.model_b, winner)
    )
    own: Counter[Pair] = Counter()  # wins of the first over the second
    n_votes = 0
    for a, b, outcome, n in connection.execute(query):
        n_votes += n
        if outcome in (Winner.MODEL_A, Winner.MODEL_B):
            own[(a, b) if outcome == Winner.MODEL_A else (b, a)] += n
    everybody = _wins_of_people(connection, {pair for one in own for pair in (one, one[::-1])})
    compared = agreeing = 0
    for (better, worse), n in own.items():
        lead = (everybody[better, worse] - n) - (everybody[worse, better] - own[worse, better])
        compared += n if lead else 0
        agreeing += n if lead > 0 else 0
    return VoterRecord(n_votes, _taken_back(connection, voter), compared, agreeing)


def _wins_of_people(connection: Connection, pairs: set[Pair]) -> Counter[Pair]:
    cell = pair_counts.c
    query = select(cell.model_a, cell.model_b, cell.winner, cell.count).where(
        tuple_(cell.model_a, cell.model_b).in_(sorted(pairs)),
        cell.voter_kind == VoterKind.HUMAN,
        cell.winner.in_([Winner.MODEL_A, Winner.MODEL_B]),
    )
    wins: Counter[Pair] = Counter()
    for a, b, outcome, n in connection.execute(query) if pairs else ():
        wins[(a, b) if outcome == Winner.MODEL_A else (b, a)] += n
    return wins


def _given(connection: Connection, voter: str) -> int:
    return connection.execute(select(func.count()).select_from(votes).where(*_of(voter))).scalar_one()


def _taken_back(connection: Connection, voter: str) -> int:
    own = vote_events.c.actor == voter, vote_events.c.rule == TAKEN_BACK
    query = select(func.count()).select_from(vote_events.join(votes)).where(*own, *_of(voter))
    return connection.execute(query).scalar_one()


def _of(voter: str) -> tuple[ColumnElement[bool], ...]:
    return votes.c.voter == voter, votes.c.voter_kind == VoterKind.HUMAN


def _time(written: str) -> datetime:
    return datetime.fromisoformat(written)
