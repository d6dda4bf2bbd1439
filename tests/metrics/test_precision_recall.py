"""Precision, recall, density and coverage against full distance matrices; ties, offsets and memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics import neighbours
from paragone.metrics.precision_recall import precision_recall

PIXELS = load_digits().data  # integers: distances tie often, and squares are exact


def squared_distances(x, y):
    return np.array([[np.square(a - b).sum() for b in y] for a in x])


def naive(reference, generated, k):
    """The four definitions on full matrices of directly measured distances."""
    radii_r = np.sort(squared_distances(reference, reference) + np.diag([np.inf] * len(reference)), axis=1)[:, k - 1]
    radii_g = np.sort(squared_distances(generated, generated) + np.diag([np.inf] * len(generated)), axis=1)[:, k - 1]
    between = squared_distances(reference, generated)  # [N, M]
    in_reference_ball = between <= radii_r[:, None]
    return (
        in_reference_ball.any(axis=0).mean(),
        (between <= radii_g[None, :]).any(axis=1).mean(),
        in_reference_ball.sum() / (k * len(generated)),
        in_reference_ball.any(axis=1).mean(),
    )


def four(found):
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("k", range(1, 8))
def test_equality_with_full_matrices_on_real_features_full_of_ties(k):
    reference, generated = PIXELS[:120], np.vstack([PIXELS[100:180], PIXELS[300:320] // 2])
    assert four(precision_recall(reference, generated, k=k)) == pytest.approx(naive(reference, generated, k), abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(5, 40),
    m=st.integers(5, 40),
    k=st.integers(1, 4),
    levels=st.sampled_from([2, 3, 10**6]),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_equality_with_full_matrices_with_duplicates_and_offsets(seed, n, m, k, levels, offset):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, levels, (n, 3)) / levels + offset
    generated = rng.integers(0, levels, (m, 3)) / levels + offset
    assert four(precision_recall(reference, generated, k=k)) == pytest.approx(naive(reference, generated, k), abs=1e-15)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_identical_sets_are_inside_each_other(k):
    features = np.random.default_rng(0).standard_normal((200, 5))
    found = precision_recall(features, np.random.default_rng(1).permutation(features), k=k)
    assert four(found) == pytest.approx((1, 1, (k + 1) / k, 1), abs=1e-15)  # each sample, and its k neighbours


def test_points_on_the_surface_of_a_ball_are_inside():
    found = precision_recall(np.ones((50, 4)), np.ones((60, 4)))
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    line = np.arange(5.0)[:, None]
    assert precision_recall(line, np.array([[5.0], [50], [60]]), k=1).precision == pytest.approx(1 / 3)


def test_distant_sets_share_nothing():
    found = precision_recall(PIXELS[:100], PIXELS[100:200] + 1000)
    assert four(found) == (0, 0, 0, 0)


def test_a_generator_stuck_on_one_mode_is_precise_but_recalls_little():
    rng = np.random.default_rng(0)
    modes = 20 * rng.standard_normal((10, 8))
    reference = modes[rng.integers(0, 10, 500)] + rng.standard_normal((500, 8))
    found = precision_recall(reference, modes[0] + rng.standard_normal((500, 8)))
    assert found.precision > 0.5
    assert found.recall < 0.15
    assert found.coverage < 0.15


def test_equal_distributions_have_density_one_and_the_expected_coverage():
    rng = np.random.default_rng(0)
    found = precision_recall(rng.standard_normal((2000, 16)), rng.standard_normal((2000, 16)), k=5)
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_common_offset_changes_nothing_that_float32_would_lose():
    rng = np.random.default_rng(0)
    reference, generated = rng.standard_normal((300, 64)), rng.standard_normal((300, 64)) * 0.9
    assert four(precision_recall(reference + 2**20, generated + 2**20)) == four(precision_recall(reference, generated))


def test_an_outlier_does_not_blur_the_others():
    rng = np.random.default_rng(0)
    reference, generated = 1e-3 * rng.standard_normal((60, 3)), 1e-3 * rng.standard_normal((50, 3))
    reference[0] = 1e6  # products alone would lose all other distances in the rounding error of this one
    for k in (1, 3, 6):
        found = precision_recall(reference, generated, k=k)
        assert four(found) == pytest.approx(naive(reference, generated, k), abs=1e-15)


def test_block_size_changes_nothing_and_bounds_memory(monkeypatch):
    rng = np.random.default_rng(0)
    reference, generated = rng.standard_normal((3000, 8)), rng.standard_normal((2500, 8))
    whole = precision_recall(reference, generated)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    try:
        assert precision_recall(reference, generated) == whole
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # a matrix of all distances would take 57 MiB


def test_errors_name_what_is_wrong():
    with pytest.raises(TooFewSamples, match=r"k=3 neighbours need at least 4 samples .*; there are 3 and 50"):
        precision_recall(PIXELS[:3], PIXELS[:50])
    with pytest.raises(TooFewSamples, match="there are 50 and 50"):
        precision_recall(PIXELS[:50], PIXELS[:50], k=50)
    with pytest.raises(UsageError, match="k=0"):
        precision_recall(PIXELS[:50], PIXELS[:50], k=0)
    with pytest.raises(NotComparable, match="reference has 64 dimensions, generated 2"):
        precision_recall(PIXELS, PIXELS[:, :2])
    with pytest.raises(InputError, match="overflow"):
        precision_recall(np.linspace(0, 1e200, 10)[:, None], PIXELS[:, :1])


@pytest.mark.peers
@pytest.mark.parametrize("k", range(1, 8))
def test_parity_with_prdc_where_nothing_ties(k):
    peer = pytest.importorskip("prdc", reason="needs prdc")
    rng = np.random.default_rng(k)
    reference, generated = rng.standard_normal((300, 16)), rng.standard_normal((280, 16)) * 1.1
    theirs = peer.compute_prdc(real_features=reference, fake_features=generated, nearest_k=k)
    expected = [theirs[name] for name in ("precision", "recall", "density", "coverage")]
    assert four(precision_recall(reference, generated, k=k)) == pytest.approx(expected, abs=1e-12)
