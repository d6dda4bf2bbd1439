"""Fréchet distance freed of the bias of finite samples: FD∞ (Chong & Forsyth 2020, arXiv:1911.07023), and by halves.

The expectation of an FD lies above its limit by about c / n, with a c that differs between generators, so the bias
does not cancel in a comparison. FD∞ draws ever more of the generated samples, fits a line over 1 / n, and takes it at
zero. The other way (Richardson's) needs two distances only: 2 D(n) - mean D(n / 2) over the two halves. To first order
neither adds noise of its own but what its weights on the samples say, so both have a standard error by the influence
function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import TooFewSamples, UsageError
from paragone.metrics.feature_statistics import (
    FeatureStatistics,
    ForeignStatistics,
    Rows,
    Statistics,
    StatisticsAccumulator,
    as_rows,
)
from paragone.metrics.frechet import frechet_distance, frechet_estimate

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
TAKEN = 1024  # rows that are copied together
POINTS = 15


@dataclass(frozen=True, slots=True)
class FrechetInfinity:
    """The line over 1 / n. `value` is its intercept, which may be negative; `distance` is the FD of all samples.

    The bias of the reference's own finite size stays in. Standard errors are of `value`, one for either side's
    sampling; None where features are missing or n ≤ D.
    """

    value: float
    slope: float
    distance: float
    sample_sizes: tuple[int, ...]
    distances: tuple[float, ...]
    standard_error_reference: float | None
    standard_error_generated: float | None

    @property
    def standard_error(self) -> float | None:
        """Both sides' standard errors in quadrature; None unless both are known."""
        if self.standard_error_reference is None or self.standard_error_generated is None:
            return None
        return float(np.hypot(self.standard_error_reference, self.standard_error_generated))


def frechet_infinity(
    reference: Statistics | ArrayLike,
    generated: ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    points: int = POINTS,
    seed: int = 0,
) -> FrechetInfinity:
    """FD∞ of `generated` [N, D] against statistics or features of the reference.

    The distances are those of the first n samples of one permutation, for `points` numbers n spaced evenly from N / 10
    (or 2 D + 2 if that is more, but at most N / 2) to N. Raises `TooFewSamples` for N < 4. Below 4 D or so the bias is
    not yet a line in 1 / n, and the value too low.
    """
    features = as_rows(generated, name="generated")
    n, dim = features.shape
    if points < 2:
        raise UsageError(f"points={points}: a line needs at least 2")
    if n < 4:
        raise TooFewSamples(f"an extrapolated Fréchet distance needs at least 4 generated samples; there are {n}")
    known, beside = prepared_reference(reference, reference_features)
    lowest = max(2, min(n // 2, max(n // 10, 2 * dim + 2)))
    sizes = np.unique(np.linspace(lowest, n, points).round().astype(int))
    shuffled = np.random.default_rng(seed).permutation(n)
    accumulator, distances, start = StatisticsAccumulator(), [], 0
    for size in sizes[:-1]:
        _add_rows(accumulator, features, shuffled[start:size])
        start = int(size)
        drawn = accumulator.statistics() if size > dim else features[shuffled[:size]]
        distances.append(
            frechet_estimate(known, drawn, reference_features=beside, standard_error=False).value,
        )
    whole = frechet_estimate(known, features, reference_features=beside)
    distances.append(whole.value)
    to_intercept, to_slope = _line(1 / sizes)
    spread = whole.standard_error_generated
    return FrechetInfinity(
        value=float(to_intercept @ distances),
        slope=float(to_slope @ distances),
        distance=whole.value,
        sample_sizes=tuple(sizes.tolist()),
        distances=tuple(distances),
        standard_error_reference=whole.standard_error_reference,
        standard_error_generated=None if spread is None else spread * _noise_of_nested(to_intercept, sizes),
    )


def _line(x: Array) -> tuple[Array, Array]:
    """Weights on y that give the intercept and the slope of the least-squares line."""
    centred = x - x.mean()
    slope = centred / (centred @ centred)
    return 1 / len(x) - x.mean() * slope, slope


def _noise_of_nested(weights: Array, sizes: NDArray[np.intp]) -> float:
    """Standard error of Σ w D(n) over that of D(N), for nested draws: cov(D(n), D(m)) = σ² / max(n, m)."""
    covariance = 1 / np.maximum.outer(sizes, sizes)
    return float(np.sqrt(weights @ covariance @ weights * sizes[-1]))


# ---- By halves -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HalfSplit:
    """2 D(n) - mean D(n / 2); may be negative. Its first-order standard error is that of `distance`."""

    value: float
    distance: float  # D(n), of all samples
    halves: tuple[float, float]
    reference_halved: bool  # so that the bias of the reference's finite size is gone as well


def frechet_half_split(
    reference: Statistics | ArrayLike,
    generated: ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    distance: float | None = None,
    seed: int = 0,
) -> HalfSplit:
    """Bias-corrected FD of `generated` [N, D], by two random halves of it, and of the reference if it can be halved.

    It can when its features are known and half of them are more than D. `distance` is the FD of all samples, where the
    caller has it already. Raises `TooFewSamples` for N < 4; good from N ≈ 4 D on.
    """
    features = as_rows(generated, name="generated")
    if len(features) < 4:
        raise TooFewSamples(f"a half-split Fréchet distance needs at least 4 samples; there are {len(features)}")
    known, beside = prepared_reference(reference, reference_features)
    whole = distance
    if whole is None:
        whole = frechet_estimate(known, features, reference_features=beside, standard_error=False).value
    rng = np.random.default_rng(seed)
    rows = halves(len(features), rng)
    sides = reference_halves(known, beside, rng)
    found = [frechet_distance(side, taken(features, half)) for side, half in zip(sides, rows, strict=True)]
    return HalfSplit(2 * whole - (found[0] + found[1]) / 2, whole, (found[0], found[1]), sides[0] is not sides[1])


def halves(n: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """The rows of two random halves of `n`, in ascending order; they differ by one for an odd n."""
    order = rng.permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def reference_halves(
    known: Statistics | Rows, beside: Rows | None, rng: np.random.Generator
) -> tuple[Statistics | Rows, Statistics | Rows]:
    """Statistics of two random halves of the reference; all of it, twice, when it cannot be halved."""
    features = beside if beside is not None else known if isinstance(known, np.ndarray) else None
    if features is None or len(features) // 2 <= features.shape[1]:
        return known, known
    one, two = halves(len(features), rng)
    return statistics_of_rows(features, one), statistics_of_rows(features, two)


def taken(features: Rows, rows: Indices) -> Statistics | Rows:
    """Some rows as a side of a Fréchet distance: their statistics, or, of at most D, the rows themselves."""
    return statistics_of_rows(features, rows) if len(rows) > features.shape[1] else features[rows]


def statistics_of_rows(features: Rows, rows: Indices) -> FeatureStatistics:
    """Statistics of some rows, which are not copied all at once."""
    accumulator = StatisticsAccumulator()
    _add_rows(accumulator, features, rows)
    return accumulator.statistics()


def _add_rows(accumulator: StatisticsAccumulator, features: Rows, rows: Indices) -> None:
    for start in range(0, len(rows), TAKEN):
        accumulator.add(features[rows[start : start + TAKEN]])


def prepared_reference(
    reference: Statistics | ArrayLike, reference_features: ArrayLike | None
) -> tuple[Statistics | Rows, Rows | None]:
    """The reference with its statistics computed once, unless its samples are too few for that (n ≤ D)."""
    beside = None if reference_features is None else as_rows(reference_features, name="reference")
    if isinstance(reference, FeatureStatistics | ForeignStatistics):
        return reference, beside
    features = as_rows(reference, name="reference")
    if len(features) <= features.shape[1]:
        return features, None
    return FeatureStatistics.from_features(features), features
