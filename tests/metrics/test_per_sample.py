"""Realism and rarity against full matrices, copies and outsiders included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import NotComparable, TooFewSamples, UsageError
from paragone.metrics import precision_recall
from paragone.metrics.per_sample import rarity, realism

PIXELS = load_digits().data


def distances(x, y):
    return np.sqrt(np.square(x[:, None] - y[None]).sum(axis=2))


def naive(reference, generated, k):
    """Both numbers of each sample from full matrices of directly measured distances."""
    between = distances(reference, reference)
    np.fill_diagonal(between, np.inf)
    radii = np.sort(between, axis=1)[:, k - 1]
    small = radii <= np.median(radii)
    realisms, rarities = [], []
    for to_centres in distances(generated, reference):
        ratios = [r / d if d > 0 else np.inf for r, d in zip(radii[small], to_centres[small], strict=True)]
        realisms.append(max(ratios))
        rarities.append(min((r for r, d in zip(radii, to_centres, strict=True) if d <= r), default=np.inf))
    return realisms, rarities


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equality_with_the_definitions_on_real_features(k):
    reference, generated = PIXELS[:150], np.vstack([PIXELS[140:200], PIXELS[300:310] // 2, PIXELS[:5] + 500])
    expected = naive(reference, generated, k)
    assert realism(reference, generated, k=k) == pytest.approx(expected[0], rel=1e-12)
    assert rarity(reference, generated, k=k) == pytest.approx(expected[1], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(5, 30),
    m=st.integers(1, 30),
    k=st.integers(1, 4),
    levels=st.sampled_from([1, 2, 3, 10**6]),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_equality_with_duplicates_and_offsets(seed, n, m, k, levels, offset):
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, levels, (n, 3)) / levels + offset
    generated = rng.integers(0, levels, (m, 3)) / levels + offset
    expected = naive(reference, generated, k)
    assert realism(reference, generated, k=k) == pytest.approx(expected[0], rel=1e-9)
    assert rarity(reference, generated, k=k) == pytest.approx(expected[1], rel=1e-9)


def test_rarity_is_finite_exactly_where_precision_counts():
    reference, generated = PIXELS[:500], PIXELS[500:700] + np.random.default_rng(0).normal(0, 2, (200, 64))
    inside = np.isfinite(rarity(reference, generated))
    assert 0 < inside.mean() == precision_recall(reference, generated).precision < 1
    assert (inside[realism(reference, generated) >= 1]).all()  # realism sees the smaller half of the balls


def test_what_is_far_is_unreal_and_what_is_copied_is_not():
    reference = PIXELS[:300]
    assert (realism(reference, reference + 1000) < 0.1).all()
    assert np.isinf(rarity(reference, reference + 1000)).all()
    median = np.median(np.sort(distances(reference, reference), axis=1)[:, 3])
    copies = realism(reference, reference)
    assert np.isinf(copies).sum() >= 150  # the centres of the smaller half
    assert median > 0


def test_samples_in_sparse_regions_are_rarer():
    rng = np.random.default_rng(0)
    reference = np.vstack([rng.normal(0, 1, (400, 4)), rng.normal(20, 5, (40, 4))])
    common, rare = rng.normal(0, 1, (200, 4)), rng.normal(20, 5, (200, 4))
    values = [rarity(reference, each) for each in (common, rare)]
    assert np.median(values[0][np.isfinite(values[0])]) < np.median(values[1][np.isfinite(values[1])]) / 3


def test_errors_name_what_is_wrong():
    for function in (realism, rarity):
        with pytest.raises(TooFewSamples, match=r"k=3 .* at least 4 reference samples, and 1 generated; .* 3 and 50"):
            function(PIXELS[:3], PIXELS[:50])
        with pytest.raises(UsageError, match="k=0"):
            function(PIXELS, PIXELS, k=0)
        with pytest.raises(NotComparable, match="reference has 64 dimensions, generated 2"):
            function(PIXELS, PIXELS[:, :2])
