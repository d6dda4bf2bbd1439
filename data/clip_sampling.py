"""Which frames of a clip are looked at: `ClipRule`, stored with every number, and the table of ways to choose.

Of 97 frames, 8 evenly spaced ones are 0 14 27 41 … in one tool, 5 17 29 41 … in another and 6 18 30 … in a third. Each
of these ways has a name here (`WAYS`). Frames count in the order in which they are shown, by their own times: never by
the order of packets, never by n / fps, which is wrong where the speed varies.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import ClipTooShort, InputError, UsageError

Sampling = Literal["first", "random", "all", "endpoints", "truncated", "bin-middle", "left", "centre"]
Short = Literal["error", "pad-last", "loop"]
Indices = NDArray[np.intp]
CONSECUTIVE: tuple[Sampling, ...] = ("first", "random", "all")  # the rest are spread over the whole clip
ROUNDING_S = Fraction(1, 2000)  # by which a stored time may be late
MOST_RESAMPLED = 1_000_000  # frames that a clip may become at another rate


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """When each frame of a clip is shown: integer `ticks` [N] of `base` seconds, ascending, up to the tick `end`.

    `base` is None for pictures in a folder and arrays without a stated rate: they have an order, but no times.
    """

    ticks: NDArray[np.int64]
    base: Fraction | None
    end: int

    def __len__(self) -> int:
        return len(self.ticks)

    def seconds(self) -> NDArray[np.float64] | None:
        """Times [N] in s from the first frame; None where they are not known."""
        if self.base is None:
            return None
        return np.asarray((self.ticks - self.ticks[0]) * float(self.base), np.float64)


def evenly(n: int, rate: Fraction | None) -> FrameTimes:
    """Times of `n` frames that are shown equally long, at `rate` frames a second if that is known."""
    return FrameTimes(np.arange(n, dtype=np.int64), None if rate is None else 1 / rate, n)


@dataclass(frozen=True, slots=True)
class ClipRule:
    """How a clip becomes the frames that are looked at.

    `frames`: how many; None only with `all`. `sampling`: consecutive frames, or a name of `WAYS`. `stride`: of the
    consecutive ones, every `stride`-th. `fps`: first take what is shown at each of the times 0, 1 / fps, 2 / fps …, the
    last frame with pts ≤ t. `short`: of a clip that has too few, an error, or its last frame or all of it repeated.
    `seed`: of `random`, whose place in a clip depends on the seed and the clip's bytes, and on nothing else.
    """

    frames: int | None = 16
    sampling: Sampling = "first"
    stride: int = 1
    fps: Fraction | None = None
    short: Short = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampling not in get_args(Sampling):
            raise UsageError(f"sampling {self.sampling!r}: use one of {', '.join(get_args(Sampling))}")
        if self.short not in get_args(Short):
            raise UsageError(f"short clips: {self.short!r}: use one of {', '.join(get_args(Short))}")
        if (self.frames is None) != (self.sampling == "all"):
            raise UsageError(
                "sampling all takes every frame; a number of frames goes with the other ways, and only there"
            )
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"{self.frames} frames a clip: at least 1 is wanted")
        if self.stride < 1 or (self.stride > 1 and self.sampling not in CONSECUTIVE):
            raise UsageError(f"stride {self.stride}: 1 or more, with the sampling {', '.join(CONSECUTIVE)}")
        if self.fps is not None and self.fps <= 0:
            raise UsageError(f"fps {self.fps}: more than 0 is wanted")

    @property
    def name(self) -> str:
        """All of the rule in a word, for signatures: `16-first`, `16-random:0/4`, `16-endpoints@8fps`, `all`."""
        count = "" if self.frames is None else f"{self.frames}-"
        seed = f":{self.seed}" if self.sampling == "random" else ""
        stride = f"/{self.stride}" if self.stride > 1 else ""
        rate = "" if self.fps is None else f"@{self.fps}fps"
        short = "" if self.short == "error" else f"+{self.short}"
        return f"{count}{self.sampling}{seed}{stride}{rate}{short}"

    def choose(self, times: FrameTimes, label: str, digest: Callable[[], bytes] = bytes) -> Indices:
        """Which frames of a clip to take, in order. `digest`: of the clip's bytes, asked for by `random` only.

        Raises `ClipTooShort` that names the clip by `label` under `short="error"`.
        """
        if len(times) == 0:
            raise ClipTooShort(f"{label}: a clip without a frame; replace or delete it")
        shown = np.arange(len(times)) if self.fps is None else _at_rate(times, self.fps, label)
        wanted = 1 if self.frames is None else self.frames
        span = (wanted - 1) * self.stride + 1
        if len(shown) < span:
            shown = self._lengthened(shown, span, times, label)
        if self.sampling == "all":
            return shown[:: self.stride]
        if self.sampling == "random":
            start = _place(self.seed, digest(), len(shown) - span + 1)
            return shown[start : start + span : self.stride]
        if self.sampling == "first":
            return shown[: span : self.stride]
        return shown[WAYS[self.sampling](len(shown), wanted)]

    def _lengthened(self, shown: Indices, span: int, times: FrameTimes, label: str) -> Indices:
        if self.short == "error":
            at = "" if self.fps is None else f" at {self.fps} fps (of {len(times)})"
            wanted = (
                f"{self.frames} at a stride of {self.stride} want {span}" if self.stride > 1 else f"{span} are wanted"
            )
            raise ClipTooShort(
                f"{label}: {len(shown)} frames{at}, and {wanted}; take fewer, or say what to do with short clips: "
                "--short pad-last or --short loop"
            )
        if self.short == "loop":
            return shown[np.arange(span) % len(shown)]
        return np.concatenate([shown, np.full(span - len(shown), shown[-1])])


def _at_rate(times: FrameTimes, fps: Fraction, label: str) -> Indices:
    """The frame that is shown at 0, 1 / fps, 2 / fps … from the first frame's time until the clip's end.

    Files round times to whole ticks, Matroska to milliseconds: a frame that begins up to half a tick late, or half a
    millisecond, is there.
    """
    if times.base is None:
        raise InputError(f"{label}: its frames have no times to take {fps} fps by; state their rate with --frame-rate")
    step = 1 / (fps * times.base)  # ticks between two moments
    span = times.end - int(times.ticks[0])
    count = max(1, -(-span * step.denominator // step.numerator))  # moments before the end
    if count > MOST_RESAMPLED:
        raise InputError(f"{label}: {count} frames at {fps} fps; take a lower rate or cut it")
    slack = min(Fraction(1, 2), ROUNDING_S / times.base)
    moments = [math.floor(number * step + slack) for number in range(count)]
    found = np.searchsorted(times.ticks - times.ticks[0], np.array(moments, np.int64), side="right") - 1
    return found.astype(np.intp)


def _place(seed: int, digest: bytes, places: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:".encode() + digest).digest()) % places


# ---- Ways of spreading k frames over n -------------------------------------------------------------------------------


def _endpoints(n: int, k: int) -> Indices:
    """First and last among them, rounded to even."""
    return np.linspace(0, n - 1, k).round().astype(np.intp)


def _truncated(n: int, k: int) -> Indices:
    """First and last among them, rounded down."""
    return np.linspace(0, n - 1, k).astype(np.intp)


def _bin_middle(n: int, k: int) -> Indices:
    """The middle of each of k bins whose edges are rounded down, as VBench does it."""
    edges = np.linspace(0, n, k + 1).astype(np.intp)
    return (edges[:-1] + np.maximum(edges[1:] - 1, edges[:-1])) // 2


def _left(n: int, k: int) -> Indices:
    """The first frame of each of k equal parts."""
    return (np.arange(k) * n // k).astype(np.intp)


def _centre(n: int, k: int) -> Indices:
    """The frame at the centre of each of k equal parts."""
    return ((2 * np.arange(k) + 1) * n // (2 * k)).astype(np.intp)


WAYS: dict[Sampling, Callable[[int, int], Indices]] = {
    "endpoints": _endpoints,
    "truncated": _truncated,
    "bin-middle": _bin_middle,
    "left": _left,
    "centre": _centre,
}


def parse_rate(text: str, option: str) -> Fraction:
    """`24`, `23.976` or `30000/1001` frames a second; raises `UsageError`."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise UsageError(f"{option} {text}: write frames a second, such as 24 or 30000/1001")
    return rate
