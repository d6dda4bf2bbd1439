"""Uncertainty of ratings: sandwich covariance, bootstrap over cells or clusters, and intervals of ranks.

Sandwich: C = H⁻¹ G H⁻¹ with H minus the Hessian and G the sum of outer products of the scores, per vote or per cluster
(White, "Maximum likelihood estimation of misspecified models", Econometrica 50, 1982; Liang and Zeger, Biometrika 73,
1986). A prior is treated as one observation of each rating, so its precision enters H and G alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from paragone.arena.likelihood import Fit, OutcomeModel, Pairs, bordered, is_identified, maximise, pairs_of, win_graph
from paragone.arena.votes import BOTH_BAD, TIE, Cells, FloatArray, IntArray
from paragone.data.errors import NotIdentifiable, UsageError

if TYPE_CHECKING:
    from paragone.arena.ratings import Ratings

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # Φ⁻¹(0.975)
CHORD_STEPS = 30
CHUNK = 1 << 20  # numbers in one block of replicates, [3, K, b] weights or [C, b] clusters
Draw = Callable[[np.random.Generator, int], FloatArray]  # (rng, b) -> weights [3, K, b] of b replicates


def sandwich(model: OutcomeModel, fit: Fit, cells: Cells, grouped: Cells | None, precision: float) -> FloatArray:
    """[M, M] covariance of θ; with `grouped`, whose cells are a pair's in one cluster, clusters are the units."""
    pairs = pairs_of(cells)
    meat = _score_products(model, fit, cells) if grouped is None else _cluster_products(model, fit, grouped)
    size = pairs.n_models
    meat[:size, :size] += pairs.laplacian(_missing_variance(model, fit, cells))
    meat[np.diag_indices(size)] += precision
    inverse = inv(fit.information)
    covariance: FloatArray = (inverse @ meat @ inverse)[:size, :size]
    return covariance


def only_tied(cells: Cells) -> IntArray:
    """Models all of whose votes are ties: their scores hardly vary, but that does not make their ratings sure."""
    decisive, ties = cells.per_model(cells.weight[:TIE].sum(axis=0)), cells.per_model(cells.ties)
    return np.flatnonzero((decisive == 0) & (ties > 0))


def one_sided(cells: Cells) -> NDArray[np.bool_]:
    """[K] pairs whose votes cannot vary: a model is `only_tied`, or (under a prior) a group never lost to another."""
    tied = only_tied(cells)
    graph = win_graph(pairs_of(cells), cells.weight[:BOTH_BAD])
    _, group = connected_components(graph, directed=True, connection="strong")
    across: NDArray[np.bool_] = group[cells.i] != group[cells.j]
    return across | np.isin(cells.i, tied) | np.isin(cells.j, tied)


def _missing_variance(model: OutcomeModel, fit: Fit, cells: Cells) -> FloatArray:
    """[K] what `one_sided` pairs lack for the outcome model's own variance of the score: their votes cannot show it."""
    d = pairs_of(cells).differences(fit.theta)
    by_d, _ = model.scores(d, fit.tau)
    expected, _, _ = model.curvature(d, fit.tau)
    missing = (cells.square[:BOTH_BAD] * (expected - by_d**2)).sum(axis=0)
    return np.where(one_sided(cells), np.maximum(missing, 0.0), 0.0)


def _score_products(model: OutcomeModel, fit: Fit, cells: Cells) -> FloatArray:
    pairs, square = pairs_of(cells), cells.square[:BOTH_BAD]
    by_d, by_tau = model.scores(pairs.differences(fit.theta), fit.tau)
    matrix = pairs.laplacian((square * by_d**2).sum(axis=0))
    if not model.has_tie_parameter:
        return matrix
    border = pairs.gradient((square * by_d * by_tau).sum(axis=0))
    return bordered(matrix, border, float((square * by_tau**2).sum()))


def _cluster_products(model: OutcomeModel, fit: Fit, grouped: Cells) -> FloatArray:
    """Σ over clusters of u uᵀ, times C/(C − 1)."""
    cluster, n_clusters = clusters_of(grouped)
    pairs, weight = pairs_of(grouped), grouped.weight[:BOTH_BAD]
    by_d, by_tau = model.scores(pairs.differences(fit.theta), fit.tau)
    score = (weight * by_d).sum(axis=0)
    values, columns = [score, -score], [pairs.i, pairs.j]
    if model.has_tie_parameter:
        values.append((weight * by_tau).sum(axis=0))
        columns.append(np.full(cluster.size, pairs.n_models))
    rows = np.tile(cluster, len(values))
    shape = (n_clusters, pairs.n_models + model.has_tie_parameter)
    u = coo_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape).tocsr()
    products: FloatArray = (u.T @ u).toarray() * (n_clusters / (n_clusters - 1))
    return products


def clusters_of(grouped: Cells) -> tuple[IntArray, int]:
    """[K] cluster of each cell and how many have votes; raises `NotIdentifiable` when it is one."""
    if grouped.cluster is None:
        raise UsageError("these cells were folded without a cluster")
    used = np.unique(grouped.cluster[grouped.n.sum(axis=0) > 0])
    if used.size < 2:
        raise NotIdentifiable("all votes are of one cluster; intervals by cluster need two or more")
    return np.searchsorted(used, grouped.cluster).clip(max=used.size - 1), int(used.size)


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """Ratings of resampled votes."""

    theta: FloatArray  # [M, B] natural units
    n_degenerate: int  # replicates without a maximum, left out of theta


def bootstrap(
    model: OutcomeModel,
    fit: Fit,
    cells: Cells,
    grouped: Cells | None,
    *,
    replicates: int,
    seed: int,
    tolerance: float,
    precision: float,
) -> Replicates:
    """Refit resampled votes (Efron, Annals of Statistics 7, 1979), or resampled clusters when `grouped` is given.

    All replicates of a chunk take chord-Newton steps (the Hessian of the full fit) together; those that do not settle
    are refitted one by one. With a prior its centre is redrawn too. Each chunk has its own seed, so that the number of
    threads changes nothing.
    """
    draw = _cell_draw(cells) if grouped is None else _cluster_draw(cells, grouped)
    width = max(3 * cells.i.size, 1 if grouped is None else clusters_of(grouped)[1])
    size = max(1, min(replicates, CHUNK // width))
    sizes = [min(size, replicates - start) for start in range(0, replicates, size)]
    refit = _Refit(model, fit, pairs_of(cells), inv(fit.information), tolerance, precision)

    def chunk(work: tuple[np.random.SeedSequence, int]) -> FloatArray:
        rng = np.random.default_rng(work[0])
        weight = draw(rng, work[1])
        centre = rng.normal(0, precision**-0.5, (len(cells.models), work[1])) if precision else None
        return refit.all(weight, centre)

    with ThreadPoolExecutor(min(len(sizes), os.cpu_count() or 1)) as pool:
        parts = list(pool.map(chunk, zip(np.random.SeedSequence(seed).spawn(len(sizes)), sizes, strict=True)))
    theta = np.concatenate(parts, axis=1)
    settled = np.isfinite(theta).all(axis=0)
    n_degenerate = int((~settled).sum())
    if n_degenerate > replicates / 2:
        raise NotIdentifiable(
            f"{n_degenerate} of {replicates} bootstrap replicates have no finite ratings; "
            "collect more votes, use ci='sandwich', or give a prior (prior=, --prior SD)"
        )
    return Replicates(theta[:, settled], n_degenerate)


@dataclass(frozen=True, slots=True, eq=False)
class _Refit:
    """Fits replicates [3, K, b] starting from the fit of all votes."""

    model: OutcomeModel
    fit: Fit
    pairs: Pairs
    inverse: FloatArray  # [P, P] of the information of `fit`
    tolerance: float
    precision: float

    def all(self, weight: FloatArray, centre: FloatArray | None) -> FloatArray:
        """[M, b] ratings of each replicate, NaN where it has none."""
        size = self.pairs.n_models
        theta, settled = self._chord(weight, centre)
        theta = theta[:size]
        for r in np.flatnonzero(~settled):
            theta[:, r] = self._one(weight[:, :, r], None if centre is None else centre[:, r])
        return theta

    def _chord(self, weight: FloatArray, centre: FloatArray | None) -> tuple[FloatArray, NDArray[np.bool_]]:
        """[P, b] after at most `CHORD_STEPS` steps with one Hessian for all, and [b] which of them settled."""
        size, n = self.pairs.n_models, weight.shape[2]
        start = np.append(self.fit.theta, self.fit.tau) if self.model.has_tie_parameter else self.fit.theta
        x = np.repeat(start[:, None], n, axis=1)
        settled = np.zeros(n, bool)
        going = np.arange(n)  # the columns of x that `weight` still holds
        incidence = self.pairs.incidence().T.tocsr()
        for _ in range(CHORD_STEPS):
            now = x[:, going]
            by_d, by_tau = self.model.scores(self.pairs.differences(now[:size]), now[-1])
            gradient = incidence @ (weight * by_d).sum(axis=0)
            if centre is not None:
                gradient -= self.precision * (now[:size] - centre[:, going])
            if self.model.has_tie_parameter:
                gradient = np.vstack([gradient, (weight * by_tau).sum(axis=(0, 1))])
            step = self.inverse @ gradient
            x[:, going] = now + step
            length = np.abs(step).max(axis=0)
            settled[going] = length < self.tolerance
            keep = (length >= self.tolerance) & (length < 30)  # beyond 30 natural units, and at NaN, it diverges
            if not keep.any():
                break
            if keep.mean() < 0.5:
                going, weight = going[keep], weight[:, :, keep]
        return x, settled

    def _one(self, weight: FloatArray, centre: FloatArray | None) -> FloatArray:
        """[M] by damped Newton, NaN when the replicate has no maximum."""
        model = self.model if weight[TIE].any() else self.model.without_ties
        nothing = np.full(self.pairs.n_models, np.nan)
        decided = weight[:TIE].any() or not model.has_tie_parameter
        if not decided or (not self.precision and not is_identified(self.pairs, weight, ties=model.has_tie_parameter)):
            return nothing
        try:
            return maximise(
                model, self.pairs, weight, tolerance=self.tolerance, precision=self.precision, centre=centre
            ).theta
        except NotIdentifiable:
            return nothing


def _cell_draw(cells: Cells) -> Draw:
    """Multinomial resampling of votes, cell by cell."""
    n = cells.n[:BOTH_BAD].reshape(-1)
    filled = np.flatnonzero(n)
    total = int(n.sum())

    def draw(rng: np.random.Generator, size: int) -> FloatArray:
        weight = np.zeros((n.size, size))
        weight[filled] = multinomial_columns(rng, total, n[filled] / total, size)
        return weight.reshape(3, -1, size)

    return draw


def multinomial_columns(rng: np.random.Generator, n: int, p: FloatArray, size: int) -> IntArray:
    """[C, size] columns that are multinomial(n, p).

    With many cells: Poisson counts of a little less than n in all, filled up to n. Poisson counts given their sum are
    multinomial, and so they stay when the missing draws are added: exact, and twice as fast as a chain of binomials.
    """
    if p.size < 1024:
        return rng.multinomial(n, p, size=size).T
    mean = p * (n - 4 * np.sqrt(n))
    counts = rng.poisson(mean[:, None], (p.size, size))
    while (over := np.flatnonzero(counts.sum(axis=0) > n)).size:
        counts[:, over] = rng.poisson(mean[:, None], (p.size, over.size))
    missing = n - counts.sum(axis=0)
    cell = np.searchsorted(np.cumsum(p), rng.random(int(missing.sum()))).clip(max=p.size - 1)
    np.add.at(counts, (cell, np.repeat(np.arange(size), missing)), 1)
    return counts


def _cluster_draw(cells: Cells, grouped: Cells) -> Draw:
    """Resampling of whole clusters with replacement."""
    cluster, n_clusters = clusters_of(grouped)
    m, k = len(cells.models), cells.i.size
    pair = np.searchsorted(cells.i * m + cells.j, grouped.i * m + grouped.j)
    rows = (np.arange(3)[:, None] * k + pair).reshape(-1)
    entries = grouped.weight[:BOTH_BAD].reshape(-1), (rows, np.tile(cluster, 3))
    votes = coo_array(entries, shape=(3 * k, n_clusters)).tocsr()

    def draw(rng: np.random.Generator, size: int) -> FloatArray:
        times = np.stack(
            [np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters) for _ in range(size)], axis=1
        )
        weight: FloatArray = (votes @ times.astype(np.float64)).reshape(3, k, size)
        return weight

    return draw


def rank_intervals(lower: FloatArray, upper: FloatArray) -> tuple[IntArray, IntArray]:
    """[M] best and worst rank that intervals [M] of ratings leave open.

    Best: 1 + number of models whose lower bound lies above i's upper bound; worst: M − number of models whose upper
    bound lies below i's lower bound. Intervals may overlap where a difference is significant, so this is cautious.
    """
    m = lower.size
    best = 1 + m - np.searchsorted(np.sort(lower), upper, side="right")
    worst = m - np.searchsorted(np.sort(upper), lower, side="left")
    return best, worst


def simulate_ranks(ratings: Ratings, *, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Rank intervals and the chance of being best, from normal draws with the joint covariance.

    Narrower than `rank_intervals`, because errors that models share do not change their ranks.
    Columns: model, rank_lower, rank_upper (2.5 % and 97.5 % quantiles of the rank) and p_best.
    """
    if ratings.covariance is None:
        raise UsageError(f"{ratings.method} ratings without intervals cannot be simulated; fit with ci='sandwich'")
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_normal(ratings.rating, ratings.covariance, size=draws, method="eigh", check_valid="ignore")
    rank = 1 + np.argsort(np.argsort(-drawn, axis=1), axis=1)
    tail = (1 - LEVEL) / 2
    return pd.DataFrame(
        {
            "model": list(ratings.models),
            "rank_lower": np.quantile(rank, tail, axis=0, method="inverted_cdf"),
            "rank_upper": np.quantile(rank, 1 - tail, axis=0, method="inverted_cdf"),
            "p_best": (rank == 1).mean(axis=0),
        }
    )
