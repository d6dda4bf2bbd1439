"""The table of measures of clips that need no weights, and the report of them over a set of clips.

Consistency is cheap for a clip in which nothing happens. So clips that stand still have no warp error, jerk and drift:
they are counted, and `motion` and `frozen_frames` show them. Every clip counts once: means are over clips, not frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import detrend

from paragone.data.clip_frames import FROZEN_SHARE
from paragone.metrics.clip_series import ClipSeries, shots
from paragone.metrics.item_measures import ItemMeasure, ItemReport, Measured, Missing, Value, report_items
from paragone.metrics.optical_flow import WORKING_PX

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

Array = NDArray[np.float64]
FROZEN = Missing("stands still, so there is nothing to be consistent in")
FLICKER_HZ = 2.0  # slower changes of brightness are light, not flicker
DARKEST = 1 / 255  # mean luminance below which a clip is black
FLOW = f"flow:ilk-{WORKING_PX}"


@dataclass(frozen=True, slots=True)
class ClipMetric(ItemMeasure):
    """One row. `measure` takes a clip's series; it is None for rows of `features` [T, D] of the frames."""

    measure: Callable[[ClipSeries], Value] | None = None
    features: Callable[[ArrayLike], float] | None = None
    flow: bool = False  # needs optical flow, which takes nearly all the time
    moving: bool = False  # only of clips that do not stand still


def stands_still(series: ClipSeries) -> bool:
    """Whether nearly every frame repeats the one before."""
    return bool(series.repeats.mean() >= FROZEN_SHARE)


def warp_error(series: ClipSeries) -> Value:
    """Mean over the clip's steps of the warp error, in squared units of 0..1."""
    return _mean(series.warp_error, "no step with believable flow")


def motion(series: ClipSeries) -> Value:
    """Path of an average pixel in diagonals of the frame a second; cuts and what flow cannot follow are left out."""
    usable = np.isfinite(series.motion)
    if not usable.any():
        return Missing("nothing that can be followed")
    durations = series.durations[usable]
    return float(series.motion[usable] @ durations / durations.sum())


def jerk(series: ClipSeries) -> Value:
    """Mean |v₃ - 2 v₂ + v₁| of points followed over three steps, in diagonals a second; 0 for steady motion.

    Where every frame is doubled it is four times the motion.
    """
    return _mean(series.jerk, "no four frames through which points can be followed")


def brightness_flicker(series: ClipSeries) -> Value:
    """Root mean square of the changes of mean luminance faster than 2 Hz, over the mean; 0.05 is ± 5 %.

    Each shot's mean and slope are taken out, and times are made even by linear interpolation.
    """
    mean = float(series.brightness.mean())
    if mean < DARKEST:
        return Missing("black")
    step = float(series.durations.min())
    if 1 / (2 * step) <= FLICKER_HZ:
        return Missing(f"too few frames a second for changes faster than {FLICKER_HZ:g} Hz")
    even, residual = np.arange(series.times[0], series.times[-1] + step / 2, step), np.empty_like(series.brightness)
    for shot in shots(series):
        part = series.brightness[shot]
        residual[shot] = detrend(part) if len(part) > 2 else part - part.mean()
    values = np.interp(even, series.times, residual)
    spectrum = np.fft.rfft(values)
    spectrum[np.fft.rfftfreq(len(values), step) <= FLICKER_HZ] = 0
    return float(np.sqrt(np.square(np.fft.irfft(spectrum, len(values))).mean()) / mean)


def frozen_frames(series: ClipSeries) -> Value:
    """Share of steps whose frame repeats the one before."""
    return float(series.repeats.mean())


def looped(series: ClipSeries) -> Value:
    """1 for a clip that begins again."""
    return float(series.loop_s is not None)


def scene_cuts(series: ClipSeries) -> Value:
    """Number of cuts."""
    return float(series.cuts.sum())


def subject_drift(features: ArrayLike) -> float:
    """1 - the mean cosine, over frames t > 0, of the features [T, D] to those of the first frame and of frame t - 1.

    Negative cosines count as 0. With DINO ViT-B/16 it is 1 - VBench's subject consistency of the clip (Huang et al.
    2023, arXiv:2311.17982).
    """
    rows = np.asarray(features, np.float64)
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    to_first = np.maximum(unit[1:] @ unit[0], 0)
    to_last = np.maximum(np.einsum("td,td->t", unit[1:], unit[:-1]), 0)
    return 1 - float((to_first + to_last).mean() / 2)


_TABLE = (
    ClipMetric("warp_error", "Warp error", False, measure=warp_error, flow=True, moving=True),
    ClipMetric("brightness_flicker", "Flicker of brightness", False, measure=brightness_flicker),
    ClipMetric("motion", "Motion a second", True, measure=motion, flow=True),
    ClipMetric("jerk", "Jerk", False, measure=jerk, flow=True, moving=True),
    ClipMetric("frozen_frames", "Frames that repeat the one before", False, measure=frozen_frames),
    ClipMetric("looped", "Clips that begin again", False, share=True, measure=looped),
    ClipMetric("scene_cuts", "Cuts a clip", False, measure=scene_cuts),
    ClipMetric("subject_drift", "Drift of the subject", False, features=subject_drift, moving=True),
)
CLIP_METRICS: dict[str, ClipMetric] = {row.name: row for row in _TABLE}


@dataclass(frozen=True, slots=True, eq=False)
class WatchedClip:
    """A clip that was gone through: its series, and the features [T, D] of its frames where a row wants them."""

    name: str
    series: ClipSeries
    features: Array | None = None


def clip_report(
    rows: Sequence[ClipMetric], clips: Sequence[WatchedClip], *, rule: str, extractor: FeatureExtractor | None = None
) -> ItemReport:
    """The rows over all clips. `rule` says which frames were looked at; `extractor` made the features, if any."""
    measured = []
    for row in rows:
        values = [clip_value(row, clip) for clip in clips]
        signature, details = [f"frames:{rule}"], {"frames": rule}
        if row.features is not None and extractor is not None:
            signature += [f"ext:{extractor.name}", f"protocol:{extractor.protocol}", f"resize:{extractor.resize}"]
            measured.append(Measured(row, values, signature, details, extractor.name, extractor.protocol))
        else:
            measured.append(Measured(row, values, [*signature, *([FLOW] if row.flow else [])], details))
    found = report_items(measured, [clip.name for clip in clips], what="clips")
    return ItemReport(found.results, (*found.warnings, *_cautions(clips)), found.items)


def clip_value(row: ClipMetric, clip: WatchedClip) -> Value:
    """One row of one clip."""
    if row.moving and stands_still(clip.series):
        return FROZEN
    if row.measure is not None:
        return row.measure(clip.series)
    assert row.features is not None
    return Missing("no features") if clip.features is None else row.features(clip.features)


def _cautions(clips: Sequence[WatchedClip]) -> list[str]:
    """Clips that a mean of consistency would praise for nothing."""
    lines = []
    for what, found in (
        ("stand still", [clip.name for clip in clips if stands_still(clip.series)]),
        ("begin again", [clip.name for clip in clips if clip.series.loop_s is not None]),
        ("have cuts, which are left out of warp error and motion", [c.name for c in clips if c.series.cuts.any()]),
    ):
        if found:
            lines.append(f"{len(found):,} of {len(clips):,} clips {what}, first {found[0]}")
    return lines


def _mean(values: Array, reason: str) -> Value:
    usable = values[np.isfinite(values)]
    return float(usable.mean()) if len(usable) else Missing(reason)
