"""Memorisation: a replayer is found out, fresh samples are not, and a gallery knows whom each sample resembles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.memorisation import authenticity, c_t, near_duplicates, training_neighbours

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


# ---- Near duplicates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.2])
def test_near_duplicates_against_full_matrices(threshold):
    rng = np.random.default_rng(0)
    training = PIXELS[:200]
    samples = np.vstack([training[:40] + rng.normal(0, 1, (40, 64)), training[40:60], PIXELS[300:400]])
    spacing = np.sqrt(np.square(training[:, None] - training).sum(axis=2))
    np.fill_diagonal(spacing, np.inf)
    nearest = np.sqrt(np.square(samples[:, None] - training).sum(axis=2)).min(axis=1)
    expected = nearest <= threshold * np.median(spacing.min(axis=1))
    assert np.array_equal(near_duplicates(training, samples, threshold=threshold), expected)
    assert expected[40:60].all()


def test_a_training_sample_that_occurs_twice_does_not_hide_its_copies():
    training = np.vstack([PIXELS[:200], PIXELS[:50]])
    replayed = PIXELS[:50] + 0.1 * np.random.default_rng(0).standard_normal((50, 64))
    assert near_duplicates(training, replayed).all()
    assert authenticity(training, replayed) == 1  # which is misled


def test_fresh_samples_are_seldom_near_duplicates():
    assert near_duplicates(PIXELS[::2], PIXELS[1::2]).mean() < 0.02
    with pytest.raises(UsageError, match="threshold=-1"):
        near_duplicates(PIXELS, PIXELS, threshold=-1)
    with pytest.raises(TooFewSamples, match="there are 1 and 5"):
        near_duplicates(PIXELS[:1], PIXELS[:5])
    with pytest.raises(NotComparable, match="training has 64 dimensions, samples 2"):
        near_duplicates(PIXELS, PIXELS[:, :2])


# ---- C_T -----------------------------------------------------------------------------------------------------------


def test_one_cell_is_a_plain_rank_test():
    training, held_out, generated = PIXELS[:300], PIXELS[300:400], PIXELS[400:520] + 1
    to_training = [np.square(side[:, None] - training).sum(axis=2).min(axis=1) for side in (generated, held_out)]
    wins = mannwhitneyu(*to_training).statistic
    expected = (wins - 100 * 120 / 2) / np.sqrt(100 * 120 * 221 / 12)
    found = c_t(training, held_out, generated, cells=1)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.standard_error == 1
    assert found.cells[0].z == found.value
    assert (found.cells[0].n_held_out, found.cells[0].n_generated) == (100, 120)


def test_cells_are_weighted_by_the_held_out_samples_in_them():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [100, 0], [0, 100]])

    def drawn(*counts):
        return np.repeat(centres, counts, axis=0) + rng.standard_normal((sum(counts), 2))

    training, held_out, generated = drawn(50, 50, 50), drawn(60, 30, 10), drawn(40, 40, 19)
    found = c_t(training, held_out, generated)
    by_count = {cell.n_held_out: cell for cell in found.cells}
    assert set(by_count) == {60, 30, 10}
    assert by_count[10].z is None  # 19 generated samples are too few
    assert found.value == pytest.approx((60 * by_count[60].z + 30 * by_count[30].z) / 90, rel=1e-12)
    assert found.standard_error == pytest.approx(np.hypot(60, 30) / 90)


def test_copies_lie_below_zero_fresh_samples_about_it_and_noise_above():
    rng = np.random.default_rng(0)
    training, held_out, fresh = PIXELS[::3], PIXELS[1::3], PIXELS[2::3]
    assert c_t(training, held_out, training + 0.1 * rng.standard_normal(training.shape)).value < -5
    assert abs(c_t(training, held_out, fresh).value) < 3
    assert c_t(training, held_out, fresh + 3 * rng.standard_normal(fresh.shape)).value > 5


def test_fresh_samples_scatter_by_the_standard_error():
    rng = np.random.default_rng(1)
    found = [c_t(*rng.standard_normal((3, 150, 4)), seed=seed) for seed in range(100)]
    values = np.array([each.value for each in found])
    # The training set is shared by both sides, so the ranks scatter a little more than independent ones.
    assert values.std() == pytest.approx(np.mean([each.standard_error for each in found]), rel=0.35)
    assert abs(values.mean()) < 0.3


def test_many_dimensions_are_reduced():
    rng = np.random.default_rng(2)
    lifted = rng.standard_normal((10, 200)) / 3  # 10 dimensions that matter, and 190 of faint noise
    training, held_out, generated = (rng.standard_normal((150, 10)) @ lifted for _ in range(3))
    found = c_t(training, held_out, generated, components=10)
    flat = np.linalg.svd(training - training.mean(axis=0), full_matrices=False)[2][:10].T
    assert found.value == pytest.approx(c_t(training @ flat, held_out @ flat, generated @ flat).value, abs=0.2)


def test_c_t_names_what_is_wrong():
    with pytest.raises(TooFewSamples, match=r"3 cells needs at least 60 samples a side; there are 100, 59, 80"):
        c_t(PIXELS[:100], PIXELS[:59], PIXELS[:80])
    with pytest.raises(NotComparable, match=r"\[64, 64, 2\] dimensions"):
        c_t(PIXELS, PIXELS, PIXELS[:, :2])
    with pytest.raises(UsageError, match="cells=0"):
        c_t(PIXELS, PIXELS, PIXELS, cells=0)
    with pytest.raises(InputError, match="fewer than 3 different samples"):
        c_t(np.ones((60, 4)), np.ones((60, 4)), np.ones((60, 4)))
    two = np.repeat([[0.0, 0], [100, 0]], 40, axis=0) + np.random.default_rng(0).standard_normal((80, 2))
    with pytest.raises(InputError, match="share no cell"):
        c_t(two, two[:40], two[40:], cells=2)
