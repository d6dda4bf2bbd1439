"""Results of VBench (Huang et al. 2023, arXiv:2311.17982; also VBench-2.0, -I2V, -Long) as metric results.

Its `*_eval_results.json` has, for each dimension that was evaluated, the score and a value of every video:
`{"motion_smoothness": [0.97, [{"video_path": …, "video_results": 0.98}, …]]}`. A dimension that is not there stays
missing; it is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import InputError
from paragone.data.records import MetricResult, fingerprint

PREFIX = "vbench_"
Z95 = 1.959963984540054
PERCENT = 100.0  # imaging_quality states its videos' values in percent and its score as a share
ALIKE = 1e-3  # relative difference of a score and the mean of its videos that rounding explains
COMPARABLE = 0.2  # and up to which both are on one scale


class VBenchResults(NamedTuple):
    """Results in the order of the file, and what a reader of them should know."""

    results: tuple[MetricResult, ...]
    notes: tuple[str, ...]


def is_vbench(document: object) -> bool:
    """Whether a JSON document looks like VBench's results: lists of a score and videos, by dimension."""
    return isinstance(document, dict) and bool(document) and all(map(_is_dimension, document.values()))


def vbench_results(document: Mapping[str, Any], origin: str) -> VBenchResults:
    """The results in VBench's document, which was read from `origin`.

    A score keeps the value that VBench states. Its standard error is that of its videos' values, where these have the
    score as their mean; where they have not, VBench weighed frames or processes, and a note says so. A dimension whose
    score is not a finite number is left out by name. Raises `InputError` when nothing is left.
    """
    results, notes = [], []
    for name, (score, videos) in document.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            notes.append(f"{name}: its score is {score!r}, which is no number; left out, not counted as 0")
        elif not videos:
            notes.append(f"{name}: states no videos; left out")
        else:
            result, told = _result(name, float(score), videos)
            results.append(result)
            notes += told
    if not results:
        raise InputError(f"{origin}: no dimension of VBench with a score; {'; '.join(notes)}")
    return VBenchResults(tuple(results), tuple(notes))


def _is_dimension(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[1], list)


def _result(name: str, score: float, videos: Sequence[Any]) -> tuple[MetricResult, list[str]]:
    values = _values(videos)
    dimension = name.strip().lower().replace(" ", "_").replace("-", "_")
    notes = []
    details: dict[str, Any] = {"imported": "VBench"}
    if len(values) < len(videos):
        details["videos_without_value"] = len(videos) - len(values)
        notes.append(f"{name}: {len(videos) - len(values):,} of {len(videos):,} videos have no value")
    error = None
    if len(values) > 1:
        scale = PERCENT if abs(values.mean() / PERCENT - score) < abs(values.mean() - score) else 1.0
        mean, spread = float(values.mean()) / scale, float(values.std(ddof=1)) / scale
        apart = abs(mean - score) / max(abs(score), 1e-12)
        if apart <= COMPARABLE:
            error = spread / math.sqrt(len(values))
        if apart > ALIKE:
            details["mean_of_videos"] = mean
            notes.append(
                f"{name}: the score {score:.4g} is not the mean of its videos, {mean:.4g}: VBench weighed frames; the "
                "score is kept as it is stated"
            )
    n = len(values) or len(videos)
    digest = fingerprint(sorted(_video_name(video) for video in videos))[:12]
    result = MetricResult(
        metric=PREFIX + dimension,
        value=score,
        higher_is_better=True,
        n_generated=n,
        standard_error=error,
        ci_low=None if error is None else score - Z95 * error,
        ci_high=None if error is None else score + Z95 * error,
        protocol="vbench",
        signature=f"{PREFIX}{dimension}|vbench|n:{n}|videos:{digest}",
        details=details,
    )
    return result, notes


def _values(videos: Sequence[Any]) -> NDArray[np.float64]:
    """The finite values of the videos; yes and no count as 1 and 0."""
    found = [video.get("video_results") if isinstance(video, dict) else None for video in videos]
    numbers = [float(value) for value in found if isinstance(value, int | float)]
    return np.array([value for value in numbers if math.isfinite(value)], np.float64)


def _video_name(video: Any) -> str:
    """The name of a video's file: VBench's are `PROMPT-INDEX.mp4`, whoever made them."""
    path = video.get("video_path") if isinstance(video, dict) else None
    return PurePath(str(path).replace("\\", "/")).name
