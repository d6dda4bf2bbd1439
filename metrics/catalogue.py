"""The table of distribution metrics: one row a metric, what it needs, and how it becomes a number with its uncertainty.

A new metric is a new row; every row passes the common tests (tests/metrics/test_common.py). Intervals cover 95 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError, PluginError
from paragone.data.registry import Registry
from paragone.metrics.feature_statistics import Statistics
from paragone.metrics.frechet import frechet_estimate
from paragone.metrics.inception_score import inception_score
from paragone.metrics.kernel import kernel_distance
from paragone.metrics.memorisation import training_neighbours
from paragone.metrics.precision_recall import PrecisionRecall, precision_recall

Z95 = 1.959963984540054  # normal quantile of 0.975
NEIGHBOURS = 3
SPLITS = 10


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Side:
    """What is known of one side. Two sides are the same only when they are the same object."""

    statistics: Statistics
    features: NDArray[np.float64] | None = None  # [N, D]
    logits: NDArray[Any] | None = None  # [N, C]

    def __post_init__(self) -> None:
        n = self.n
        for name, rows in (("features", self.features), ("logits", self.logits)):
            if rows is not None and n is not None and len(rows) != n:
                raise InputError(f"{name} of {len(rows)} samples do not belong to statistics of {n}")

    @property
    def n(self) -> int | None:
        """Number of samples; None when a foreign statistics file does not say it."""
        return self.statistics.n


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric's value and what is known of its uncertainty; `details` are plain JSON values that explain both."""

    value: float
    standard_error: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row. `compute(*, reference, generated, training=None, seed=0)` gives the estimate, or raises a named error.

    `requires` names what must be there: "statistics" and "features" of reference and generated, "logits" of generated,
    "training" a training side with features. `min_n` is the least number of samples of every side that is used.
    """

    name: str
    title: str
    higher_is_better: bool
    requires: frozenset[str]
    min_n: int
    compute: Callable[..., Estimate]


def metric_named(name: str) -> Metric:
    """The row called `name`, built in, aliased or plugged in; raises `PluginError` with the nearest name."""
    row = METRICS.load(ALIASES.get(name, name))
    if not isinstance(row, Metric):
        raise PluginError(f"the metric {name!r} is a {type(row).__name__}, not a paragone.metrics.Metric")
    return row


# ---- Rows ----------------------------------------------------------------------------------------------------------


def _fd(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """Fréchet distance. The interval is for its expectation at these numbers of samples, not for the limit of many."""
    found = frechet_estimate(
        reference.statistics,
        generated.statistics,
        reference_features=reference.features,
        generated_features=generated.features,
    )
    details: dict[str, Any] = {
        "method": found.method,
        "dimensions": found.dim,
        "mean_term": found.mean_term,
        "covariance_term": found.covariance_term,
        "numeric_bound": found.numeric_bound,
        "standard_error_generated": found.standard_error_generated,
        "standard_error_reference": found.standard_error_reference,
    }
    if found.standard_error is None:
        full_rank = found.method == "cholesky"
        details["no_interval"] = (
            "features of one side are not known" if full_rank else "a covariance lacks full rank (n ≤ D?)"
        )
        return Estimate(found.value, details=details)
    details["interval_for"] = "expected value at these numbers of samples (bias at finite n included)"
    return _normal(found.value, found.standard_error, details, lowest=0.0)


def _kid(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """Kernel distance, with subsets of 1000 or, of fewer samples, of all of the smaller side."""
    x, y = _features(reference, "reference"), _features(generated, "generated")
    subset_size = max(2, min(1000, len(x), len(y)))  # fewer than 2 is an error, which kernel_distance words
    found = kernel_distance(x, y, subset_size=subset_size, seed=seed)
    details = {
        "standard_deviation": found.standard_deviation,
        "subsets": found.subsets,
        "subset_size": found.subset_size,
    }
    return _normal(found.mean, found.standard_error, details)


def _inception_score(
    *, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0
) -> Estimate:
    """Inception score of the generated side, over splits of the shuffled samples."""
    if generated.logits is None:
        raise InputError(
            "inception_score needs class logits of the generated samples; choose an extractor that has them"
        )
    found = inception_score(generated.logits, splits=SPLITS, seed=seed)
    details = {
        "standard_deviation": found.standard_deviation,
        "splits": found.splits,
        "samples_per_split": len(generated.logits) // found.splits,
    }
    # The splits are disjoint, so their spread (with N - 1) is that of independent estimates.
    return _normal(found.mean, found.standard_deviation / np.sqrt(found.splits - 1), details, lowest=1.0)


def _precision(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return _share(found.precision, found.n_generated, "reference balls", {"k": found.k})


def _recall(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return _share(found.recall, found.n_reference, "generated balls", {"k": found.k})


def _density(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    standard_error = found.density_deviation / np.sqrt(found.n_generated)
    return _normal(found.density, standard_error, {"k": found.k, "interval_given": "reference balls"}, lowest=0.0)


def _coverage(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = _balls(reference, generated)
    return _share(found.coverage, found.n_reference, "generated samples", {"k": found.k})


def _authenticity(
    *, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0
) -> Estimate:
    if training is None:
        raise InputError("authenticity needs the training set of the generator; name it with --training")
    found = training_neighbours(_features(training, "training"), _features(generated, "generated"))
    return _share(found.authenticity, len(found.authentic), "training set", {"copied": found.copied})


# ---- Shared --------------------------------------------------------------------------------------------------------

_BALLS: WeakKeyDictionary[Side, WeakKeyDictionary[Side, PrecisionRecall]] = WeakKeyDictionary()


def _balls(reference: Side, generated: Side) -> PrecisionRecall:
    """The four numbers of `precision_recall`, computed once for two sides for as long as both live."""
    of_reference = _BALLS.setdefault(reference, WeakKeyDictionary())
    if generated not in of_reference:
        of_reference[generated] = precision_recall(
            _features(reference, "reference"), _features(generated, "generated"), k=NEIGHBOURS
        )
    return of_reference[generated]


def _features(side: Side, name: str) -> NDArray[np.float64]:
    if side.features is None:
        raise InputError(f"{name}: statistics alone do not do here; give the images, or a file with their features")
    return side.features


def _normal(value: float, standard_error: float, details: dict[str, Any], *, lowest: float = -np.inf) -> Estimate:
    half = Z95 * float(standard_error)
    return Estimate(value, float(standard_error), max(lowest, value - half), value + half, details)


def _share(share: float, n: int, given: str, details: dict[str, Any]) -> Estimate:
    """A share of n samples with Wilson's interval (1927), whose half-width gives a standard error that is never zero.

    It holds for sampling the counted side with `given` fixed; in simulations with both sides redrawn, shares
    scattered 1.1 to 1.4 times as much.
    """
    shrink = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * float(np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)))
    low, high = max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
    return Estimate(share, half / Z95, low, high, {**details, "interval_given": given})


_TABLE = (
    Metric("fd", "Fréchet distance", False, frozenset({"statistics"}), 2, _fd),
    Metric("kid", "Kernel distance", False, frozenset({"features"}), 2, _kid),
    Metric("inception_score", "Inception score", True, frozenset({"logits"}), SPLITS, _inception_score),
    Metric("precision", "Precision", True, frozenset({"features"}), NEIGHBOURS + 1, _precision),
    Metric("recall", "Recall", True, frozenset({"features"}), NEIGHBOURS + 1, _recall),
    Metric("density", "Density", True, frozenset({"features"}), NEIGHBOURS + 1, _density),
    Metric("coverage", "Coverage", True, frozenset({"features"}), NEIGHBOURS + 1, _coverage),
    Metric("authenticity", "Authenticity", True, frozenset({"features", "training"}), 2, _authenticity),
)
ALL_METRICS: dict[str, Metric] = {row.name: row for row in _TABLE}
METRICS = Registry("metrics", {name: f"{__name__}:ALL_METRICS.{name}" for name in ALL_METRICS})
ALIASES: dict[str, str] = {"fid": "fd"}  # an fd of Inception features is called fid
