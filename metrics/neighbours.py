"""Nearest neighbours by tiles, exact where it matters.

Matrix products give squared distances fast but with a rounding error that can turn a tie, a duplicate or a
near-duplicate around. So a tile of them is a pair of bounds that hold the truth, first in float32, then, where those
decide too little, in float64; and pairs that are still open are measured again from their differences. Rows are
centred and scaled for the products, a set is compared with itself once, not twice, and memory is bounded by
`BLOCK_BYTES`, whatever N and M are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError
from paragone.metrics.feature_statistics import Rows

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
BLOCK_BYTES = 32 << 20  # of one tile of distances in float64, the largest of what lives at once
CACHE_BYTES = 1 << 20  # what fits the cache of one processor core
LARGEST = 1e150
OPEN_SHARE = 1 / 64  # of a tile's pairs: with more left open, float64 products cost less than single measurements


def exact_squared_distances(x: Rows, i: Indices, y: Rows, j: Indices) -> Array:
    """|x[i] - y[j]|² for P pairs, from the differences: symmetric, and zero exactly for equal rows."""
    squared = np.empty(len(i))
    step = max(1, CACHE_BYTES // (8 * x.shape[1]))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        difference = x[i[part]].astype(np.float64, copy=False) - y[j[part]]
        squared[part] = np.square(difference, out=difference).sum(axis=1)
    return squared


# ---- Tiles ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Bounds of the squared distances of some rows of X to some of Y, in units of 1 / `unit`; float32 or float64.

    A distance is at least `lower`, and more than that by the widths of its row and its column together at most.
    """

    rows: slice
    columns: slice
    lower: Rows  # [B, C]
    row_widths: Array  # [B]
    column_widths: Array  # [C]
    unit: float

    @property
    def upper(self) -> Array:
        """What the distances are at most [B, C]."""
        return self.lower.astype(np.float64, copy=False) + self.row_widths[:, None] + self.column_widths


class Distances:
    """All squared distances between `x` [N, D] and `y` [M, D], float32 or float64, a tile at a time."""

    def __init__(self, x: Rows, y: Rows) -> None:
        highest, lowest = (extreme.astype(np.float64) for extreme in _extremes(x, y))
        if max(highest.max(), -lowest.min()) > LARGEST:
            raise InputError(
                f"features beyond {LARGEST:g} overflow when distances are squared; rescale both sides alike"
            )
        self.x, self.y = x, y
        centre = (x.sum(axis=0, dtype=np.float64) + y.sum(axis=0, dtype=np.float64)) / (len(x) + len(y))
        # Any centre will do; one in the rows' own type is taken off with a single rounding.
        self._centre: Array = centre.astype(np.result_type(x, y)).astype(np.float64)
        spread = float(np.maximum(highest - self._centre, self._centre - lowest).max())
        self._scale = 2.0 ** -min(500, max(-500, math.frexp(spread)[1]))  # exact, and brings all values to 1 at most
        self._single = 2.0**-100 < self._scale < 2.0**100  # may be taken off in float32
        self._x_norms = self._norms(x)
        self._y_norms = self._x_norms if y is x else self._norms(y)

    def tiles(self, *, mirrored: bool = False) -> Iterator[Tile]:
        """All tiles, row by row; with `mirrored`, for x is y, only those on the diagonal and above."""
        side = max(1, math.isqrt(BLOCK_BYTES // 8))
        for i in range(0, len(self.x), side):
            rows = slice(i, min(i + side, len(self.x)))
            placed = self._placed(self.x, rows, np.dtype(np.float32))
            doubled = -2 * placed
            for j in range(i if mirrored else 0, len(self.y), side):
                columns = slice(j, min(j + side, len(self.y)))
                same = mirrored and i == j  # which takes half the products
                if same:
                    yield self._bounds(rows, columns, placed, placed)
                else:
                    yield self._bounds(rows, columns, doubled, self._placed(self.y, columns, placed.dtype))

    def tile(self, rows: slice, columns: slice) -> Tile:
        """The bounds of one tile in float64."""
        double = np.dtype(np.float64)
        x, y = self._placed(self.x, rows, double), self._placed(self.y, columns, double)
        x *= -2
        return self._bounds(rows, columns, x, y)

    def _bounds(self, rows: slice, columns: slice, x: Rows, y: Rows) -> Tile:
        """The bounds by the placed rows of either side, X times -2; if they are the same object, X as it is."""
        # A product of D terms is off by D roundings of |x| |y| at most; the rest is for those of inputs and sums.
        slack = (1.01 * x.shape[1] + 16) * float(np.finfo(x.dtype).eps) / 2
        smallest = 1e4 * float(np.finfo(x.dtype).tiny)  # for what falls below the least number
        x_norms, y_norms = self._x_norms[rows, None], self._y_norms[columns]
        lower = x @ y.T
        if x is y:  # BLAS takes half the products where it sees the same matrix twice
            lower *= -2
        lower += ((1 - slack) * x_norms - smallest).astype(x.dtype)
        lower += ((1 - slack) * y_norms).astype(x.dtype)
        return Tile(rows, columns, lower, 2 * (slack * x_norms[:, 0] + smallest), 2 * slack * y_norms, self._scale**2)

    def within(self, tile: Tile, limits: Array) -> NDArray[np.bool_]:
        """Which pairs [B, C] of a tile are at most `limits` (squared; [B, 1] or [1, C]) apart; exact, ties included."""
        scaled, dtype = limits * tile.unit, tile.lower.dtype
        by_row, by_column = tile.row_widths, tile.column_widths
        widths = by_row[:, None] + by_column.max() if limits.shape[1] == 1 else by_row.max() + by_column
        possible = tile.lower <= _rounded_up(scaled, dtype)
        inside = tile.lower <= -_rounded_up(widths - scaled, dtype)
        row, column = _places(possible ^ inside)
        upper = tile.lower[row, column] + (by_row[row] + by_column[column])
        certain = upper <= np.broadcast_to(scaled, inside.shape)[row, column]
        inside[row[certain], column[certain]] = True
        row, column = row[~certain], column[~certain]
        if row.size > OPEN_SHARE * inside.size and dtype == np.float32:
            return self.within(self.tile(tile.rows, tile.columns), limits)
        if row.size:
            squared = exact_squared_distances(self.x, row + tile.rows.start, self.y, column + tile.columns.start)
            inside[row, column] = squared <= np.broadcast_to(limits, inside.shape)[row, column]
        return inside

    def _placed(self, x: Rows, rows: slice, dtype: np.dtype[Any]) -> Rows:
        """Some rows, centred and scaled, with a single rounding."""
        block = x[rows]
        within = np.dtype(np.float32 if dtype == x.dtype == np.float32 and self._single else np.float64)
        centre, placed = self._centre.astype(within), np.empty(block.shape, dtype)
        step = max(1, CACHE_BYTES // (8 * x.shape[1]))
        for start in range(0, len(block), step):
            part = block[start : start + step] - centre
            part *= self._scale
            placed[start : start + step] = part
        return placed

    def _norms(self, x: Rows) -> Array:
        """Squared lengths [N] of the rows, centred and scaled."""
        norms = np.empty(len(x))
        step = max(1, CACHE_BYTES // (8 * x.shape[1]))
        for start in range(0, len(x), step):
            placed = self._placed(x, slice(start, start + step), np.dtype(np.float64))
            norms[start : start + step] = np.square(placed, out=placed).sum(axis=1)
        return norms


def _extremes(x: Rows, y: Rows) -> tuple[Rows, Rows]:
    """The highest and the lowest value of each dimension [D]."""
    return np.maximum(x.max(axis=0), y.max(axis=0)), np.minimum(x.min(axis=0), y.min(axis=0))


def _places(mask: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """`np.nonzero` of a few places in a matrix, which is quicker without its second dimension."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _rounded_up(values: Array, dtype: np.dtype[Any]) -> Rows:
    """`values`, or the next greater numbers of a coarser type."""
    return values if dtype == np.float64 else np.nextafter(values.astype(np.float32), np.float32(np.inf))


# ---- The nearest of them -------------------------------------------------------------------------------------------


class Nearest(NamedTuple):
    """Pairs of a row of X and a row of Y that is among the nearest to it."""

    x: Indices  # [P], ascending; every row of X at least once
    y: Indices  # [P], ascending for each row of X
    squared: Array  # [P]


def neighbour_distances(x: Rows, k: int, rows: Indices | None = None) -> Array:
    """Squared distance of each of `rows` of `x` (default: all) to its k-th nearest other row, 1 ≤ k < N; exact."""
    chosen = x if rows is None else x[rows]
    found = _candidates(Distances(chosen, x), k, own=np.arange(len(x)) if rows is None else rows)
    order = np.lexsort((found.squared, found.x))
    return found.squared[order][np.searchsorted(found.x[order], np.arange(len(chosen))) + k - 1]


def nearest(x: Rows, y: Rows) -> Nearest:
    """The nearest rows of `y` [M, D] for each row of `x` [N, D], M ≥ 1; exact, ties included."""
    found = _candidates(Distances(x, y), 1)
    order = np.lexsort((found.y, found.x))
    row, column, squared = found.x[order], found.y[order], found.squared[order]
    least = np.minimum.reduceat(squared, np.searchsorted(row, np.arange(len(x))))
    tied = squared == least[row]
    return Nearest(row[tied], column[tied], squared[tied])


def _candidates(distances: Distances, k: int, *, own: Indices | None = None) -> Nearest:
    """For each row of X, the k nearest rows of Y and perhaps some others, in no order.

    With `own` [N], that row of Y is left out, and so may be what ties with the k-th; otherwise all of these are there.
    """
    mirrored = distances.x is distances.y
    blocks: dict[int, _Candidates] = {}
    for tile in distances.tiles(mirrored=mirrored):
        for turned in (False, True) if mirrored and tile.columns.start > tile.rows.start else (False,):
            rows = tile.columns if turned else tile.rows
            block = blocks.setdefault(rows.start, _Candidates(distances, rows, k, own))
            if not block.add(tile, turned=turned):
                block.add(distances.tile(tile.rows, tile.columns), turned=turned)
    found = []
    for start, block in blocks.items():
        block.measure()
        found.append(Nearest(block.row + start, block.column, block.lower))
    return Nearest(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


class _Candidates:
    """For a block of rows of X, the pairs that may be among the k nearest, by the tiles seen so far."""

    def __init__(self, distances: Distances, rows: slice, k: int, own: Indices | None) -> None:
        self.row, self.column = np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
        self.lower, self.upper = np.empty(0), np.empty(0)  # equal where the distance was measured
        self._distances, self._rows, self._k = distances, rows, k
        self._own = None if own is None else own[rows]
        self._limit = np.full(rows.stop - rows.start, np.inf)  # not less than the k-th squared distance

    def add(self, tile: Tile, *, turned: bool) -> bool:
        """Take what one tile has to offer; False when float32 leaves too many pairs open, so that double should."""
        lower, widths, of_columns = tile.lower, tile.row_widths, tile.column_widths
        if turned:
            lower, widths, of_columns = lower.T, of_columns, widths
        first = (tile.rows if turned else tile.columns).start
        if self._own is not None:
            here = np.flatnonzero((self._own >= first) & (self._own < first + lower.shape[1]))
            lower[here, self._own[here] - first] = np.inf
        if np.isinf(self._limit).any() and lower.shape[1] >= self._k:
            some = lower[:, : max(512, 64 * self._k)]  # for a first limit, a part will do
            kth = np.partition(some, self._k - 1, axis=1)[:, self._k - 1]
            self._limit = np.minimum(self._limit, (kth.astype(np.float64) + widths + of_columns.max()) / tile.unit)
        # Nobody is nearer than a k-th that is a copy.
        limit = self._limit if self._own is None else np.where(self._limit > 0, self._limit, -np.inf)
        highest = _rounded_up(limit * tile.unit, lower.dtype)
        # As the tile lies in memory, turned or not.
        row, column = _places(tile.lower <= highest)[::-1] if turned else _places(tile.lower <= highest[:, None])
        if lower.dtype == np.float32 and row.size > OPEN_SHARE * lower.size + 4 * self._k * len(limit):
            return False
        bound = lower[row, column].astype(np.float64)
        new_lower, new_upper = bound / tile.unit, (bound + widths[row] + of_columns[column]) / tile.unit
        other = np.isfinite(new_lower)  # not its own
        self.row, self.column = np.append(self.row, row[other]), np.append(self.column, column[other] + first)
        self.lower, self.upper = np.append(self.lower, new_lower[other]), np.append(self.upper, new_upper[other])
        self._tighten()
        if self.row.size > 8 * (self._k + 8) * len(limit):
            self.measure()
        return True

    def measure(self) -> None:
        """Replace bounds by distances from the differences."""
        open_ = np.flatnonzero(self.lower < self.upper)
        x, y = self._distances.x, self._distances.y
        squared = exact_squared_distances(x, self.row[open_] + self._rows.start, y, self.column[open_])
        self.lower[open_] = self.upper[open_] = squared
        self._tighten()

    def _tighten(self) -> None:
        """Lower the limits to the k-th upper bounds, and drop what lies beyond."""
        order = np.lexsort((self.upper, self.row))
        sorted_row, sorted_upper = self.row[order], self.upper[order]
        rank = np.arange(order.size) - np.searchsorted(sorted_row, sorted_row)
        kth = rank == self._k - 1
        self._limit[sorted_row[kth]] = np.minimum(self._limit[sorted_row[kth]], sorted_upper[kth])
        keep = self.lower[order] <= self._limit[sorted_row]
        if self._own is not None:  # of those that tie at the end, k do
            keep &= (rank < self._k) | (self.lower[order] < self._limit[sorted_row])
        order = order[keep]
        self.row, self.column = self.row[order], self.column[order]
        self.lower, self.upper = self.lower[order], self.upper[order]
