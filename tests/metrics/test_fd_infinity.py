"""FD∞ and the correction by halves: the bias is gone, the standard error is right, the line is the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from paragone.data.errors import NotComparable, TooFewSamples, UsageError
from paragone.metrics import FeatureStatistics, frechet_distance, frechet_estimate
from paragone.metrics.fd_infinity import frechet_half_split, frechet_infinity

DIGITS = load_digits().data / 16
MIXING = np.random.default_rng(99).standard_normal((8, 8)) / np.sqrt(8)


def rectified(n, shift, rng):
    """Skewed features [n, 8]."""
    return np.maximum(rng.standard_normal((n, 8)) @ MIXING + shift, 0)


def truth():
    rng = np.random.default_rng(0)
    return frechet_distance(rectified(200_000, 0.0, rng), rectified(200_000, 0.2, rng))


@pytest.fixture(scope="module")
def runs():
    found = []
    for seed in range(90):
        rng = np.random.default_rng(seed)
        reference, generated = rectified(2000, 0.0, rng), rectified(250, 0.2, rng)
        found.append((frechet_infinity(reference, generated), frechet_half_split(reference, generated)))
    return found


def test_both_ways_take_the_bias_off(runs):
    raw = np.array([line.distance for line, _ in runs])
    for values in (np.array([line.value for line, _ in runs]), np.array([halves.value for _, halves in runs])):
        bias, noise = abs(values.mean() - truth()), values.std(ddof=1) / np.sqrt(len(runs))
        assert bias < 3 * noise
        assert raw.mean() - truth() > 3 * bias
        assert raw.mean() - truth() > 6 * noise


def test_the_standard_error_of_the_intercept_is_that_of_fresh_samples(runs):
    spread = np.std([line.value for line, _ in runs], ddof=1)
    assert np.mean([line.standard_error for line, _ in runs]) == pytest.approx(spread, rel=0.25)
    plain = np.mean([frechet_estimate(rectified(2000, 0.0, rng), rectified(250, 0.2, rng)).standard_error_generated
                     for rng in map(np.random.default_rng, range(20))])  # fmt: skip
    assert np.mean([line.standard_error_generated for line, _ in runs]) > 1.05 * plain  # extrapolation costs


def test_the_line_against_polyfit_over_distances_of_a_shuffled_prefix():
    reference, generated = rectified(500, 0.0, np.random.default_rng(1)), rectified(301, 0.2, np.random.default_rng(2))
    found = frechet_infinity(reference, generated, points=7, seed=5)
    assert (found.sample_sizes[0], found.sample_sizes[-1], len(found.sample_sizes)) == (30, 301, 7)
    shuffled = generated[np.random.default_rng(5).permutation(301)]
    expected = [frechet_distance(reference, shuffled[:n]) for n in found.sample_sizes]
    assert found.distances == pytest.approx(expected, rel=1e-9)
    slope, intercept = np.polyfit(1 / np.array(found.sample_sizes), expected, 1)
    assert (found.value, found.slope) == pytest.approx((intercept, slope), rel=1e-8)
    assert found.distance == found.distances[-1] == pytest.approx(frechet_distance(reference, generated), rel=1e-12)
    assert found.slope > 0


def test_statistics_beside_features_do_as_well_as_features():
    reference, generated = DIGITS[:900], DIGITS[900:] * 0.9
    plain = frechet_infinity(reference, generated, points=4)
    beside = frechet_infinity(FeatureStatistics.from_features(reference), generated, reference_features=reference,
                              points=4)  # fmt: skip
    assert beside == plain
    alone = frechet_half_split(FeatureStatistics.from_features(reference), generated)
    assert not alone.reference_halved
    assert frechet_half_split(reference, generated).reference_halved


def test_few_samples_are_extrapolated_too_but_have_no_interval():
    found = frechet_infinity(DIGITS[:40], DIGITS[40:70], points=3)
    assert np.isfinite(found.value)
    assert found.standard_error is None


def test_halves_in_closed_form():
    reference, generated = DIGITS[:100], DIGITS[100:141]
    found = frechet_half_split(reference, generated, seed=3)
    rng = np.random.default_rng(3)
    order = rng.permutation(41)
    expected = [frechet_distance(reference, generated[half]) for half in (order[:20], order[20:])]
    assert found.halves == pytest.approx(expected, rel=1e-9)
    assert found.value == pytest.approx(2 * frechet_distance(reference, generated) - np.mean(expected), rel=1e-9)


def test_a_seed_decides_the_order():
    reference, generated = DIGITS[:300], DIGITS[300:600]
    one, two, three = (frechet_infinity(reference, generated, points=3, seed=seed) for seed in (1, 1, 2))
    assert one == two != three


def test_errors_name_what_is_wrong():
    with pytest.raises(TooFewSamples, match="at least 4 generated samples; there are 3"):
        frechet_infinity(DIGITS, DIGITS[:3])
    with pytest.raises(TooFewSamples, match="at least 4 samples; there are 3"):
        frechet_half_split(DIGITS, DIGITS[:3])
    with pytest.raises(UsageError, match="points=1"):
        frechet_infinity(DIGITS, DIGITS, points=1)
    with pytest.raises(NotComparable, match="reference has 64 dimensions, generated 3"):
        frechet_infinity(DIGITS, DIGITS[:, :3])
