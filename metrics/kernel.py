"""Kernel distances, squared MMD: KID (Bińkowski et al. 2018, arXiv:1801.01401) and CMMD (Jayasumana et al. 2024).

KID: k(x, y) = (x·y / D + 1)³. The protocol averages the U-statistic over random subsets without replacement. Its spread
over subsets is not the uncertainty of its mean (subsets of one sample overlap), so the standard error comes from the
variances of the statistic's parts (Hoeffding 1948; Sutherland et al. 2017, arXiv:1611.04488).

CMMD (arXiv:2401.09603): k(x, y) = exp(-|x - y|² / (2 · 10²)) of features on the unit sphere, times 1000. There k lies
in [0.98, 1], so the ones are left out of every sum (expm1): in single precision they take most digits of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.draws import Indices, drawn_subsets
from paragone.metrics.feature_statistics import BLOCK_BYTES, Rows, as_rows

Array = NDArray[np.float64]
CACHED_ROWS = 32  # of a kernel of 1000 columns: what stays in the cache from one step to the next


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
    x: ArrayLike,
    y: ArrayLike,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    draws: str = "paragone",
) -> KernelDistance:
    """KID of features `x` [N, D] of the reference and `y` [M, D], in float64.

    `draws`: whose random subsets are taken (paragone.metrics.draws). When `subset_size` is N and M, all subsets are the
    whole sets, and one is computed. Raises `TooFewSamples` when it is more than N or M.
    """
    first, second = as_rows(x, name="x"), as_rows(y, name="y")
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
    pairs = drawn_subsets(draws, n, m, size=subset_size, subsets=drawn, seed=seed)
    found = [_subset_distance(_rows(first, of_x), _rows(second, of_y)) for of_x, of_y in pairs]
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


def _rows(features: Rows, indices: Indices) -> Array:
    return (features if indices is None else features[indices]).astype(np.float64, copy=False)


def cubic_kernel(x: Array, y: Array) -> Array:
    """KID's kernel (x·y / D + 1)³ of all pairs [N, M], of float64 rows."""
    kernel: Array = x @ y.T
    for start in range(0, len(kernel), CACHED_ROWS):
        rows = kernel[start : start + CACHED_ROWS]
        rows /= x.shape[1]
        rows += 1.0
        rows *= rows * rows
    return kernel


@np.errstate(over="ignore", invalid="ignore")
def _subset_distance(x: Array, y: Array) -> _SubsetDistance:
    """U-statistic of two subsets of the same size, and its variance components."""
    size = len(x)
    within_x, mean_x, pair_x = _within(x)
    within_y, mean_y, pair_y = _within(y)
    between = cubic_kernel(x, y)
    mean_row, mean_column = between.mean(axis=1), between.mean(axis=0)
    mean_all, pair_between = _pairs_between(mean_row, mean_column, float(np.vdot(between, between)))
    # The mean over the others is itself noisy; what the pairs add to its variance is taken off again.
    single_x = (mean_x - mean_row).var(ddof=1) - pair_x / (size - 1) - pair_between / size
    single_y = (mean_y - mean_column).var(ddof=1) - pair_y / (size - 1) - pair_between / size
    return _SubsetDistance(
        float(within_x + within_y - 2 * mean_all), float(single_x), float(single_y), pair_x, pair_y, pair_between
    )


def _within(x: Array) -> tuple[float, Array, float]:
    """Mean kernel of different samples, its mean [N] for each sample, and the variance of what pairs add to these."""
    kernel = cubic_kernel(x, x)
    np.fill_diagonal(kernel, 0.0)
    means = kernel.sum(axis=1) / (len(x) - 1)
    mean, pairs = _pairs_within(means, float(np.vdot(kernel, kernel)))
    return mean, means, pairs


def _pairs_within(means: Array, squares: float) -> tuple[float, float]:
    """Mean over different samples, and the variance of what pairs add to the means [N] of their samples.

    `squares` is the sum of the squares of all pairs, in which a sample with itself counts as zero.
    """
    n, mean = len(means), float(means.mean())
    pairs = squares - 2 * n * float(np.square(means - mean).sum()) - n * (n - 1) * mean**2
    return mean, max(pairs, 0.0) / (n * (n - 1))


def _pairs_between(mean_row: Array, mean_column: Array, squares: float) -> tuple[float, float]:
    """The same for pairs of two sides, from the means [N] over rows and [M] over columns."""
    n, m, mean = len(mean_row), len(mean_column), float(mean_row.mean())
    singles = m * np.square(mean_row - mean).sum() + n * np.square(mean_column - mean).sum()
    return mean, max(squares - float(singles) - n * m * mean**2, 0.0) / ((n - 1) * (m - 1))


def _standard_error(found: list[_SubsetDistance], n: int, m: int, size: int) -> float:
    """Variance of the U-statistic of all N and M samples, plus that of averaging over finitely many subsets."""
    if len(found) == 1:
        n = m = size  # nothing but this one subset was seen
    _, single_x, single_y, pair_x, pair_y, pair_between = np.mean(found, axis=0)
    variance = _variance(single_x, single_y, pair_x, pair_y, pair_between, n, m)
    if len(found) > 1:
        variance += float(np.var([each.value for each in found], ddof=1)) / len(found)
    return float(np.sqrt(variance))


def _variance(
    single_x: float, single_y: float, pair_x: float, pair_y: float, pair_between: float, n: int, m: int
) -> float:
    """Variance of the U-statistic of N and M samples, to second order, from that of its parts."""
    first = max(4 * single_x / n + 4 * single_y / m, 0.0)
    return first + 2 * pair_x / (n * (n - 1)) + 2 * pair_y / (m * (m - 1)) + 4 * pair_between / (n * m)


# ---- CMMD ----------------------------------------------------------------------------------------------------------

BANDWIDTH = 10.0
SCALE = 1000.0
TILE = 2048  # rows and columns of the kernel that are computed together; about five such squares live at once


@dataclass(frozen=True, slots=True)
class CMMD:
    """Squared MMD with a Gaussian kernel on unit vectors, times 1000.

    `biased` is the published V-statistic, never negative, above zero by what the diagonals add (some 1 / N + 1 / M);
    `unbiased` is the U-statistic, which scatters about zero when the two distributions agree. The standard error is
    that of both, and errs on the large side at distance zero.
    """

    biased: float
    unbiased: float
    standard_error: float


def cmmd(reference: ArrayLike, generated: ArrayLike, *, bandwidth: float = BANDWIDTH) -> CMMD:
    """CMMD of `reference` [N, D] and `generated` [M, D], which are scaled to length 1 here, in float64, by blocks.

    Numbers are comparable with published ones for CLIP ViT-L/14@336 image embeddings. Raises `TooFewSamples` for
    fewer than 2 samples a side, `InputError` for a row of zeros.
    """
    x, y = UnitRows(reference, name="reference"), UnitRows(generated, name="generated")
    if x.dim != y.dim:
        raise NotComparable(f"reference has {x.dim} dimensions, generated {y.dim}; use one extractor")
    if not bandwidth > 0:
        raise UsageError(f"bandwidth={bandwidth}: need more than 0")
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise TooFewSamples(f"a kernel distance needs at least 2 samples a side; there are {n} and {m}")
    found = mmd(x, y, partial(_tile, bandwidth=bandwidth))
    biased = found.within_x * (n - 1) / n + found.within_y * (m - 1) / m - 2 * found.between
    return CMMD(
        biased=SCALE * max(biased, 0.0), unbiased=SCALE * found.unbiased, standard_error=SCALE * found.standard_error
    )


class UnitRows:
    """`features` [N, D] scaled to length 1 in float64, a block at a time, so that they are never copied whole.

    Raises `InputError` naming a row of zeros, which has no direction.
    """

    def __init__(self, features: ArrayLike, *, name: str) -> None:
        self._rows = as_rows(features, name=name)
        self.dim = self._rows.shape[1]
        self._largest, self._lengths = np.empty((len(self._rows), 1)), np.empty((len(self._rows), 1))
        for part in self.parts():
            rows = self._rows[part].astype(np.float64, copy=False)
            largest = np.abs(rows).max(axis=1, keepdims=True)
            if not largest.all():
                row = part.start + int(np.argmin(largest))
                raise InputError(f"{name}: row {row} is all zeros, so it has no direction; leave it out")
            self._largest[part] = largest
            self._lengths[part] = np.linalg.norm(rows / largest, axis=1, keepdims=True)

    def __len__(self) -> int:
        return len(self._rows)

    def parts(self) -> list[slice]:
        """Which rows to take together: of at most `BLOCK_BYTES`."""
        return _parts(len(self), self.dim)

    def block(self, part: slice) -> Array:
        """Some rows [B, D]."""
        scaled: Array = self._rows[part] / self._largest[part]  # whose squares neither overflow nor vanish
        scaled /= self._lengths[part]
        return scaled


def _tile(x: Array, y: Array, bandwidth: float) -> Array:
    """The kernel less 1, of unit vectors."""
    tile: Array = x @ y.T
    tile -= 1
    tile *= 1 / bandwidth**2
    return np.expm1(tile, out=tile)


# ---- Any kernel, by tiles --------------------------------------------------------------------------------------------

Tile = Callable[[Array, Array], Array]  # the kernel of all pairs of two blocks of rows


class BlockedRows(Protocol):
    """Rows in float64, a block at a time."""

    dim: int

    def __len__(self) -> int: ...

    def parts(self) -> list[slice]: ...

    def block(self, part: slice, /) -> Array: ...


class PlainRows:
    """Features [N, D] as they are."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.dim = rows.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def parts(self) -> list[slice]:
        """Which rows to take together: of at most `BLOCK_BYTES`."""
        return _parts(len(self), self.dim)

    def block(self, part: slice) -> Array:
        """Some rows [B, D]."""
        return self._rows[part].astype(np.float64, copy=False)


class Discrepancy(NamedTuple):
    """Mean kernels of different samples within and between two sides, and the standard error of the U-statistic."""

    within_x: float
    within_y: float
    between: float
    standard_error: float

    @property
    def unbiased(self) -> float:
        return self.within_x + self.within_y - 2 * self.between


@np.errstate(over="ignore", invalid="ignore")
def mmd(x: BlockedRows, y: BlockedRows, kernel: Tile) -> Discrepancy:
    """Squared MMD of two sides of at least 2 samples each, with the variance of a U-statistic to second order."""
    n, m = len(x), len(y)
    sums_x, _, squares_x = _kernel_sums(x, x, kernel)
    sums_y, _, squares_y = _kernel_sums(y, y, kernel)
    row, column, squares = _kernel_sums(x, y, kernel)
    means_x, means_y, row, column = sums_x / (n - 1), sums_y / (m - 1), row / m, column / n
    mean_x, pair_x = _pairs_within(means_x, squares_x)
    mean_y, pair_y = _pairs_within(means_y, squares_y)
    between, pair_between = _pairs_between(row, column, squares)
    single_x = (means_x - row).var(ddof=1) - pair_x / (n - 1) - pair_between / m
    single_y = (means_y - column).var(ddof=1) - pair_y / (m - 1) - pair_between / n
    variance = _variance(single_x, single_y, pair_x, pair_y, pair_between, n, m)
    return Discrepancy(mean_x, mean_y, between, float(np.sqrt(variance)))


def _parts(n: int, dim: int) -> list[slice]:
    step = max(1, BLOCK_BYTES // (8 * dim))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _kernel_sums(x: BlockedRows, y: BlockedRows, kernel: Tile) -> tuple[Array, Array, float]:
    """Sums over the rows [N], the columns [M], and of the square. A set with itself takes half the work, and a sample
    with itself does not count.
    """
    rows, columns, squares = np.zeros(len(x)), np.zeros(len(y)), 0.0
    for i in range(0, len(x), TILE):
        here = slice(i, min(i + TILE, len(x)))
        left = x.block(here)
        for j in range(i if x is y else 0, len(y), TILE):  # what lies before was seen transposed
            there = slice(j, min(j + TILE, len(y)))
            same = x is y and i == j
            tile = kernel(left, left if same else y.block(there))
            if same:
                np.fill_diagonal(tile, 0.0)
            square = float(np.vdot(tile, tile))
            rows[here] += tile.sum(axis=1)
            columns[there] += tile.sum(axis=0)
            squares += square
            if x is y and not same:
                rows[there] += tile.sum(axis=0)
                squares += square
    return rows, columns, squares
