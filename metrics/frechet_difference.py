"""Is one generator nearer to the reference than another: the difference of two Fréchet distances, tested.

Three things decide how small a difference can be seen. Samples of the same prompt and seed are alike, so pairing them
takes their common part out of the noise. The reference is the same for both, so most of what it adds cancels. And the
bias c / n of an FD has another c for each generator, so it does not cancel, even at equal n: each distance is
corrected by halves, always (paragone.metrics.fd_infinity). The standard error is that of the influence functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from paragone.data.errors import InputError, TooFewSamples
from paragone.metrics.estimates import Z95
from paragone.metrics.fd_infinity import halves, prepared_reference, reference_halves, statistics_of_rows
from paragone.metrics.feature_statistics import Rows, Statistics, as_rows
from paragone.metrics.frechet import FrechetInfluence, frechet_distance, frechet_estimate_and_influence

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrechetDifference:
    """FD(a) - FD(b), bias-corrected: negative when a is nearer. Units: the features' squared."""

    difference: float
    standard_error: float
    z: float
    p_value: float  # two-sided, of no difference
    ci_low: float  # 95 %
    ci_high: float
    distance_a: float  # of all samples, with its bias
    distance_b: float
    bias_correction: float  # difference - (distance_a - distance_b)
    paired: bool
    reference_fixed: bool  # no features of it, so what its sampling adds to the noise is not counted
    reference_halved: bool  # so that the bias of its finite size is gone as well


def frechet_difference(
    reference: Statistics | ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    reference_features: ArrayLike | None = None,
    paired: bool = True,
    seed: int = 0,
) -> FrechetDifference:
    """Test whether generators a and b, features [N, D] and [M, D], are at the same distance from one reference.

    `paired`: row i of both is of the same prompt and seed, hence N = M. Raises `InputError` when it is not,
    `TooFewSamples` unless half of either side, and all of the reference, are more than D samples: below that neither
    the correction nor the standard error holds, and a kernel distance is the better choice.
    """
    sides = [as_rows(a, name="a"), as_rows(b, name="b")]
    _refuse_unusable(sides, paired=paired)
    known, beside = prepared_reference(reference, reference_features)
    if isinstance(known, np.ndarray):
        raise TooFewSamples(
            f"reference: a tested Fréchet difference in {known.shape[1]} dimensions needs more samples than that; "
            f"there are {len(known)}"
        )
    measured = [frechet_estimate_and_influence(known, rows, reference_features=beside) for rows in sides]
    raw = measured[0][0].value - measured[1][0].value
    corrected, halved = _corrected_difference(raw, known, beside, sides, paired=paired, seed=seed)
    standard_error = _standard_error([influence for _, influence in measured], paired=paired)
    z = corrected / standard_error if standard_error > 0 else float(np.copysign(np.inf, corrected) if corrected else 0)
    return FrechetDifference(
        difference=corrected,
        standard_error=standard_error,
        z=z,
        p_value=2 * float(ndtr(-abs(z))),
        ci_low=corrected - Z95 * standard_error,
        ci_high=corrected + Z95 * standard_error,
        distance_a=measured[0][0].value,
        distance_b=measured[1][0].value,
        bias_correction=corrected - raw,
        paired=paired,
        reference_fixed=beside is None,
        reference_halved=halved,
    )


def _refuse_unusable(sides: list[Rows], *, paired: bool) -> None:
    if paired and len(sides[0]) != len(sides[1]):
        raise InputError(
            f"a has {len(sides[0])} rows and b {len(sides[1])}, so they are no pairs; match them, or say paired=False"
        )
    for name, rows in zip("ab", sides, strict=True):
        if len(rows) // 2 <= rows.shape[1]:
            raise TooFewSamples(
                f"{name}: a tested Fréchet difference in {rows.shape[1]} dimensions needs at least "
                f"{2 * rows.shape[1] + 2} samples; there are {len(rows)} (a kernel distance does with fewer)"
            )


def _corrected_difference(
    raw: float, known: Statistics, beside: Rows | None, sides: list[Rows], *, paired: bool, seed: int
) -> tuple[float, bool]:
    """2 D(n) - mean D(n / 2) of the difference; pairs stay in the same half, and halves of the reference are shared."""
    rng = np.random.default_rng(seed)
    references = reference_halves(known, beside, rng)
    rows_a = halves(len(sides[0]), rng)
    rows_b = rows_a if paired else halves(len(sides[1]), rng)
    half_differences = [
        frechet_distance(reference, statistics_of_rows(sides[0], of_a))
        - frechet_distance(reference, statistics_of_rows(sides[1], of_b))
        for reference, of_a, of_b in zip(references, rows_a, rows_b, strict=True)
    ]
    return 2 * raw - sum(half_differences) / 2, references[0] is not references[1]


def _standard_error(influences: list[FrechetInfluence], *, paired: bool) -> float:
    """Of the difference: of the two generated sides, paired or not, and of what the shared reference leaves."""
    one, two = (influence.generated for influence in influences)
    if one is None or two is None:
        raise TooFewSamples("a covariance lacks full rank, so there is no standard error: use fewer dimensions")
    if paired:
        variance = (one - two).var(ddof=1) / len(one)
    else:
        variance = one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two)
    one, two = (influence.reference for influence in influences)
    if one is not None and two is not None:
        variance += (one - two).var(ddof=1) / len(one)
    return float(np.sqrt(variance))
