"""Looks at growing data: how much of the error rate each of them may spend.

A check that is inconclusive may draw more seeds, if these were declared before the first look, and the error rate is
shared out among the looks (Lan & DeMets 1983, Biometrika 70). The spending function is that of O'Brien & Fleming type,
2 - 2 Φ(z / √t) with z the upper α / 2 quantile: almost nothing at first, nearly all of it at the end. Each look's bound
follows from those before it by integrating the density of what has not been stopped (Armitage, McPherson & Rowe 1969).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from paragone.data.errors import UsageError

Array = NDArray[np.float64]
POINTS = 801  # of the grid that carries the density from look to look
REACH = 9.0  # standard deviations below zero where the grid begins


def spent(share: float, alpha: float) -> float:
    """How much of the one-sided error rate `alpha` may be spent when a `share` (0 to 1) of all samples is there."""
    if share <= 0:
        return 0.0
    return min(alpha, 2 * float(ndtr(-float(ndtri(1 - alpha / 2)) / math.sqrt(min(share, 1.0)))))


def nominal_levels(shares: Sequence[float], alpha: float) -> tuple[float, ...]:
    """For each look at a share of the samples (rising to 1), the level of a one-sided test that keeps `alpha` overall.

    A p-value at or below the level of its look stops. One look at share 1 has the level `alpha` itself.
    """
    if not shares or any(not 0 < share <= 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise UsageError(f"looks at shares {list(shares)}: give rising shares of the samples, above 0 and up to 1")
    levels: list[float] = []
    grid, density = np.zeros(1), np.ones(1)  # of the Brownian motion that has not been stopped; weights included
    before, used = 0.0, 0.0
    for share in shares:
        now = spent(share, alpha)
        bound = _bound(grid, density, math.sqrt(share - before), now - used, math.sqrt(share))
        levels.append(float(ndtr(-bound / math.sqrt(share))))
        grid, density = _carried(grid, density, math.sqrt(share - before), bound, math.sqrt(share))
        before, used = share, now
    return tuple(levels)


def _bound(grid: Array, density: Array, step: float, spend: float, scale: float) -> float:
    """The place above which the motion lies with chance `spend`: by bisection, for that falls as the place rises."""
    low, high = -REACH * scale, REACH * scale
    for _ in range(80):
        middle = (low + high) / 2
        above = float(density @ ndtr(-(middle - grid) / step))
        low, high = (middle, high) if above > spend else (low, middle)
    return (low + high) / 2


def _carried(grid: Array, density: Array, step: float, bound: float, scale: float) -> tuple[Array, Array]:
    """Points below the bound and the mass at each, by Simpson's rule."""
    points = np.linspace(min(-REACH * scale, bound - scale), bound, POINTS)
    weights = np.full(POINTS, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    weights *= (points[1] - points[0]) / 3
    normal = np.exp(-0.5 * np.square((points[:, None] - grid[None, :]) / step)) / (step * math.sqrt(2 * math.pi))
    return points, weights * (normal @ density)
