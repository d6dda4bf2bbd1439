"""The bootstrap of likelihood ratings (Efron, Annals of Statistics 7, 1979): resample votes or clusters, refit all.

Resampled votes are multinomial counts of the cells, drawn by inversion from tables that cells of equal counts share.
All replicates of a block are refitted abreast by chord steps: the gradient is each replicate's own, the Hessian that of
all votes, factorised once. A replicate is done when its remaining error is below `TOLERANCE`; those that do not settle
are refitted one by one with damped Newton, and those without finite ratings are counted and left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.sparse import coo_array, csr_array
from scipy.special import ndtr, ndtri, pdtr

from paragone.arena.intervals import NORMAL_QUANTILE, clusters_of
from paragone.arena.likelihood import Fit, OutcomeModel, Pairs, is_identified, maximise, pairs_of
from paragone.arena.votes import BOTH_BAD, TIE, Cells, FloatArray, IntArray
from paragone.data.errors import NotIdentifiable

TOLERANCE = 1e-3  # rating points: error of a replicate, far below what 1000 replicates leave of chance
CHORD_STEPS = 30
FAR = 8.0  # natural units; a replicate that moves farther, or to NaN, may have no maximum and is looked at on its own
BLOCK = 1 << 22  # numbers in one block of replicates, [3, K, b] weights or [C, b] clusters
FEW_CELLS = 1024  # up to which numpy's chain of binomials is quick
BUCKETS = 1 << 16  # of a Poisson table, one for each value of 16 random bits
SHORTFALL = 2.0  # standard deviations by which the mean of the Poisson total stays below the number of votes
Draw = Callable[[np.random.Generator, int], FloatArray]  # (rng, b) -> weights [3, K, b] of b replicates


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
    tolerance: float,  # natural units
    precision: float,
) -> Replicates:
    """Refit resampled votes, or resampled clusters when `grouped` is given.

    With a prior its centre is redrawn too. Each block has its own seed, so that the number of threads changes nothing.
    Raises `NotIdentifiable` when more than half of the replicates have no finite ratings.
    """
    draw = _cell_draw(cells) if grouped is None else _cluster_draw(cells, grouped)
    width = max(3 * cells.i.size, 1 if grouped is None else clusters_of(grouped)[1])
    size = max(1, min(replicates, BLOCK // width))
    sizes = [min(size, replicates - start) for start in range(0, replicates, size)]
    refit = _Refit(model, fit, pairs_of(cells), inv(fit.information), tolerance, precision)

    def block(work: tuple[np.random.SeedSequence, int]) -> FloatArray:
        rng = np.random.default_rng(work[0])
        weight = draw(rng, work[1])
        centre = rng.normal(0, precision**-0.5, (len(cells.models), work[1])) if precision else None
        return refit.all(weight, centre)

    with ThreadPoolExecutor(min(len(sizes), os.cpu_count() or 1)) as pool:
        parts = list(pool.map(block, zip(np.random.SeedSequence(seed).spawn(len(sizes)), sizes, strict=True)))
    theta = np.concatenate(parts, axis=1)
    settled = np.isfinite(theta).all(axis=0)
    n_degenerate = int((~settled).sum())
    if n_degenerate > replicates / 2:
        raise NotIdentifiable(
            f"{n_degenerate} of {replicates} bootstrap replicates have no finite ratings; "
            "collect more votes, use ci='sandwich', or give a prior (prior=, --prior SD)"
        )
    return Replicates(theta[:, settled], n_degenerate)


def bias_corrected(replicates: FloatArray, estimate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """[M] ends of the 95 % intervals of estimates [M] from replicates [M, B] (Efron, Canadian J. Statistics 9, 1981).

    Few votes spread the ratings out, and resampled votes spread them out once more: where the estimate is not the
    median of its replicates, the quantiles move to the other side by twice as much.
    """
    n = replicates.shape[1]
    here = estimate[:, None]
    below = ((replicates < here).mean(axis=1) + (replicates <= here).mean(axis=1)) / 2
    shift = 2 * ndtri(below.clip(0.5 / n, 1 - 0.5 / n))
    ordered = np.sort(replicates, axis=1)

    def quantile(q: FloatArray) -> FloatArray:
        at = (q * (n + 1) - 1).clip(0, n - 1)  # so that few replicates do not make it narrower
        left = np.floor(at).astype(np.int64).clip(max=n - 2)
        row = np.arange(estimate.size)
        value: FloatArray = ordered[row, left] + (at - left) * (ordered[row, left + 1] - ordered[row, left])
        return value

    return quantile(ndtr(shift - NORMAL_QUANTILE)), quantile(ndtr(shift + NORMAL_QUANTILE))


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
        x, settled = self._chord(weight, centre)
        theta = x[:size]
        if not self.precision:
            theta -= theta.mean(axis=0)
        for r in np.flatnonzero(~settled):
            theta[:, r] = self._one(weight[:, :, r], None if centre is None else centre[:, r])
        return theta

    def _chord(self, weight: FloatArray, centre: FloatArray | None) -> tuple[FloatArray, NDArray[np.bool_]]:
        """[P, b] after at most `CHORD_STEPS` steps with one Hessian for all, and [b] which of them settled.

        Steps shrink by a steady factor ρ, so after the last of length s there remains at most s·ρ/(1 − ρ). The factor
        is taken as the worst of the block, and never below what would let more than s remain unseen.
        """
        start = np.append(self.fit.theta, self.fit.tau) if self.model.has_tie_parameter else self.fit.theta
        x = np.repeat(start[:, None], weight.shape[2], axis=1)
        settled = np.zeros(weight.shape[2], bool)
        going = np.arange(settled.size)  # the columns of x that `weight` still holds
        incidence = self.pairs.incidence().T.tocsr()
        last = np.full(settled.size, np.nan)
        now = start[:, None]
        for _ in range(CHORD_STEPS):
            step = self.inverse @ self._gradient(incidence, weight, now, None if centre is None else centre[:, going])
            now = now + step
            x[:, going] = now
            length = np.abs(step).max(axis=0)
            near = np.abs(now - start[:, None]).max(axis=0) < FAR
            known = near & (last > self.tolerance)
            ratio = float((length[known] / last[known]).max(initial=0.0)) if known.any() else 0.5
            remaining = length * ratio / (1 - ratio) if ratio < 0.5 else length
            settled[going] = near & (remaining < self.tolerance)
            keep = near & (remaining >= self.tolerance)
            if not keep.any():
                break
            last = length
            if keep.mean() < 0.5:
                going, weight, now, last = going[keep], weight[:, :, keep], now[:, keep], last[keep]
        return x, settled

    def _gradient(
        self, incidence: csr_array, weight: FloatArray, now: FloatArray, centre: FloatArray | None
    ) -> FloatArray:
        """[P, b] of the log-likelihood of each replicate."""
        size = self.pairs.n_models
        by_d, by_tau = self.model.total_score(weight, self.pairs.differences(now[:size]), now[-1])
        gradient: FloatArray = incidence @ by_d
        if centre is not None:
            gradient -= self.precision * (now[:size] - centre)
        return np.vstack([gradient, by_tau.sum(axis=0)]) if self.model.has_tie_parameter else gradient

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

    def draw(rng: np.random.Generator, size: int) -> FloatArray:
        return multinomial_columns(rng, n, size).reshape(3, -1, size)

    return draw


def multinomial_columns(rng: np.random.Generator, n: IntArray, size: int) -> FloatArray:
    """[C, size] columns, each of as many votes as cells of `n` [C] votes hold, drawn from these with replacement.

    With many cells: Poisson counts of a little less than all votes, filled up to all. Poisson counts given their sum
    are multinomial, and so they stay when the missing draws are added: exact, and many times as fast as a chain of
    binomials, because cells with equal counts are drawn from one table.
    """
    total = int(n.sum())
    drawn = np.zeros((n.size, size))
    filled = np.flatnonzero(n)
    if filled.size < FEW_CELLS:
        drawn[filled] = rng.multinomial(total, n[filled] / total, size=size).T
        return drawn
    share = 1 - SHORTFALL / np.sqrt(total)
    order = filled[np.argsort(n[filled], kind="stable")]
    counts, starts = np.unique(n[order], return_index=True)
    for count, rows in zip(counts.tolist(), np.split(order, starts[1:]), strict=True):
        drawn[rows] = poisson(rng, count * share, (rows.size, size))
    missing = (total - drawn.sum(axis=0)).astype(np.int64)
    while (over := np.flatnonzero(missing < 0)).size:
        for column in over:
            drawn[filled, column] = rng.poisson(n[filled] * share)
            missing[column] = total - int(drawn[filled, column].sum())
    # Sorted, the votes are looked up several times as fast; each carries its column in the remainder.
    votes = np.sort(rng.integers(total, size=int(missing.sum())) * size + np.repeat(np.arange(size), missing))
    cell = np.searchsorted(np.cumsum(n) * size, votes, side="right")
    np.add.at(drawn.reshape(-1), cell * size + votes % size, 1.0)
    return drawn


def poisson(rng: np.random.Generator, mean: float, shape: tuple[int, int]) -> FloatArray | IntArray:
    """Poisson variates of one mean by inversion: 16 random bits choose a bucket of [0, 1), and where the distribution
    function passes through several values within the bucket, 53 more bits choose among them.
    """
    if shape[0] * shape[1] < BUCKETS // 4:
        return rng.poisson(mean, shape)
    longest = int(mean + 12 * np.sqrt(mean) + 40)  # beyond lies less than a double can tell from nothing
    cumulative = pdtr(np.arange(longest), mean)
    ends = np.minimum(cumulative * BUCKETS, BUCKETS - 1).astype(np.int64)  # the bucket in which each value ends
    table = np.repeat(np.arange(longest + 1.0), np.diff(ends, prepend=0, append=BUCKETS))
    table[ends] = -1
    bucket = rng.integers(BUCKETS, size=shape, dtype=np.uint16)
    drawn = table[bucket].reshape(-1)
    torn = np.flatnonzero(drawn < 0)
    at = (bucket.reshape(-1)[torn] + rng.random(torn.size)) / BUCKETS
    drawn[torn] = np.searchsorted(cumulative, at, side="right")
    return drawn.reshape(shape)


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
