"""Features → statistics → numbers: distribution metrics of images and videos, each with its uncertainty.

Everything named here needs numpy and scipy only (`c_t` scikit-learn too, when it is called), but `compute_metrics`,
which reads images, and is loaded (with torch) when it is first used. The functions `inception_score`,
`precision_recall`, `frechet_difference` and `vendi` shadow the modules of the same names on purpose: import from here,
or from the module with `from paragone.metrics.vendi import …`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from paragone.metrics.catalogue import ALIASES, ALL_METRICS, Estimate, Metric, Side, metric_named
from paragone.metrics.fd_infinity import FrechetInfinity, HalfSplit, frechet_half_split, frechet_infinity
from paragone.metrics.feature_statistics import (
    FeatureStatistics,
    ForeignStatistics,
    Statistics,
    StatisticsAccumulator,
)
from paragone.metrics.frechet import (
    FrechetEstimate,
    FrechetInfluence,
    frechet_distance,
    frechet_estimate,
    frechet_influence,
)
from paragone.metrics.frechet_difference import FrechetDifference, frechet_difference
from paragone.metrics.inception_score import InceptionScore, inception_score
from paragone.metrics.kernel import CMMD, KernelDistance, cmmd, kernel_distance
from paragone.metrics.memorisation import (
    Cell,
    DataCopying,
    TrainingNeighbours,
    authenticity,
    c_t,
    near_duplicates,
    training_neighbours,
)
from paragone.metrics.per_sample import rarity, realism
from paragone.metrics.precision_recall import PrecisionRecall, precision_recall
from paragone.metrics.sliced import SlicedDistance, mind
from paragone.metrics.statistics_files import load_statistics, save_statistics
from paragone.metrics.vendi import Vendi, vendi, vendi_profile

if TYPE_CHECKING:
    from paragone.metrics.compute import compute_metrics

if __name__ == "metrics":  # a second copy of every class, in a checkout whose root is on the path
    raise ImportError("import paragone.metrics instead of metrics")

__all__ = [
    "ALIASES",
    "ALL_METRICS",
    "CMMD",
    "Cell",
    "DataCopying",
    "Estimate",
    "FeatureStatistics",
    "ForeignStatistics",
    "FrechetDifference",
    "FrechetEstimate",
    "FrechetInfinity",
    "FrechetInfluence",
    "HalfSplit",
    "InceptionScore",
    "KernelDistance",
    "Metric",
    "PrecisionRecall",
    "Side",
    "SlicedDistance",
    "Statistics",
    "StatisticsAccumulator",
    "TrainingNeighbours",
    "Vendi",
    "authenticity",
    "c_t",
    "cmmd",
    "compute_metrics",
    "frechet_difference",
    "frechet_distance",
    "frechet_estimate",
    "frechet_half_split",
    "frechet_infinity",
    "frechet_influence",
    "inception_score",
    "kernel_distance",
    "load_statistics",
    "metric_named",
    "mind",
    "near_duplicates",
    "precision_recall",
    "rarity",
    "realism",
    "save_statistics",
    "training_neighbours",
    "vendi",
    "vendi_profile",
]


def __getattr__(name: str) -> Any:
    if name == "compute_metrics":
        return importlib.import_module("paragone.metrics.compute").compute_metrics
    raise AttributeError(f"module 'paragone.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
