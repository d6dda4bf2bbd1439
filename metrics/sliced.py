"""MIND: sliced squared Wasserstein distance (Bonneel et al. 2015; the scaling by 3 D: arXiv:2605.06797).

Both sides are projected on random directions; on each, the squared Wasserstein distance is that of sorted values, for
unequal numbers that of the two quantile functions, exactly. A shift by δ alone has the value 3 |δ|² on average over
directions. Unlike a Fréchet distance it sees more than two moments, and it needs fewer samples than dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import Rows, as_rows, promoted

Array = NDArray[np.float64]
DIRECTIONS = 1000
BLOCK_BYTES = 32 << 20  # of the projections of one side on one block of directions
LARGEST = 1e150


@dataclass(frozen=True, slots=True)
class SlicedDistance:
    """A MIND. Units: the features' squared. Never negative; above zero for finite samples of one distribution.

    `standard_error_samples` (influence function) is that of both sides' sampling, `standard_error_directions` that of
    the random directions: the latter is shared, so it mostly cancels, between values of the same seed.
    """

    value: float
    standard_error_samples: float
    standard_error_directions: float
    directions: int

    @property
    def standard_error(self) -> float:
        """Both in quadrature."""
        return float(np.hypot(self.standard_error_samples, self.standard_error_directions))


def mind(reference: ArrayLike, generated: ArrayLike, *, directions: int = DIRECTIONS, seed: int = 0) -> SlicedDistance:
    """MIND of `reference` [N, D] and `generated` [M, D] over random `directions`, in float64.

    Raises `TooFewSamples` for fewer than 2 samples a side.
    """
    x, y = as_rows(reference, name="reference"), as_rows(generated, name="generated")
    if x.shape[1] != y.shape[1]:
        raise NotComparable(f"reference has {x.shape[1]} dimensions, generated {y.shape[1]}; use one extractor")
    if directions < 2:
        raise UsageError(f"directions={directions}: need at least 2")
    n, m, dim = len(x), len(y), x.shape[1]
    if min(n, m) < 2:
        raise TooFewSamples(f"a sliced distance needs at least 2 samples a side; there are {n} and {m}")
    if max(max(float(side.max()), -float(side.min())) for side in (x, y)) > LARGEST:
        raise InputError(f"features beyond {LARGEST:g} overflow when distances are squared; rescale both sides alike")
    axes = np.random.default_rng(seed).standard_normal((directions, dim))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    coupling = None if n == m else _coupling(n, m)
    costs, influence_x, influence_y = np.empty(directions), np.zeros(n), np.zeros(m)
    step = max(1, BLOCK_BYTES // (8 * max(n, m)))
    for start in range(0, directions, step):
        block = axes[start : start + step].T
        costs[start : start + step] = _block(
            _projected(x, block), _projected(y, block), coupling, influence_x, influence_y
        )
    samples = np.hypot(influence_x.std(ddof=1) / np.sqrt(n), influence_y.std(ddof=1) / np.sqrt(m)) / directions
    return SlicedDistance(
        value=3 * dim * float(costs.mean()),
        standard_error_samples=3 * dim * float(samples),
        standard_error_directions=3 * dim * float(costs.std(ddof=1) / np.sqrt(directions)),
        directions=directions,
    )


def _projected(rows: Rows, axes: Array) -> Array:
    """Projections [N, K] of `rows` [N, D] on `axes` [D, K]."""
    found = np.empty((len(rows), axes.shape[1]))
    for part, block in promoted(rows):
        np.matmul(block, axes, out=found[part])
    return found


class _Coupling(NamedTuple):
    """The optimal plan between N and M sorted values: which belong together, and with what mass."""

    x: NDArray[np.intp]  # [P], ascending
    y: NDArray[np.intp]  # [P], ascending
    mass: Array  # [P]


def _coupling(n: int, m: int) -> _Coupling:
    """Where the steps of the two quantile functions lie: at multiples of 1 / n and 1 / m, here times n m."""
    ends_x, ends_y = np.arange(1, n + 1) * m, np.arange(1, m + 1) * n
    ends = np.union1d(ends_x, ends_y)
    return _Coupling(np.searchsorted(ends_x, ends), np.searchsorted(ends_y, ends), np.diff(ends, prepend=0) / (n * m))


def _block(x: Array, y: Array, coupling: _Coupling | None, influence_x: Array, influence_y: Array) -> Array:
    """Squared distances [K] along K directions of projections [N, K] and [M, K]; adds to the influences [N], [M]."""
    order_x, order_y = np.argsort(x, axis=0), np.argsort(y, axis=0)
    x, y = np.take_along_axis(x, order_x, axis=0), np.take_along_axis(y, order_y, axis=0)
    if coupling is None:
        costs = np.square(x - y).mean(axis=0)
        to_x, to_y = y, x
    else:
        at_x, at_y, mass = x[coupling.x], y[coupling.y], coupling.mass[:, None]
        costs = coupling.mass @ np.square(at_x - at_y)
        to_x = len(x) * np.add.reduceat(mass * at_y, np.searchsorted(coupling.x, np.arange(len(x))))
        to_y = len(y) * np.add.reduceat(mass * at_x, np.searchsorted(coupling.y, np.arange(len(y))))
    _add_potential(x, to_x, order_x, influence_x)
    _add_potential(y, to_y, order_y, influence_y)
    return np.asarray(costs)


def _add_potential(values: Array, targets: Array, order: NDArray[np.intp], influence: Array) -> None:
    """Kantorovich's potential, whose slope at a value is twice the way it travels: the influence of its sample."""
    slopes = 2 * (values - targets)
    potential = np.zeros_like(values)
    np.cumsum((slopes[1:] + slopes[:-1]) / 2 * np.diff(values, axis=0), axis=0, out=potential[1:])
    potential -= potential.mean(axis=0)
    influence += np.bincount(order.ravel(), weights=potential.ravel(), minlength=len(influence))
