"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage.

Density and coverage are those of Naeem et al. 2020 (arXiv:2002.09797), over the same balls. Each side's manifold is
the union of balls about its samples that reach to the k-th nearest other sample of the same side. A point on the
surface of a ball is inside it (`<=`), so identical sets have precision and recall 1, duplicates included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import NotComparable, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import as_rows
from paragone.metrics.neighbours import Distances, neighbour_distances


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Four numbers of one pass over the distances: shares in [0, 1], but density, about 1 for equal distributions."""

    precision: float  # share of generated samples inside a reference ball
    recall: float  # share of reference samples inside a generated ball
    density: float  # reference balls that a generated sample lies in, on average, over k
    coverage: float  # share of reference balls with a generated sample inside
    density_deviation: float  # standard deviation of that number over the generated samples
    k: int
    n_reference: int
    n_generated: int


def precision_recall(reference: ArrayLike, generated: ArrayLike, *, k: int = 3) -> PrecisionRecall:
    """Precision, recall, density and coverage of features `reference` [N, D] and `generated` [M, D], in float64.

    All four depend on N and M as well as on the distributions: compare only numbers of equal sizes. Memory does not
    grow with N × M. Raises `TooFewSamples` unless both sides have more than `k` samples.
    """
    found = balls(reference, generated, k=k)
    return PrecisionRecall(
        precision=float((found.about_generated > 0).mean()),
        recall=float(found.recalled.mean()),
        density=float(found.about_generated.sum() / (k * len(found.about_generated))),
        coverage=float(found.covered.mean()),
        density_deviation=float(found.about_generated.std(ddof=1) / k),
        k=k,
        n_reference=len(found.covered),
        n_generated=len(found.about_generated),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Balls:
    """What the four numbers are means of, sample by sample."""

    about_generated: NDArray[np.int64]  # [M] reference balls that each generated sample lies in
    recalled: NDArray[np.bool_]  # [N] whether each reference sample lies in a generated ball
    covered: NDArray[np.bool_]  # [N] whether each reference ball has a generated sample inside


def balls(reference: ArrayLike, generated: ArrayLike, *, k: int = 3) -> Balls:
    """The memberships behind `precision_recall`, whose errors it raises."""
    real, fake = as_rows(reference, name="reference"), as_rows(generated, name="generated")
    if real.shape[1] != fake.shape[1]:
        raise NotComparable(f"reference has {real.shape[1]} dimensions, generated {fake.shape[1]}; use one extractor")
    if k < 1:
        raise UsageError(f"k={k}: need at least 1 neighbour")
    n, m = len(real), len(fake)
    if min(n, m) <= k:
        raise TooFewSamples(f"k={k} neighbours need at least {k + 1} samples on either side; there are {n} and {m}")
    radii_real, radii_fake = neighbour_distances(real, k), neighbour_distances(fake, k)
    n_balls = np.zeros(m, dtype=np.int64)  # reference balls about each generated sample
    recalled = np.zeros(n, dtype=np.bool_)
    covered = np.zeros(n, dtype=np.bool_)
    distances = Distances(fake, real)
    for tile in distances.tiles():
        in_real_ball = distances.within(tile, radii_real[None, tile.columns])
        n_balls[tile.rows] += in_real_ball.sum(axis=1)
        covered[tile.columns] |= in_real_ball.any(axis=0)
        recalled[tile.columns] |= distances.within(tile, radii_fake[tile.rows, None]).any(axis=0)
    return Balls(n_balls, recalled, covered)
