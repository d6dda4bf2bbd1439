"""What a metric is given, what it gives back, and the two shapes that its interval can take.

Rows of the table of metrics (paragone.metrics.catalogue) are written in these words. Intervals cover 95 %.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError
from paragone.metrics.feature_statistics import Rows, Statistics

Z95 = 1.959963984540054  # normal quantile of 0.975


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Side:
    """What is known of one side. Two sides are the same only when they are the same object.

    Features are as the extractor made them, and may lie on disk: metrics promote them to float64 block by block
    (paragone.metrics.feature_statistics.promoted).
    """

    statistics: Statistics
    features: Rows | None = None  # [N, D]
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
class Settings:
    """Options of a row: a subclass has one field an option, each with a default."""

    def least_samples(self) -> int | None:
        """The least number of samples of every side under these settings; None: the row's own."""
        return None


@dataclass(frozen=True, slots=True)
class Metric:
    """One row. `compute(*, reference, generated, training=None, seed=0)` gives the estimate, or raises a named error.

    A row with `settings` is also given `settings=` of that type. `alone`: it can do without a reference that it would
    look at if there were one.

    `requires` names what must be there: "statistics" and "features" of reference and generated, "logits" of generated,
    "training" a training side with features. A row that needs "training" looks at the reference only if it names
    "reference" too: one that is held out from training. `min_n` is the least number of samples of every side that is
    used.
    """

    name: str
    title: str
    higher_is_better: bool
    requires: frozenset[str]
    min_n: int
    compute: Callable[..., Estimate]
    settings: Settings | None = None
    alone: bool = False

    def estimate(
        self, *, reference: Side | None, generated: Side, training: Side | None = None, seed: int = 0
    ) -> Estimate:
        """`compute` under the row's settings."""
        sides = {"reference": reference, "generated": generated, "training": training}
        return self.compute(**sides, seed=seed, **({} if self.settings is None else {"settings": self.settings}))


# ---- What rows share -----------------------------------------------------------------------------------------------


def features_of(side: Side, name: str) -> Rows:
    if side.features is None:
        raise InputError(f"{name}: statistics alone do not do here; give the images, or a file with their features")
    return side.features


def normal_estimate(
    value: float, standard_error: float, details: dict[str, Any], *, lowest: float = -np.inf
) -> Estimate:
    half = Z95 * float(standard_error)
    return Estimate(value, float(standard_error), max(lowest, value - half), value + half, details)


def share_estimate(share: float, n: int, given: str, details: dict[str, Any]) -> Estimate:
    """A share of n samples with Wilson's interval (1927), whose half-width gives a standard error that is never zero.

    It holds for sampling the counted side with `given` fixed; in simulations with both sides redrawn, shares
    scattered 1.1 to 1.4 times as much.
    """
    shrink = 1 + Z95**2 / n
    centre = (share + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * float(np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2)))
    low, high = max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
    return Estimate(share, half / Z95, low, high, {**details, "interval_given": given})


def clustered_error(values: NDArray[np.float64], groups: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of values whose groups are independent (Liang & Zeger 1986); None for one group."""
    if len(groups) != len(values):
        raise InputError(f"{len(groups)} groups of {len(values)} values; give one for each")
    place = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    if len(place) < 2:
        return None
    sums = np.bincount([place[group] for group in groups], weights=values - values.mean())
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()) / len(values))
