"""Votes, checked strictly and folded into cells: all that a rater which ignores order needs.

A vote is a row with `model_a`, `model_b` and `winner` (`model_a`, `model_b`, `tie` or `both_bad`), and optionally
`weight`, `voter`, `prompt`, `category` and `created_at`. Row numbers in messages count votes from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paragone.arena.exchange import REQUIRED
from paragone.data.errors import InputError, UnknownOutcome, UsageError
from paragone.data.records import Winner

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BothBad = Literal["tie", "drop"]

OUTCOMES = (Winner.MODEL_A, Winner.MODEL_B, Winner.TIE, Winner.BOTH_BAD)  # the order of the rows of `Cells.weight`
WIN_A, WIN_B, TIE, BOTH_BAD = range(4)
DENSE_MODELS = 1000  # up to so many a table of all pairs is small


@dataclass(frozen=True, slots=True, eq=False)
class CodedVotes:
    """Votes as integers, in the order of their rows."""

    models: tuple[str, ...]  # sorted by name
    a: IntArray  # [V] index into models
    b: IntArray  # [V]
    outcome: IntArray  # [V] index into OUTCOMES
    weight: FloatArray | None  # [V] > 0; None: every vote counts once


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Votes summed over (pair of models, outcome): the sufficient statistics of every rater that ignores order.

    Outcome rows are: i wins, j wins, tie, both_bad. With `cluster`, a pair has one cell for every voter (or prompt).
    """

    models: tuple[str, ...]  # [M] sorted by name
    i: IntArray  # [K] index into models
    j: IntArray  # [K] i < j
    n: IntArray  # [4, K] number of votes
    weight: FloatArray  # [4, K] sum of their weights
    square: FloatArray  # [4, K] sum of their squared weights
    cluster: IntArray | None = None  # [K] 0, 1, …

    @classmethod
    def from_votes(cls, votes: pd.DataFrame) -> Cells:
        """Fold a table of votes."""
        return fold(code_votes(votes))

    @classmethod
    def from_counts(cls, counts: pd.DataFrame) -> Cells:
        """Fold a table with `model_a`, `model_b`, `winner` and `count`, such as a GROUP BY of a store gives."""
        coded = code_votes(counts, source="counts")
        _require(counts.columns, ("count",), "counts")
        n = pd.to_numeric(counts["count"], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~np.isfinite(n) | (n < 0) | (n != np.floor(n)))
        if bad.size:
            raise InputError(
                f"counts: row {bad[0] + 1}: count {counts['count'].iloc[bad[0]]!r} is not a number of votes"
            )
        return fold(coded, count=n.astype(np.int64))

    @property
    def wins_i(self) -> FloatArray:
        """[K] weight of the votes that i won."""
        return self._row(WIN_A)

    @property
    def wins_j(self) -> FloatArray:
        """[K] weight of the votes that j won."""
        return self._row(WIN_B)

    @property
    def ties(self) -> FloatArray:
        """[K] weight of the ties."""
        return self._row(TIE)

    @property
    def both_bad(self) -> FloatArray:
        """[K] weight of the votes that called both bad."""
        return self._row(BOTH_BAD)

    @property
    def n_votes(self) -> int:
        """Number of votes, whatever their weights."""
        return int(self.n.sum())

    @property
    def weighted(self) -> bool:
        """Whether some vote counts other than once."""
        return not np.array_equal(self.weight, self.n)

    def settle(self, both_bad: BothBad) -> Cells:
        """The same cells with `both_bad` counted as ties, or left out."""
        if both_bad not in ("tie", "drop"):
            raise UsageError(f"both_bad={both_bad!r}: use 'tie' (count it as a tie) or 'drop' (leave it out)")
        n, weight, square = self.n.copy(), self.weight.copy(), self.square.copy()
        for rows in (n, weight, square):
            if both_bad == "tie":
                rows[TIE] += rows[BOTH_BAD]
            rows[BOTH_BAD] = 0
        return replace(self, n=n, weight=weight, square=square)

    def _row(self, outcome: int) -> FloatArray:
        row: FloatArray = self.weight[outcome]
        return row

    def per_model(self, rows: NDArray[Any]) -> FloatArray:
        """[M] sum of a row [K] of cells over the pairs that each model is in."""
        m = len(self.models)
        return scatter(self.i, rows, m) + scatter(self.j, rows, m)


def scatter(index: IntArray, value: NDArray[Any], size: int) -> FloatArray:
    """[size] sum of the values [K] at each index [K]."""
    return np.bincount(index, value, size).astype(np.float64, copy=False)


def code_votes(votes: pd.DataFrame, *, source: str = "votes") -> CodedVotes:
    """Check a table of votes and turn it into integers; raises `InputError` or `UnknownOutcome` naming the row."""
    _require(votes.columns, REQUIRED, source)
    codes_a, names_a = _code_names(votes, "model_a", source)
    codes_b, names_b = _code_names(votes, "model_b", source)
    models = tuple(sorted({*names_a, *names_b}))
    index = {name: position for position, name in enumerate(models)}
    a = np.array([index[name] for name in names_a], np.int64)[codes_a]
    b = np.array([index[name] for name in names_b], np.int64)[codes_b]
    if (selves := np.flatnonzero(a == b)).size:
        raise InputError(
            f"{source}: row {selves[0] + 1}: {models[a[selves[0]]]!r} is on both sides; a model cannot meet itself"
        )
    outcome = _code_outcomes(votes, source)
    weight = _weights(votes["weight"], source) if "weight" in votes.columns else None
    return CodedVotes(models, a, b, outcome, weight)


def code_clusters(votes: pd.DataFrame, column: str, *, source: str = "votes") -> IntArray:
    """[V] a number for each value of `column`; `UsageError` without the column, `InputError` on an empty value."""
    if column not in votes.columns:
        raise UsageError(f"{source}: no column {column!r} to group the votes by")
    codes, values = _factorize(votes, column, source)
    empty = np.isin(codes, [k for k, value in enumerate(values) if isinstance(value, str) and not value.strip()])
    if (missing := np.flatnonzero((codes < 0) | empty)).size:
        raise InputError(f"{source}: row {missing[0] + 1}: {column} is empty, so the vote belongs to no group")
    return codes


def fold(votes: CodedVotes, cluster: IntArray | None = None, *, count: IntArray | None = None) -> Cells:
    """Sum votes, each standing for `count` of them, into cells of a pair (and of a cluster), in time O(V)."""
    m = len(votes.models)
    if cluster is None and m <= DENSE_MODELS:
        return _fold_dense(votes, count)
    i, j = np.minimum(votes.a, votes.b), np.maximum(votes.a, votes.b)
    outcome = np.where((votes.a > votes.b) & (votes.outcome < TIE), 1 - votes.outcome, votes.outcome)
    key = i * m + j if cluster is None else (cluster * m + i) * m + j
    position, found = pd.factorize(key)
    order = np.argsort(found)
    keys = found[order]
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    flat = outcome * keys.size + rank[position]

    def total(value: NDArray[Any] | None) -> NDArray[Any]:
        return np.bincount(flat, value, minlength=4 * keys.size).reshape(4, keys.size)

    n = np.rint(total(count)).astype(np.int64)
    if votes.weight is None:
        weight = square = n.astype(np.float64)
    else:
        times = 1 if count is None else count
        weight, square = total(votes.weight * times), total(votes.weight**2 * times)
    pair = keys % (m * m) if m else keys
    group = None if cluster is None else keys // (m * m)
    return Cells(votes.models, pair // max(m, 1), pair % max(m, 1), n, weight, square, group)


def _fold_dense(votes: CodedVotes, count: IntArray | None) -> Cells:
    """Count into a table [4, M, M] of (outcome, side A, side B), and only then turn its lower half over: quicker."""
    m = len(votes.models)
    key = (votes.outcome * m + votes.a) * m + votes.b

    def total(value: NDArray[Any] | None) -> NDArray[Any]:
        table = np.bincount(key, value, minlength=4 * m * m).reshape(4, m, m)
        turned: NDArray[Any] = table + table[[WIN_B, WIN_A, TIE, BOTH_BAD]].transpose(0, 2, 1)
        return turned

    seen = total(None)
    i, j = np.nonzero(np.triu(seen.sum(axis=0)))
    n = np.rint(seen if count is None else total(count)).astype(np.int64)[:, i, j]
    if votes.weight is None:
        weight = square = n.astype(np.float64)
    else:
        times = 1 if count is None else count
        weight, square = total(votes.weight * times)[:, i, j], total(votes.weight**2 * times)[:, i, j]
    return Cells(votes.models, i, j, n, weight, square)


def _factorize(votes: pd.DataFrame, column: str, source: str) -> tuple[IntArray, list[Any]]:
    """[V] index of each row's value, -1 where it is missing, and the distinct values."""
    try:
        codes, values = pd.factorize(votes[column])
    except TypeError:
        nested = (row for row, value in enumerate(votes[column], 1) if isinstance(value, (list, dict, set)))
        raise InputError(f"{source}: row {next(nested, '?')}: {column} is not one value") from None
    return codes.astype(np.int64), list(values)


def _code_names(votes: pd.DataFrame, column: str, source: str) -> tuple[IntArray, list[str]]:
    codes, names = _factorize(votes, column, source)
    wrong = {k: problem for k, name in enumerate(names) if (problem := _name_problem(name))}
    bad = np.flatnonzero((codes < 0) | np.isin(codes, list(wrong))) if wrong else np.flatnonzero(codes < 0)
    if bad.size:
        problem = wrong.get(int(codes[bad[0]]), "is empty")
        raise InputError(f"{source}: row {bad[0] + 1}: {column} {problem}")
    return codes, names


def _name_problem(name: object) -> str:
    if not isinstance(name, str):
        return f"is {name!r}, not text; read the column as strings (007 is not 7)"
    if not name.strip():
        return "is empty"
    if name != name.strip():
        return f"is {name!r}, with blanks around the name; remove them"
    return ""


def _code_outcomes(votes: pd.DataFrame, source: str) -> IntArray:
    codes, values = _factorize(votes, "winner", source)
    if (missing := np.flatnonzero(codes < 0)).size:
        raise UnknownOutcome(f"{source}: row {missing[0] + 1}: winner is empty; use one of {', '.join(OUTCOMES)}")
    outcomes = np.empty(len(values), np.int64)
    for k, value in enumerate(values):
        try:
            outcomes[k] = OUTCOMES.index(Winner.parse(value))
        except UnknownOutcome as error:
            raise UnknownOutcome(f"{source}: row {np.flatnonzero(codes == k)[0] + 1}: {error}") from None
    return outcomes[codes]


def _weights(column: pd.Series[Any], source: str) -> FloatArray:
    try:
        weight: FloatArray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    except TypeError:  # lists and the like
        weight = np.array([value if isinstance(value, (int, float)) else np.nan for value in column], np.float64)
    if (bad := np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))).size:
        raise InputError(f"{source}: row {bad[0] + 1}: weight {column.iloc[bad[0]]!r} is not a number above 0")
    return weight


def _require(columns: Sequence[str] | pd.Index[Any], wanted: Sequence[str], source: str) -> None:
    for name in wanted:
        if name not in columns:
            raise InputError(
                f"{source}: no column {name!r} (it has: {', '.join(map(str, columns)) or 'none'}); "
                f"votes need {', '.join(REQUIRED)}"
            )
