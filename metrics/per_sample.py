"""What a single generated sample is like: its realism and its rarity, over the balls of precision and recall.

Realism (Kynkäänniemi et al. 2019, arXiv:1904.06991): the largest ratio of a reference ball's radius to the
distance from its centre, over the smaller half of the balls, for the largest ones lie where the reference is sparse and
would call anything real. Rarity (Han et al. 2023, arXiv:2206.08549): the radius of the smallest reference ball that the
sample lies in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import NotComparable, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import Rows, as_rows
from paragone.metrics.neighbours import BLOCK_BYTES, Distances, Tile, exact_squared_distances, neighbour_distances

Array = NDArray[np.float64]
SMALLEST = float(np.finfo(np.float64).tiny)


def realism(reference: ArrayLike, generated: ArrayLike, *, k: int = 3) -> Array:
    """Realism [M] of `generated` [M, D] given `reference` [N, D]; 1 or more lies in a ball, infinity is a copy.

    Balls reach to the k-th nearest other reference sample; of radius zero (duplicates), they only see copies. Raises
    `TooFewSamples` for N ≤ k.
    """
    real, made = _checked(reference, generated, k)
    radii = neighbour_distances(real, k)
    small = radii <= np.median(radii)
    centres, squared_radii = real[small], radii[small]
    distances, everyone = Distances(made, centres), slice(0, len(centres))
    found = np.empty(len(made))
    step = max(1, BLOCK_BYTES // (8 * len(centres)))
    for start in range(0, len(made), step):
        tile = distances.tile(slice(start, min(start + step, len(made))), everyone)
        found[tile.rows] = _largest_ratios(distances, tile, squared_radii)
    return np.asarray(np.sqrt(found))


def _largest_ratios(distances: Distances, tile: Tile, squared_radii: Array) -> Array:
    """Max r² / d² of each row [B] over all balls: measured where the bounds leave it open."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # 0 / 0 is a copy, as real as can be
        at_least = squared_radii * tile.unit / np.maximum(tile.upper, SMALLEST)
        at_most = np.where(tile.lower > 0, squared_radii * tile.unit / tile.lower, np.inf)
        row, ball = np.nonzero(at_most >= at_least.max(axis=1, keepdims=True))
        squared = exact_squared_distances(distances.x, row + tile.rows.start, distances.y, ball)
        ratios = np.where(squared > 0, squared_radii[ball] / squared, np.inf)
    return np.asarray(np.maximum.reduceat(ratios, np.searchsorted(row, np.arange(len(tile.lower)))))


def rarity(reference: ArrayLike, generated: ArrayLike, *, k: int = 3) -> Array:
    """Rarity [M] of `generated` [M, D] given `reference` [N, D], in the features' units; infinity is outside all balls.

    Only finite values rank samples: outside, where there is no reference, rare and wrong cannot be told apart. Raises
    `TooFewSamples` for N ≤ k.
    """
    real, made = _checked(reference, generated, k)
    radii = neighbour_distances(real, k)
    found = np.full(len(made), np.inf)
    distances = Distances(made, real)
    for tile in distances.tiles():
        balls = radii[None, tile.columns]
        smallest = np.where(distances.within(tile, balls), balls, np.inf).min(axis=1)
        found[tile.rows] = np.minimum(found[tile.rows], smallest)
    return np.asarray(np.sqrt(found))


def _checked(reference: ArrayLike, generated: ArrayLike, k: int) -> tuple[Rows, Rows]:
    real, made = as_rows(reference, name="reference"), as_rows(generated, name="generated")
    if real.shape[1] != made.shape[1]:
        raise NotComparable(f"reference has {real.shape[1]} dimensions, generated {made.shape[1]}; use one extractor")
    if k < 1:
        raise UsageError(f"k={k}: need at least 1 neighbour")
    if len(real) <= k or len(made) < 1:
        raise TooFewSamples(
            f"k={k} neighbours need at least {k + 1} reference samples, and 1 generated; "
            f"there are {len(real)} and {len(made)}"
        )
    return real, made
