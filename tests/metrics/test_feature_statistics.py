"""Feature statistics: the monoid, its precision, and bits that do not depend on the batch size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics, StatisticsAccumulator

DIGITS = load_digits().data  # [1797, 64], 0..16


def relative_error(found, truth):
    return np.abs(found - truth).max() / np.abs(truth).max()


def in_batches(features, size):
    accumulator = StatisticsAccumulator()
    for start in range(0, len(features), size):
        accumulator.add(features[start : start + size])
    return accumulator.statistics()


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 700), max_size=8), seed=st.integers(0, 2**32 - 1))
def test_any_shards_merge_to_the_covariance_of_the_whole(cuts, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((700, 6)) @ rng.standard_normal((6, 6)) + 3
    edges = [*sorted({0, *cuts, 700}), 700]  # the last shard is empty; neighbours in `cuts` give shards of one row
    shards = [FeatureStatistics.from_features(features[a:b]) for a, b in pairwise(edges)]
    total = FeatureStatistics.empty(6)
    for i in rng.permutation(len(shards)):
        total = total.merge(shards[i])
    assert total.n == 700
    assert relative_error(total.mean, features.mean(axis=0)) < 1e-12
    assert relative_error(total.covariance(), np.cov(features, rowvar=False)) < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_same_bits_for_any_batch_size(dtype):
    features = (DIGITS * 0.37 + 1).astype(dtype)
    whole = FeatureStatistics.from_features(features)
    for size in (1, 7, 64, 255, 256, 257, 1000):
        batched = in_batches(features, size)
        assert batched.mean.tobytes() == whole.mean.tobytes()
        assert batched.scatter.tobytes() == whole.scatter.tobytes()
    assert np.array_equal(whole.scatter, whole.scatter.T)
    truth = np.cov(features.astype(np.float64), rowvar=False)
    assert relative_error(whole.covariance(), truth) < 1e-12


def test_memory_order_does_not_change_the_bits():
    features = DIGITS.astype(np.float32)
    one = FeatureStatistics.from_features(np.asfortranarray(features))
    assert one.scatter.tobytes() == FeatureStatistics.from_features(features).scatter.tobytes()


def test_a_large_offset_costs_no_digits():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((20_000, 32))
    shifted = features + 1e4
    truth = np.cov(shifted - shifted.mean(axis=0), rowvar=False)
    assert relative_error(in_batches(shifted, 100).covariance(), truth) < 1e-10
    raw = shifted.astype(np.float32)  # the formula that this one is not: moments about zero in float32
    n = np.float32(len(raw))
    moments = (raw.T @ raw - n * np.outer(raw.mean(axis=0), raw.mean(axis=0))) / (n - 1)
    assert relative_error(moments, truth) > 1e-2


def test_merge_commutes_to_the_last_bit_and_associates_up_to_rounding():
    a, b, c = (FeatureStatistics.from_features(part) for part in (DIGITS[:333], DIGITS[333:334], DIGITS[334:]))
    thirds = [FeatureStatistics.from_features(DIGITS[i::3] / 7**i) for i in range(3)]  # of equal size
    for one, two in ((a, b), (b, c), (a, a), (thirds[0], thirds[1]), (thirds[1], thirds[2])):
        left, right = one.merge(two), two.merge(one)
        assert left.mean.tobytes() == right.mean.tobytes()
        assert left.scatter.tobytes() == right.scatter.tobytes()
    assert relative_error(a.merge(b).merge(c).scatter, a.merge(b.merge(c)).scatter) < 1e-13


def test_empty_is_neutral_whatever_the_tags():
    known = FeatureStatistics.from_features(DIGITS, extractor="pixels", protocol="paragone")
    for merged in (known.merge(FeatureStatistics.empty(64)), FeatureStatistics.empty(64).merge(known)):
        assert (merged.extractor, merged.protocol, merged.n) == ("pixels", "paragone", 1797)
        assert merged.scatter.tobytes() == known.scatter.tobytes()
    assert FeatureStatistics.empty(64).merge(FeatureStatistics.empty(64)).n == 0
    tagged = FeatureStatistics.empty(64, extractor="other")
    with pytest.raises(NotComparable, match="extractor of one is pixels, of the other other"):
        known.merge(tagged)


def test_merge_refuses_what_differs_and_says_what():
    known = FeatureStatistics.from_features(DIGITS, extractor="inception@67268", protocol="clean")
    with pytest.raises(NotComparable, match=r"extractor .* inception@67268.* unknown; protocol .* clean.* unknown"):
        known.merge(FeatureStatistics.from_features(DIGITS))
    with pytest.raises(NotComparable, match="one has 64 dimensions, the other 3"):
        known.merge(FeatureStatistics.from_features(DIGITS[:, :3], extractor="inception@67268", protocol="clean"))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(5), r"shape \(5,\) is not \[N, D\]"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((4, 0)), r"shape \(4, 0\)"),
        (np.zeros((4, 2), dtype=complex), "complex128 is not a real number type"),
        (np.array([["a", "b"]]), "is not a real number type"),
        (np.ones((3, 2), dtype=bool), "bool is not"),
    ],
)
def test_what_is_not_a_feature_matrix_is_refused(features, message):
    with pytest.raises(InputError, match=message):
        FeatureStatistics.from_features(features)


def test_a_row_that_is_not_finite_is_named_by_its_place_in_the_whole():
    accumulator = StatisticsAccumulator()
    accumulator.add(DIGITS[:300])
    spoilt = DIGITS[300:400].copy()
    spoilt[17, 5] = np.nan
    with pytest.raises(InputError, match=r"row 317 is not finite \(column 5 is nan\)"):
        accumulator.add(spoilt)
    accumulator.add(DIGITS[300:400])  # the refused batch left nothing behind
    assert accumulator.statistics().scatter.tobytes() == FeatureStatistics.from_features(DIGITS[:400]).scatter.tobytes()


def test_batches_of_another_width_are_refused():
    accumulator = StatisticsAccumulator()
    accumulator.add(DIGITS[:10])
    with pytest.raises(InputError, match="rows from 10 on have 3 dimensions, those before 64"):
        accumulator.add(DIGITS[:10, :3])


def test_an_overflow_is_an_error_not_an_infinity():
    with pytest.raises(InputError, match="overflow"):
        FeatureStatistics.from_features(np.array([[1e200, 0.0], [-1e200, 1.0]]))


def test_integers_are_taken_as_numbers():
    whole = FeatureStatistics.from_features(DIGITS.astype(np.uint8))
    assert whole.scatter.tobytes() == FeatureStatistics.from_features(DIGITS).scatter.tobytes()


def test_a_constant_column_has_no_scatter_at_all():
    features = np.random.default_rng(0).standard_normal((5000, 4))
    features[:, 2] = 0.1
    assert not FeatureStatistics.from_features(features).scatter[2].any()


def test_covariance_needs_more_samples_than_ddof():
    one = FeatureStatistics.from_features(DIGITS[:1])
    assert not one.covariance(ddof=0).any()
    with pytest.raises(TooFewSamples, match="at least 2 samples; there are 1"):
        one.covariance()
    with pytest.raises(TooFewSamples, match="there are 0"):
        FeatureStatistics.empty(3).covariance(ddof=0)
    with pytest.raises(TooFewSamples, match="no features"):
        StatisticsAccumulator().statistics()


def test_values_do_not_change_under_their_holder():
    accumulator = StatisticsAccumulator()
    accumulator.add(DIGITS[:256])
    early = accumulator.statistics()
    before = early.scatter.tobytes()
    accumulator.add(DIGITS[256:1024])
    assert early.scatter.tobytes() == before
    with pytest.raises(ValueError, match="read-only"):
        early.mean[0] = 1.0


def test_moments_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"mean has shape \(2,\) and scatter \(3, 3\)"):
        FeatureStatistics(5, np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(InputError, match="n is -1"):
        FeatureStatistics(-1, np.zeros(2), np.zeros((2, 2)))


def test_foreign_statistics_do_not_invent_a_number_of_samples():
    foreign = ForeignStatistics(np.zeros(3), np.eye(3), source="peer.npz")
    assert foreign.n is None
    assert np.array_equal(foreign.covariance(), np.eye(3))
    with pytest.raises(InputError, match=r"peer.npz: ddof=0 needs the number of samples"):
        foreign.covariance(ddof=0)
    with pytest.raises(InputError, match="sigma is not symmetric"):
        ForeignStatistics(np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]))
