"""Uncertainty of ratings: sandwich covariance and intervals of ranks.

Sandwich: C = H⁻¹ G H⁻¹ with H minus the Hessian and G the sum of outer products of the scores, per vote or per cluster
(White, "Maximum likelihood estimation of misspecified models", Econometrica 50, 1982; Liang and Zeger, Biometrika 73,
1986). A prior is treated as one observation of each rating, so its precision enters H and G alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from paragone.arena.likelihood import Fit, OutcomeModel, bordered, pairs_of, win_graph
from paragone.arena.votes import BOTH_BAD, TIE, Cells, FloatArray, IntArray
from paragone.data.errors import NotIdentifiable, UsageError

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # Φ⁻¹(0.975)


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


def rank_intervals(lower: FloatArray, upper: FloatArray) -> tuple[IntArray, IntArray]:
    """[M] best and worst rank that intervals [M] of ratings leave open.

    Best: 1 + number of models whose lower bound lies above i's upper bound; worst: M − number of models whose upper
    bound lies below i's lower bound. Intervals may overlap where a difference is significant, so this is cautious.
    """
    m = lower.size
    best = 1 + m - np.searchsorted(np.sort(lower), upper, side="right")
    worst = m - np.searchsorted(np.sort(upper), lower, side="left")
    return best, worst
