"""Kernel distance against a loop, its unbiasedness, and the two spreads that are not the same thing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics import kernel
from paragone.metrics.kernel import UnitRows, cmmd, kernel_distance

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


# ---- CMMD -----------------------------------------------------------------------------------------------------------


def naive_cmmd(x, y):
    """Both statistics from full kernels of directly measured distances, in extended precision."""

    def gaussian(a, b):
        a, b = (
            z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a.astype(np.longdouble), b.astype(np.longdouble))
        )
        return np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / (2 * 10**2))

    xx, yy, xy = gaussian(x, x), gaussian(y, y), gaussian(x, y)
    n, m = len(x), len(y)
    biased = xx.mean() + yy.mean() - 2 * xy.mean()
    unbiased = (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean()
    return 1000 * float(biased), 1000 * float(unbiased)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (40, 60), (61, 30)])
def test_cmmd_against_full_kernels(n, m):
    x, y = DIGITS[:n], DIGITS[100 : 100 + m] * 0.7
    found = cmmd(x, y)
    assert (found.biased, found.unbiased) == pytest.approx(naive_cmmd(x, y), rel=1e-10)
    assert found.standard_error > 0


def test_cmmd_of_two_directions_in_closed_form():
    x, y = [[1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 5.0]]
    assert cmmd(x, y).biased == pytest.approx(2000 * (1 - np.exp(-2 / 200)), rel=1e-13)
    near = [[1.0, 1e-6], [2.0, 2e-6]]  # single precision sees no difference at all
    assert cmmd(x, near).biased == pytest.approx(2000 * 1e-12 / 200, rel=1e-3)


def test_cmmd_of_a_set_and_itself_is_zero_when_biased():
    x = np.random.default_rng(0).standard_normal((300, 16))
    found = cmmd(x, np.random.default_rng(1).permutation(x))
    assert found.biased == pytest.approx(0, abs=1e-12)
    assert found.unbiased < -1e-3


def test_cmmd_does_not_depend_on_blocks_or_lengths(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((150, 16)), rng.standard_normal((211, 16)) + 0.5
    whole = cmmd(x, y)
    monkeypatch.setattr(kernel, "TILE", 17)
    monkeypatch.setattr(kernel, "BLOCK_BYTES", 8 * 64 * 13)
    blocks = cmmd(x * rng.uniform(1e-200, 1e200, (150, 1)), y)
    for name in ("biased", "unbiased", "standard_error"):
        assert getattr(blocks, name) == pytest.approx(getattr(whole, name), rel=1e-10)


@pytest.mark.parametrize(("shift", "expected"), [(0.5, 1.0), (0.0, 1.15)])
def test_fresh_samples_scatter_by_the_standard_error_of_cmmd(shift, expected):
    rng = np.random.default_rng(3)
    runs = [cmmd(rng.standard_normal((80, 6)), rng.standard_normal((120, 6)) + shift) for _ in range(150)]
    values = [run.unbiased for run in runs]
    spread = np.std(values, ddof=1)
    assert np.sqrt(np.mean([run.standard_error**2 for run in runs])) == pytest.approx(expected * spread, rel=0.2)
    if not shift:
        assert abs(np.mean(values)) < 3 * spread / np.sqrt(150)
        assert np.mean([run.biased for run in runs]) > spread


def test_cmmd_names_what_is_wrong():
    with pytest.raises(TooFewSamples, match="at least 2 samples a side; there are 1 and 5"):
        cmmd(DIGITS[:1], DIGITS[:5])
    with pytest.raises(NotComparable, match="reference has 64 dimensions, generated 3"):
        cmmd(DIGITS, DIGITS[:, 10:13] + 1)
    with pytest.raises(UsageError, match="bandwidth=0"):
        cmmd(DIGITS, DIGITS, bandwidth=0)
    with pytest.raises(InputError, match="generated: row 2 is all zeros"):
        cmmd(DIGITS, np.where(np.arange(5)[:, None] == 2, 0.0, DIGITS[:5]))
    extremes = UnitRows([[1e300, 1e300], [1e-300, 0]], name="x").block(slice(2))
    assert np.linalg.norm(extremes, axis=1) == pytest.approx([1, 1])


# ---- Others ----------------------------------------------------------------------------------------------------------


def two_sets(n, dim=32):
    rng = np.random.default_rng(11)
    return rng.standard_normal((n, dim)), rng.standard_normal((n, dim)) * 1.1 + 0.1


@pytest.mark.peers
def test_parity_with_torch_fidelity_within_what_the_subsets_leave_open():
    peer = pytest.importorskip("torch_fidelity.metric_kid", reason="needs torch-fidelity")
    torch = pytest.importorskip("torch")
    x, y = two_sets(600)
    whole = peer.kid_features_to_metric(
        torch.from_numpy(x[:300]), torch.from_numpy(y[:300]), kid_subsets=1, kid_subset_size=300, verbose=False
    )
    ours = kernel_distance(x[:300], y[:300], subset_size=300)
    assert ours.mean == pytest.approx(whole["kernel_inception_distance_mean"], rel=1e-9)  # no subset is drawn
    many = peer.kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=50, kid_subset_size=100, verbose=False
    )
    ours = kernel_distance(x, y, subsets=50, subset_size=100)
    spread = many["kernel_inception_distance_std"]
    assert ours.mean == pytest.approx(many["kernel_inception_distance_mean"], abs=4 * spread / 7)
    assert ours.standard_deviation == pytest.approx(spread, rel=0.3)


@pytest.mark.peers
def test_parity_with_torchmetrics_in_the_kernel():
    peer = pytest.importorskip("torchmetrics.image.kid", reason="needs torchmetrics")
    torch = pytest.importorskip("torch")
    x, y = two_sets(250)
    theirs = float(peer.poly_mmd(torch.from_numpy(x), torch.from_numpy(y)))
    assert kernel_distance(x, y, subset_size=250).mean == pytest.approx(theirs, rel=1e-9)
