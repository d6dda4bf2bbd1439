"""Can these features see time at all? The Fréchet distance of the reference from itself, its frames shuffled or frozen.

FVD with some features hardly moves when motion is destroyed (Ge et al. 2024, CVPR, arXiv:2404.12391). Beside every FVD
therefore stand two controls: of the reference clips against the same clips with their frames in random order, and with
every frame replaced by the first. A control that is small beside the FVD of a model says that what the FVD sees is not
motion. The clips are the same on both sides, so that a control has hardly any of the bias of finite n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from paragone.data.progress import Progress, silent
from paragone.data.records import MetricResult
from paragone.data.videos import Altered, VideoSource
from paragone.metrics.catalogue import Metric, Side
from paragone.metrics.distributed import ALONE, Ranks, go_through_together
from paragone.metrics.feature_statistics import FeatureStatistics, Rows
from paragone.metrics.features import Extraction, ExtractionOptions, Stream

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

CONTROLS: tuple[Altered, ...] = ("shuffled", "frozen")
CONTROL_CLIPS = 256  # of the reference, spread over it; all of them if there are fewer
BLIND = 0.1  # share of the FVD below which a control is told of


class Control(NamedTuple):
    """Altered reference clips by each extractor; on ranks other than the first, nothing."""

    source: VideoSource
    positions: tuple[int, ...]  # in the reference, of the clips of `source`
    extractions: tuple[Extraction, ...]


def extract_controls(
    reference: VideoSource,
    extractors: Sequence[FeatureExtractor],
    options: ExtractionOptions,
    *,
    ranks: Ranks = ALONE,
    progress: Progress = silent,
) -> dict[str, Control]:
    """The features of some reference clips, shuffled and frozen, by all ranks together."""
    n = len(reference)
    positions = tuple(np.unique(np.linspace(0, n - 1, min(n, CONTROL_CLIPS)).round().astype(int)).tolist())
    found: dict[str, Control] = {}
    for kind in CONTROLS:
        source = reference.control(kind, positions)
        stream = Stream(source, extractors)
        together = go_through_together([stream], options, task=f"{kind} reference", ranks=ranks, progress=progress)
        found[kind] = Control(source, positions, together.extractions[0] if ranks.first else ())
    return found


def with_controls(
    result: MetricResult, row: Metric, reference: Side, controls: Mapping[str, Control], of: VideoSource, place: int
) -> tuple[MetricResult, list[str]]:
    """The result with its controls in the details, and warnings. `place`: of the extractor among those of controls."""
    found: dict[str, Any] = {}
    for kind, control in controls.items():
        real, altered = _same_clips(reference, control, of, place)
        if len(real) >= 2:
            found[kind] = row.estimate(reference=_side(real), generated=_side(altered)).value
            found["n"] = len(real)
    if not found:
        return result, [f"{result.metric}: no controls: fewer than 2 reference clips could be read"]
    low = [kind for kind in CONTROLS if kind in found and found[kind] < BLIND * result.value]
    warnings = [
        f"{result.metric}: the {kind} reference is at {found[kind]:.3g} from the reference, "
        f"{found[kind] / result.value:.1%} of the value: of what this distance sees, motion is little"
        for kind in low
    ]
    return replace(result, details=result.details | {"controls": found}), warnings


def _same_clips(reference: Side, control: Control, of: VideoSource, place: int) -> tuple[Rows, Rows]:
    """Rows of the reference and of its altered clips that belong together; unreadable ones are in neither."""
    left_out, altered_out = of.findings()[1], control.source.findings()[1]
    row_of = {position: row for row, position in enumerate(p for p in range(len(of)) if p not in left_out)}
    altered_rows = [index for index in range(len(control.positions)) if index not in altered_out]
    pairs = [
        (row_of[control.positions[index]], row)
        for row, index in enumerate(altered_rows)
        if control.positions[index] in row_of
    ]
    features, altered = reference.features, control.extractions[place].side.features
    assert features is not None
    assert altered is not None
    return features[[one for one, _ in pairs]], altered[[other for _, other in pairs]]


def _side(features: Rows) -> Side:
    return Side(FeatureStatistics.from_features(features), features)
