"""What every row of the table of metrics owes: a new metric gets these tests by being a row."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from paragone.data.errors import InputError, ParagoneError, PluginError, TooFewSamples
from paragone.metrics import ALIASES, ALL_METRICS, FeatureStatistics, Side, metric_named, rows_neighbours

DIGITS = load_digits()
PIXELS = DIGITS.data / 16  # [1797, 64]
LOGITS = -8 * np.square(PIXELS[:, None] - [PIXELS[DIGITS.target == c].mean(axis=0) for c in range(10)]).sum(axis=2)
# Principal components of the pixels: of full rank, and without the ties of pixels, which a rotation would break.
FEATURES = PIXELS @ np.linalg.svd(PIXELS - PIXELS.mean(axis=0), full_matrices=False)[2][:24].T

ROWS = pytest.mark.parametrize("row", ALL_METRICS.values(), ids=ALL_METRICS)
MIRRORED = {  # when the sides are swapped
    "fd": "fd",
    "kid": "kid",
    "cmmd": "cmmd",
    "mind": "mind",
    "precision": "recall",
    "recall": "precision",
}
BEST_ON_IDENTICAL = {"fd": 0.0, "kid": 0.0, "cmmd": 0.0, "mind": 0.0, "precision": 1.0, "recall": 1.0, "coverage": 1.0}
# Whose value depends on a random split, so on the order within its standard error.
SAMPLED = {"inception_score", "fd_infinity", "c_t"}
DIVERSITY = {"recall", "coverage", "vendi"}
MEMORISATION = {"authenticity", "near_duplicates", "c_t"}


def side(features, logits=None):
    return Side(FeatureStatistics.from_features(features), np.asarray(features, dtype=np.float64), logits)


def rows_of(index):
    return side(FEATURES[index], LOGITS[index])


def measure(row, reference, generated, training=None, seed=0):
    return row.compute(reference=reference, generated=generated, training=training, seed=seed)


REFERENCE, GENERATED, TRAINING = (rows_of(slice(start, None, 3)) for start in range(3))


@ROWS
def test_a_row_describes_itself(row):
    assert ALL_METRICS[row.name] is row
    assert row.title
    assert row.requires
    assert row.requires <= {"statistics", "features", "logits", "training", "reference"}
    assert row.min_n >= 1


@ROWS
def test_the_value_is_finite_and_explains_itself(row):
    estimate = measure(row, REFERENCE, GENERATED, TRAINING)
    assert np.isfinite(estimate.value)
    assert type(estimate.value) is float
    assert estimate.standard_error is not None
    assert estimate.ci_low is not None
    assert estimate.ci_high is not None
    assert estimate.standard_error > 0
    assert estimate.ci_low <= estimate.value <= estimate.ci_high
    assert estimate.ci_high - estimate.ci_low <= 2 * 1.96 * estimate.standard_error * (1 + 1e-6)
    json.dumps(estimate.details, allow_nan=False)


@ROWS
def test_a_seed_decides_the_value(row):
    assert measure(row, REFERENCE, GENERATED, TRAINING, seed=3) == measure(row, REFERENCE, GENERATED, TRAINING, seed=3)


@ROWS
def test_the_order_of_samples_does_not_matter(row):
    rng = np.random.default_rng(0)
    one = measure(row, REFERENCE, GENERATED, TRAINING)
    other = measure(row, *(rows_of(rng.permutation(np.arange(start, 1797, 3))) for start in range(3)))
    tolerance = 3 * one.standard_error if row.name in SAMPLED else 1e-9 * abs(one.value) + 1e-12
    assert other.value == pytest.approx(one.value, abs=tolerance)


@ROWS
def test_a_rotation_of_the_features_does_not_matter(row):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0]
    turned = [side(each.features @ rotation, each.logits) for each in (REFERENCE, GENERATED, TRAINING)]
    one, other = measure(row, REFERENCE, GENERATED, TRAINING), measure(row, *turned)
    directions = one.details.get("standard_error_directions", 0)  # random ones turn up elsewhere
    assert other.value == pytest.approx(one.value, rel=1e-6, abs=max(1e-9, 4 * directions))


@pytest.mark.parametrize(("name", "mirrored"), MIRRORED.items())
def test_swapped_sides(name, mirrored):
    one = measure(ALL_METRICS[name], REFERENCE, GENERATED)
    other = measure(ALL_METRICS[mirrored], GENERATED, REFERENCE)
    assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "best"), BEST_ON_IDENTICAL.items())
def test_identical_sets_are_best(name, best):
    value = measure(ALL_METRICS[name], REFERENCE, rows_of(slice(0, None, 3))).value
    if name == "kid":  # unbiased, so below zero by what the diagonal would add
        assert best - 0.1 < value < best
    else:
        assert value == pytest.approx(best, abs=1e-10)


def degraded(row, level):
    """The generated side, ever worse in a way that the metric is there to see."""
    rng = np.random.default_rng(1)
    if row.name in DIVERSITY:  # fewer and fewer of the ten classes
        kept = np.flatnonzero((DIGITS.target < 10 - 3 * level) & (np.arange(1797) % 3 == 1))
        return rows_of(rng.choice(kept, 50, replace=False))
    if row.name == "rarity":  # ever more typical ones
        index = np.arange(1, 1797, 3)
        to_reference = np.linalg.norm(FEATURES[index, None] - REFERENCE.features, axis=2)
        return rows_of(index[np.argsort(np.sort(to_reference, axis=1)[:, 4])[: 599 // 2**level]])
    if row.name in MEMORISATION:  # more and more replayed training samples
        index = np.arange(1, 1797, 3)
        replayed = rng.random(index.size) < level / 3
        return rows_of(np.where(replayed, index + 1, index))
    noise = (0.5 if row.name == "kid" else 0.15) * level * rng.standard_normal(GENERATED.features.shape)
    return side(GENERATED.features + noise, GENERATED.logits / (1 + 10 * level))


@ROWS
def test_the_worse_the_samples_the_worse_the_value(row):
    values = [measure(row, REFERENCE, degraded(row, level), TRAINING).value for level in range(4)]
    assert values == sorted(values, reverse=row.higher_is_better)
    assert abs(values[0] - values[-1]) > 0.05 * abs(values[0])


@ROWS
def test_too_few_samples_are_an_error(row):
    few = rows_of(slice(0, row.min_n - 1))
    with pytest.raises(TooFewSamples):
        measure(row, few, few, few)
    enough = rows_of(slice(0, row.min_n))
    assert np.isfinite(measure(row, enough, enough, enough).value)


@ROWS
def test_what_is_missing_is_an_error(row):
    bare = Side(REFERENCE.statistics)
    if row.requires == {"statistics"}:
        assert measure(row, bare, bare).value == pytest.approx(0, abs=1e-10)
    else:
        with pytest.raises(InputError):
            measure(row, bare, bare, bare)
    if "training" in row.requires:
        with pytest.raises(InputError, match="training"):
            measure(row, REFERENCE, GENERATED)
    if "reference" in row.requires:
        with pytest.raises(InputError, match="reference"):
            measure(row, None, GENERATED, TRAINING)


def test_the_four_numbers_of_one_pass_are_computed_once(monkeypatch):
    calls, original = [], rows_neighbours.precision_recall
    monkeypatch.setattr(
        rows_neighbours, "precision_recall", lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs)
    )
    reference, generated = rows_of(slice(0, 50)), rows_of(slice(50, 100))
    for name in ("precision", "recall", "density", "coverage"):
        measure(ALL_METRICS[name], reference, generated)
    assert len(calls) == 1
    measure(ALL_METRICS["recall"], generated, reference)
    assert len(calls) == 2
    remembered = len(rows_neighbours._BALLS)
    calls.clear()
    del reference, generated
    gc.collect()
    assert len(rows_neighbours._BALLS) < remembered  # nothing is kept alive


def test_a_share_of_all_or_none_is_not_certain():
    found = measure(ALL_METRICS["precision"], REFERENCE, side(FEATURES[:300] + 100))
    assert found.value == found.ci_low == 0
    assert found.standard_error > 0
    assert found.ci_high == pytest.approx(1.96**2 / (300 + 1.96**2), rel=1e-3)  # Wilson's upper end for none of 300


def test_an_fd_without_an_interval_says_why():
    few = measure(ALL_METRICS["fd"], REFERENCE, rows_of(slice(0, 20)))
    assert few.standard_error is few.ci_low is few.ci_high is None
    assert "full rank" in few.details["no_interval"]
    bare = measure(ALL_METRICS["fd"], Side(REFERENCE.statistics), GENERATED)
    assert bare.standard_error is None
    assert "not known" in bare.details["no_interval"]
    assert bare.details["standard_error_generated"] > 0


def test_names_and_aliases():
    assert metric_named("fid") is metric_named("fd") is ALL_METRICS["fd"]
    assert set(ALIASES.values()) <= set(ALL_METRICS)
    assert not set(ALIASES) & set(ALL_METRICS)
    with pytest.raises(PluginError, match="no metric is called 'precison'; did you mean 'precision'"):
        metric_named("precison")


def test_a_side_refuses_features_of_other_samples():
    with pytest.raises(ParagoneError, match="features of 100 samples do not belong to statistics of 599"):
        Side(REFERENCE.statistics, FEATURES[:100])


def test_importing_the_package_does_not_import_torch():
    code = "import sys, paragone.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
