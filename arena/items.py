"""Items: what several voters, people or judges, decided on, whichever side each of them saw on the left.

An item is a battle where votes name one, else a prompt with its two models. Its sides are those of its votes; where
these differ, the model whose name sorts first is its side A, and votes that saw the sides exchanged are turned round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paragone.arena.votes import TIE, CodedVotes, FloatArray, IntArray, code_clusters, code_votes
from paragone.data.errors import InputError, UsageError

SCORES = np.array([1.0, 0.0, 0.5, 0.5])  # of an item's side A, by the index of the outcome


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Votes and the items that they are on."""

    votes: CodedVotes
    item: IntArray  # [V] 0, 1, …
    turned: NDArray[np.bool_]  # [V] whether the vote saw the item's sides exchanged
    outcome: IntArray  # [V] index into OUTCOMES, read in the item's order of sides
    a: IntArray  # [N] index into models of an item's side A
    b: IntArray  # [N]

    @property
    def score(self) -> FloatArray:
        """[V] 1, ½ or 0 for the item's side A."""
        score: FloatArray = SCORES[self.outcome]
        return score


def code_items(votes: pd.DataFrame, item: str | None = None, *, source: str = "votes") -> Items:
    """Check votes and find their items.

    `item` names the column that says what one item is; without it, the column `battle` where there is one, else
    `prompt` and the two models. Raises `InputError` for a row that cannot be used, and for an item that is said to be
    of two pairs of models; `UsageError` when the votes do not say what they are on.
    """
    coded = code_votes(votes, source=source)
    column = item_column(votes, item, source=source)
    groups = code_clusters(votes, column, source=source)
    low, high = np.minimum(coded.a, coded.b), np.maximum(coded.a, coded.b)
    pair = low * len(coded.models) + high
    if column == "prompt" and item is None:
        groups = groups * len(coded.models) ** 2 + pair
    _, first, code = np.unique(groups, return_index=True, return_inverse=True)
    if (strange := np.flatnonzero(pair != pair[first][code])).size:
        row, known = strange[0], first[code[strange[0]]]
        raise InputError(
            f"{source}: row {row + 1}: {column} {votes[column].iloc[row]!r} is of {coded.models[coded.a[row]]!r} and "
            f"{coded.models[coded.b[row]]!r} here and of other models in row {known + 1}; give each item its own name"
        )
    as_named = coded.a < coded.b
    n_named = np.bincount(code, as_named, first.size)
    mixed = (n_named > 0) & (n_named < np.bincount(code, minlength=first.size))
    flip = ~as_named & (as_named[first] | mixed)[code]
    decided = coded.outcome < TIE
    outcome = np.where(flip & decided, 1 - coded.outcome, coded.outcome)
    named = (as_named[first] | mixed).astype(bool)
    a = np.where(named, low[first], high[first])
    b = np.where(named, high[first], low[first])
    return Items(coded, code.astype(np.int64), flip, outcome, a, b)


def item_column(votes: pd.DataFrame, item: str | None, *, source: str = "votes") -> str:
    """The column that says what a vote is on: `item`, else `battle`, else `prompt` (together with the models)."""
    if item is not None:
        if item not in votes.columns:
            raise UsageError(f"{source}: no column {item!r} to say what a vote is on")
        return item
    for column in ("battle", "prompt"):
        if column in votes.columns:
            return column
    raise UsageError(
        f"{source}: no column says which votes are on the same pictures; give one called battle or prompt, or name it "
        "(item=, --item COLUMN)"
    )
