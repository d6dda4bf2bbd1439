"""Vendi score: the effective number of different samples (Friedman & Dieng 2023, arXiv:2210.02410).

exp of the entropy of the eigenvalues of K / N, where K holds the cosines of the samples. Orders q other than 1 take
Rényi's entropy (Pasarkar & Dieng 2023, arXiv:2310.12952): a small q counts rare samples, a large q sees the common
ones only. It looks at one set and knows nothing of quality: noise is diverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import TooFewSamples, UsageError
from paragone.metrics.kernel import UnitRows

Array = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Vendi:
    """A Vendi score in [1, min(N, D)], and its standard error as an estimate of its expectation at this N.

    The standard error is of first order: good to some 20 % where N is 5 times the score or more and q at least 1, but
    no better than its order of magnitude where nearly every sample is different.
    """

    value: float
    standard_error: float
    q: float
    n: int


def vendi(features: ArrayLike, *, q: float = 1.0) -> Vendi:
    """Vendi score of order q > 0, `math.inf` included, of `features` [N, D], which are scaled to length 1 here."""
    return vendi_profile(features, orders=(q,))[0]


def vendi_profile(features: ArrayLike, *, orders: tuple[float, ...] = (0.5, 1.0, 2.0, np.inf)) -> tuple[Vendi, ...]:
    """Vendi scores of several orders from one eigendecomposition, of [N, N] or [D, D], whichever is smaller.

    Raises `UsageError` unless every order is above 0, `TooFewSamples` for N < 2, `InputError` for a row of zeros.
    """
    for q in orders:
        if not q > 0:
            raise UsageError(f"q={q}: a Vendi score takes an order above 0")
    rows = UnitRows(features, name="features")
    if len(rows) < 2:
        raise TooFewSamples(f"a Vendi score needs at least 2 samples; there are {len(rows)}")
    shares, axes = _spectrum(rows)
    entropies, weights = zip(*(_entropy(shares, q) for q in orders), strict=True)
    influences = _influences(rows, shares, axes, np.stack(weights, axis=1))
    return tuple(
        _score(float(np.exp(entropy)), influence, q)
        for entropy, influence, q in zip(entropies, influences.T, orders, strict=True)
    )


def vendi_influence(features: ArrayLike) -> tuple[Vendi, Array]:
    """The Vendi score of order 1, and what each sample [N] adds to it, to first order; errors as for `vendi`."""
    rows = UnitRows(features, name="features")
    if len(rows) < 2:
        raise TooFewSamples(f"a Vendi score needs at least 2 samples; there are {len(rows)}")
    shares, axes = _spectrum(rows)
    entropy, weights = _entropy(shares, 1.0)
    value = float(np.exp(entropy))
    influence = value * _influences(rows, shares, axes, weights[:, None])[:, 0]
    return _score(value, influence / value, 1.0), influence


def _spectrum(rows: UnitRows) -> tuple[Array, Array]:
    """Eigenvalues p [R] > 0 of K / N, which sum to 1, and their axes: [D, R] for N > D, otherwise [N, R]."""
    n, dim = len(rows), rows.dim
    if n > dim:
        gram = np.zeros((dim, dim))
        for part in rows.parts():
            block = rows.block(part)
            gram += block.T @ block
    else:
        block = rows.block(slice(0, n))
        gram = block @ block.T
    gram /= n
    shares, axes = scipy.linalg.eigh(gram, check_finite=False)
    kept = shares > max(n, dim) * EPS * shares[-1]  # the others are rounding, which a small q would count as samples
    return shares[kept] / shares[kept].sum(), axes[:, kept]


def _influences(rows: UnitRows, shares: Array, axes: Array, weights: Array) -> Array:
    """Squared projections [N, R] of the samples on the axes of K, times `weights` [R, Q]; of a block at a time."""
    n = len(rows)
    if len(axes) == n <= rows.dim:
        return np.asarray(n * shares * np.square(axes) @ weights)
    found = np.empty((n, weights.shape[1]))
    for part in rows.parts():
        projections = rows.block(part) @ axes
        found[part] = np.square(projections, out=projections) @ weights
    return found


def _entropy(shares: Array, q: float) -> tuple[float, Array]:
    """Rényi's entropy of order q, and its derivatives at K / N by squared projections [R]."""
    if q == 1:
        return float(-(shares * np.log(shares)).sum()), -np.log(shares)
    if np.isinf(q):
        weights = np.zeros_like(shares)
        weights[-1] = -1 / shares[-1]
        return float(-np.log(shares[-1])), weights
    relative = shares / shares[-1]  # whose powers do not vanish
    total = (relative**q).sum()
    entropy = (np.log(total) + q * np.log(shares[-1])) / (1 - q)
    return float(entropy), relative ** (q - 1) * (q / (1 - q) / total / shares[-1])


def _score(value: float, influence: Array, q: float) -> Vendi:
    n = len(influence)
    return Vendi(value, value * float(influence.std(ddof=1) / np.sqrt(n)), float(q), n)
