"""Ratings: the result of every rater, and the table of raters.

A `Ratings` is a value that explains itself: points, intervals, joint covariance, method, parameters and warnings. The
table `ALL_RATERS` is what the command line offers and what the common tests run through.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paragone.arena.intervals import rank_intervals
from paragone.arena.votes import Cells, FloatArray, IntArray, scatter
from paragone.data.errors import UsageError

SCHEMA = "paragone.ratings/1"
RESOLUTION = 6  # decimals of an Elo point; ratings that agree to them share a rank
Anchor = Mapping[str, float] | tuple[str, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Ratings of M models, best first (equal ratings by name). Arrays are read-only and in the order of `models`."""

    models: tuple[str, ...]
    rating: FloatArray  # [M] Elo points
    rating_lower: FloatArray | None  # [M] 95 % interval; None where the method has none
    rating_upper: FloatArray | None
    covariance: FloatArray | None  # [M, M] joint, Elo points squared
    model_votes: IntArray  # [M] votes that each model is in
    win_rate: FloatArray  # [M] in [0, 1], a tie counts half; NaN for a model without votes
    method: str  # a name of ALL_RATERS
    n_votes: int
    parameters: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @classmethod
    def assemble(
        cls,
        cells: Cells,  # with both_bad settled
        rating: FloatArray,  # [M] in the order of cells.models, as are the next three
        *,
        interval: tuple[FloatArray, FloatArray] | None = None,
        covariance: FloatArray | None = None,
        method: str,
        parameters: Mapping[str, Any],
        warnings: tuple[str, ...] = (),
    ) -> Ratings:
        """Sort the models by rating and add what the votes say of each."""
        order = np.lexsort((np.arange(rating.size), -np.round(rating, RESOLUTION)))
        votes = cells.per_model(cells.n.sum(axis=0))
        weight = cells.per_model(cells.weight.sum(axis=0))
        size = len(cells.models)
        score_i, score_j = cells.wins_i + cells.ties / 2, cells.wins_j + cells.ties / 2
        wins = scatter(cells.i, score_i, size) + scatter(cells.j, score_j, size)
        rate = np.divide(wins, weight, out=np.full(size, np.nan), where=weight > 0)
        lower, upper = interval if interval is not None else (None, None)
        return cls(
            models=tuple(cells.models[m] for m in order),
            rating=_frozen(rating[order]),
            rating_lower=None if lower is None else _frozen(lower[order]),
            rating_upper=None if upper is None else _frozen(upper[order]),
            covariance=None if covariance is None else _frozen(covariance[np.ix_(order, order)]),
            model_votes=_frozen(votes[order].astype(np.int64)),
            win_rate=_frozen(rate[order]),
            method=method,
            n_votes=cells.n_votes,
            parameters=dict(parameters),
            warnings=warnings,
        )

    @property
    def variance(self) -> FloatArray | None:
        """[M] squared standard errors."""
        return None if self.covariance is None else np.diag(self.covariance)

    @property
    def rank(self) -> IntArray:
        """[M] 1 + number of models rated higher."""
        rating = np.round(self.rating, RESOLUTION)
        return 1 + rating.size - np.searchsorted(np.sort(rating), rating, side="right")

    @property
    def rank_interval(self) -> tuple[IntArray, IntArray] | None:
        """[M] best and worst rank that the intervals leave open, as `rank_intervals` defines them."""
        if self.rating_lower is None or self.rating_upper is None:
            return None
        return rank_intervals(self.rating_lower, self.rating_upper)

    @property
    def summary(self) -> str:
        """Method, votes and kind of interval, in one line."""
        kind = "no intervals" if self.rating_lower is None else f"95 % intervals: {self.parameters['ci']}"
        return f"{self.method}, {self.n_votes:,} vote{'s' * (self.n_votes != 1)}, {kind}"

    def difference(self, a: str, b: str) -> tuple[float, float]:
        """Rating of `a` minus that of `b`, and its standard error from the joint covariance (Elo points)."""
        i, j = self._index(a), self._index(b)
        if self.covariance is None:
            raise UsageError(f"{self.method} ratings without intervals have no standard error; fit with ci='sandwich'")
        c = self.covariance
        variance = max(float(c[i, i] + c[j, j] - 2 * c[i, j]), 0.0)
        return float(self.rating[i] - self.rating[j]), math.sqrt(variance)

    def probability(self, a: str, b: str) -> float:
        """Expected score of `a` against `b` under the fitted model: P(win) + P(tie)/2."""
        parameters = self.parameters
        d = (
            (self.rating[self._index(a)] - self.rating[self._index(b)])
            * math.log(parameters["base"])
            / parameters["scale"]
        )
        rater = ALL_RATERS.get(self.method, ALL_RATERS["bradley-terry"])  # a joint board is Bradley-Terry's, too
        return rater.expected_score(float(d), parameters.get("tie_parameter"))

    def to_frame(self) -> pd.DataFrame:
        """One row a model; missing numbers are NaN (missing ranks <NA>)."""
        nothing = np.full(len(self.models), np.nan)
        lower, upper, variance = (
            nothing if values is None else values for values in (self.rating_lower, self.rating_upper, self.variance)
        )
        ranks = self.rank_interval or (nothing, nothing)
        return pd.DataFrame(
            {
                "model": pd.array(list(self.models), dtype="str"),
                "rating": self.rating,
                "rating_lower": lower,
                "rating_upper": upper,
                "variance": variance,
                "rank": self.rank,
                "rank_lower": pd.array(ranks[0], dtype="Int64"),
                "rank_upper": pd.array(ranks[1], dtype="Int64"),
                "n_votes": self.model_votes,
                "win_rate": self.win_rate,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, schema `paragone.ratings/1`; a missing number is None."""
        rows = [{str(name): _plain(value) for name, value in row.items()} for row in self.to_frame().to_dict("records")]
        return {
            "schema": SCHEMA,
            "method": self.method,
            "n_votes": self.n_votes,
            "models": rows,
            "parameters": dict(self.parameters),
            "warnings": list(self.warnings),
        }

    def _index(self, model: str) -> int:
        check_model(model, self.models)
        return self.models.index(model)


@dataclass(frozen=True, slots=True)
class Rater:
    """A row of `ALL_RATERS`; functions are `"module:name"` and loaded when they are used."""

    name: str
    function: str
    score: str  # of (d in natural units, tie parameter or None)
    order_invariant: bool = True
    has_intervals: bool = True  # unasked, by the sandwich; Elo can only bootstrap
    models_ties: bool = False  # a fitted tie parameter, rather than half a win each way
    needs: tuple[str, ...] = ()  # columns of votes beside the two models and the winner
    has_bootstrap: bool = True

    @property
    def fit(self) -> Callable[..., Ratings]:
        """The function from votes to `Ratings`."""
        function: Callable[..., Ratings] = _load(self.function)
        return function

    def expected_score(self, d: float, tie_parameter: float | None) -> float:
        """P(win) + P(tie)/2 at a difference d of strength in natural units."""
        return float(_load(self.score)(d, tie_parameter))


ALL_RATERS = {
    rater.name: rater
    for rater in (
        Rater("elo", "elo:fit_elo", "bradley_terry:expected_score", order_invariant=False, has_intervals=False),
        Rater("bradley-terry", "bradley_terry:fit_bradley_terry", "bradley_terry:expected_score"),
        Rater("davidson", "ties:fit_davidson", "ties:davidson_expected_score", models_ties=True),
        Rater("rao-kupper", "ties:fit_rao_kupper", "ties:rao_kupper_expected_score", models_ties=True),
        Rater("contextual", "contextual:fit_contextual", "bradley_terry:expected_score"),
        Rater("crowd-bt", "crowd:fit_crowd", "bradley_terry:expected_score", needs=("voter",), has_bootstrap=False),
    )
}


def resolve_anchor(anchor: Anchor, models: tuple[str, ...]) -> tuple[int, float] | None:
    """Index and rating of the anchor model; raises `UsageError` unless it is one known model with a finite rating."""
    if anchor is None:
        return None
    pairs = list(anchor.items()) if isinstance(anchor, Mapping) else [anchor]
    if len(pairs) != 1 or len(pairs[0]) != 2:
        raise UsageError(f"anchor={anchor!r}: give one model and its rating")
    model, rating = pairs[0]
    check_model(model, models)
    if not math.isfinite(rating):
        raise UsageError(f"anchor={anchor!r}: the rating is not a finite number")
    return models.index(model), float(rating)


def check_model(model: str, models: tuple[str, ...]) -> None:
    """Raise `UsageError` when `model` is not one of `models`."""
    if model not in models:
        close = difflib.get_close_matches(model, models, n=1)
        hint = (
            f"did you mean {close[0]!r}?"
            if close
            else f"the models are {', '.join(models[:5])}{' …' * (len(models) > 5)}"
        )
        raise UsageError(f"no votes on a model called {model!r}; {hint}")


def _load(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"paragone.arena.{module}"), name)
    return function


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _plain(value: Any) -> Any:
    """A value of a table as JSON knows it: missing is None."""
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
