"""Authenticity: a replayer scores 0, fresh samples do not, and a gallery knows whom each sample resembles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import NotComparable, TooFewSamples
from paragone.metrics.memorisation import authenticity, training_neighbours

PIXELS = load_digits().data


def naive_authenticity(training, generated):
    """Alaa et al.'s definition, sample by sample; where nearest samples tie, it must hold for each of them."""
    authentic = []
    for sample in generated:
        to_training = [np.square(sample - known).sum() for known in training]
        spacings = [
            min(np.square(known - other).sum() for j, other in enumerate(training) if j != i)
            for i, known in enumerate(training)
            if to_training[i] == min(to_training)
        ]
        authentic.append(min(to_training) > max(spacings))
    return np.mean(authentic)


def test_a_replayer_scores_zero():
    rng = np.random.default_rng(0)
    replayed = PIXELS[rng.integers(0, len(PIXELS), 500)]
    found = training_neighbours(PIXELS, replayed)
    assert found.authenticity == authenticity(PIXELS, replayed) == 0
    assert found.copied == 1
    assert np.array_equal(PIXELS[found.nearest], replayed)


def test_a_replayer_with_a_little_noise_scores_zero_too():
    rng = np.random.default_rng(0)
    replayed = PIXELS[:500] + 0.1 * rng.standard_normal((500, 64))
    found = training_neighbours(PIXELS, replayed)
    assert found.authenticity == 0
    assert found.copied == 0
    assert np.array_equal(found.nearest, np.arange(500))


def test_fresh_samples_are_authentic_about_as_often_as_not():
    assert authenticity(PIXELS[::2], PIXELS[1::2]) > 0.4
    rng = np.random.default_rng(0)
    assert 0.4 < authenticity(rng.standard_normal((800, 4)), rng.standard_normal((800, 4))) < 0.7


def test_noise_far_from_everything_is_authentic():
    assert authenticity(PIXELS[:300], PIXELS[:50] + 1000) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 25), m=st.integers(1, 25), levels=st.sampled_from([3, 10**6]))
def test_equality_with_the_definition(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    training, generated = rng.integers(0, levels, (n, 2)), rng.integers(0, levels, (m, 2))
    assert authenticity(training, generated) == pytest.approx(naive_authenticity(training, generated), abs=1e-15)


def test_the_gallery_in_closed_form():
    found = training_neighbours([[0.0], [3.0], [4.0]], [[1.0], [4.5], [-7.0]])
    assert found.nearest.tolist() == [0, 2, 0]
    assert found.distance.tolist() == [1.0, 0.5, 7.0]
    assert found.spacing.tolist() == [3.0, 1.0, 3.0]
    assert found.authentic.tolist() == [False, False, True]


def test_errors_name_what_is_wrong():
    with pytest.raises(TooFewSamples, match="at least 2 training samples and 1 generated; there are 1 and 5"):
        authenticity(PIXELS[:1], PIXELS[:5])
    with pytest.raises(TooFewSamples, match="there are 5 and 0"):
        authenticity(PIXELS[:5], PIXELS[:0])
    with pytest.raises(NotComparable, match="training has 64 dimensions, generated 2"):
        authenticity(PIXELS, PIXELS[:, :2])
