"""Nearest neighbours by blocks, exact where it matters.

Matrix products give squared distances fast but with a rounding error that can turn a tie, a duplicate or a
near-duplicate around. So they only sort out what is clear; pairs within the error bound of a decision are measured
again from their differences. Rows are centred for the products, and memory is bounded by `BLOCK_BYTES`, whatever N
and M are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError

Array = NDArray[np.float64]
BLOCK_BYTES = 32 << 20  # of one block of distances; about four such blocks live at once
LARGEST = 1e150
EPS = float(np.finfo(np.float64).eps)


class Block(NamedTuple):
    """Squared distances of some rows of X to all rows of Y."""

    rows: slice
    squared: Array  # [B, M], each within `error` of the truth
    error: Array  # [B, 1]


def exact_squared_distances(x: Array, i: NDArray[np.intp], y: Array, j: NDArray[np.intp]) -> Array:
    """|x[i] - y[j]|² for P pairs, from the differences: symmetric, and zero exactly for equal rows."""
    squared = np.empty(len(i))
    step = max(1, BLOCK_BYTES // (8 * x.shape[1]))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        squared[part] = np.square(x[i[part]] - y[j[part]]).sum(axis=1)
    return squared


def distance_blocks(x: Array, y: Array) -> Iterator[Block]:
    """Squared distances of all rows of `x` [N, D] to all of `y` [M, D], a block of rows at a time."""
    if max(x.max(), -x.min(), y.max(), -y.min()) > LARGEST:
        raise InputError(f"features beyond {LARGEST:g} overflow when distances are squared; rescale both sides alike")
    centre = (x.sum(axis=0) + y.sum(axis=0)) / (len(x) + len(y))
    y_centred = y - centre
    y_norms = np.square(y_centred).sum(axis=1)
    relative_error = (2 * x.shape[1] + 8) * EPS
    step = max(1, BLOCK_BYTES // (8 * len(y)))
    for start in range(0, len(x), step):
        rows = slice(start, min(start + step, len(x)))
        x_centred = x[rows] - centre
        x_norms = np.square(x_centred).sum(axis=1)
        squared = x_centred @ y_centred.T
        squared *= -2
        squared += x_norms[:, None]
        squared += y_norms
        error = relative_error * (x_norms + y_norms.max())
        yield Block(rows, squared, error[:, None])


def neighbour_distances(x: Array, k: int, rows: NDArray[np.intp] | None = None) -> Array:
    """Squared distance of each of `rows` of `x` (default: all) to its k-th nearest other row, 1 ≤ k < N; exact."""
    index = np.arange(len(x)) if rows is None else rows
    found = np.empty(len(index))
    for block in distance_blocks(x[index] if rows is not None else x, x):
        own = index[block.rows]
        block.squared[np.arange(len(own)), own] = np.inf
        kth = np.partition(block.squared, k - 1, axis=1)[:, k - 1, None]
        nearer = (block.squared < kth - 2 * block.error).sum(axis=1)  # certainly before the k-th
        near, other = np.nonzero(np.abs(block.squared - kth) <= 2 * block.error)
        squared = exact_squared_distances(x, own[near], x, other)
        order = np.lexsort((squared, near))
        first = np.searchsorted(near, np.arange(len(own)))  # `near` is sorted
        found[block.rows] = squared[order][first + (k - 1 - nearer)]
    return found


def within(block: Block, limits: Array, x: Array, y: Array) -> NDArray[np.bool_]:
    """Which pairs [B, M] of a block are at most `limits` (squared; broadcast to [B, M]) apart; exact, ties included."""
    mask = block.squared <= limits
    near, other = np.nonzero(np.abs(block.squared - limits) <= block.error)
    if near.size:
        mask[near, other] = (
            exact_squared_distances(x, near + block.rows.start, y, other)
            <= np.broadcast_to(limits, block.squared.shape)[near, other]
        )
    return mask


class Nearest(NamedTuple):
    """All pairs of a row of X and a row of Y that is nearest to it: several where distances tie."""

    x: NDArray[np.intp]  # [P], ascending; every row of X at least once
    y: NDArray[np.intp]  # [P], ascending for each row of X
    squared: Array  # [P]


def nearest(x: Array, y: Array) -> Nearest:
    """The nearest rows of `y` [M, D] for each row of `x` [N, D], M ≥ 1; exact, ties included."""
    parts = []
    for block in distance_blocks(x, y):
        least = block.squared.min(axis=1, keepdims=True)
        near, other = np.nonzero(block.squared <= least + 2 * block.error)
        squared = exact_squared_distances(x, near + block.rows.start, y, other)
        starts = np.searchsorted(near, np.arange(len(block.squared)))
        tied = squared == np.minimum.reduceat(squared, starts)[near]
        parts.append(Nearest(near[tied] + block.rows.start, other[tied], squared[tied]))
    return Nearest(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
