"""Clips made on the spot: every frame carries its number, burned into the picture as eight black or white squares."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
CODECS: dict[str, tuple[str, dict[str, str]]] = {  # file ending → encoder with key frames every 12 frames
    "h264.mp4": ("libx264", {"bf": "3", "g": "12", "preset": "veryfast"}),
    "h264-open.mkv": ("libx264", {"bf": "3", "g": "12", "preset": "veryfast", "x264-params": "open-gop=1"}),
    "h264.ts": ("libx264", {"bf": "3", "g": "12", "preset": "veryfast"}),
    "h264.avi": ("libx264", {"bf": "2", "g": "12", "preset": "veryfast"}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12:bframes=3"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "cpu-used": "8"}),
    "vp8.webm": ("libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    "av1.mp4": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}),
    "mpeg4.avi": ("mpeg4", {"bf": "2"}),
    "ffv1.mkv": ("ffv1", {}),
}


def burned(number: int, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """Grey [H, W, 3] with the number in its top rows and a red square that moves."""
    frame = np.full((height, width, 3), 128, np.uint8)
    side = width // BITS
    for bit in range(BITS):
        frame[:16, bit * side : (bit + 1) * side] = 255 if number >> bit & 1 else 0
    frame[30:40, (3 * number) % (width - 10) :][:, :10] = (255, 40, 40)
    return frame


def number_of(frame: NDArray[np.uint8]) -> int:
    """The number in a frame."""
    side = frame.shape[1] // BITS
    return sum(
        int(frame[4:12, bit * side + side // 4 : (bit + 1) * side - side // 4].mean() > 128) << bit
        for bit in range(BITS)
    )


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    return [number_of(frame) for frame in frames]


def write_clip(
    path: Path,
    n: int = 60,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: int = 24,
    times_ms: Sequence[int] | None = None,
    frames: Sequence[NDArray[np.uint8]] | None = None,
    pixel_format: str = "yuv420p",
    matrix: int | None = None,
    color_range: int | None = None,
    container: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """`frames`, by default `n` numbered ones; at `times_ms` if they are not to be even; declared colours if given."""
    pictures = [burned(number) for number in range(n)] if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1  # the same bytes every time
        if times_ms is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None and color_range is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format, dst_colorspace=matrix, dst_color_range=color_range
            )
            if times_ms is None:
                frame.pts = None
            else:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def turned(path: Path, degrees: int) -> Path:
    """The MP4 at `path` with a rotation written in its track header (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # version 0
    one = 1 << 16
    a, b, c, d = {0: (one, 0, 0, one), 90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    for place, value in ((0, a), (4, b), (12, c), (16, d)):
        content[matrix + place : matrix + place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path
