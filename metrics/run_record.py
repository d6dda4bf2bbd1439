"""The run record `paragone.run/1`: what one checkpoint's samples measured, so that a later one can be held against it.

A record has identity (model, prompts, extractor, protocol, reference, judge), one column of contributions a metric, the
feature statistics, and what a candidate needs to be measured alike: the reference, as float64 statistics and float16
features. A *baseline* is a record with gates, blessed on purpose. It is two files: NAME.json, short, sorted and made to
be read in a diff, and NAME.npz beside it, which the JSON names by digest (paragone.metrics.run_files).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError
from paragone.data.records import Prompt
from paragone.metrics.checks import ALPHA, POWER, Gate
from paragone.metrics.checks_paired import Column
from paragone.metrics.feature_statistics import FeatureStatistics, Rows, Statistics, promoted
from paragone.metrics.inputs import KnownSide
from paragone.metrics.run_items import Items

SCHEMA = "paragone.run/1"
KEPT_ROWS = 10_000  # of the reference or training set; what is larger must be named again for every check


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One metric of a run. `column` is None where its test needs more samples than there are, as `reason` says."""

    metric: str
    higher_is_better: bool
    signature: str  # all that must agree with another run's
    value: float  # what `paragone metrics` would print, or, of kid, the unbiased statistic of all samples
    column: Column | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the samples were measured, so that a candidate can be measured alike."""

    features: str = ""  # the extractor's name as it is asked for; "": the default of what there is
    protocol: str = "paragone"
    metrics: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    seed: int = 0
    clips: Mapping[str, object] = field(default_factory=dict)  # options of clips that were given


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Features [N, D] in float16, in units of each dimension's standard deviation about its mean: 3 digits of each."""

    mean: NDArray[np.float32]  # [D]
    scale: NDArray[np.float32]  # [D]
    units: NDArray[np.float16]  # [N, D]

    @classmethod
    def of(cls, features: Rows, statistics: Statistics) -> Packed:
        """`features`, which `statistics` are of."""
        variances = statistics.covariance().diagonal()
        scale = np.sqrt(np.where(variances > 0, variances, 1.0)).astype(np.float32)
        mean = statistics.mean.astype(np.float32)
        units = np.empty(features.shape, np.float16)
        for part, block in promoted(features):
            units[part] = (block - mean) / scale
        if not np.isfinite(units).all():
            raise InputError("features lie 65,504 standard deviations from their mean, which float16 cannot hold")
        return cls(mean, scale, units)

    def rows(self) -> NDArray[np.float32]:
        """The features [N, D] as they are kept."""
        return self.units.astype(np.float32) * self.scale + self.mean


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """The reference or the training set. Without `packed`, it was too large to keep, or statistics from the start."""

    role: str
    origin: str
    digest: str  # sha256 of its pictures' bytes, or of its statistics
    statistics: Statistics
    packed: Packed | None = None

    def as_side(self) -> KnownSide:
        """What stands for it when a candidate is measured."""
        return KnownSide(
            f"the baseline's {self.role} ({self.origin})",
            self.statistics,
            self.digest,
            None if self.packed is None else self.packed.rows(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RunRecord:
    """One run. `gates`, `alpha`, `power` and `looks` are those of a baseline; other runs have none."""

    model: str
    created: str  # ISO 8601, UTC
    version: str
    items: Items
    generated: str  # sha256 of the samples' bytes
    recipe: Recipe
    measures: Mapping[str, Measure]
    statistics: FeatureStatistics | None = None
    yardsticks: Mapping[str, Yardstick] = field(default_factory=dict)
    packed: Packed | None = None  # features of the samples, if they are kept
    weights: str = ""  # fingerprint of the generator's weights and settings, where the manifest has one
    gates: tuple[Gate, ...] = ()
    alpha: float = ALPHA
    power: float = POWER
    looks: tuple[tuple[int, ...], ...] = ()  # seeds of each look that was declared beforehand; () for one look
    prompts: tuple[Prompt, ...] = ()  # what was asked, where it is known: a generator can then be asked the same
    unanswered: int = 0  # requests of the manifest that have no sample: refused, filtered, failed
    notes: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The distinct seeds, sorted; none where they are not known."""
        return tuple(sorted(set(self.items.seeds or ())))
