"""What is said of votes after they were given: flags, exclusions, restorations, corrections.

An event is a row that is only ever added. What follows from a vote's events (`vote_state`) and how the votes count
(`pair_counts`) is brought up to date in the event's own transaction; both can be derived again from the facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from paragone.arena.chain import EVENT_FACTS, GENESIS, EventKind, link
from paragone.arena.dialects import insert_into
from paragone.arena.schema import pair_counts, vote_events, vote_state, votes
from paragone.arena.store_cursor import insert_rows
from paragone.data.errors import InputError
from paragone.data.records import Winner

Cell = tuple[str, str, str, str, str]  # model_a, model_b, winner, voter_kind, criterion
CELL = ("model_a", "model_b", "winner", "voter_kind", "criterion")


@dataclass(frozen=True, slots=True)
class VoteEvent:
    """Something said of a stored vote. `rule` is what found it ("burst", "by hand"), `actor` who says it."""

    vote_id: int
    kind: EventKind
    rule: str = "by hand"
    reason: str = ""
    actor: str = ""
    winner: Winner | None = None  # of a correction

    def __post_init__(self) -> None:
        if (self.winner is None) == (self.kind is EventKind.CORRECT):
            raise InputError(f"vote {self.vote_id}: a correction names the right winner, and nothing else does")


@dataclass(frozen=True, slots=True)
class VoteState:
    """What the events of one vote come to."""

    flags: int = 0
    excluded: bool = False
    winner: Winner | None = None  # None: as it was given

    def after(self, kind: EventKind, winner: Winner | None) -> VoteState:
        """The state when one more event is added."""
        match kind:
            case EventKind.FLAG:
                return replace(self, flags=self.flags + 1)
            case EventKind.UNFLAG:
                return replace(self, flags=0)
            case EventKind.EXCLUDE | EventKind.RESTORE:
                return replace(self, excluded=kind is EventKind.EXCLUDE)
            case EventKind.CORRECT:
                return replace(self, winner=winner)


def add_events(connection: Connection, events: Sequence[VoteEvent], written_at: str) -> None:
    """Add events in order and let the counts follow; raises `InputError` for a vote that is not there."""
    if not events:
        return
    ids = {event.vote_id for event in events}
    given = _given_cells(connection, ids)
    if missing := sorted(ids - given.keys()):
        raise InputError(f"vote {missing[0]}: there is no such vote")
    before = states(connection, ids)
    after = dict(before)
    rows, previous = [], head(connection)
    for event in events:
        row = {
            "vote_id": event.vote_id,
            "kind": str(event.kind),
            "winner": None if event.winner is None else str(event.winner),
            "rule": event.rule,
            "reason": event.reason,
            "actor": event.actor,
            "created_at": written_at,
        }
        previous = link(previous, row, EVENT_FACTS)
        rows.append(row | {"digest": previous})
        after[event.vote_id] = after.get(event.vote_id, VoteState()).after(event.kind, event.winner)
    connection.execute(insert(vote_events), rows)
    _store_states(connection, after)
    _move_counts(connection, given, before, after)


def head(connection: Connection) -> str:
    """The digest of the last event."""
    last = select(vote_events.c.digest).order_by(vote_events.c.id.desc()).limit(1)
    return connection.execute(last).scalar_one_or_none() or GENESIS


def states(connection: Connection, ids: set[int] | None = None) -> dict[int, VoteState]:
    """The stored states of votes that something was said of."""
    query = select(vote_state)
    if ids is not None:
        query = query.where(vote_state.c.vote_id.in_(ids))
    return {
        row.vote_id: VoteState(row.flags, bool(row.excluded), None if row.winner is None else Winner(row.winner))
        for row in connection.execute(query)
    }


def derive_states(connection: Connection) -> dict[int, VoteState]:
    """The same, from the events."""
    found: dict[int, VoteState] = {}
    for row in connection.execute(select(vote_events).order_by(vote_events.c.id)):
        winner = None if row.winner is None else Winner(row.winner)
        found[row.vote_id] = found.get(row.vote_id, VoteState()).after(EventKind(row.kind), winner)
    return found


def derive_counts(connection: Connection) -> Counter[Cell]:
    """`pair_counts` as the votes and their states make it."""
    winner = func.coalesce(vote_state.c.winner, votes.c.winner)
    keys = (votes.c.model_a, votes.c.model_b, winner, votes.c.voter_kind, votes.c.criterion)
    query = (
        select(*keys, func.count())
        .select_from(votes.outerjoin(vote_state))
        .where(func.coalesce(vote_state.c.excluded, 0) == 0)
        .group_by(*keys)
    )
    return Counter({(row[0], row[1], row[2], row[3], row[4]): int(row[5]) for row in connection.execute(query)})


def derive_again(connection: Connection) -> None:
    """Make `vote_state` and `pair_counts` anew from the facts."""
    connection.execute(delete(vote_state))
    _store_states(connection, derive_states(connection))
    connection.execute(delete(pair_counts))
    rows = [(*cell, count) for cell, count in derive_counts(connection).items()]
    insert_rows(connection, pair_counts, (*CELL, "count"), rows)


def count_cells(connection: Connection, cells: Mapping[Cell, int]) -> None:
    """Add to the pair counts (or take from them)."""
    changes = [(dict(zip(CELL, cell, strict=True)), change) for cell, change in cells.items() if change]
    if not changes:
        return
    empty = insert_into(connection, pair_counts).on_conflict_do_nothing(index_elements=list(CELL))
    connection.execute(empty, [cell | {"count": 0} for cell, _ in changes])
    here = [pair_counts.c[name] == bindparam(f"at_{name}") for name in CELL]
    add = update(pair_counts).where(*here).values(count=pair_counts.c.count + bindparam("change"))
    connection.execute(
        add, [{f"at_{name}": value for name, value in cell.items()} | {"change": change} for cell, change in changes]
    )


def _given_cells(connection: Connection, ids: set[int]) -> dict[int, Cell]:
    vote = votes.c
    query = select(vote.id, vote.model_a, vote.model_b, vote.winner, vote.voter_kind, vote.criterion)
    query = query.where(vote.id.in_(ids))
    return {row[0]: (row[1], row[2], row[3], row[4], row[5]) for row in connection.execute(query)}


def _store_states(connection: Connection, states: Mapping[int, VoteState]) -> None:
    if not states:
        return
    connection.execute(delete(vote_state).where(vote_state.c.vote_id.in_(states)))
    connection.execute(
        insert(vote_state),
        [
            {
                "vote_id": vote_id,
                "flags": state.flags,
                "excluded": int(state.excluded),
                "winner": None if state.winner is None else str(state.winner),
            }
            for vote_id, state in states.items()
        ],
    )


def _move_counts(
    connection: Connection,
    given: Mapping[int, Cell],
    before: Mapping[int, VoteState],
    after: Mapping[int, VoteState],
) -> None:
    moved: Counter[Cell] = Counter()
    for vote_id, state in after.items():
        for of, sign in ((before.get(vote_id, VoteState()), -1), (state, 1)):
            if not of.excluded:
                a, b, winner, kind, criterion = given[vote_id]
                moved[a, b, str(of.winner or winner), kind, criterion] += sign
    count_cells(connection, moved)
