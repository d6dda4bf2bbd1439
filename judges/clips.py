"""Clips for a judge: evenly spaced frames with their times, or the clip itself in a container without metadata."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import MAX_PIXELS
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.images import Unreadable
from paragone.data.videos import read_videos

# Codecs whose packets fit an MP4 as they are, and the filter that drops what an encoder wrote about itself.
_COPIED = {"h264": "filter_units=remove_types=6", "hevc": "filter_units=remove_types=39-40", "vp9": "", "av1": ""}

Pixels = NDArray[np.uint8]  # [H, W, 3]


class NotNative(InputError):
    """A clip that cannot be sent as one without encoding it anew; the message says why."""


def read_frames(path: Path, n_frames: int) -> list[tuple[Pixels, float | None]]:
    """`n_frames` frames [H, W, 3] of a clip with their times (s), evenly spaced, first and last among them.

    A clip with fewer frames ends in repetitions of its last one. Raises `UnreadableVideo` for a damaged clip.
    """
    clip = read_videos(path, rule=ClipRule(n_frames, "endpoints", short="pad-last")).read(0)
    if isinstance(clip, Unreadable):
        raise clip.error(clip.reason)
    times: list[float | None] = [None] * n_frames if clip.times_s is None else clip.times_s.tolist()
    return list(zip(clip.pixels, times, strict=True))


def native_clip(path: Path) -> tuple[bytes, int, int]:
    """The clip's own packets in an MP4 without sound or metadata (the same bytes each time), its width and height, px.

    Nothing is decoded or encoded, so nothing is lost. Raises `NotNative` for a codec that an MP4 does not hold,
    `InputError` without PyAV, and `UnreadableImage` for what is no clip.
    """
    av = _pyav(path)
    target = io.BytesIO()
    try:
        with av.open(str(path)) as source:
            _check_size(source, path)
            stream = source.streams.video[0]
            codec = stream.codec_context.name
            if codec not in _COPIED:
                raise NotNative(f"{path.suffix.lstrip('.') or 'this'} clips ({codec}) cannot be sent as they are")
            width, height = stream.width, stream.height
            options = {"fflags": "+bitexact"}
            with av.open(target, "w", format="mp4", options=options) as container:
                copied = container.add_stream_from_template(stream)
                copied.metadata.clear()
                with suppress(AttributeError, ValueError):
                    copied.time_base = stream.time_base or Fraction(1, 90_000)
                for packet in _packets(av, source, stream, codec):
                    packet.stream = copied
                    container.mux(packet)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UnreadableImage(f"{path}: not a clip that can be read ({error}); replace or delete it") from error
    return target.getvalue(), width, height


def _packets(av: Any, source: Any, stream: Any, codec: str) -> Iterator[Any]:
    """The stream's packets, without what the encoder says of itself."""
    words = _COPIED[codec]
    clean = av.bitstream.BitStreamFilterContext(words, stream) if words else None
    for packet in source.demux(stream):
        if packet.dts is None:
            continue
        yield from clean.filter(packet) if clean is not None else (packet,)
    if clean is not None:
        yield from clean.filter(None)


def _pyav(path: Path) -> Any:
    try:
        import av
        import av.bitstream
    except ImportError as error:
        raise InputError(f"{path}: reading clips needs PyAV; install it with: pip install av") from error
    return av


def _check_size(container: Any, path: Path) -> None:
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise UnreadableImage(f"{path}: over {MAX_PIXELS / 1e6:.0f} megapixels a frame; scale it down first")
