"""A clip frame by frame: brightness, motion, warp error, repeated frames, cuts. What the measures of clips are made of.

Times are seconds from the file, never a frame number over a frame rate, so everything holds at any rate, also a varying
one. Luminance is ITU-R BT.601, as everywhere in paragone.metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from paragone.data.clip_frames import ClipFrames
from paragone.data.errors import InputError
from paragone.metrics.optical_flow import Step, change_of_velocity, step_between, working_frame
from paragone.metrics.pixels import LUMINANCE, Pixels

Array = NDArray[np.float64]
SAME = 2 / 255  # a frame repeats the one before when the luminance of …
SAME_SHARE = 0.999  # … so many pixels differs by less, at working size
NUMBERS = ("brightness", "warp_error", "visible", "motion", "jerk")
MARKS = ("repeats", "cuts")
THUMB_PX = 16
BINS = 8  # of a histogram, for each of three colours
CUT_Z = 6.0  # robust standard deviations above the clip's own steps …
CUT_LEAST = 0.1  # … and a distance of histograms (0..1) that no slow change reaches …
CUT_LIKENESS = 0.5  # … and a correlation of thumbnails below it: a flash keeps the picture
LOOP_SAME = 1.5 / 255  # mean difference of thumbnails that are the same moment again
LOOP_SHARE = 0.9  # of moments that come again
LOOP_LEAST = 4  # frames; what comes again sooner is a flicker
LOOP_TRAVEL = 4.0  # how many times LOOP_SAME the thumbnails must differ in between


@dataclass(frozen=True, slots=True, eq=False)
class ClipSeries:
    """A clip of T frames. Series of steps have T - 1 values, the i-th from frame i to i + 1; NaN: cannot be said.

    `warp_error`, `motion` and `jerk` are all NaN where flow was not wanted, and NaN at cuts. `jerk` belongs to the
    middle one of the three steps that it needs.
    """

    times: Array  # [T] s
    brightness: Array  # [T] mean luminance, 0..1
    repeats: NDArray[np.bool_]  # [T - 1] the frame after the step is that before it
    cuts: NDArray[np.bool_]  # [T - 1] a new scene begins after the step
    warp_error: Array  # [T - 1] squared units of 0..1
    visible: Array  # [T - 1] share of pixels with believable flow
    motion: Array  # [T - 1] diagonals a second
    jerk: Array  # [T - 1] diagonals a second
    loop_s: float | None  # after so long the clip begins again

    @property
    def durations(self) -> Array:
        """[T - 1] s."""
        return np.diff(self.times)

    def to_frames(self) -> ClipFrames:
        """The same as plain values."""
        return ClipFrames(
            times_s=tuple(self.times.tolist()),
            series={name: _plain(getattr(self, name)) for name in NUMBERS},
            marks={name: tuple(getattr(self, name).tolist()) for name in MARKS},
            loop_s=self.loop_s,
        )


def series_of(frames: ClipFrames) -> ClipSeries:
    """The series that `to_frames` made plain; raises `KeyError` when one is not there."""
    numbers = {
        name: np.array([np.nan if value is None else value for value in frames.series[name]]) for name in NUMBERS
    }
    marks = {name: np.array(frames.marks[name], bool) for name in MARKS}
    return ClipSeries(times=np.array(frames.times_s), loop_s=frames.loop_s, **numbers, **marks)


def clip_series(frames: Iterable[Pixels], times: ArrayLike, *, flow: bool = True, name: str = "clip") -> ClipSeries:
    """The series of a clip of RGB uint8 frames [H, W, 3] shown at `times` [T] in seconds.

    `flow=False` leaves out what needs optical flow, which takes nearly all the time. Raises `InputError` that names the
    clip for fewer than two frames, and for times that do not increase.
    """
    at = np.asarray(times, np.float64)
    small = [working_frame(frame) for frame in frames]
    if len(small) != len(at) or at.ndim != 1:
        raise InputError(f"{name}: {len(small)} frames but times of shape {at.shape}; every frame has one time")
    if len(small) < 2:
        raise InputError(f"{name}: {len(small)} frame; measures of clips need at least 2")
    if not (np.diff(at) > 0).all():
        place = int(np.argmin(np.diff(at) > 0))
        raise InputError(f"{name}: frame {place + 2} is not later than the one before (times must increase)")
    luma = [frame.astype(np.float32) @ LUMINANCE.astype(np.float32) for frame in small]
    thumbs = np.stack([_thumb(one) for one in luma])
    repeats = np.array([float(np.quantile(np.abs(b - a), SAME_SHARE)) < SAME for a, b in pairwise(luma)])
    cuts = _cuts(small, thumbs)
    diagonal = float(np.hypot(*luma[0].shape))
    moved = _moved(small, cuts, np.diff(at), diagonal) if flow else np.full((4, len(small) - 1), np.nan)
    return ClipSeries(
        times=at,
        brightness=np.array([one.mean(dtype=np.float64) for one in luma]),
        repeats=repeats,
        cuts=cuts,
        warp_error=moved[0],
        visible=moved[1],
        motion=moved[2],
        jerk=moved[3],
        loop_s=_loop(thumbs, at),
    )


def shots(series: ClipSeries) -> list[slice]:
    """The frames between cuts."""
    edges = [0, *(np.flatnonzero(series.cuts) + 1).tolist(), len(series.times)]
    return [slice(start, end) for start, end in pairwise(edges)]


# ---- Steps ---------------------------------------------------------------------------------------------------------


def _moved(frames: list[NDArray[np.float16]], cuts: NDArray[np.bool_], durations: Array, diagonal: float) -> Array:
    """[4, T - 1]: warp error, visible share, motion and jerk of every step."""
    found = np.full((4, len(durations)), np.nan)
    recent: list[Step] = []  # the last steps without a cut between them, at most 3
    before = frames[0].astype(np.float32)
    for place, duration in enumerate(durations):
        after = frames[place + 1].astype(np.float32)
        if cuts[place]:
            recent = []
        else:
            step = step_between(before, after)
            recent = [*recent[-2:], step]
            found[:3, place] = step.warp_error, step.visible.mean(), step.path_px / diagonal / duration
            if len(recent) == 3:
                three = (durations[place - 2], durations[place - 1], duration)
                found[3, place - 1] = change_of_velocity(recent[0], recent[1], recent[2], three) / diagonal
        before = after
    return found


def _thumb(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    small = Image.fromarray(luma).resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()


def _cuts(frames: list[NDArray[np.float16]], thumbs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the colours jump as nowhere else in the clip, and the picture is another one.

    The distance of two histograms is ½ Σ (a - b)² / (a + b), in 0..1.
    """
    histograms = np.stack([_histogram(frame) for frame in frames])
    a, b = histograms[:-1], histograms[1:]
    distance = 0.5 * (np.square(a - b) / np.maximum(a + b, 1e-12)).sum(1)
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle))
    likeness = np.array([_correlation(x, y) for x, y in pairwise(thumbs)])
    jump = (distance - middle > CUT_Z * spread) if len(distance) > 2 else np.ones(len(distance), bool)
    return np.asarray(jump & (distance > CUT_LEAST) & (likeness < CUT_LIKENESS))


def _histogram(frame: NDArray[np.float16]) -> Array:
    bins = np.minimum((frame.reshape(-1, 3) * BINS).astype(np.int64), BINS - 1)
    codes = bins @ np.array([BINS**2, BINS, 1])
    return np.bincount(codes, minlength=BINS**3) / len(codes)


def _correlation(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Of two thumbnails; flat ones are alike."""
    x, y = x - x.mean(), y - y.mean()
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths > 1e-6 else 1.0


def _loop(thumbs: NDArray[np.float32], times: Array) -> float | None:
    """The time after which the clip's moments come again, of a clip that goes elsewhere in between."""
    for lag in range(2, len(thumbs) // 2 + 1):
        again = np.abs(thumbs[lag:] - thumbs[:-lag]).mean(1) < LOOP_SAME
        if again.mean() >= LOOP_SHARE:
            travelled = float(np.abs(thumbs[:lag] - thumbs[0]).mean(1).max())
            if travelled > LOOP_TRAVEL * LOOP_SAME:
                return float(times[lag] - times[0]) if lag >= LOOP_LEAST else None
    return None


def _plain(values: Array) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
