"""Fréchet distance against exact oracles, at any rank; its rounding bound, its standard error, its errors."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.metrics import frechet
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics
from paragone.metrics.frechet import frechet_distance, frechet_estimate, frechet_influence

DIGITS = load_digits().data / 16


def stats(features):
    return FeatureStatistics.from_features(features)


def transported(d, n, seed=0):
    """X, Y = X T and their exact distance: T is symmetric positive definite, hence the optimal map between them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 3 * rng.standard_normal(d)
    A = rng.standard_normal((d, d))
    T = A @ A.T / d + np.eye(d) / 2
    moved = X @ T - X
    mean = moved.mean(axis=0)
    return X, X @ T, mean @ mean + np.square(moved - mean).sum() / (n - 1)


def naive_frechet(X, Y):
    """Eq. 6 by the eigenvalues of Σ₁Σ₂, as most tools compute it."""
    S, T = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(S @ T).real, 0))
    return np.square(X.mean(axis=0) - Y.mean(axis=0)).sum() + np.trace(S) + np.trace(T) - 2 * roots.sum()


@pytest.mark.parametrize(("d", "n"), [(8, 5), (8, 200), (64, 40), (64, 65), (64, 500), (256, 100), (256, 1500)])
def test_the_distance_along_an_optimal_map_is_exact(d, n):
    X, Y, truth = transported(d, n)
    for one in (X, stats(X)):
        for two in (Y, stats(Y)):
            assert frechet_distance(one, two) == pytest.approx(truth, rel=1e-9)
            assert frechet_distance(two, one) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize(("d", "n"), [(8, 5), (64, 40), (64, 500), (256, 1500)])
def test_the_numeric_bound_holds_and_is_small(d, n):
    X, Y, truth = transported(d, n)
    for pair in ((X, Y), (stats(X), stats(Y))):
        estimate = frechet_estimate(*pair)
        assert abs(estimate.value - truth) <= estimate.numeric_bound < 1e-6 * truth


def test_each_case_takes_its_method():
    X, Y, _ = transported(64, 40)
    assert frechet_estimate(X, Y).method == "features"
    assert frechet_estimate(stats(X), stats(Y)).method == "eigenvectors"
    assert frechet_estimate(stats(X), stats(Y), reference_features=X, generated_features=Y).method == "features"
    X, Y, _ = transported(64, 500)
    assert frechet_estimate(X, stats(Y)).method == "cholesky"
    assert frechet_estimate(X, Y[:40]).method == "features"


def without_roots(monkeypatch):
    monkeypatch.setattr(frechet, "ROOTS_FROM", 10**9)


def falling(n, power, seed, d=400):
    """Features whose standard deviations fall like k^(-power / 2), as those of networks do."""
    return np.random.default_rng(seed).standard_normal((n, d)) * np.arange(1, d + 1) ** (-power / 2)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (150, 300), (300, 150)])
def test_roots_of_eigenvalues_are_as_good_as_singular_values(n, m, monkeypatch):
    called = []
    monkeypatch.setattr(scipy.linalg, "svdvals", lambda *args, **options: called.append(1))
    X, Y, _ = transported(400, 300)
    by_roots = frechet_estimate(X[:n], Y[:m])
    assert not called
    monkeypatch.undo()
    without_roots(monkeypatch)
    by_singular = frechet_estimate(X[:n], Y[:m])
    assert by_roots.value == pytest.approx(by_singular.value, rel=1e-11)
    assert by_singular.numeric_bound < by_roots.numeric_bound < 1e-6 * by_roots.value


@pytest.mark.parametrize("power", [0, 1, 1.5, 2, 3])
def test_what_squaring_loses_is_within_its_bound(power):
    X, Y = (falling(200, power, seed) for seed in (0, 1))
    one, two = ((Z - Z.mean(axis=0)) / np.sqrt(199) for Z in (X, Y))
    norm, lost = frechet._nuclear_norm_by_roots(one @ two.T, centred=True)
    assert abs(norm - scipy.linalg.svdvals(one @ two.T).sum()) <= lost / 10


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(lambda: (falling(200, 3, 0), falling(200, 3, 1)), id="the spectrum falls too far"),
        pytest.param(lambda: (falling(200, 1, 0), falling(200, 1, 0) + 1e-7), id="the distance is next to nothing"),
        pytest.param(lambda: (np.repeat(falling(50, 1, 0), 4, axis=0), falling(200, 1, 1)), id="copies"),
        pytest.param(lambda: (falling(200, 1, 0) * 1e-80, falling(200, 1, 1) * 1e-80), id="squares underflow"),
        pytest.param(lambda: (falling(200, 1, 0) * 1e80, falling(200, 1, 1) * 1e80), id="squares overflow"),
    ],
)
def test_singular_values_are_taken_where_roots_would_lose_too_much(pair, monkeypatch):
    X, Y = pair()
    estimate = frechet_estimate(X, Y)
    without_roots(monkeypatch)
    assert estimate == frechet_estimate(X, Y)


def test_the_distance_of_falling_spectra_in_many_digits(monkeypatch):
    monkeypatch.setattr(frechet, "ROOTS_FROM", 2)
    X, Y = falling(30, 1.2, 0, d=32), 1.3 * falling(31, 1.2, 1, d=32)
    estimate = frechet_estimate(X, Y)
    with mpmath.workdps(40):
        one, two = (centred([[mpmath.mpf(float(value)) for value in row] for row in Z]) for Z in (X, Y))
        means = [[sum(column) / len(Z) for column in zip(*Z.tolist(), strict=True)] for Z in (X, Y)]
        product = one * two.T
        roots = [mpmath.sqrt(abs(value)) for value in mpmath.eigsy(product * product.T, eigvals_only=True)]
        truth = sum((a - b) ** 2 for a, b in zip(*means, strict=True)) - 2 * mpmath.fsum(roots) / mpmath.sqrt(29 * 30)
        truth += sum(value**2 for value in one) / 29 + sum(value**2 for value in two) / 30
    assert estimate.value == pytest.approx(float(truth), rel=1e-11)
    assert abs(estimate.value - truth) <= estimate.numeric_bound


def centred(rows):
    means = [mpmath.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return mpmath.matrix([[value - mean for value, mean in zip(row, means, strict=True)] for row in rows])


def test_two_cholesky_factors_are_no_features():
    rng = np.random.default_rng(0)
    A, B = (np.linalg.qr(rng.standard_normal((20, 20)))[0] * scale for scale in (np.logspace(0, -6, 20),) * 2)
    one, two = (ForeignStatistics(np.zeros(20), Z @ Z.T) for Z in (A, B[::-1]))
    assert frechet_estimate(one, two).method == "factors"


@pytest.mark.parametrize(("d", "n"), [(1, 50), (64, 20), (512, 300), (64, 400)])
def test_a_set_is_at_no_distance_from_itself(d, n):
    X = transported(d, n)[0] / np.sqrt(d)
    shuffled = np.random.default_rng(1).permutation(X)
    assert frechet_distance(X, shuffled) < 1e-10
    assert frechet_distance(stats(X), stats(shuffled)) < 1e-10


def test_agreement_with_the_usual_formula_on_real_features():
    even, odd = DIGITS[::2], np.clip(DIGITS[1::2] + 0.1, 0, 1)
    rng = np.random.default_rng(0)
    rotation = rng.standard_normal((64, 40))  # full rank, so that the usual formula is accurate
    assert frechet_distance(even @ rotation, odd @ rotation) == pytest.approx(
        naive_frechet(even @ rotation, odd @ rotation), rel=1e-8
    )


def test_one_dimension_in_closed_form():
    x, y = np.array([[0.0], [2.0]]), np.array([[10.0], [14.0], [18.0]])
    truth = (1 - 14) ** 2 + (np.sqrt(2) - 4) ** 2
    for one, two in ((x, y), (stats(x), stats(y)), (x, stats(y))):
        assert frechet_distance(one, two) == pytest.approx(truth, rel=1e-14)


def test_constant_dimensions_are_left_out_exactly():
    X, Y, truth = transported(8, 100)
    padded = [np.insert(Z, [0, 3, 8], 0.1, axis=1) for Z in (X, Y)]
    estimate = frechet_estimate(stats(padded[0]), stats(padded[1]))
    assert estimate.method == "cholesky"
    assert estimate.value == pytest.approx(truth, rel=1e-9)
    one_sided = np.insert(X, 0, 0.1, axis=1), np.insert(Y, 0, np.linspace(0, 1, 100), axis=1)
    extra = (0.1 - 0.5) ** 2 + np.linspace(0, 1, 100).var(ddof=1)
    assert frechet_distance(*one_sided) == pytest.approx(truth + extra, rel=1e-9)


def test_constant_sets_differ_by_their_means_only():
    assert frechet_distance(np.ones((5, 2)), np.full((7, 2), 3.0)) == pytest.approx(8.0, rel=1e-15)
    assert frechet_distance(stats(np.ones((5, 2))), stats(DIGITS[:, 10:12])) == pytest.approx(
        np.square(1 - DIGITS[:, 10:12].mean(axis=0)).sum() + DIGITS[:, 10:12].var(axis=0, ddof=1).sum(), rel=1e-12
    )


def test_a_variance_lost_in_rounding_is_within_the_bound():
    tiny = np.diag([1.0, 1e-17])  # may be 0 or 1e-17: no covariance with a variance of 1 beside it can tell
    one, two = ForeignStatistics(np.zeros(2), tiny), ForeignStatistics(np.zeros(2), np.eye(2))
    estimate = frechet_estimate(one, two)
    assert estimate.method == "eigenvectors"
    assert 1e-9 < abs(estimate.value - (1 - np.sqrt(1e-17)) ** 2) <= estimate.numeric_bound < 1e-6


@pytest.mark.parametrize("seed", range(12))  # rounding decides which method is taken
def test_dependent_dimensions_stay_within_the_bound(seed):
    X, Y, truth = transported(8, 300)
    lifted = np.random.default_rng(seed).standard_normal((8, 9))
    lifted = np.linalg.qr(lifted.T)[0].T  # orthonormal rows: an isometry into 9 dimensions
    estimate = frechet_estimate(stats(X @ lifted), stats(Y @ lifted))
    assert abs(estimate.value - truth) <= estimate.numeric_bound
    assert estimate.value == pytest.approx(truth, rel=1e-7)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 60), scale=st.floats(1e-3, 1e3))
def test_isometries_change_nothing_and_scale_squares(seed, n, scale):
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, 6)), rng.standard_normal((40, 6)) * 1.5
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    distance = frechet_distance(X, Y)
    assert frechet_distance(X @ Q + 5, Y @ Q + 5) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(X * scale, Y * scale) == pytest.approx(distance * scale**2, rel=1e-9)
    assert frechet_distance(Y, X) == pytest.approx(distance, rel=1e-9)


# ---- Uncertainty ----------------------------------------------------------------------------------------------------


def rectified(n, shift, rng):
    """Skewed, non-Gaussian features: the standard error assumes no normality."""
    mixing = np.random.default_rng(99).standard_normal((16, 16)) / 4
    return np.maximum(rng.standard_normal((n, 16)) @ mixing + shift, 0)


def test_the_standard_error_matches_the_bootstrap():
    rng = np.random.default_rng(5)
    X, Y = rectified(2000, 0.0, rng), rectified(2000, 0.25, rng)
    replicates = [frechet_distance(X[rng.integers(0, 2000, 2000)], Y[rng.integers(0, 2000, 2000)]) for _ in range(200)]
    assert frechet_estimate(X, Y).standard_error == pytest.approx(np.std(replicates, ddof=1), rel=0.15)


def test_each_side_has_its_own_standard_error():
    rng = np.random.default_rng(6)
    X, Y = rectified(3000, 0.0, rng), rectified(1500, 0.25, rng)
    both = frechet_estimate(X, Y)
    given = frechet_estimate(stats(X), Y)
    assert given.standard_error is None
    assert given.standard_error_reference is None
    assert given.standard_error_generated == pytest.approx(both.standard_error_generated, rel=1e-9)
    replicates = [frechet_distance(stats(X), Y[rng.integers(0, 1500, 1500)]) for _ in range(200)]
    assert given.standard_error_generated == pytest.approx(np.std(replicates, ddof=1), rel=0.15)
    swapped = frechet_estimate(Y, X)
    assert swapped.standard_error_reference == pytest.approx(both.standard_error_generated, rel=1e-6)
    assert swapped.standard_error_generated == pytest.approx(both.standard_error_reference, rel=1e-6)


def test_fresh_samples_scatter_by_the_standard_error():
    rng = np.random.default_rng(7)
    runs = [frechet_estimate(rectified(1000, 0.0, rng), rectified(1000, 0.25, rng)) for _ in range(150)]
    spread = np.std([run.value for run in runs], ddof=1)
    assert np.mean([run.standard_error for run in runs]) == pytest.approx(spread, rel=0.2)


def test_the_influence_is_the_derivative_by_a_samples_weight():
    rng = np.random.default_rng(8)
    X, Y = rectified(400, 0.0, rng), rectified(500, 0.25, rng)
    X[:, 3] = 0.5  # a dimension that is constant on one side only
    influence = frechet_influence(X, Y)
    assert influence.reference is not None
    assert influence.generated is not None
    assert abs(influence.generated.mean()) < 1e-12

    def weighted(features, row, weight):
        weights = np.full(len(features), (1 - weight) / len(features))
        weights[row] += weight
        mean = weights @ features
        centred = features - mean
        return ForeignStatistics(mean, (centred.T * weights) @ centred)

    step = 1e-5
    for row in (0, 17, 333):
        ends = [frechet_distance(weighted(X, 0, 0.0), weighted(Y, row, sign * step)) for sign in (1, -1)]
        assert influence.generated[row] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=2e-3)
        ends = [frechet_distance(weighted(X, row, sign * step), weighted(Y, 0, 0.0)) for sign in (1, -1)]
        assert influence.reference[row] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=2e-3)


def test_without_enough_samples_there_is_no_standard_error():
    estimate = frechet_estimate(DIGITS[:50], DIGITS[50:1000])
    assert estimate.standard_error is None
    assert (estimate.n_reference, estimate.n_generated, estimate.dim) == (50, 950, 64)
    with pytest.raises(TooFewSamples, match="n > D"):
        frechet_influence(DIGITS[:50], DIGITS[50:1000])
    with pytest.raises(TooFewSamples, match="needs features"):
        frechet_influence(stats(DIGITS), stats(DIGITS[:900]))
    assert frechet_estimate(DIGITS[:900], DIGITS[900:], standard_error=False).standard_error is None


# ---- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_are_an_error_that_names_the_side(n):
    for few in (DIGITS[:n], stats(DIGITS[:n])):
        with pytest.raises(TooFewSamples, match=f"generated: .* at least 2 samples a side; there are {n}"):
            frechet_distance(DIGITS, few)


def test_features_of_different_kinds_are_not_compared():
    with pytest.raises(NotComparable, match="reference features have 64 dimensions, generated 3"):
        frechet_distance(DIGITS, DIGITS[:, :3])
    one, two = replace(stats(DIGITS), extractor="inception"), replace(stats(DIGITS), extractor="dinov2")
    with pytest.raises(NotComparable, match="extractor of reference is inception, of generated dinov2"):
        frechet_distance(one, two)
    assert frechet_distance(one, stats(DIGITS)) < 1e-10  # an unknown tag is taken on trust


def test_features_must_belong_to_the_statistics_beside_them():
    with pytest.raises(InputError, match=r"features \(100, 64\) are not those of the statistics \(1797, 64\)"):
        frechet_estimate(stats(DIGITS), DIGITS, reference_features=DIGITS[:100])


def test_a_damaged_covariance_is_refused():
    sigma = np.diag([1.0, 2.0, 3.0])
    sigma[0, 1] = sigma[1, 0] = 5.0  # not positive semidefinite
    with pytest.raises(InputError, match="reference: the covariance has the eigenvalue -3"):
        frechet_distance(ForeignStatistics(np.zeros(3), sigma), ForeignStatistics(np.zeros(3), np.eye(3)))


def test_an_overflow_is_an_error():
    with pytest.raises(InputError, match="generated: features beyond 1e150 overflow"):
        frechet_distance(np.eye(3), 1e200 * np.eye(3))
