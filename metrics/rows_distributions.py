"""Rows of the table of metrics that see the two sides as distributions or the generated side by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paragone.data.errors import InputError
from paragone.metrics.estimates import Estimate, Metric, Side, features_of, normal_estimate
from paragone.metrics.fd_infinity import frechet_half_split, frechet_infinity
from paragone.metrics.feature_statistics import FeatureStatistics
from paragone.metrics.frechet import frechet_estimate
from paragone.metrics.inception_score import DEFAULT_SPLITS, inception_score
from paragone.metrics.kernel import cmmd, kernel_distance
from paragone.metrics.quadratic import jedi
from paragone.metrics.settings import FrechetSettings, InceptionScoreSettings, InfinitySettings, KernelSettings
from paragone.metrics.sliced import mind
from paragone.metrics.vendi import vendi_profile

_FRECHET, _INFINITY = FrechetSettings(), InfinitySettings()
_KERNEL, _INCEPTION_SCORE = KernelSettings(), InceptionScoreSettings()


def _fd(
    *,
    reference: Side,
    generated: Side,
    training: Side | None = None,
    seed: int = 0,
    settings: FrechetSettings = _FRECHET,
) -> Estimate:
    """Fréchet distance. The interval is for its expectation at these numbers of samples, not for the limit of many."""
    if settings.ddof == 0:
        reference, generated = _divided_by_n(reference), _divided_by_n(generated)
    if settings.eps:
        reference, generated = _padded(reference, settings.eps), _padded(generated, settings.eps)
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
    return normal_estimate(found.value, found.standard_error, details, lowest=0.0)


def _divided_by_n(side: Side) -> Side:
    """The side with a scatter so small that its covariance is scatter / n; one of unknown n as it is.

    Features of no more samples than dimensions stand for the covariance and shrink about their mean with it.
    """
    statistics = side.statistics
    if not isinstance(statistics, FeatureStatistics) or statistics.n < 2:
        return side
    share = (statistics.n - 1) / statistics.n
    features = side.features
    if features is not None and statistics.n <= statistics.dim:
        features = statistics.mean + np.sqrt(share) * (features - statistics.mean)
    return replace(side, statistics=replace(statistics, scatter=share * statistics.scatter), features=features)


def _padded(side: Side, eps: float) -> Side:
    """The side with eps added to the diagonal of its covariance, which then has full rank."""
    statistics = side.statistics
    diagonal = eps * np.eye(statistics.dim)
    if not isinstance(statistics, FeatureStatistics):
        return replace(side, statistics=replace(statistics, sigma=statistics.sigma + diagonal))
    padded = replace(statistics, scatter=statistics.scatter + (statistics.n - 1) * diagonal)
    # Features of no more samples than dimensions would stand for the covariance without it.
    return replace(side, statistics=padded, features=side.features if statistics.n > statistics.dim else None)


def _fd_infinity(
    *,
    reference: Side,
    generated: Side,
    training: Side | None = None,
    seed: int = 0,
    settings: InfinitySettings = _INFINITY,
) -> Estimate:
    """Intercept of the line over 1 / n, with the correction by halves beside it."""
    features = features_of(generated, "generated")
    given = reference.features if reference.n is not None else None
    found = frechet_infinity(
        reference.statistics, features, reference_features=given, points=settings.points, seed=seed
    )
    by_halves = frechet_half_split(
        reference.statistics, features, reference_features=given, distance=found.distance, seed=seed
    )
    details: dict[str, Any] = {
        "fd": found.distance,
        "slope": found.slope,
        "sample_sizes": list(found.sample_sizes),
        "distances": list(found.distances),
        "bias_corrected": by_halves.value,
        "bias_corrected_by": "2 FD(n) - mean FD(n / 2) over halves of "
        + ("both sides" if by_halves.reference_halved else "the generated side"),
        "standard_error_generated": found.standard_error_generated,
        "standard_error_reference": found.standard_error_reference,
    }
    if len(features) < 4 * features.shape[1]:
        details["caution"] = "fewer than 4 D samples: the bias is not yet a line in 1 / n, and the value too low"
    if found.standard_error is None:
        details["no_interval"] = "features of one side are not known, or a covariance lacks full rank (n ≤ D?)"
        return Estimate(found.value, details=details)
    details["interval_for"] = "the limit of many generated samples, given a reference of this size (its bias included)"
    return normal_estimate(found.value, found.standard_error, details)


def _kid(
    *,
    reference: Side,
    generated: Side,
    training: Side | None = None,
    seed: int = 0,
    settings: KernelSettings = _KERNEL,
) -> Estimate:
    """Kernel distance, with subsets of 1000 or, of fewer samples, of all of the smaller side, if no size is set."""
    x, y = features_of(reference, "reference"), features_of(generated, "generated")
    # Fewer than 2 is an error, which kernel_distance words.
    subset_size = settings.subset_size or max(2, min(1000, len(x), len(y)))
    found = kernel_distance(x, y, subsets=settings.subsets, subset_size=subset_size, seed=seed, draws=settings.draws)
    details = {
        "standard_deviation": found.standard_deviation,
        "subsets": found.subsets,
        "subset_size": found.subset_size,
    }
    return normal_estimate(found.mean, found.standard_error, details)


def _cmmd(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """The published form: V-statistic, times 1000."""
    found = cmmd(features_of(reference, "reference"), features_of(generated, "generated"))
    details = {"unbiased": found.unbiased, "form": "biased (V-statistic), times 1000, bandwidth 10 on unit vectors"}
    return normal_estimate(found.biased, found.standard_error, details, lowest=0.0)


def _jedi(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """The unbiased form; the published one stands in the details."""
    found = jedi(features_of(reference, "reference"), features_of(generated, "generated"))
    details = {"biased": found.biased, "form": "unbiased (U-statistic), times 100, kernel (x·y / D)²"}
    return normal_estimate(found.unbiased, found.standard_error, details)


def _mind(*, reference: Side, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    found = mind(features_of(reference, "reference"), features_of(generated, "generated"), seed=seed)
    details = {
        "directions": found.directions,
        "standard_error_samples": found.standard_error_samples,
        "standard_error_directions": found.standard_error_directions,
        "interval_for": "expected value at these numbers of samples (bias at finite n included)",
    }
    return normal_estimate(found.value, found.standard_error, details, lowest=0.0)


def _vendi(*, reference: Side | None = None, generated: Side, training: Side | None = None, seed: int = 0) -> Estimate:
    """Of the generated side; that of the reference, to be read beside it, stands in the details."""
    features = features_of(generated, "generated")
    found = {score.q: score for score in vendi_profile(features)}
    details: dict[str, Any] = {f"q={q:g}": score.value for q, score in found.items() if q != 1}
    if reference is not None and reference.features is not None:
        details["of_reference"] = vendi_profile(reference.features, orders=(1.0,))[0].value
        details["n_reference"] = len(reference.features)
    if len(features) < 5 * found[1.0].value:
        details["caution"] = "nearly all samples differ: the value is limited by n, the interval rough"
    return normal_estimate(found[1.0].value, found[1.0].standard_error, details, lowest=1.0)


def _inception_score(
    *,
    reference: Side | None = None,
    generated: Side,
    training: Side | None = None,
    seed: int = 0,
    settings: InceptionScoreSettings = _INCEPTION_SCORE,
) -> Estimate:
    """Inception score of the generated side, over splits of the samples, shuffled unless the settings say otherwise."""
    if generated.logits is None:
        raise InputError(
            "inception_score needs class logits of the generated samples; choose an extractor that has them"
        )
    found = inception_score(
        generated.logits,
        splits=settings.splits,
        split_size=settings.split_size,
        splitting=settings.splitting,
        seed=seed,
    )
    details: dict[str, Any] = {
        "standard_deviation": found.standard_deviation,
        "splits": found.splits,
        "samples_per_split": settings.split_size or len(generated.logits) // found.splits,
    }
    if found.splits == 1:
        return Estimate(found.mean, details=details | {"no_interval": "a single split has no spread"})
    # The splits are disjoint, so their spread (with N - 1) is that of independent estimates.
    error = float(np.std(found.scores, ddof=1) / np.sqrt(found.splits))
    return normal_estimate(found.mean, error, details, lowest=1.0)


ROWS = (
    Metric("fd", "Fréchet distance", False, frozenset({"statistics"}), 2, _fd, _FRECHET),
    Metric("fd_infinity", "Fréchet distance at infinite n", False, frozenset({"features"}), 4, _fd_infinity, _INFINITY),
    Metric("kid", "Kernel distance", False, frozenset({"features"}), 2, _kid, _KERNEL),
    Metric("cmmd", "CMMD", False, frozenset({"features"}), 2, _cmmd),
    Metric("jedi", "Quadratic kernel distance", False, frozenset({"features"}), 2, _jedi),
    Metric("mind", "Sliced Wasserstein distance", False, frozenset({"features"}), 2, _mind),
    Metric("vendi", "Vendi score", True, frozenset({"features"}), 2, _vendi, alone=True),
    Metric(
        "inception_score",
        "Inception score",
        True,
        frozenset({"logits"}),
        DEFAULT_SPLITS,
        _inception_score,
        _INCEPTION_SCORE,
    ),
)
