"""Kernel distance against a loop, its unbiasedness, and the two spreads that are not the same thing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.kernel import kernel_distance

DIGITS = load_digits().data / 16


def naive_mmd(x, y):
    """Unbiased squared MMD with the cubic kernel, pair by pair."""

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    m = len(x)
    pairs = [(i, j) for i, j in product(range(m), repeat=2) if i != j]
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs) / (m * (m - 1))
    return within - 2 * sum(kernel(a, b) for a, b in product(x, y)) / m**2


@pytest.mark.parametrize("m", [2, 3, 12])
def test_the_whole_sets_against_a_loop(m):
    x, y = DIGITS[:m], DIGITS[100 : 100 + m]
    found = kernel_distance(x, y, subset_size=m)
    assert found.mean == pytest.approx(naive_mmd(x, y), rel=1e-11)
    assert found.standard_deviation == 0  # every subset is the whole
    assert found.standard_error > 0


def test_the_subset_protocol_against_a_loop():
    x, y = DIGITS[:20], DIGITS[100:130]
    rng = np.random.default_rng(7)
    values = []
    for _ in range(5):
        i, j = rng.choice(20, 8, replace=False), rng.choice(30, 8, replace=False)
        values.append(naive_mmd(x[i], y[j]))
    found = kernel_distance(x, y, subsets=5, subset_size=8, seed=7)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-11)
    assert found.standard_deviation == pytest.approx(np.std(values), rel=1e-9)
    assert (found.subsets, found.subset_size) == (5, 8)


def test_many_subsets_approach_the_statistic_of_the_whole_sets():
    x, y = DIGITS[:300], DIGITS[300:600] * 0.8
    whole = kernel_distance(x, y, subset_size=300)
    many = kernel_distance(x, y, subsets=400, subset_size=100)
    assert many.mean == pytest.approx(whole.mean, abs=4 * many.standard_deviation / 20)


def test_equal_distributions_are_at_distance_zero_on_average():
    rng = np.random.default_rng(0)
    values = [
        kernel_distance(rng.standard_normal((100, 8)), rng.standard_normal((100, 8)), subset_size=100).mean
        for _ in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values, ddof=1) / np.sqrt(200)
    assert min(values) < 0  # unbiased, so not clipped


@pytest.mark.parametrize(
    ("n", "m", "size", "subsets", "scale", "expected"),
    [
        (300, 450, 150, 15, 1.2, 1.0),
        (300, 450, 150, 15, 1.0, 1.15),  # on the large side at distance zero
        (300, 300, 300, 100, 1.2, 1.0),
        (200, 200, 100, 1, 1.2, 1.0),
    ],
)
def test_fresh_samples_scatter_by_the_standard_error(n, m, size, subsets, scale, expected):
    rng = np.random.default_rng(3)
    runs = [
        kernel_distance(
            rng.standard_normal((n, 6)), rng.standard_normal((m, 6)) * scale, subsets=subsets, subset_size=size, seed=i
        )
        for i in range(150)
    ]
    spread = np.std([run.mean for run in runs], ddof=1)
    assert np.sqrt(np.mean([run.standard_error**2 for run in runs])) == pytest.approx(expected * spread, rel=0.2)


def test_a_seed_decides_the_subsets():
    x, y = DIGITS[:400], DIGITS[400:800]
    one, two, three = (kernel_distance(x, y, subsets=3, subset_size=50, seed=seed) for seed in (1, 1, 2))
    assert one == two != three


def test_float32_features_are_computed_in_float64():
    x, y = DIGITS[:200].astype(np.float32), DIGITS[200:400].astype(np.float32)
    assert kernel_distance(x, y, subset_size=200) == kernel_distance(
        x.astype(np.float64), y.astype(np.float64), subset_size=200
    )


def test_errors_name_what_is_wrong():
    with pytest.raises(TooFewSamples, match=r"subsets of 1000 .*; there are 1797 and 500"):
        kernel_distance(DIGITS, DIGITS[:500])
    with pytest.raises(UsageError, match="subset_size=1"):
        kernel_distance(DIGITS, DIGITS, subset_size=1)
    with pytest.raises(UsageError, match="subsets=0"):
        kernel_distance(DIGITS, DIGITS, subsets=0)
    with pytest.raises(NotComparable, match="x has 64 dimensions, y 3"):
        kernel_distance(DIGITS, DIGITS[:, :3], subset_size=10)
    with pytest.raises(InputError, match="overflow"):
        kernel_distance(np.full((3, 2), 1e200), np.zeros((3, 2)), subset_size=3)
