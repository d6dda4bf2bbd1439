"""Sliced Wasserstein distance: exact couplings against quantiles by hand, closed forms, standard errors."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics import sliced
from paragone.metrics.sliced import mind


def naive_distance(x, y):
    """∫ (F⁻¹ - G⁻¹)² over the common refinement of both quantile functions, piece by piece."""
    n, m = len(x), len(y)
    x, y = np.sort(x), np.sort(y)
    cuts = sorted({Fraction(i, n) for i in range(n + 1)} | {Fraction(j, m) for j in range(m + 1)})
    total = 0.0
    for a, b in pairwise(cuts):
        middle = (a + b) / 2
        total += float(b - a) * (x[int(middle * n)] - y[int(middle * m)]) ** 2
    return total


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 15), m=st.integers(2, 15), levels=st.sampled_from([3, 10**6]))
def test_one_dimension_is_three_times_the_exact_distance(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, levels, (n, 1)) / levels, rng.integers(0, levels, (m, 1)) / levels
    found = mind(x, y, directions=2)
    assert found.value == pytest.approx(3 * naive_distance(x[:, 0], y[:, 0]), rel=1e-9, abs=1e-15)
    assert found.standard_error_directions == pytest.approx(0, abs=1e-12)  # left or right, it is the same


def test_sorting_is_the_best_assignment():
    x, y = np.random.default_rng(0).standard_normal((2, 12))
    cost = np.square(x[:, None] - y)
    best = cost[linear_sum_assignment(cost)].mean()
    assert mind(x[:, None], y[:, None], directions=2).value == pytest.approx(3 * best)


@pytest.mark.parametrize("copies", [1, 2])  # equal and unequal numbers
def test_a_shift_counts_three_times_its_square(copies):
    x = np.random.default_rng(0).standard_normal((300, 8))
    shift = 5 * np.random.default_rng(1).standard_normal(8)
    found = mind(x, np.repeat(x + shift, copies, axis=0))
    truth = 3 * shift @ shift
    assert abs(found.value - truth) < 4 * found.standard_error_directions
    assert found.standard_error_directions < 0.06 * truth


def test_repeated_samples_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 5)), rng.standard_normal((40, 5)) + 1
    plain = mind(x, y, directions=50)
    assert mind(np.repeat(x, 3, axis=0), np.repeat(y, 2, axis=0), directions=50).value == pytest.approx(plain.value)
    assert mind(x, np.tile(x, (2, 1)), directions=50).value == pytest.approx(0, abs=1e-12)


def test_block_size_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 5)), rng.standard_normal((130, 5)) + 1
    whole = mind(x, y, directions=30)
    monkeypatch.setattr(sliced, "BLOCK_BYTES", 8 * 130 * 7)
    parts = mind(x, y, directions=30)
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (150, 220)])
def test_fresh_samples_scatter_by_the_standard_error(n, m):
    rng = np.random.default_rng(3)
    runs = [
        mind(np.exp(rng.standard_normal((n, 4)) / 2), np.exp(rng.standard_normal((m, 4)) / 2) + 0.5, directions=60)
        for _ in range(150)
    ]
    spread = np.std([run.value for run in runs], ddof=1)  # of the same directions
    assert np.mean([run.standard_error_samples for run in runs]) == pytest.approx(spread, rel=0.2)


def test_other_directions_scatter_by_their_standard_error():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((50, 6)), rng.standard_normal((50, 6)) * [1, 2, 1, 1, 1, 1] + 0.5
    runs = [mind(x, y, directions=40, seed=seed) for seed in range(150)]
    spread = np.std([run.value for run in runs], ddof=1)
    assert np.mean([run.standard_error_directions for run in runs]) == pytest.approx(spread, rel=0.2)


def test_errors_name_what_is_wrong():
    x = np.zeros((5, 3))
    with pytest.raises(TooFewSamples, match="at least 2 samples a side; there are 1 and 5"):
        mind(x[:1], x)
    with pytest.raises(NotComparable, match="reference has 3 dimensions, generated 2"):
        mind(x, x[:, :2])
    with pytest.raises(UsageError, match="directions=1"):
        mind(x, x, directions=1)
    with pytest.raises(InputError, match="beyond 1e\\+150 overflow"):
        mind(x, x + 1e200)
