"""Are a judge's soft verdicts as sure as they should be? Temperature, AUROC, Brier score, calibration error, confusion.

Soft verdicts come as log-odds l that picture A wins, people's choices as 1 (A) or 0 (B). Guo et al. 2017
(arXiv:1706.04599): one temperature T, l → l/T, mends over-confidence without changing any order. It is fitted across
folds, so that what is reported for it was not fitted on the same votes; votes on one prompt stay in one fold. Agreement
of hard verdicts (κ, AC1, α) is the business of `paragone agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, TooFewSamples, UsageError

FloatArray = NDArray[np.float64]
LOWEST_LOG_T, HIGHEST_LOG_T = -4.0, 4.0  # T in 1/55..55
NORMAL_QUANTILE = 1.959963984540054  # Φ⁻¹(0.975)
N_BINS, N_FOLDS = 10, 5


@dataclass(frozen=True, slots=True)
class Calibration:
    """How soft verdicts stand to people's choices, before and after a temperature fitted across folds."""

    temperature: float  # fitted on all votes: what to divide log-odds by from now on
    at_edge: bool  # the fit ran into its bounds: the votes do not determine a temperature
    n: int
    n_clusters: int
    auroc: float | None  # None when all choices are of one side
    brier: float
    brier_calibrated: float
    log_loss: float  # nats
    log_loss_calibrated: float
    ece: float
    ece_calibrated: float


@dataclass(frozen=True, slots=True)
class CategoryRate:
    """How often the judge chose as people did, in one category, with an interval over clusters."""

    category: str
    rate: float
    lower: float | None  # None with fewer than two clusters, or when no cluster differs from another
    upper: float | None
    n: int
    n_clusters: int
    confusion: dict[str, dict[str, int]]  # [people's outcome][judge's outcome]


def calibrate(
    log_odds: ArrayLike, chosen: ArrayLike, *, clusters: ArrayLike | None = None, folds: int = N_FOLDS, seed: int = 0
) -> Calibration:
    """Fit a temperature and say what it mends.

    Args:
        log_odds: [N] of picture A against B, finite.
        chosen: [N], 1 where people chose A, 0 where they chose B; ties have no place here.
        clusters: [N] of any labels (prompts) that stay in one fold; each vote is its own by default.
        folds: at most the number of clusters.
        seed: of the assignment of clusters to folds.

    Raises `InputError` for values that cannot be used, `TooFewSamples` with fewer than two clusters.
    """
    odds, y, label = _checked(log_odds, chosen, clusters)
    if folds < 2:
        raise UsageError(f"{folds} folds: use at least 2")
    n_clusters = int(label.max()) + 1
    if n_clusters < 2:
        raise TooFewSamples("calibration: all votes are in one cluster; folds need at least 2")
    fold = np.random.default_rng(seed).permutation(n_clusters)[label] % min(folds, n_clusters)
    held_out = np.empty_like(odds)
    for number in range(fold.max() + 1):
        inside = fold == number
        held_out[inside] = odds[inside] / fit_temperature(odds[~inside], y[~inside])
    temperature = fit_temperature(odds, y)
    before, after = sigmoid(odds), sigmoid(held_out)
    return Calibration(
        temperature=temperature,
        at_edge=abs(np.log(temperature)) > HIGHEST_LOG_T - 1e-3,
        n=len(odds),
        n_clusters=n_clusters,
        auroc=auroc(odds, y),
        brier=float(np.mean((before - y) ** 2)),
        brier_calibrated=float(np.mean((after - y) ** 2)),
        log_loss=log_loss(odds, y),
        log_loss_calibrated=log_loss(held_out, y),
        ece=expected_calibration_error(before, y),
        ece_calibrated=expected_calibration_error(after, y),
    )


def fit_temperature(log_odds: FloatArray, chosen: FloatArray) -> float:
    """The T that minimises the log loss of l/T, by golden-section search on ln T: the loss is convex in 1/T."""
    golden = (np.sqrt(5) - 1) / 2
    low, high = LOWEST_LOG_T, HIGHEST_LOG_T
    while high - low > 1e-7:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if log_loss(log_odds / np.exp(left), chosen) < log_loss(log_odds / np.exp(right), chosen):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def sigmoid(log_odds: FloatArray) -> FloatArray:
    """1 / (1 + e^−l), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(log_odds / 2)))


def log_loss(log_odds: FloatArray, chosen: FloatArray) -> float:
    """Mean −ln P(the choice), nats."""
    return float(np.mean(np.logaddexp(0.0, np.where(chosen == 1, -log_odds, log_odds))))


def auroc(log_odds: FloatArray, chosen: FloatArray) -> float | None:
    """P(a pair where A was chosen has the higher log-odds than one where B was), ties half (Hanley and McNeil 1982)."""
    positive, negative = log_odds[chosen == 1], np.sort(log_odds[chosen == 0])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def expected_calibration_error(probability: FloatArray, chosen: FloatArray, *, bins: int = N_BINS) -> float:
    """Mean gap between confidence and accuracy over bins of equally many votes (Nixon et al. 2019), 0..1.

    The confidence is that of the side preferred, max(p, 1 − p), so that the naming of the sides does not matter.
    """
    confidence = np.maximum(probability, 1 - probability)
    agreed = np.where(probability == 0.5, 0.5, (probability > 0.5) == (chosen == 1))
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(confidence[part].sum() - agreed[part].sum()) for part in parts) / len(order))


def confusion_by_category(
    human: Sequence[str], judge: Sequence[str], category: Sequence[str], *, clusters: Sequence[Any] | None = None
) -> tuple[CategoryRate, ...]:
    """How often the judge's outcome is people's, by category; intervals from the spread between clusters.

    Raises `InputError` when the columns differ in length or are empty.
    """
    columns = [
        np.asarray(list(column), dtype=object) for column in (human, judge, category, clusters or range(len(human)))
    ]
    if len({len(column) for column in columns}) > 1 or not len(human):
        raise InputError(
            f"confusion: columns of {', '.join(str(len(c)) for c in columns)} rows; give equally many, at least 1"
        )
    people, said, of, cluster = columns
    return tuple(
        _category(name, people[of == name], said[of == name], cluster[of == name]) for name in sorted(set(of), key=str)
    )


def _category(name: Any, people: NDArray[Any], said: NDArray[Any], cluster: NDArray[Any]) -> CategoryRate:
    agreed = (people == said).astype(np.float64)
    _, label = np.unique(cluster.astype(str), return_inverse=True)
    error = clustered_error(agreed, label)
    rate = float(agreed.mean())
    confusion: dict[str, dict[str, int]] = {}
    for outcome, answer in zip(people, said, strict=True):
        row = confusion.setdefault(str(outcome), {})
        row[str(answer)] = row.get(str(answer), 0) + 1
    low, high = (None, None) if error is None else (max(rate - error, 0.0), min(rate + error, 1.0))
    return CategoryRate(str(name), rate, low, high, len(agreed), int(label.max()) + 1, confusion)


def clustered_error(values: FloatArray, label: NDArray[np.intp]) -> float | None:
    """Half of the 95 % interval of a mean whose values depend within clusters (linearised; Student's t).

    None with fewer than two clusters, or when there is no spread between them: that is not certainty.
    """
    from scipy.stats import t

    sums = np.bincount(label, weights=values - values.mean())
    count = len(sums)
    if count < 2 or not np.any(np.abs(sums) > 1e-12):
        return None
    error = np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values)
    return float(t.ppf(0.975, count - 1) * error)


def _checked(
    log_odds: ArrayLike, chosen: ArrayLike, clusters: ArrayLike | None
) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
    odds, y = np.asarray(log_odds, dtype=np.float64), np.asarray(chosen, dtype=np.float64)
    if odds.ndim != 1 or odds.shape != y.shape or not len(odds):
        raise InputError(
            f"calibration: log-odds {odds.shape} and choices {y.shape}; give two columns of the same length"
        )
    if not np.isfinite(odds).all():
        raise InputError("calibration: some log-odds are not finite; leave verdicts without soft scores out")
    if not np.isin(y, (0, 1)).all():
        raise InputError("calibration: choices are 1 (A) or 0 (B); leave ties out")
    names = np.arange(len(odds)) if clusters is None else np.asarray(clusters)
    if names.shape != odds.shape:
        raise InputError(f"calibration: {len(names)} clusters for {len(odds)} votes")
    _, label = np.unique(names, return_inverse=True)
    return odds, y, label
