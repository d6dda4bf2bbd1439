"""Statistics files: exact round trips, reading and being read by others, and refusing what is damaged or dangerous."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from paragone.data.errors import InputError
from paragone.metrics.feature_statistics import FeatureStatistics, ForeignStatistics
from paragone.metrics.frechet import frechet_distance
from paragone.metrics.statistics_files import load_statistics, save_statistics

DIGITS = load_digits().data
PIXELS = FeatureStatistics.from_features(DIGITS / 16, extractor="pixels", protocol="paragone")


def test_a_round_trip_keeps_every_bit(tmp_path):
    PIXELS.save(tmp_path / "digits.npz")
    found = FeatureStatistics.load(str(tmp_path / "digits.npz"))
    assert (found.n, found.extractor, found.protocol) == (1797, "pixels", "paragone")
    assert found.mean.tobytes() == PIXELS.mean.tobytes()
    assert found.scatter.tobytes() == PIXELS.scatter.tobytes()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_samples_and_unknown_tags_survive(tmp_path, n):
    few = FeatureStatistics.from_features(DIGITS[:n])
    few.save(tmp_path / "few.npz")
    found = FeatureStatistics.load(tmp_path / "few.npz")
    assert (found.n, found.extractor, found.protocol) == (n, None, None)
    assert found.scatter.tobytes() == few.scatter.tobytes()


def test_shards_merged_from_files_equal_the_whole(tmp_path):
    FeatureStatistics.from_features(DIGITS[:1000]).save(tmp_path / "a.npz")
    FeatureStatistics.from_features(DIGITS[1000:]).save(tmp_path / "b.npz")
    merged = FeatureStatistics.load(tmp_path / "a.npz").merge(FeatureStatistics.load(tmp_path / "b.npz"))
    assert np.allclose(merged.covariance(), np.cov(DIGITS, rowvar=False), rtol=0, atol=1e-12)


def test_equal_statistics_give_equal_files_and_leave_nothing_beside_them(tmp_path):
    PIXELS.save(tmp_path / "one.npz")
    save_statistics(PIXELS, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_others_find_the_keys_they_look_for(tmp_path):
    PIXELS.save(tmp_path / "digits.npz")
    with np.load(tmp_path / "digits.npz") as file:  # as pytorch-fid reads it
        mu, sigma = file["mu"][:], file["sigma"][:]
    assert np.allclose(mu, (DIGITS / 16).mean(axis=0), rtol=0, atol=1e-15)
    assert np.allclose(sigma, np.cov(DIGITS / 16, rowvar=False), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_files_of_others_are_read_without_inventing_n(tmp_path, dtype):
    path = tmp_path / "peer.npz"
    sigma = np.cov(DIGITS / 16, rowvar=False)
    np.savez(path, mu=(DIGITS / 16).mean(axis=0).astype(dtype), sigma=sigma.astype(dtype), arr_0=np.zeros((2, 4, 4, 3)))
    found = load_statistics(path)
    assert isinstance(found, ForeignStatistics)
    assert found.n is None
    other = FeatureStatistics.from_features(DIGITS[:900] / 16)
    tolerance = 1e-12 if dtype is np.float64 else 1e-2  # the float32 file has lost its small eigenvalues
    assert frechet_distance(found, other) == pytest.approx(frechet_distance(PIXELS, other), rel=tolerance)
    with pytest.raises(InputError, match=r"peer.npz: has a mean and a covariance but not the number of samples"):
        FeatureStatistics.load(path)


def pickled(path):
    np.savez(path, mu=np.array([{"a": 1}], dtype=object), sigma=np.eye(1))


def without_sigma(path):
    np.savez(path, mu=np.zeros(3))


def with_words(path):
    np.savez(path, mu=np.array(["a"]), sigma=np.array([["b"]]))


def not_finite(path):
    np.savez(path, mu=np.array([np.nan]), sigma=np.eye(1))


def of_the_future(path):
    np.savez(path, schema=np.array("paragone.statistics/9"), n=np.array(3))


def without_n(path):
    np.savez(path, schema=np.array("paragone.statistics/1"), mean=np.zeros(2), scatter_upper=np.zeros(3))


def with_the_wrong_triangle(path):
    schema = np.array("paragone.statistics/1")
    np.savez(path, schema=schema, n=np.array(3), mean=np.zeros(2), scatter_upper=np.zeros(4))


def truncated(path):
    PIXELS.save(path)
    path.write_bytes(path.read_bytes()[:5000])


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (pickled, "without pickle"),
        (without_sigma, "no feature statistics in it .keys: mu; wanted: mu, sigma"),
        (with_words, "mu has dtype <U1, not numbers"),
        (not_finite, "mean or sigma is not finite"),
        (of_the_future, "'paragone.statistics/9' is not 'paragone.statistics/1'"),
        (without_n, "damaged, it lacks n"),
        (with_the_wrong_triangle, "do not fit"),
        (truncated, "cannot be read"),
        (one_array, "a single array"),
        (lambda path: path.write_text("not a zip"), "cannot be read"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_file(tmp_path, write, message):
    path = tmp_path / "broken.npz"
    write(path)
    with pytest.raises(InputError, match=message) as caught:
        load_statistics(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_adm_files_have_a_second_pair_for_spatial_features(tmp_path):
    rng = np.random.default_rng(0)
    features, spatial = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    np.savez(
        tmp_path / "adm.npz",
        mu=features.mean(axis=0),
        sigma=np.cov(features, rowvar=False),
        mu_s=spatial.mean(axis=0),
        sigma_s=np.cov(spatial, rowvar=False),
    )
    assert load_statistics(tmp_path / "adm.npz", features="inception").dim == 4
    found = load_statistics(tmp_path / "adm.npz", features="inception:sfid")
    assert isinstance(found, ForeignStatistics)
    np.testing.assert_allclose(found.sigma, np.cov(spatial, rowvar=False))
