"""Ratings as they were: kept boards, and boards made again from the votes of any moment.

A snapshot is a cache and a promise, never a source: it names the votes it was made from (their number, the last event,
the digest of the last vote), and `check_snapshots` makes each again from those votes and compares the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from paragone.arena.chain import EventKind
from paragone.arena.leaderboard import Voters, fit_or_prior
from paragone.arena.store import Store
from paragone.arena.votes import Cells
from paragone.data.errors import UsageError
from paragone.data.records import VoterKind


def votes_as_of(
    store: Store, *, voters: Voters = "all", last_vote: int | None = None, last_event: int | None = None
) -> pd.DataFrame:
    """The votes that counted when the store had come to these ids (None: to its end), as `Store.votes` gives them."""
    votes = store.votes(excluded=True)
    if last_vote is not None:
        votes = votes[votes["id"] <= last_vote]
    if voters != "all":
        votes = votes[votes["voter_kind"] == voters]
    events = store.events()
    if last_event is not None:
        events = events[events["id"] <= last_event]
    out = (
        events[events["kind"].isin([str(EventKind.EXCLUDE), str(EventKind.RESTORE)])].groupby("vote_id")["kind"].last()
    )
    corrected = events[events["kind"] == EventKind.CORRECT].groupby("vote_id")["winner"].last()
    excluded = votes["id"].map(out) == EventKind.EXCLUDE
    winner = votes["id"].map(corrected).where(votes["id"].isin(corrected.index), votes["given"])
    return votes.assign(winner=winner.astype(object), excluded=excluded)[~excluded].reset_index(drop=True)


def take_snapshot(store: Store, *, voters: Voters, method: str = "bradley-terry") -> int:
    """Fit the ratings of a store as it is now, keep them, and return the snapshot's number."""
    counts = store.pair_counts(None if voters == "all" else VoterKind(voters))
    if counts.empty:
        raise UsageError(f"{store.name}: there are no votes of this kind ({voters}) to keep ratings of")
    return store.save_snapshot(voters=voters, method=method, document=_document(Cells.from_counts(counts), method))


def check_snapshots(store: Store) -> Iterator[str]:
    """Make every snapshot again from its votes; yields what is wrong with those that differ."""
    for kept in store.snapshots().to_dict("records"):
        votes = votes_as_of(store, voters=kept["voters"], last_vote=kept["last_vote"], last_event=kept["last_event"])
        if votes.empty or _document(Cells.from_votes(votes), kept["method"]) != kept["document"]:
            yield f"snapshot {kept['id']} of {kept['created_at']} is not what its votes give"


def _document(cells: Cells, method: str) -> str:
    ratings = fit_or_prior(method, cells).to_dict()
    return json.dumps(ratings, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
