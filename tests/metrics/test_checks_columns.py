"""What each sample adds to a metric: against brute force, recomputation without it, and invariances."""

from __future__ import annotations

import numpy as np
import pytest

from paragone.data.errors import TooFewSamples, UsageError
from paragone.metrics import FeatureStatistics, frechet_distance, precision_recall, training_neighbours
from paragone.metrics.catalogue import ALL_METRICS, Side
from paragone.metrics.checks import Difference
from paragone.metrics.checks_columns import Sides, column_of
from paragone.metrics.checks_paired import Column, difference_of
from paragone.metrics.run_items import GROUPS, Items, lay_out
from paragone.metrics.vendi import vendi


def side(features: np.ndarray) -> Side:
    return Side(FeatureStatistics.from_features(features), features)


def named(n: int) -> Items:
    return Items(tuple(f"{number}.png" for number in range(n)))


def column(metric: str, reference: np.ndarray, made: np.ndarray, training: np.ndarray | None = None) -> Column:
    sides = Sides(side(made), named(len(made)), side(reference), None if training is None else side(training))
    return column_of(ALL_METRICS[metric], sides)


def difference(metric: str, reference: np.ndarray, a: np.ndarray, b: np.ndarray) -> Difference:
    items = named(len(a))
    found = difference_of(
        column(metric, reference, a),
        column(metric, reference, b),
        lay_out(items, items),
        higher_is_better=ALL_METRICS[metric].higher_is_better,
        margin=1.0,
        counts=(len(a), len(b)),
    )
    assert isinstance(found, Difference)
    return found


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reference, and two checkpoints whose samples are alike in pairs."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((240, 6))
    pair = [0.8 * common + 0.6 * rng.standard_normal((240, 6)) for _ in "ab"]
    return rng.standard_normal((200, 6)), pair[0] * 1.2, pair[1] * 1.3 + 0.1


def test_kid_is_the_unbiased_statistic_and_its_projection(sets: tuple[np.ndarray, ...]) -> None:
    reference, made, _ = sets
    kernel = [(x @ y.T / 6 + 1) ** 3 for x, y in ((made, made), (made, reference), (reference, reference))]
    n, m = len(made), len(reference)
    within, within_reference = (k.sum() - np.trace(k) for k in (kernel[0], kernel[2]))
    value = within / (n * (n - 1)) + within_reference / (m * (m - 1)) - 2 * kernel[1].mean()
    found = column("kid", reference, made)
    assert found.value == pytest.approx(value)
    means = (kernel[0].sum(axis=1) - kernel[0].diagonal()) / (n - 1)
    assert found.contributions == pytest.approx(2 * (means - kernel[1].mean(axis=1)))


def test_fd_is_corrected_by_halves_and_its_influence_sums_to_zero(sets: tuple[np.ndarray, ...]) -> None:
    reference, made, _ = sets
    found = column("fd", reference, made)
    assert found.plain == pytest.approx(frechet_distance(reference, made))
    halves = [frechet_distance(reference, made[rows]) for rows in named(240).halves()]
    assert found.value == pytest.approx(2 * frechet_distance(reference, made) - sum(halves) / 2)
    assert abs(found.contributions.mean()) < 1e-10 * np.abs(found.contributions).max()
    without = [frechet_distance(reference, np.delete(made, row, axis=0)) for row in range(60)]
    assert np.corrcoef(found.contributions[:60], -np.array(without))[0, 1] > 0.995


@pytest.mark.parametrize("metric", ["recall", "coverage"])
def test_the_jackknife_is_that_of_recomputing_without_each_group(metric: str, sets: tuple[np.ndarray, ...]) -> None:
    reference, made, _ = sets
    groups = named(240).groups()
    whole = getattr(precision_recall(reference, made), metric)
    left_out = np.array(
        [getattr(precision_recall(reference, made[groups != group]), metric) for group in range(GROUPS)]
    )
    found = column(metric, reference, made)
    assert found.value == whole
    assert found.contributions == pytest.approx(GROUPS * whole - (GROUPS - 1) * left_out, abs=1e-6)
    assert found.of == "groups"


@pytest.mark.parametrize("metric", ["precision", "density"])
def test_means_of_samples_are_those_of_the_metric(metric: str, sets: tuple[np.ndarray, ...]) -> None:
    reference, made, _ = sets
    found = column(metric, reference, made)
    assert found.value == pytest.approx(getattr(precision_recall(reference, made), metric))
    assert found.is_mean


def test_memorisation_is_a_mean_of_samples(sets: tuple[np.ndarray, ...]) -> None:
    reference, made, training = sets
    made = np.concatenate([made, training[:20]])
    found = column("authenticity", reference, made, training)
    assert found.value == training_neighbours(training, made).authenticity
    assert not found.contributions[-20:].any()
    assert column("near_duplicates", reference, made, training).contributions[-20:].all()
    with pytest.raises(UsageError, match="training"):
        column("authenticity", reference, made)


def test_vendi_and_any_other_metric_of_features(sets: tuple[np.ndarray, ...]) -> None:
    reference, made, _ = sets
    found = column("vendi", reference, made)
    assert found.value == pytest.approx(vendi(made).value)
    assert found.standard_error == pytest.approx(vendi(made).standard_error)
    other = column("mind", reference, made)
    assert other.of == "groups"
    assert other.depends_on_n
    with pytest.raises(UsageError, match="logits"):
        column("inception_score", reference, made)


@pytest.mark.parametrize("metric", ["fd", "kid", "precision", "recall", "coverage", "vendi"])
def test_rotating_the_features_changes_no_verdict(metric: str, sets: tuple[np.ndarray, ...]) -> None:
    reference, a, b = sets
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))[0]
    one, two = difference(metric, *sets), difference(metric, *(features @ turn for features in (reference, a, b)))
    assert two.worsening == pytest.approx(one.worsening, rel=1e-6, abs=1e-9)
    assert two.standard_error == pytest.approx(one.standard_error, rel=1e-6)


def test_pairing_narrows_the_interval(sets: tuple[np.ndarray, ...]) -> None:
    reference, a, b = sets
    apart = difference_of(
        column("fd", reference, a),
        column("fd", reference, b),
        lay_out(named(240), Items(tuple(f"other-{number}" for number in range(240)))),
        higher_is_better=False,
        margin=1.0,
        counts=(240, 240),
    )
    assert isinstance(apart, Difference)
    assert difference("fd", *sets).standard_error < 0.9 * apart.standard_error


def test_too_few_samples_for_an_fd_are_named() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(TooFewSamples, match="130 samples at least; there are 100"):
        column("fd", rng.standard_normal((500, 64)), rng.standard_normal((100, 64)))
    with pytest.raises(TooFewSamples, match="groups"):
        column("recall", rng.standard_normal((50, 3)), rng.standard_normal((12, 3)))


def test_the_noise_of_fresh_samples_is_the_standard_error() -> None:
    """FD, KID, precision and coverage of two generators of one law, 60 times: spread against mean standard error."""
    reference = np.random.default_rng(3).standard_normal((400, 8))
    found: dict[str, list[tuple[float, float]]] = {"fd": [], "kid": [], "precision": [], "coverage": []}
    for seed in range(60):
        rng = np.random.default_rng(100 + seed)
        common = rng.standard_normal((200, 8))
        a, b = (1.3 * (0.8 * common + 0.6 * rng.standard_normal((200, 8))) for _ in "ab")
        for metric, values in found.items():
            one = difference(metric, reference, a, b)
            values.append((one.worsening, one.standard_error))
    for metric, values in found.items():
        spread, error = np.std([d for d, _ in values], ddof=1), np.mean([e for _, e in values])
        assert 0.75 < error / spread < 1.35, metric
        assert abs(np.mean([d for d, _ in values])) < 3.5 * spread / np.sqrt(60), metric
