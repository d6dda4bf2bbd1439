"""Inception score (Salimans et al. 2016, arXiv:1606.03498): exp E KL(p(class | image) ‖ p(class))."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, logsumexp

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import as_features


@dataclass(frozen=True, slots=True)
class InceptionScore:
    """Mean and standard deviation (population form) over the splits; between 1 and min(classes, samples a split)."""

    mean: float
    standard_deviation: float
    splits: int


def inception_score(logits: ArrayLike, *, splits: int = 10, seed: int | None = None) -> InceptionScore:
    """Inception score of `logits` [N, C], in float64, over contiguous splits of nearly equal size.

    The order of the rows counts: samples sorted by class make every split poor. A `seed` shuffles them first; None
    keeps their order. Raises `TooFewSamples` for N < splits.
    """
    rows = as_features(logits, name="logits")
    if splits < 1:
        raise UsageError(f"splits={splits}: need at least 1")
    if rows.shape[1] < 2:
        raise InputError(f"logits: shape {rows.shape} has a single class; an inception score needs at least 2")
    n = len(rows)
    if n < splits:
        raise TooFewSamples(f"an inception score over {splits} splits needs at least {splits} samples; there are {n}")
    if seed is not None:
        rows = rows[np.random.default_rng(seed).permutation(n)]
    log_p = log_softmax(rows, axis=1)
    edges = [n * i // splits for i in range(splits + 1)]
    scores = np.array([_score(log_p[a:b]) for a, b in pairwise(edges)])
    return InceptionScore(float(scores.mean()), float(scores.std()), splits)


def _score(log_p: NDArray[np.float64]) -> float:
    """exp(mean KL(p(c|x) ‖ p(c))) of log-probabilities [N, C]."""
    log_marginal = logsumexp(log_p, axis=0) - np.log(len(log_p))
    divergence = (np.exp(log_p) * (log_p - log_marginal)).sum(axis=1)
    return float(np.exp(max(divergence.mean(), 0.0)))  # rounding may take a zero below
