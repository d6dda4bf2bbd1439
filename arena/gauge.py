"""What the likelihood raters share: their options, and the gauge that turns strengths into rating points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from paragone.arena.intervals import LEVEL
from paragone.arena.ratings import Anchor, resolve_anchor
from paragone.arena.votes import BothBad, FloatArray
from paragone.data.errors import UsageError

TOLERANCE = 1e-6  # rating points: the largest last Newton step
FEW_CLUSTERS = 30
Interval = Literal["none", "sandwich", "bootstrap", "profile"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The options that all likelihood raters share; `fit_bradley_terry` explains them."""

    ci: Interval
    bootstrap: int
    seed: int
    cluster: str | None
    scale: float
    base: float
    initial: float
    anchor: Anchor
    both_bad: BothBad
    prior: float | None

    def __post_init__(self) -> None:
        if self.ci not in get_args(Interval):
            raise UsageError(f"ci={self.ci!r}: use 'none', 'sandwich', 'bootstrap' or 'profile'")
        if self.ci == "bootstrap" and self.bootstrap < 100:
            raise UsageError(f"bootstrap={self.bootstrap}: a 95 % interval needs at least 100 replicates")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: give 0 or a number above")
        if self.ci == "none" and self.cluster is not None:
            raise UsageError("cluster changes the intervals only, and ci='none' asks for none")
        if self.ci == "profile" and self.cluster is not None:
            raise UsageError("profile intervals take every vote as independent; use ci='sandwich' with a cluster")
        if self.prior is not None and not (math.isfinite(self.prior) and self.prior > 0):
            raise UsageError(f"prior={self.prior}: give a standard deviation above 0, in rating points")
        check_scale(self.scale, self.base, self.initial)

    @property
    def points(self) -> float:
        """Rating points in one natural unit of strength."""
        return self.scale / math.log(self.base)

    @property
    def precision(self) -> float:
        """Of the prior, natural units; 0 without one."""
        return 0.0 if self.prior is None else (self.points / self.prior) ** 2


def check_scale(scale: float, base: float, initial: float) -> None:
    """Raise `UsageError` unless the rating scale is one."""
    if not (math.isfinite(scale) and scale > 0 and math.isfinite(base) and base > 1 and math.isfinite(initial)):
        raise UsageError(f"scale={scale}, base={base}, initial={initial}: need scale > 0, base > 1 and finite numbers")


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """From strengths θ, known up to a constant, to rating points: level + points·(θ − reference·θ)."""

    reference: FloatArray  # [M] sums to 1: all models alike, or the anchor alone
    level: float  # rating of the reference
    points: float  # rating points a natural unit

    def ratings(self, theta: FloatArray) -> FloatArray:
        """[M, …] rating points of θ [M, …]."""
        return self.level + self.points * (theta - self.reference @ theta)

    @property
    def contrast(self) -> FloatArray:
        """[M, M] rows that take θ to θ − reference·θ."""
        contrast: FloatArray = np.eye(self.reference.size) - self.reference
        return contrast

    def covariance(self, covariance: FloatArray) -> FloatArray:
        """[M, M] covariance of the ratings from that of θ."""
        spread: FloatArray = self.points**2 * self.contrast @ covariance @ self.contrast.T
        return spread


def gauge_of(options: FitOptions, models: tuple[str, ...]) -> Gauge:
    """Ratings relative to the anchor, or else to the mean of all."""
    anchor = resolve_anchor(options.anchor, models)
    if anchor is None:
        return Gauge(np.full(len(models), 1 / len(models)), options.initial, options.points)
    return Gauge(np.eye(len(models))[anchor[0]], anchor[1], options.points)


def parameters_of(options: FitOptions, models: tuple[str, ...]) -> dict[str, Any]:
    """The options as `Ratings.parameters` has them."""
    anchor = resolve_anchor(options.anchor, models)
    return {
        "scale": options.scale,
        "base": options.base,
        "initial": options.initial,
        "anchor": None if anchor is None else {models[anchor[0]]: anchor[1]},
        "both_bad": options.both_bad,
        "ties": "half a win each way",
        "ci": options.ci,
        "level": None if options.ci == "none" else LEVEL,
        "cluster": options.cluster,
        "prior": options.prior,
    }


def few_clusters(column: str | None, n_clusters: int) -> tuple[str, ...]:
    """A warning when intervals rest on few clusters."""
    if column is None or n_clusters >= FEW_CLUSTERS:
        return ()
    return (f"only {n_clusters} values of {column}: intervals by cluster are too narrow with so few",)
