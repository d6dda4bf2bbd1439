"""From a set of clips to the report of their measures: `check_clips` and what comes of it.

Clips go through one by one, whole. What was found of one is kept in the cache under the digest of its bytes, of the
rule by which its frames are chosen and of the way flow is taken, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_frames import ClipFrames, load_clip_frames
from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, UsageError
from paragone.data.images import OnError
from paragone.data.progress import Progress, silent
from paragone.data.records import fingerprint
from paragone.data.videos import VideoSource, read_videos
from paragone.metrics.clip_metrics import CLIP_METRICS, FLOW, ClipMetric, WatchedClip, clip_report
from paragone.metrics.clip_series import ClipSeries, clip_series, series_of
from paragone.metrics.item_measures import ItemReport

if TYPE_CHECKING:
    from paragone.metrics.extractors.base import FeatureExtractor

WHOLE = ClipRule(frames=None, sampling="all")
FORMAT = 1  # of what the cache holds of a clip; to be raised with every change of a formula
FRAMES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class ClipRequest:
    """A checked request: rows, clips, the extractor of rows that are of features, and where it runs."""

    rows: Sequence[ClipMetric]
    source: VideoSource
    extractor: FeatureExtractor | None
    device: str
    cache: Path | None

    def report(self, progress: Progress = silent) -> tuple[ItemReport, dict[str, ClipFrames]]:
        """The measures with standard errors over clips; and by name what was found of each clip, frame by frame."""
        source, watched = self.source, []
        for index in range(len(source)):
            if (one := self._watch(index)) is not None:
                watched.append(one)
            progress("clips", index + 1, len(source))
        if not watched:
            raise InputError(f"{source.origin}: none of its {len(source)} clips could be read")
        report = clip_report(self.rows, watched, rule=source.rule.name, extractor=self.extractor)
        told = (*source.warnings, *(self.extractor.warnings if self.extractor else ()), *report.warnings)
        return ItemReport(report.results, told, report.items), {one.name: one.series.to_frames() for one in watched}

    def _watch(self, index: int) -> WatchedClip | None:
        """One clip; None when it could not be read and is left out."""
        source, name = self.source, self.source.name(index)
        flow = any(row.flow for row in self.rows)
        kept = None if self.cache is None else _kept_at(self.cache, source, index, flow=flow)
        series = None if kept is None else _kept(kept)
        if series is not None and self.extractor is None:
            return WatchedClip(name, series)
        read = source.read(index)
        if not source.record(index, read) or not isinstance(read, Decoded):
            return None
        label = f"{source.origin}: {name}"
        if series is None:
            if read.times_s is None:
                raise InputError(f"{label}: does not say when its frames are shown; state their rate with --frame-rate")
            series = clip_series(read.pixels, read.times_s, flow=flow, name=label)
            if kept is not None and source.is_clean(range(index, index + 1)):
                series.to_frames().save(kept)
        features = None if self.extractor is None else _features(read.pixels, self.extractor, self.device)
        return WatchedClip(name, series, features)


def check_clips(
    clips: str | os.PathLike[str] | NDArray[Any] | VideoSource,
    *,
    metrics: Sequence[str] | None = None,
    features: str = "gist",
    weights: Path | None = None,
    device: str = "auto",
    rule: ClipRule = WHOLE,
    frame_rate: Fraction | None = None,
    cache: Path | None = None,
    on_error: OnError = "raise",
) -> ClipRequest:
    """All that can be wrong with a request for measures of clips, before one is decoded.

    `metrics`: names of `CLIP_METRICS`; without them, all but subject_drift. `features`, `weights`: the extractor of
    subject_drift. `rule`: which frames are looked at, by default all. `frame_rate`: of clips that do not state one.
    """
    rows = _rows(metrics)
    source = read_videos(clips, rule=rule, frame_rate=frame_rate, on_error=on_error)
    of_features = any(row.features is not None for row in rows)
    return ClipRequest(rows, source, _open(features, weights, device) if of_features else None, device, cache)


def _rows(names: Sequence[str] | None) -> list[ClipMetric]:
    if names is None:
        return [row for row in CLIP_METRICS.values() if row.features is None]
    for name in names:
        if name not in CLIP_METRICS:
            raise UsageError(f"no measure of clips is called {name!r}; there are {', '.join(CLIP_METRICS)}")
    return [CLIP_METRICS[name] for name in dict.fromkeys(names)]


def _open(features: str, weights: Path | None, device: str) -> FeatureExtractor:
    from paragone.metrics.devices import choose_device
    from paragone.metrics.features import open_extractor

    extractor = open_extractor(features, weights=weights)
    extractor.to(choose_device(device))
    return extractor


def _features(frames: NDArray[np.uint8], extractor: FeatureExtractor, device: str) -> NDArray[np.float64]:
    """Features [T, D] of frames [T, H, W, 3]."""
    import torch

    from paragone.metrics.devices import choose_device

    rows = []
    with torch.inference_mode():
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            batch = torch.stack([extractor.prepare(frame) for frame in frames[start : start + FRAMES_AT_ONCE]])
            rows.append(extractor(batch.to(choose_device(device)))[0].double().cpu().numpy())
    return np.concatenate(rows)


# ---- Cache ---------------------------------------------------------------------------------------------------------


def _kept_at(cache: Path, source: VideoSource, index: int, *, flow: bool) -> Path:
    what: Mapping[str, Any] = {"clip": source.content_digest(index).hex(), "flow": FLOW if flow else "", "n": FORMAT}
    return cache / "clips" / f"{fingerprint(what)}.json"


def _kept(path: Path) -> ClipSeries | None:
    """What is in the cache; a damaged entry is as good as none."""
    try:
        frames = load_clip_frames(path)
        return None if frames is None else series_of(frames)
    except (InputError, KeyError):
        return None
