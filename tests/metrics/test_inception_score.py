"""Inception score in closed form, against a plain formula, and the role of order and splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.metrics.inception_score import inception_score


def naive_score(logits):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.exp(np.mean([np.sum(row * np.log(row / p.mean(axis=0))) for row in p]))


def test_equal_predictions_score_one():
    found = inception_score(np.zeros((50, 7)))
    assert found.mean == pytest.approx(1, abs=1e-12)
    assert found.standard_deviation == pytest.approx(0, abs=1e-12)
    assert inception_score(np.tile([3.0, -1.0, 0.5], (20, 1)), splits=2).mean == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 1008])
def test_certain_and_balanced_predictions_score_the_number_of_classes(classes):
    logits = 1e4 * np.tile(np.eye(classes), (3, 1))  # softmax is one-hot; a plain exp would overflow
    found = inception_score(logits, splits=3)
    assert found.mean == pytest.approx(classes, rel=1e-12)
    assert found.standard_deviation == pytest.approx(0, abs=1e-9)


def test_splits_are_contiguous_and_cover_everything():
    logits = np.random.default_rng(0).standard_normal((47, 9)) * 3
    scores = [naive_score(logits[47 * i // 5 : 47 * (i + 1) // 5]) for i in range(5)]
    found = inception_score(logits, splits=5)
    assert found.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.standard_deviation == pytest.approx(np.std(scores), rel=1e-10)
    assert inception_score(logits, splits=1).mean == pytest.approx(naive_score(logits), rel=1e-12)


def test_order_counts_unless_a_seed_shuffles():
    by_class = 100 * np.repeat(np.eye(10), 100, axis=0)
    assert inception_score(by_class).mean == pytest.approx(1, abs=1e-9)
    shuffled = inception_score(by_class, seed=0)
    assert shuffled.mean > 9
    assert shuffled == inception_score(by_class, seed=0) != inception_score(by_class, seed=1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30), classes=st.integers(2, 12), scale=st.floats(0, 50))
def test_the_score_lies_between_one_and_what_can_be_told_apart(seed, n, classes, scale):
    logits = np.random.default_rng(seed).standard_normal((n, classes)) * scale
    score = inception_score(logits, splits=1).mean
    assert 1 <= score <= min(n, classes) * (1 + 1e-12)
    assert inception_score(logits + 1000, splits=1).mean == pytest.approx(score, rel=1e-9)  # softmax ignores a shift


def test_errors_name_what_is_wrong():
    with pytest.raises(TooFewSamples, match="10 splits needs at least 10 samples; there are 9"):
        inception_score(np.zeros((9, 4)))
    with pytest.raises(UsageError, match="splits=0"):
        inception_score(np.zeros((9, 4)), splits=0)
    with pytest.raises(InputError, match="single class"):
        inception_score(np.zeros((20, 1)))
    with pytest.raises(InputError, match=r"logits: row 3 is not finite"):
        inception_score(np.where(np.arange(20)[:, None] == 3, np.nan, np.zeros((20, 4))))


@pytest.mark.peers
@pytest.mark.parametrize(("n", "splits"), [(500, 10), (503, 7)])
def test_parity_with_torch_fidelity(n, splits):
    peer = pytest.importorskip("torch_fidelity.metric_isc", reason="needs torch-fidelity")
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).standard_normal((n, 20)) * 3
    theirs = peer.isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)
    ours = inception_score(logits, splits=splits)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-10)
    assert ours.standard_deviation == pytest.approx(theirs["inception_score_std"], rel=1e-8)
    order = np.random.RandomState(2020).permutation(n)  # its shuffle
    shuffled = peer.isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=2020)
    assert inception_score(logits[order], splits=splits).mean == pytest.approx(shuffled["inception_score_mean"])
