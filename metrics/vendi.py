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
from paragone.metrics.kernel import unit_rows

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
    rows = unit_rows(features, name="features")
    if len(rows) < 2:
        raise TooFewSamples(f"a Vendi score needs at least 2 samples; there are {len(rows)}")
    shares, projections = _spectrum(rows)
    return tuple(_score(shares, projections, q) for q in orders)


def _spectrum(rows: Array) -> tuple[Array, Array]:
    """Eigenvalues p [R] > 0 of K / N, which sum to 1, and the squared projections [N, R] of the samples on its axes."""
    n, dim = rows.shape
    if n > dim:
        shares, axes = scipy.linalg.eigh(rows.T @ rows / n, check_finite=False)
        projections = np.square(rows @ axes)
    else:
        shares, axes = scipy.linalg.eigh(rows @ rows.T / n, check_finite=False)
        projections = n * shares * np.square(axes)
    kept = shares > max(n, dim) * EPS * shares[-1]  # the others are rounding, which a small q would count as samples
    return shares[kept] / shares[kept].sum(), projections[:, kept]


def _score(shares: Array, projections: Array, q: float) -> Vendi:
    """The score, and by its influence function (the derivative of the entropy at K / N) its standard error."""
    if q == 1:
        entropy = -(shares * np.log(shares)).sum()
        influence = -projections @ np.log(shares)
    elif np.isinf(q):
        entropy = -np.log(shares[-1])
        influence = -projections[:, -1] / shares[-1]
    else:
        relative = shares / shares[-1]  # whose powers do not vanish
        total = (relative**q).sum()
        entropy = (np.log(total) + q * np.log(shares[-1])) / (1 - q)
        influence = projections @ relative ** (q - 1) * (q / (1 - q) / total / shares[-1])
    value = float(np.exp(entropy))
    n = len(projections)
    return Vendi(value, value * float(influence.std(ddof=1) / np.sqrt(n)), float(q), n)
