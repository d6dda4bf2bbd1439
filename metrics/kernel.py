"""Kernel distance, KID: unbiased squared MMD with a cubic kernel (Bińkowski et al. 2018, arXiv:1801.01401).

k(x, y) = (x·y / D + 1)³. The protocol averages the U-statistic over random subsets without replacement. Its spread
over subsets is not the uncertainty of its mean (subsets of one sample overlap), so the standard error comes from the
variances of the statistic's parts (Hoeffding 1948; Sutherland et al. 2017, arXiv:1611.04488).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import as_features

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """A KID. `mean` may be negative: it is unbiased, so it scatters about zero when the two distributions agree.

    `standard_deviation` is that over subsets (population form, as others print it). `standard_error` is that of
    `mean` as an estimate for the two distributions, by the variance of a U-statistic to second order; it errs on the
    large side (some 15 %) at distance zero.
    """

    mean: float
    standard_deviation: float
    standard_error: float
    subsets: int
    subset_size: int


def kernel_distance(
    x: ArrayLike, y: ArrayLike, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """KID of features `x` [N, D] and `y` [M, D], in float64.

    When `subset_size` is N and M, all subsets are the whole sets, and one is computed. Raises `TooFewSamples` when it
    is more than N or M.
    """
    first, second = as_features(x, name="x"), as_features(y, name="y")
    if first.shape[1] != second.shape[1]:
        raise NotComparable(f"x has {first.shape[1]} dimensions, y {second.shape[1]}; use one extractor")
    if subsets < 1 or subset_size < 2:
        raise UsageError(f"subsets={subsets}, subset_size={subset_size}: need at least 1 subset of at least 2 samples")
    n, m = len(first), len(second)
    if min(n, m) < subset_size:
        raise TooFewSamples(
            f"a kernel distance with subsets of {subset_size} needs as many samples on either side; "
            f"there are {n} and {m} (set a smaller subset_size, and report it)"
        )
    drawn = 1 if n == m == subset_size else subsets
    rng = np.random.default_rng(seed)
    found = [_subset_distance(_draw(first, subset_size, rng), _draw(second, subset_size, rng)) for _ in range(drawn)]
    values = np.array([each.value for each in found])
    if not np.isfinite(values).all():
        raise InputError("features beyond 1e50 overflow in the cubic kernel; rescale both sides alike")
    return KernelDistance(
        mean=float(values.mean()),
        standard_deviation=float(values.std()),
        standard_error=_standard_error(found, n, m, subset_size),
        subsets=subsets,
        subset_size=subset_size,
    )


class _SubsetDistance(NamedTuple):
    """The U-statistic of one subset, and the variances of its parts: of single samples and of pairs."""

    value: float
    single_x: float
    single_y: float
    pair_x: float
    pair_y: float
    pair_between: float


def _draw(features: Array, size: int, rng: np.random.Generator) -> Array:
    if size == len(features):
        return features
    return features[rng.choice(len(features), size, replace=False)]


def _cubic_kernel(x: Array, y: Array) -> Array:
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1.0
    return kernel * kernel * kernel


@np.errstate(over="ignore", invalid="ignore")
def _subset_distance(x: Array, y: Array) -> _SubsetDistance:
    """U-statistic of two subsets of the same size, and its variance components."""
    size = len(x)
    within_x, mean_x, pair_x = _within(x)
    within_y, mean_y, pair_y = _within(y)
    between = _cubic_kernel(x, y)
    mean_row, mean_column, mean_all = between.mean(axis=1), between.mean(axis=0), between.mean()
    between -= mean_row[:, None]
    between -= mean_column - mean_all
    pair_between = float(np.square(between).sum()) / (size - 1) ** 2
    # The mean over the others is itself noisy; what the pairs add to its variance is taken off again.
    single_x = (mean_x - mean_row).var(ddof=1) - pair_x / (size - 1) - pair_between / size
    single_y = (mean_y - mean_column).var(ddof=1) - pair_y / (size - 1) - pair_between / size
    return _SubsetDistance(
        float(within_x + within_y - 2 * mean_all), float(single_x), float(single_y), pair_x, pair_y, pair_between
    )


def _within(x: Array) -> tuple[float, Array, float]:
    """Mean kernel of different samples, its mean [N] for each sample, and the variance of what pairs add to these."""
    size = len(x)
    kernel = _cubic_kernel(x, x)
    np.fill_diagonal(kernel, 0.0)
    means = kernel.sum(axis=1) / (size - 1)
    mean = float(means.mean())
    kernel -= means[:, None]
    kernel -= means - mean
    np.fill_diagonal(kernel, 0.0)
    return mean, means, float(np.square(kernel).sum()) / (size * (size - 1))


def _standard_error(found: list[_SubsetDistance], n: int, m: int, size: int) -> float:
    """Variance of the U-statistic of all N and M samples, plus that of averaging over finitely many subsets."""
    if len(found) == 1:
        n = m = size  # nothing but this one subset was seen
    _, single_x, single_y, pair_x, pair_y, pair_between = np.mean(found, axis=0)
    variance = max(4 * single_x / n + 4 * single_y / m, 0.0)
    variance += 2 * pair_x / (n * (n - 1)) + 2 * pair_y / (m * (m - 1)) + 4 * pair_between / (n * m)
    if len(found) > 1:
        variance += np.var([each.value for each in found], ddof=1) / len(found)
    return float(np.sqrt(variance))
