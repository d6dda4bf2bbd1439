"""Does a metric order models as votes do? Spearman's ρ and Kendall's τ-b over models, with p-values and intervals.

    ρ     Pearson's correlation of the ranks, ties having their mean rank      (Spearman, 1904)
    τ-b   Σ sign Δx · sign Δy / √((P − T_x)(P − T_y)) over P pairs             (Kendall, Biometrika 33, 1945)

p-values are of permutations (two-sided; all of them up to `EXACT` models, else drawn ones, the one at hand counted), so
they hold for any number of models and any ties. Intervals are of Fisher's z: ρ with variance (1 + ρ²/2)/(n − 3) (Bonett
and Wright, Psychometrika 65, 2000), τ with 0.437/(n − 4) (Fieller, Hartley and Pearson, Biometrika 44, 1957). Models
are what they are over: that each rating and each measurement is uncertain itself widens them further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from paragone.arena.intervals import NORMAL_QUANTILE
from paragone.arena.votes import FloatArray, IntArray
from paragone.data.errors import UsageError

FEWEST = 3  # models; of two, every order agrees or disagrees wholly
EXACT = 8  # models up to which all permutations are gone through: 8! = 40,320
DRAWN = 9_999  # permutations otherwise …
MOST_SIGNS = 20_000_000  # … fewer, where so many signs of pairs are exceeded


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """A rank correlation over `n` models. What is None is undefined, and `note` says why."""

    n: int
    value: float | None = None
    lower: float | None = None  # 95 %
    upper: float | None = None
    p_value: float | None = None
    note: str = ""


def spearman(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> RankCorrelation:
    """Spearman's ρ of two columns [M] of finite numbers, one row a model; `seed` is of the drawn permutations."""
    first, second = _columns(x, y)
    if note := _undefined(first, second):
        return RankCorrelation(first.size, note=note)
    ranks = [rankdata(column) - (first.size + 1) / 2 for column in (first, second)]
    norm = math.sqrt(float((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    value = float(ranks[0] @ ranks[1]) / norm
    drawn = ranks[1][_permutations(first.size, first.size, seed)] @ ranks[0] / norm
    return _result(value, drawn, first.size, (1 + value**2 / 2) / (first.size - 3) if first.size > 3 else None)


def kendall(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> RankCorrelation:
    """Kendall's τ-b of two columns [M] of finite numbers; see `spearman`."""
    first, second = _columns(x, y)
    if note := _undefined(first, second):
        return RankCorrelation(first.size, note=note)
    i, j = np.triu_indices(first.size, 1)
    sign_x = np.sign(first[i] - first[j])
    sign_y = np.sign(second[:, None] - second)
    norm = math.sqrt(float((sign_x**2).sum() * (sign_y[i, j] ** 2).sum()))
    value = float(sign_x @ sign_y[i, j]) / norm
    order = _permutations(first.size, i.size, seed)
    drawn = np.concatenate([sign_y[o[:, i], o[:, j]] @ sign_x for o in np.array_split(order, 20)]) / norm
    return _result(value, drawn, first.size, 0.437 / (first.size - 4) if first.size > 4 else None)


def _columns(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise UsageError(f"a correlation needs two columns of one length, not {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UsageError("a correlation needs finite numbers; leave models out that lack one")
    return first, second


def _undefined(x: FloatArray, y: FloatArray) -> str:
    if x.size < FEWEST:
        return f"undefined: {x.size} model{'s' * (x.size != 1)} with both numbers, {FEWEST} are needed"
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return "undefined: all models have the same number on one side"
    return ""


def _permutations(n: int, signs: int, seed: int) -> IntArray:
    """[R, n] all orders of n, or drawn ones."""
    if n <= EXACT:
        return np.array(list(permutations(range(n))), np.int64)
    replicates = max(999, min(DRAWN, MOST_SIGNS // signs))
    order = np.tile(np.arange(n, dtype=np.int64), (replicates, 1))
    return np.random.default_rng(seed).permuted(order, axis=1)


def _result(value: float, drawn: FloatArray, n: int, variance: float | None) -> RankCorrelation:
    extreme = int((np.abs(drawn) >= abs(value) - 1e-12).sum())
    p_value = extreme / drawn.size if n <= EXACT else (extreme + 1) / (drawn.size + 1)
    if variance is None or abs(value) > 1 - 1e-12:
        note = "no interval of a perfect order" if variance is not None else "too few models for an interval"
        return RankCorrelation(n, value, p_value=p_value, note=note)
    half = NORMAL_QUANTILE * math.sqrt(variance)
    z = math.atanh(value)
    return RankCorrelation(n, value, math.tanh(z - half), math.tanh(z + half), p_value)
