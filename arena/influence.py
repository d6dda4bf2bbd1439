"""How much ratings hang on few votes: the fewest votes that change an order, and ratings without a voter or a prompt.

Leaving votes out moves the Bradley-Terry maximum by about −H⁻¹u, H being the information and u the sum of their scores
(Hampel, JASA 69, 1974). The smallest set that turns an order round is built from the votes with the largest influence
on it (Broderick, Giordano and Meager, "An automatic finite-sample robustness metric", arXiv:2011.14999; for arenas
Huang et al., arXiv:2508.11847). Whatever is found so is checked by fitting the votes that are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solve
from scipy.special import expit

from paragone.arena.bradley_terry import BradleyTerry, fit_bradley_terry
from paragone.arena.likelihood import Fit, Pairs, check_identified, is_identified, maximise
from paragone.arena.ratings import RESOLUTION, Ratings, check_model
from paragone.arena.votes import (
    BOTH_BAD,
    OUTCOMES,
    TIE,
    WIN_A,
    BothBad,
    FloatArray,
    IntArray,
    code_clusters,
    code_votes,
    fold,
)
from paragone.data.errors import InputError, NotIdentifiable, UsageError

POINTS = 400 / math.log(10)  # rating points in a natural unit
SCORE = np.array([1.0, 0.0, 0.5])  # of the first model: it wins, it loses, a tie
EQUAL = 1e-5  # rating points: an order has turned when the difference is beyond what a fit leaves open
STRIDE = 0.25  # the share of the votes still needed that leaves before influences are computed anew


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Votes that count alike (models, outcome, weight) as one kind; `both_bad` votes are ties or left out."""

    models: tuple[str, ...]
    pairs: Pairs  # [K] kinds; i < j
    outcome: IntArray  # [K] WIN_A (i wins), WIN_B or TIE
    weight: FloatArray  # [K] of one vote
    count: IntArray  # [K] votes
    of_row: IntArray  # [V] kind of each row, −1 where it is left out
    precision: float  # of the prior on each strength, natural units; 0 without one

    @classmethod
    def from_votes(cls, votes: pd.DataFrame, *, both_bad: BothBad, prior: float | None) -> Kinds:
        """Count the votes; raises `NotIdentifiable` where they determine no ratings (and there is no `prior`)."""
        if prior is not None and not (math.isfinite(prior) and prior > 0):
            raise UsageError(f"prior={prior}: give a standard deviation above 0, in rating points")
        coded = code_votes(votes)
        check_identified(fold(coded).settle(both_bad), ties=False, prior=prior is not None)
        i, j = np.minimum(coded.a, coded.b), np.maximum(coded.a, coded.b)
        outcome = np.where((coded.a > coded.b) & (coded.outcome < TIE), 1 - coded.outcome, coded.outcome)
        kept = np.flatnonzero((outcome != BOTH_BAD) | (both_bad == "tie"))
        outcome = np.minimum(outcome, TIE)
        weight = np.ones(i.size) if coded.weight is None else coded.weight
        sort, distinct = pd.factorize(weight[kept])
        m = len(coded.models)
        key = ((i * m + j) * 3 + outcome)[kept] * max(distinct.size, 1) + sort
        position, found = pd.factorize(key)
        first = np.unique(position, return_index=True)[1]
        order = np.argsort(found, kind="stable")
        place = np.argsort(order)
        rows = kept[first[order]]  # one of each kind
        of_row = np.full(i.size, -1)
        of_row[kept] = place[position]
        precision = 0.0 if prior is None else (POINTS / prior) ** 2
        count = np.bincount(place[position], minlength=rows.size)
        return cls(coded.models, Pairs(m, i[rows], j[rows]), outcome[rows], weight[rows], count, of_row, precision)

    def identified(self, count: IntArray) -> bool:
        """Whether `count` [K] votes of each kind determine ratings."""
        return self.precision > 0 or is_identified(self.pairs, self._weights(count), ties=False)

    def fit(self, count: IntArray) -> Fit:
        """The maximum for `count` [K] votes of each kind."""
        weights = self._weights(count)
        return maximise(BradleyTerry(), self.pairs, weights, tolerance=1e-6 / POINTS, precision=self.precision)

    def scores(self, theta: FloatArray) -> FloatArray:
        """[K] of one vote: weight·(outcome − expectation)."""
        score: FloatArray = self.weight * (SCORE[self.outcome] - expit(self.pairs.differences(theta)))
        return score

    def curvatures(self, theta: FloatArray) -> FloatArray:
        """[K] of one vote: weight·p(1 − p)."""
        d = self.pairs.differences(theta)
        curvature: FloatArray = self.weight * expit(d) * expit(-d)
        return curvature

    def _weights(self, count: IntArray) -> FloatArray:
        weights = np.zeros((3, count.size))
        weights[self.outcome, np.arange(count.size)] = self.weight * count
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """A small set of votes without which `below` is rated above `above`, as far as one was found."""

    above: str
    below: str
    difference: float  # rating points, above − below, with all votes
    difference_after: float | None  # without the set, from a new fit; None: no set was found
    n_votes: int  # that the ratings rest on
    n_predicted: int | None  # size of the set by one-step influence alone; None: no set would do
    n_removed: int | None
    share: float | None  # n_removed / n_votes
    verified: bool  # the fit of the votes left has the other order
    cells: pd.DataFrame  # model_a, model_b, winner, removed, n: the set, by what the votes say
    rows: tuple[Any, ...]  # the set, by the labels of the votes' index
    voters: pd.DataFrame | None  # voter, removed; None: the votes name no voters

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a missing number is None."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["rows"] = [row.item() if isinstance(row, np.generic) else row for row in self.rows]
        for name in ("cells", "voters"):
            plain[name] = None if plain[name] is None else plain[name].to_dict("records")
        return plain


def votes_to_flip(
    votes: pd.DataFrame,
    *,
    above: str | None = None,
    below: str | None = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
) -> Flip:
    """The fewest votes whose removal puts `below` above `above` (by default the second above the first).

    The votes with most influence leave first, and the influences are computed anew as they go; the end is checked by a
    fit. The set is small, but not proven to be the smallest: read its size as "at most so many". Votes that the ratings
    cannot do without (a model's last defeat) are never taken.

    Raises:
        InputError, UnknownOutcome: a row of votes that cannot be used.
        NotIdentifiable: votes that determine no ratings; give a `prior` (points), as to `fit_bradley_terry`.
        UsageError: an unknown model, or `below` is rated above `above` already.
    """
    kinds = Kinds.from_votes(votes, both_bad=both_bad, prior=prior)
    check_labels(votes)
    fit = kinds.fit(kinds.count)
    a, b = _order(kinds.models, fit.theta, above, below)
    predicted = _predict(kinds, fit, a, b)
    removed = _greedy(kinds, fit, a, b)
    difference, n_votes = POINTS * float(fit.theta[a] - fit.theta[b]), int(kinds.count.sum())
    names = kinds.models[a], kinds.models[b]
    if removed is None:
        nothing = _describe(kinds, np.zeros_like(kinds.count))
        return Flip(*names, difference, None, n_votes, predicted, None, None, False, nothing, (), None)
    positions = _rows_of(kinds, removed, votes)
    left = fit_bradley_terry(votes.drop(index=votes.index[positions]), ci="none", both_bad=both_bad, prior=prior)
    after = _difference(left, *names)
    n_removed = int(removed.sum())
    voters = _voters_of(votes, positions) if "voter" in votes.columns else None
    rows = tuple(votes.index[positions])
    share = n_removed / n_votes
    cells = _describe(kinds, removed)
    return Flip(*names, difference, after, n_votes, predicted, n_removed, share, after < -EQUAL, cells, rows, voters)


def _order(models: tuple[str, ...], theta: FloatArray, above: str | None, below: str | None) -> tuple[int, int]:
    """Indices of the two models; the one that is not named is the neighbour of the one that is."""
    for name in (above, below):
        if name is not None:
            check_model(name, models)
    ranked = [models[m] for m in np.lexsort((np.arange(theta.size), -np.round(theta, RESOLUTION)))]
    if len(ranked) < 2:
        raise UsageError("there is one model only; an order needs two")
    if above is None:
        place = 1 if below is None else ranked.index(below)
        if place == 0:
            raise UsageError(f"below={below!r}: is rated first, so nothing is above it")
        above, below = ranked[place - 1], ranked[place]
    elif below is None:
        place = ranked.index(above)
        if place == len(ranked) - 1:
            raise UsageError(f"above={above!r}: is rated last, so nothing is below it")
        below = ranked[place + 1]
    if ranked.index(below) <= ranked.index(above):
        raise UsageError(f"above={above!r}, below={below!r}: {above!r} is not rated above {below!r}; exchange the two")
    return models.index(above), models.index(below)


def _influence(kinds: Kinds, fit: Fit, a: int, b: int) -> FloatArray:
    """[K] by how much θ_a − θ_b falls when one vote of each kind is left out (natural units, one step)."""
    contrast = np.zeros(len(kinds.models))
    contrast[[a, b]] = 1.0, -1.0
    pull: FloatArray = kinds.pairs.differences(solve(fit.information, contrast, assume_a="pos"))
    return pull * kinds.scores(fit.theta)


def _predict(kinds: Kinds, fit: Fit, a: int, b: int) -> int | None:
    """Size of the set by the influences of the full fit alone; None when all that help would not do."""
    influence, left = _influence(kinds, fit, a, b), float(fit.theta[a] - fit.theta[b])
    taken = 0
    for k in np.argsort(-influence, kind="stable"):
        if influence[k] <= 0:
            return None
        needed = math.floor(left / influence[k]) + 1
        if needed <= kinds.count[k]:
            return int(taken + needed)
        taken += int(kinds.count[k])
        left -= float(influence[k] * kinds.count[k])
    return None


def _greedy(kinds: Kinds, fit: Fit, a: int, b: int) -> IntArray | None:
    """[K] votes to leave out of each kind, None when the order does not turn."""
    count, free = kinds.count.copy(), np.ones(kinds.count.size, bool)
    while (gap := float(fit.theta[a] - fit.theta[b])) > -EQUAL / POINTS:
        influence = np.where(free & (count > 0), _influence(kinds, fit, a, b), -np.inf)
        k = int(np.argmax(influence))
        if influence[k] <= 0:
            return None
        needed = max(1, math.floor(gap / influence[k]) + 1)
        take = min(int(count[k]), math.ceil(STRIDE * needed))
        count[k] -= take
        while take and not kinds.identified(count):
            back = math.ceil(take / 2)
            count[k] += back
            take -= back
        if take:
            fit = kinds.fit(count)
        else:
            free[k] = False
    left_out: IntArray = kinds.count - count
    return left_out


def _rows_of(kinds: Kinds, removed: IntArray, votes: pd.DataFrame) -> IntArray:
    """Positions of rows of the kinds; of those alike, rows of the voters who have most of them come first."""
    chosen = []
    for k in np.flatnonzero(removed):
        rows = np.flatnonzero(kinds.of_row == k)
        if "voter" in votes.columns:
            voter = votes["voter"].iloc[rows]
            rows = rows[np.argsort(-voter.map(voter.value_counts()).fillna(0).to_numpy(), kind="stable")]
        chosen.append(rows[: removed[k]])
    return np.sort(np.concatenate(chosen))


def _voters_of(votes: pd.DataFrame, positions: IntArray) -> pd.DataFrame:
    counts = votes["voter"].iloc[positions].value_counts(dropna=False)
    return pd.DataFrame({"voter": counts.index, "removed": counts.to_numpy()})


def _describe(kinds: Kinds, removed: IntArray) -> pd.DataFrame:
    """The kinds of which votes were removed, most first; the winner stands in model_a, where there is one."""
    chosen = np.flatnonzero(removed)
    chosen = chosen[np.argsort(-removed[chosen], kind="stable")]
    turned = kinds.outcome[chosen] == 1 - WIN_A  # the second of the two won
    i, j = kinds.pairs.i[chosen], kinds.pairs.j[chosen]
    names = np.array(kinds.models, object)
    outcome = np.where(kinds.outcome[chosen] == TIE, str(OUTCOMES[TIE]), str(OUTCOMES[WIN_A]))
    return pd.DataFrame(
        {
            "model_a": names[np.where(turned, j, i)],
            "model_b": names[np.where(turned, i, j)],
            "winner": outcome,
            "removed": removed[chosen],
            "n": kinds.count[chosen],
        }
    )


def leave_one_out(
    votes: pd.DataFrame,
    column: str,
    *,
    model: str | None = None,
    both_bad: BothBad = "tie",
    prior: float | None = None,
    exact: int = 10,
) -> pd.DataFrame:
    """How ratings change without each value of `column`, such as "voter" or "prompt"; the most influential first.

    One row a value: n_votes; model, the one that moves most (or the `model` asked for); change, its rating without the
    value less its rating with all votes, by one Newton step (points, mean of all ratings fixed). The first `exact`
    rows are fitted anew and also have change_exact, first (the model rated first without the value) and rank_changes
    (how many models change their rank); where the votes left determine no ratings these are missing.

    Raises:
        UsageError: no such column, or an unknown model.
        InputError, UnknownOutcome, NotIdentifiable: as `votes_to_flip`.
    """
    kinds = Kinds.from_votes(votes, both_bad=both_bad, prior=prior)
    if model is not None:
        check_model(model, kinds.models)
    group = code_clusters(votes, column)
    fit = kinds.fit(kinds.count)
    size = int(group.max()) + 1
    change = POINTS * (np.stack(list(leave_out_steps(kinds, fit, group)), axis=1) - fit.theta[:, None])  # [M, G]
    change -= change.mean(axis=0)
    mover = np.full(size, kinds.models.index(model)) if model is not None else np.abs(change).argmax(axis=0)
    first_row = np.unique(group, return_index=True)[1]
    found = np.take_along_axis(change, mover[None], axis=0)[0]
    order = np.argsort(-np.nan_to_num(np.abs(found), nan=np.inf), kind="stable")
    rows = [_refit(kinds, fit, group == g, int(mover[g])) for g in order[:exact]]
    rows += [(math.nan, None, None)] * (size - len(rows))
    return pd.DataFrame(
        {
            column: votes[column].iloc[first_row[order]].to_numpy(),
            "n_votes": np.bincount(group, minlength=size)[order],
            "model": [kinds.models[m] for m in mover[order]],
            "change": found[order],
            "change_exact": np.array([row[0] for row in rows], np.float64),
            "first": pd.array([row[1] for row in rows], dtype="str"),
            "rank_changes": pd.array([row[2] for row in rows], dtype="Int64"),
        }
    )


def leave_out_steps(kinds: Kinds, fit: Fit, group: IntArray) -> Iterator[FloatArray]:
    """For each group 0, 1, … of rows, strengths [M] without it by one Newton step from `fit`; NaN if votes disconnect.

    The group's own curvature is left out too, which makes the step all but exact for groups of any common size.
    """
    size = len(kinds.models)
    whole = kinds.pairs.laplacian(kinds.count * kinds.curvatures(fit.theta))
    gauge = np.full((size, size), np.trace(whole) / size**2) if not kinds.precision else np.eye(size) * kinds.precision
    score, curvature = kinds.scores(fit.theta), kinds.curvatures(fit.theta)
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(group))[:-1]):
        of = kinds.of_row[rows]
        of = of[of >= 0]
        pairs = Pairs(size, kinds.pairs.i[of], kinds.pairs.j[of])
        step: FloatArray
        try:
            step = solve(whole - pairs.laplacian(curvature[of]) + gauge, pairs.gradient(score[of]), assume_a="pos")
        except LinAlgError:
            step = np.full(size, np.nan)
        yield fit.theta - step


def _refit(kinds: Kinds, fit: Fit, out: NDArray[np.bool_], mover: int) -> tuple[float, str | None, int | None]:
    """Change of one model's rating, the model rated first and the number of changed ranks, without the rows `out`."""
    of = kinds.of_row[out]
    count = kinds.count - np.bincount(of[of >= 0], minlength=kinds.count.size)
    if not kinds.identified(count):
        return math.nan, None, None
    try:
        theta = kinds.fit(count).theta
    except NotIdentifiable:
        return math.nan, None, None
    change = theta - fit.theta
    before, after = (ranks(strength) for strength in (fit.theta, theta))
    return (
        POINTS * float(change[mover] - change.mean()),
        kinds.models[int(np.argmin(after))],
        int((before != after).sum()),
    )


def ranks(theta: FloatArray) -> IntArray:
    """[M] 1 + number of models that are stronger."""
    rounded = np.round(POINTS * theta, RESOLUTION)
    return 1 + theta.size - np.searchsorted(np.sort(rounded), rounded, side="right")


def _difference(ratings: Ratings, a: str, b: str) -> float:
    return float(ratings.rating[ratings.models.index(a)] - ratings.rating[ratings.models.index(b)])


def check_labels(votes: pd.DataFrame) -> None:
    """Raise `InputError` unless the labels of the index tell the votes apart."""
    if not votes.index.is_unique:
        raise InputError("votes: two rows have the same label; number them with votes.reset_index(drop=True)")
