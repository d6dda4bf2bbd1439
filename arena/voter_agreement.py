"""Who agrees with whom: people with people (the ceiling), judges with people, a judge with itself in the other order.

Categories are: the item's side A, a tie, side B, and `both_bad`, which is one of its own unless a named rule merges or
drops it. κ with linear weights and ordinal α take the first three in that order; `both_bad` has no place in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from paragone.arena.agreement import Coefficient, Sums, ac1, alpha, between, disagreement, jackknife, kappa, raw, within
from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.items import Items, code_items
from paragone.arena.votes import BOTH_BAD, TIE, WIN_A, WIN_B, FloatArray, IntArray, code_clusters
from paragone.data.errors import InputError, UsageError

SCHEMA = "paragone.agreement/1"
FIRST, MIDDLE, SECOND, NEITHER = range(4)  # the categories
CATEGORY = np.array([FIRST, SECOND, MIDDLE, NEITHER])  # by the index of the outcome
BothBad = Literal["own", "tie", "drop"]
Repeats = Literal["raise", "first", "combine"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two voters, or two groups of voters, agree. Between groups: a voter of one against one of the other."""

    first: str
    second: str
    n_items: int  # with a rating from both, or from two voters of the group
    n_votes: int  # on these items
    n_clusters: int
    coefficients: dict[str, Coefficient] = field(default_factory=dict)  # by the names of COEFFICIENTS

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


COEFFICIENTS = ("raw", "kappa", "weighted_kappa", "alpha", "ordinal_alpha", "ac1")


@dataclass(frozen=True, slots=True)
class Consistency:
    """Whether a judge decides alike when the sides are exchanged; the interval is Wilson's, 95 %."""

    voter: str
    n_items: int  # decided in both orders
    consistent: float
    lower: float
    upper: float
    first_place: (
        float | None
    )  # of the wins that moved with the sides, the share for the side shown first; None: no such


def agreement_by_voter(
    votes: pd.DataFrame,
    *,
    item: str | None = None,
    cluster: str | None = None,
    both_bad: BothBad = "own",
    repeats: Repeats = "raise",
    most: int | None = None,
) -> tuple[Agreement, ...]:
    """Agreement of each two voters who share items, those who share most first.

    Args:
        votes: rows with `model_a`, `model_b`, `winner`, `voter`, and what they are on (`code_items`).
        item: column that names what one item is.
        cluster: column, such as "prompt", whose values the jackknife leaves out; by default every item is its own.
        both_bad: its own category, counted as a tie, or left out.
        repeats: what a second vote of the same voter on the same item is: an error, ignored after the first, or
            combined (votes that differ are a tie, as in a judge's two orders).
        most: so many pairs of voters, of those who share most items.

    Raises:
        InputError: a row that cannot be used; a voter who voted twice; fewer than two voters, or none who share items.
        UsageError: a column or an option that does not exist.
    """
    table = _ballots(votes, item, cluster, both_bad, repeats)
    rows, columns, shared = _pairs(table)
    order = np.lexsort((columns, rows, -shared))[:most]
    by_voter = np.argsort(table.voter, kind="stable")
    theirs = np.split(by_voter, np.cumsum(np.bincount(table.voter, minlength=len(table.names)))[:-1])
    return tuple(
        _compare(table, table.names[one], theirs[one], table.names[two], theirs[two])
        for one, two in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    )


def agreement_by_kind(
    votes: pd.DataFrame,
    *,
    kind: str = "kind",
    item: str | None = None,
    cluster: str | None = None,
    both_bad: BothBad = "own",
    repeats: Repeats = "raise",
) -> tuple[Agreement, ...]:
    """Agreement within each kind of voter and between kinds; `kind` is the column (human, judge), the rest as above.

    What shares no items is left out. Judge-human agreement below human-human agreement is a judge below the ceiling.
    """
    if kind not in votes.columns:
        raise UsageError(f"votes: no column {kind!r} that says what kind each voter is of")
    table = _ballots(votes, item, cluster, both_bad, repeats)
    _pairs(table)
    code_clusters(votes, kind)
    kinds = votes[kind].astype(str).to_numpy(object)[table.row]
    names = sorted(set(kinds))
    found = [
        _compare(table, one, np.flatnonzero(kinds == one), two, np.flatnonzero(kinds == two))
        for position, one in enumerate(names)
        for two in names[position:]
    ]
    return tuple(agreement for agreement in found if agreement.n_items)


@dataclass(frozen=True, slots=True, eq=False)
class _Ballots:
    """At most one rating of a voter for an item."""

    row: IntArray  # [B] of the table of votes, the first that it was made from
    item: IntArray  # [B]
    voter: IntArray  # [B] index into names
    category: IntArray  # [B]
    names: list[str]
    cluster: IntArray  # [N] of each item
    n_items: int


def _ballots(
    votes: pd.DataFrame, item: str | None, cluster: str | None, both_bad: BothBad, repeats: Repeats
) -> _Ballots:
    if both_bad not in get_args(BothBad):
        raise UsageError(f"both_bad={both_bad!r}: use one of {', '.join(get_args(BothBad))}")
    if repeats not in get_args(Repeats):
        raise UsageError(f"repeats={repeats!r}: use one of {', '.join(get_args(Repeats))}")
    items = code_items(votes, item)
    voter, names = _voters(votes)
    category = CATEGORY[np.where((items.outcome == BOTH_BAD) & (both_bad == "tie"), TIE, items.outcome)]
    keep = np.flatnonzero((category != NEITHER) | (both_bad == "own"))
    row, category = _settle_repeats(keep, items.item[keep] * len(names) + voter[keep], category[keep], repeats, names)
    n_items = items.a.size
    groups = np.arange(n_items) if cluster is None else _item_clusters(votes, cluster, items)
    return _Ballots(row, items.item[row], voter[row], category, names, groups, n_items)


def _voters(votes: pd.DataFrame) -> tuple[IntArray, list[str]]:
    code_clusters(votes, "voter")
    codes, names = pd.factorize(votes["voter"].astype(str), sort=True)
    return codes.astype(np.int64), [str(name) for name in names]


def _settle_repeats(
    row: IntArray, key: IntArray, category: IntArray, repeats: Repeats, names: list[str]
) -> tuple[IntArray, IntArray]:
    """One row a key (an item and a voter), and its category."""
    _, first, code = np.unique(key, return_index=True, return_inverse=True)
    if repeats == "raise" and first.size < key.size:
        again = np.setdiff1d(np.arange(key.size), first)[0]
        raise InputError(
            f"votes: row {row[again] + 1}: {names[key[again] % len(names)]!r} voted on the same item in row "
            f"{row[first[code[again]]] + 1}; give each item its own name (item=, --item), or say what to do with "
            "repeats (repeats=, --repeats first|combine)"
        )
    settled = category[first]
    if repeats == "combine":
        settled = np.where(np.bincount(code, category != settled[code], first.size) > 0, MIDDLE, settled)
    return row[first], settled


def _item_clusters(votes: pd.DataFrame, column: str, items: Items) -> IntArray:
    codes = code_clusters(votes, column)
    _, first = np.unique(items.item, return_index=True)
    of_item = codes[first]
    if (strange := np.flatnonzero(codes != of_item[items.item])).size:
        raise InputError(
            f"votes: row {strange[0] + 1}: {column} differs from that of row {first[items.item[strange[0]]] + 1}, "
            "which is on the same item; whole items are left out, so group them by something that is the item's own"
        )
    return of_item


def _pairs(table: _Ballots) -> tuple[IntArray, IntArray, IntArray]:
    """Pairs of voters who share items, and how many; raises `InputError` when there are none."""
    if len(table.names) < 2:
        whose = f"only {table.names[0]!r} voted" if table.names else "there are no votes"
        raise InputError(f"{whose}; agreement needs the votes of two people or judges on the same battles")
    ones = np.ones(table.item.size, np.int64)
    seen = coo_array((ones, (table.item, table.voter)), shape=(table.n_items, len(table.names))).tocsr()
    shared = coo_array((seen.T @ seen).tocoo())
    upper = shared.row < shared.col
    if not upper.any():
        raise InputError(
            f"no two of the {len(table.names)} voters voted on the same item, so nothing says how well they agree; "
            "have some battles decided twice"
        )
    rows, columns, n = shared.row[upper], shared.col[upper], shared.data[upper]
    return rows.astype(np.int64), columns.astype(np.int64), n.astype(np.int64)


def _compare(table: _Ballots, one: str, mine: IntArray, two: str, theirs: IntArray) -> Agreement:
    """Of two groups of ballots (their rows), or within one group when both are the same."""
    same = one == two
    items = np.unique(table.item[mine]) if same else np.intersect1d(table.item[mine], table.item[theirs])
    first, second = _counts(table, mine, items), _counts(table, theirs, items)
    _, cluster = np.unique(table.cluster[items], return_inverse=True)
    sums = within(first, cluster) if same else between(first, second, cluster)
    shared = first.sum(axis=1) > 1 if same else np.ones(len(first), bool)
    votes = first if same else first + second
    n_categories = int((votes.sum(axis=0) > 0).sum())
    found = {name: jackknife(sums, statistic) for name, statistic in _statistics(n_categories).items() if shared.any()}
    if votes[:, NEITHER].any():
        note = "both_bad has no place between a win and a loss; count it as a tie or drop it"
        found |= {name: Coefficient(None, note=note) for name in ("weighted_kappa", "ordinal_alpha")}
    n_clusters = np.unique(cluster[shared]).size
    return Agreement(one, two, int(shared.sum()), int(votes[shared].sum()), n_clusters, found)


def _counts(table: _Ballots, rows: IntArray, items: IntArray) -> FloatArray:
    """[N, 4] of the ballots in `rows`, those on the sorted `items` only."""
    position = np.searchsorted(items, table.item[rows])
    on = np.flatnonzero(np.isin(table.item[rows], items))
    flat = position[on] * 4 + table.category[rows[on]]
    return np.bincount(flat, minlength=items.size * 4).reshape(-1, 4).astype(np.float64)


def _statistics(n_categories: int) -> dict[str, Callable[[Sums], FloatArray]]:
    return {
        "raw": raw,
        "kappa": lambda sums: kappa(sums, disagreement(4, "none")),
        "weighted_kappa": lambda sums: kappa(sums, disagreement(4, "linear")),
        "alpha": lambda sums: alpha(sums, "nominal"),
        "ordinal_alpha": lambda sums: alpha(sums, "ordinal"),
        "ac1": lambda sums: ac1(sums, n_categories),
    }


def position_consistency(votes: pd.DataFrame, *, item: str | None = None) -> tuple[Consistency, ...]:
    """For each voter who decided items in both orders of the sides, the share decided alike.

    `votes` are read as shown: `model_a` was the side shown first. A voter's first vote in each order counts. Raises
    `InputError` when nobody decided an item in both orders.
    """
    items = code_items(votes, item)
    voter, names = _voters(votes)
    key = (items.item * len(names) + voter) * 2 + items.turned
    _, first = np.unique(key, return_index=True)
    both, count = np.unique(key[first] // 2, return_counts=True)
    both = both[count == 2]
    row = dict(zip(key[first].tolist(), first.tolist(), strict=True))
    plain = items.outcome[[row[2 * k] for k in both.tolist()]].astype(np.int64)
    turned = items.outcome[[row[2 * k + 1] for k in both.tolist()]].astype(np.int64)
    if not both.size:
        raise InputError(
            "votes: nobody decided an item in both orders of its sides, so nothing says how the order counts"
        )
    return tuple(
        _consistency(names[v], plain[both % len(names) == v], turned[both % len(names) == v])
        for v in np.unique(both % len(names))
    )


def _consistency(name: str, plain: IntArray, turned: IntArray) -> Consistency:
    """Outcomes are read in the item's order of sides, so a win that moves with the sides reads as its opposite."""
    n, share = plain.size, float((plain == turned).mean())
    first, second = (plain == WIN_A) & (turned == WIN_B), (plain == WIN_B) & (turned == WIN_A)
    moved = int(first.sum() + second.sum())
    z2 = NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return Consistency(
        name,
        n,
        share,
        float(max(centre - half, 0.0)),
        float(min(centre + half, 1.0)),
        int(first.sum()) / moved if moved else None,
    )
