"""The tested difference of two generators: size, power and coverage in simulations where the truth is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from paragone.data.errors import InputError, TooFewSamples
from paragone.metrics import FeatureStatistics, frechet_distance, frechet_influence
from paragone.metrics.frechet_difference import frechet_difference

DIM = 6
MIXING = np.random.default_rng(99).standard_normal((DIM, DIM)) / np.sqrt(DIM)
CORRELATION = 0.8  # between samples of the same prompt and seed


def rectified(latent, shift):
    """Skewed features: nothing here is normal."""
    return np.maximum(latent @ MIXING + shift, 0)


def sides(seed, n, shifts, *, n_reference=400):
    """A reference, and two generators that answer the same prompts."""
    rng = np.random.default_rng(seed)
    prompts = rng.standard_normal((n, DIM))
    latents = [np.sqrt(CORRELATION) * prompts + np.sqrt(1 - CORRELATION) * rng.standard_normal((n, DIM)) for _ in "ab"]
    return rectified(rng.standard_normal((n_reference, DIM)), 0.0), *map(rectified, latents, shifts)


@functools.cache
def truth(*shifts):
    rng = np.random.default_rng(12345)
    reference, *both = (rectified(rng.standard_normal((300_000, DIM)), shift) for shift in (0.0, *shifts))
    return frechet_distance(reference, both[0]) - frechet_distance(reference, both[1])


@functools.cache
def simulated(n, shifts, paired=True, runs=200):
    return [frechet_difference(*sides(seed, n, shifts), paired=paired) for seed in range(runs)]


def rejected(found):
    return np.mean([each.p_value < 0.05 for each in found])


@pytest.mark.parametrize("shift", [0.0, 0.2])  # at distance zero the first order vanishes, and the test is careful
def test_equal_generators_are_told_apart_in_one_of_twenty_runs(shift):
    assert rejected(simulated(200, (shift, shift))) <= 0.09
    if shift:
        assert rejected(simulated(200, (shift, shift))) >= 0.01


def test_a_difference_is_found_and_the_interval_covers_it():
    found = simulated(200, (0.2, 0.3))
    assert rejected(found) > 0.9
    assert all(each.difference < 0 for each in found if each.p_value < 0.01)  # a is nearer
    covered = np.mean([each.ci_low <= truth(0.2, 0.3) <= each.ci_high for each in found])
    assert 0.9 <= covered <= 0.99


def test_the_standard_error_is_that_of_fresh_samples():
    found = simulated(200, (0.2, 0.3))
    spread = np.std([each.difference for each in found], ddof=1)
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.2)


def test_pairs_and_the_shared_reference_take_noise_out():
    reference, a, b = sides(0, 400, (0.2, 0.3))
    paired, unpaired = (frechet_difference(reference, a, b, paired=paired) for paired in (True, False))
    assert paired.standard_error < 0.7 * unpaired.standard_error
    assert paired.difference == pytest.approx(unpaired.difference, abs=unpaired.standard_error)
    of_a, of_b = frechet_influence(reference, a), frechet_influence(reference, b)
    alone = np.hypot(of_a.reference.std(ddof=1), of_b.reference.std(ddof=1)) / np.sqrt(400)
    assert unpaired.standard_error**2 < alone**2 + (of_a.generated.var() + of_b.generated.var()) / 399


def test_the_bias_of_unequal_numbers_is_corrected():
    raw, corrected = [], []
    for seed in range(150):
        reference, a, b = sides(seed, 300, (0.2, 0.2))
        found = frechet_difference(reference, a[:40], b, paired=False)
        raw.append(found.distance_a - found.distance_b)
        corrected.append(found.difference)
        assert found.difference == pytest.approx(raw[-1] + found.bias_correction)
    noise = np.std(corrected, ddof=1) / np.sqrt(150)
    assert np.mean(raw) > 5 * noise
    assert abs(np.mean(corrected)) < 3 * noise


def test_sides_swapped_change_the_sign_only():
    reference, a, b = sides(1, 100, (0.1, 0.3))
    one, other = frechet_difference(reference, a, b), frechet_difference(reference, b, a)
    assert other.difference == pytest.approx(-one.difference, rel=1e-9)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9)
    assert (other.ci_low, other.ci_high) == pytest.approx((-one.ci_high, -one.ci_low), rel=1e-9)
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)


def test_a_generator_does_not_differ_from_itself():
    reference, a, _ = sides(2, 100, (0.1, 0.3))
    found = frechet_difference(reference, a, a)
    assert (found.difference, found.standard_error, found.z, found.p_value) == (0, 0, 0, 1)


def test_statistics_of_the_reference_hold_it_fixed():
    reference, a, b = sides(3, 100, (0.1, 0.3))
    fixed = frechet_difference(FeatureStatistics.from_features(reference), a, b)
    sampled = frechet_difference(FeatureStatistics.from_features(reference), a, b, reference_features=reference)
    assert fixed.reference_fixed
    assert not fixed.reference_halved
    assert not sampled.reference_fixed
    assert sampled.reference_halved
    assert fixed.standard_error < sampled.standard_error
    assert sampled == frechet_difference(reference, a, b)


def test_errors_name_what_is_wrong():
    reference, a, b = sides(4, 100, (0.1, 0.3))
    with pytest.raises(InputError, match="a has 100 rows and b 90, so they are no pairs"):
        frechet_difference(reference, a, b[:90])
    with pytest.raises(TooFewSamples, match=r"b: .* needs at least 14 samples; there are 13"):
        frechet_difference(reference, a, b[:13], paired=False)
    assert frechet_difference(reference, a, b[:14], paired=False).standard_error > 0
    with pytest.raises(TooFewSamples, match=r"reference: .* there are 6"):
        frechet_difference(reference[:6], a, b)
    constant = np.column_stack([a, np.ones(100)])
    assert frechet_difference(np.column_stack([reference, np.ones(400)]), constant, constant).p_value == 1
