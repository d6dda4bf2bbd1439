"""Tiles of distances: bounds that hold, neighbours that are exact whatever the tile size, the type and the ties."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paragone.data.errors import InputError
from paragone.metrics import neighbours
from paragone.metrics.feature_statistics import as_rows
from paragone.metrics.neighbours import Distances, nearest, neighbour_distances


def squared_distances(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.square(x[:, None] - y[None]).sum(axis=2)


def kth(x, k, rows):
    squared = squared_distances(x, x)
    np.fill_diagonal(squared, np.inf)
    return np.sort(squared[rows], axis=1)[:, k - 1]


@st.composite
def sets(draw):
    """Rows with ties, duplicates, a common offset, outliers, and scales from tiny to huge; float32 or float64."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(2, 40)), draw(st.integers(1, 6))
    levels = draw(st.sampled_from([1, 2, 3, 10**6]))
    rows = rng.integers(0, levels, (n, d)) / levels + draw(st.sampled_from([0.0, 1.0, 1e5]))
    rows[rng.random(n) < draw(st.sampled_from([0.0, 0.1]))] *= 1e4
    return (rows * draw(st.sampled_from([1e-12, 1.0, 1e12]))).astype(draw(st.sampled_from([np.float32, np.float64])))


@settings(max_examples=150, deadline=None)
@given(x=sets(), k=st.integers(1, 5), side=st.sampled_from([1, 3, 8, 1000]), some=st.booleans())
def test_the_kth_neighbour_is_exact(x, k, side, some):
    k = min(k, len(x) - 1)
    rows = np.flatnonzero(np.arange(len(x)) % 3 == 0) if some else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK_BYTES", 8 * side**2)
        found = neighbour_distances(x, k, rows)
    assert np.array_equal(found, kth(x, k, slice(None) if rows is None else rows))


@settings(max_examples=100, deadline=None)
@given(both=sets(), split=st.floats(0, 1), side=st.sampled_from([1, 3, 8, 1000]))
def test_the_nearest_are_exact_and_all_there(both, split, side):
    at = min(max(1, int(split * len(both))), len(both) - 1)
    x, y = both[:at], both[at:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK_BYTES", 8 * side**2)
        found = nearest(x, y)
    squared = squared_distances(x, y)
    row, column = np.nonzero(squared == squared.min(axis=1, keepdims=True))
    assert np.array_equal(found.x, row)
    assert np.array_equal(found.y, column)
    assert np.array_equal(found.squared, squared[row, column])


@settings(max_examples=100, deadline=None)
@given(both=sets(), split=st.floats(0, 1), share=st.floats(0, 1))
def test_bounds_hold_and_decisions_are_exact(both, split, share):
    at = min(max(1, int(split * len(both))), len(both) - 1)
    distances = Distances(both[:at], both[at:])
    squared = squared_distances(distances.x, distances.y)
    limits = np.quantile(squared, share, method="nearest") * np.ones((1, squared.shape[1]))
    for tile in (*distances.tiles(), distances.tile(slice(0, at), slice(0, len(both) - at))):
        assert (tile.lower <= squared * tile.unit).all()
        assert (squared * tile.unit <= tile.upper).all()
        assert np.array_equal(distances.within(tile, limits), squared <= limits)


def test_bounds_are_tight_for_long_vectors():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 2048)).astype(np.float32)
    distances = Distances(x, x)
    squared = squared_distances(x, x)
    [tile] = distances.tiles(mirrored=True)
    assert tile.lower.dtype == np.float32
    for bound in (tile.lower, tile.upper):
        assert abs(bound.astype(np.float64) / tile.unit - squared).max() < 1e-3 * squared.max()
        assert ((bound == squared * tile.unit).mean()) < 0.1


def test_identical_rows_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 1 << 19)
    x = np.repeat(np.random.default_rng(0).standard_normal((2, 4)), 1500, axis=0)
    tracemalloc.start()
    try:
        assert (neighbour_distances(x, 5) == 0).all()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20  # all pairs would take 72 MiB, and their indices as much again


def test_float32_is_kept_and_what_is_unusable_is_named():
    rows = np.ones((3, 2), dtype=np.float32)
    assert as_rows(rows, name="x") is rows
    assert as_rows(rows.astype(np.float16), name="x").dtype == np.float64
    with pytest.raises(InputError, match="x: row 1 is not finite"):
        as_rows(np.array([[1, 2], [np.nan, 3]], dtype=np.float32), name="x")
    with pytest.raises(InputError, match="x: shape"):
        as_rows(rows[0], name="x")
    huge = np.array([[3e38], [-3e38], [0]], dtype=np.float32)
    assert neighbour_distances(huge, 1).tolist() == [float(huge[0, 0]) ** 2] * 3
