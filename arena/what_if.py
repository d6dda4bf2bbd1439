"""A board with some votes left out or taken back in, beside the board as it is. Nothing is written.

The same comparison serves before an exclusion (what would it do?) and after it (what has it done?).
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from paragone.arena.leaderboard import fit_or_prior
from paragone.arena.ratings import Ratings
from paragone.arena.votes import Cells
from paragone.data.errors import InputError


def what_if(
    votes: pd.DataFrame,
    *,
    leave_out: Collection[int] = (),
    take_in: Collection[int] = (),
    method: str = "bradley-terry",
) -> pd.DataFrame:
    """Ratings now and with a change of which votes count, in the order of those now.

    Args:
        votes: all votes with `id` and `excluded`, as `Store.votes(excluded=True)` gives them.
        leave_out: ids of votes that would no longer count.
        take_in: ids of excluded votes that would count again.
        method: the rater's name.

    Columns: model, rating, rating_then, change, rank, rank_then, n_votes, n_votes_then; missing where a model has no
    vote on that side. Raises `InputError` for an id that is not there, or when no vote would be left.
    """
    known = set(votes["id"])
    if strange := sorted({*leave_out, *take_in} - known):
        raise InputError(f"vote {strange[0]}: there is no such vote")
    counts_now = ~votes["excluded"].astype(bool)
    counts_then = (counts_now | votes["id"].isin(list(take_in))) & ~votes["id"].isin(list(leave_out))
    if not counts_then.any():
        raise InputError("no vote would be left to rate the models by")
    then = _rated(votes[counts_then], method).to_frame()
    now = _rated(votes[counts_now], method).to_frame() if counts_now.any() else then.iloc[:0]
    columns = ["model", "rating", "rank", "n_votes"]
    table = now[columns].merge(then[columns], how="outer", on="model", suffixes=("", "_then"), sort=False)
    table["change"] = table["rating_then"] - table["rating"]
    for name in ("n_votes", "n_votes_then"):
        table[name] = table[name].fillna(0).astype("int64")
    for name in ("rank", "rank_then"):
        table[name] = table[name].astype("Int64")
    table = table.sort_values(["rank", "rank_then", "model"], na_position="last", ignore_index=True)
    return table[["model", "rating", "rating_then", "change", "rank", "rank_then", "n_votes", "n_votes_then"]]


def _rated(votes: pd.DataFrame, method: str) -> Ratings:
    return fit_or_prior(method, Cells.from_votes(votes))
