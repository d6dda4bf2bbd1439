"""paragone says which generative model is better, how sure it is, and why.

`import paragone` is free: every public name below is loaded when it is first used, and torch only by what needs it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not (Path(__file__).parent / "arena").is_dir():
    # A checkout whose links became text files (Windows): the four folders lie beside this one.
    __path__.append(str(Path(__file__).parent.parent))

try:
    __version__ = version("paragone")
except PackageNotFoundError:  # an uninstalled checkout
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from paragone.arena import Store, build_leaderboard, fit_bradley_terry, fit_davidson, fit_elo
    from paragone.data import Battle, GeneratorAdapter, Prompt, Sample, Vote, Winner, read_images, read_videos
    from paragone.judges import Judge, judge_battles
    from paragone.metrics.compute import compute_metrics
    from paragone.metrics.feature_statistics import FeatureStatistics
    from paragone.metrics.frechet import frechet_distance
    from paragone.metrics.inception_score import inception_score
    from paragone.metrics.kernel import kernel_distance
    from paragone.metrics.precision_recall import precision_recall

_HOMES = {
    "paragone.arena": ("Store", "build_leaderboard", "fit_bradley_terry", "fit_davidson", "fit_elo"),
    "paragone.data": ("Battle", "GeneratorAdapter", "Prompt", "Sample", "Vote", "Winner", "read_images", "read_videos"),
    "paragone.judges": ("Judge", "judge_battles"),
    "paragone.metrics": (
        "FeatureStatistics",
        "compute_metrics",
        "frechet_distance",
        "inception_score",
        "kernel_distance",
        "precision_recall",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Battle",
    "FeatureStatistics",
    "GeneratorAdapter",
    "Judge",
    "Prompt",
    "Sample",
    "Store",
    "Vote",
    "Winner",
    "__version__",
    "build_leaderboard",
    "compute_metrics",
    "fit_bradley_terry",
    "fit_davidson",
    "fit_elo",
    "frechet_distance",
    "inception_score",
    "judge_battles",
    "kernel_distance",
    "precision_recall",
    "read_images",
    "read_videos",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'paragone' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
