"""Which pair of models a person is shown next: the likelier, the more a vote on it is expected to settle the ranking.

How unsettled a ranking is: the sum of u⁴ over pairs of models, u = V/(d² + V/4), where d is the difference of two
models and V its variance in the current fit (Bradley-Terry with a weak prior, which models without a vote or a loss
have too). 1/u is about the squared number of standard errors between the two, so the sum is ruled by the pairs that are
closest to being confused. One more vote on (i, j) changes the covariance C by a rank-one update (Sherman and Morrison,
Annals of Mathematical Statistics 21, 1950). With w = ∂u⁴/∂V at fixed d² + V/4, the sum is expected to drop by
v·xᵀCLCx/(1 + v·xᵀCx), where x = e_i − e_j, v = p(1 − p) and L is the Laplacian of w: after two products of matrices
all pairs cost O(M²). (On choosing what to observe next: Chaloner and Verdinelli, Statistical Science 10, 1995.)

Pairs are drawn, not chosen: every pair keeps a chance, and each draw is recorded with its probability (the propensity).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import inv
from scipy.special import expit

from paragone.arena.bradley_terry import BradleyTerry
from paragone.arena.likelihood import Fit, Pairs, maximise
from paragone.arena.votes import TIE, WIN_A, WIN_B, FloatArray
from paragone.data.errors import UsageError
from paragone.data.records import Winner

FLOOR = 0.1  # the share of battles drawn uniformly
SHARPNESS = 2.0  # power of the expected drop that the other battles are drawn by
CLOSEST = 4  # power of u: the higher, the more the closest pairs of models rule
UNSURE = 0.25  # share of V in d² + V/4: how far a difference that is not known yet may be from 0
PRIOR_SD = 400.0  # rating points, around the mean of all models
LEAST_VOTED = f"least-voted/1 floor={FLOOR}"
POLICY = f"expected-drop/1 floor={FLOOR} sharpness={SHARPNESS:g} closest={CLOSEST} unsure={UNSURE} prior={PRIOR_SD:g}"
_PRECISION = (400 / math.log(10) / PRIOR_SD) ** 2  # of the prior, natural units

Pair = tuple[str, str]  # two model names in alphabetical order
Cell = tuple[str, str, str]  # model_a, model_b, winner


def pair_propensities(n_votes: Mapping[Pair, int], *, floor: float = FLOOR) -> dict[Pair, float]:
    """Policy `LEAST_VOTED`: p = floor/P + (1 − floor)·w/Σw with w = 1/(1 + votes), for P pairs.

    The result is sorted by pair, sums to 1, and no entry is below floor/P.
    """
    pairs = sorted(n_votes)
    return _mix(pairs, [1.0 / (1 + n_votes[pair]) for pair in pairs], floor)


def informative_propensities(
    pairs: Iterable[Pair], counts: Mapping[Cell, int], *, floor: float = FLOOR, sharpness: float = SHARPNESS
) -> dict[Pair, float]:
    """Policy `POLICY`: p = floor/P + (1 − floor)·w/Σw with w = (expected drop of a vote on the pair)^sharpness.

    Args:
        pairs: what can be shown, P pairs; models that are in none of them take no part.
        counts: votes by model_a, model_b and winner; none at all makes all pairs alike.
        floor: share of battles drawn uniformly, in [0, 1].
        sharpness: 0 draws uniformly, more prefers the best pairs more.

    The result is sorted by pair, sums to 1, and no entry is below floor/P.
    """
    shown = sorted(set(pairs))
    if not shown:
        return {}
    models = sorted({model for pair in shown for model in pair})
    index = {name: m for m, name in enumerate(models)}
    fit = _fit(index, counts)
    drop = expected_drop(fit.theta, inv(fit.information))
    i, j = (np.array([index[pair[side]] for pair in shown], np.int64) for side in (0, 1))
    wanted = drop[i, j]
    return _mix(shown, ((wanted / wanted.max()) ** sharpness).tolist(), floor)


def expected_drop(theta: FloatArray, covariance: FloatArray) -> FloatArray:
    """[M, M] by how much one vote on (i, j) is expected to lower the sum of u⁴ (to first order); 0 on the diagonal.

    `theta` [M] are strengths in natural units, `covariance` [M, M] is theirs.
    """
    variance = _variance_of_differences(covariance)
    np.fill_diagonal(variance, 1.0)
    d = theta[:, None] - theta
    gap = d**2 + UNSURE * variance
    weight = CLOSEST * (variance / gap) ** (CLOSEST - 1) / gap
    np.fill_diagonal(weight, 0.0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    spread = _variance_of_differences(covariance @ laplacian @ covariance)
    information = expit(d) * expit(-d)
    drop: FloatArray = information * spread / (1 + information * variance)
    return drop


def _variance_of_differences(covariance: FloatArray) -> FloatArray:
    diagonal = np.diag(covariance)
    variance: FloatArray = diagonal[:, None] + diagonal - 2 * covariance
    return variance


def _fit(index: Mapping[str, int], counts: Mapping[Cell, int]) -> Fit:
    """Bradley-Terry with the prior, `both_bad` as a tie, over all pairs of the models of `index`."""
    size = len(index)
    rows = {Winner.MODEL_A: WIN_A, Winner.MODEL_B: WIN_B, Winner.TIE: TIE, Winner.BOTH_BAD: TIE}
    votes = np.zeros((3, size, size))
    known = [
        (rows[Winner(winner)], index[a], index[b], n)
        for (a, b, winner), n in counts.items()
        if a in index and b in index
    ]
    if known:
        outcome, a, b, n = np.array(known, np.int64).T
        np.add.at(votes, (outcome, a, b), n)
    both_ways = votes + votes[[WIN_B, WIN_A, TIE]].transpose(0, 2, 1)
    i, j = np.triu_indices(size, 1)
    return maximise(BradleyTerry(), Pairs(size, i, j), both_ways[:, i, j], tolerance=1e-6, precision=_PRECISION)


def _mix(pairs: list[Pair], weights: list[float], floor: float) -> dict[Pair, float]:
    if not 0 <= floor <= 1:
        raise UsageError(f"floor={floor}: give a share of the battles, from 0 to 1")
    total = sum(weights)
    return {
        pair: floor / len(pairs) + (1 - floor) * weight / total for pair, weight in zip(pairs, weights, strict=True)
    }


def draw_pair(propensities: Mapping[Pair, float], rng: random.Random) -> Pair:
    """One pair drawn with its propensity."""
    return rng.choices(list(propensities), weights=list(propensities.values()))[0]


def inverse_propensity_weights(propensity: ArrayLike, n_pairs: ArrayLike, *, clip: float | None = None) -> FloatArray:
    """[V] weights that make votes on drawn pairs count as votes on pairs drawn uniformly: 1/(P·p), mean about 1.

    Ratings by maximum likelihood need none where the outcome model holds: the pair depends on earlier votes only, so
    the likelihood is the same. They are for what the model does not hold: averages such as win rates, ratings of votes
    with ties at half a win each, tastes that differ between pairs. There the answer depends on which pairs were shown,
    and these weights give the answer of a uniform draw (Horvitz and Thompson, JASA 47, 1952), with wider intervals.

    Args:
        propensity: [V] with what probability each vote's pair was drawn, as the store keeps it.
        n_pairs: number of pairs it was drawn among, one for all or [V].
        clip: the largest weight; lower variance for some bias. Under a policy with a floor none exceeds 1/floor.
    """
    p, pairs = np.asarray(propensity, np.float64), np.asarray(n_pairs, np.float64)
    if (bad := np.flatnonzero(~((p > 0) & (p <= 1)))).size:
        raise UsageError(f"propensity of vote {bad[0] + 1} is {p.flat[bad[0]]}: a probability above 0 is needed")
    if not (np.isfinite(pairs) & (pairs >= 1)).all():
        raise UsageError("n_pairs: give the number of pairs that each vote's pair was drawn among, 1 or more")
    if clip is not None and not clip > 0:
        raise UsageError(f"clip={clip}: give the largest weight, above 0")
    weights = 1 / (pairs * p)
    return weights if clip is None else np.minimum(weights, clip)
