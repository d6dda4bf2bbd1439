"""From what a generator delivers to one file: stills as PNG, clips as lossless H.264, encoded files as they came.

Pixels that we encode ourselves come back bit by bit: PNG, and H.264 of RGB with quantiser 0, whose bytes are the same
for the same pixels. What a service delivers encoded is decoded once, to know that it is whole and how large it is, and
kept as it is: a second encoding would lose quality and its statement of provenance.
"""

from __future__ import annotations

import io
import threading
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.clip_decoding import ANIMATIONS, decode_animation, decode_video
from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import Decoded, array_to_rgb, decode_picture
from paragone.data.errors import InputError, ParagoneError, UnreadableImage
from paragone.data.generators.base import MediaFile

ENCODER = "libx264rgb"
ROUNDING = 0.01  # by how much decoders overshoot 0..1
VIDEOS = (".mp4", ".webm")
EVERY_FRAME = ClipRule(frames=None, sampling="all")
_one_clip_at_a_time = threading.Lock()  # whole clips are large in memory


def delivered(content: bytes, name: str) -> MediaFile:
    """What a service delivered, after decoding all of it; raises `InputError` for what is damaged or no media."""
    suffix = suffix_of(content)
    if suffix is None:
        raise UnreadableImage(f"{name}: {_what_it_is(content)}, not a picture or clip")
    if not _moves(content, suffix):
        height, width = decode_picture(content, name).pixels.shape[:2]
        return MediaFile(content, suffix, width, height)
    with _one_clip_at_a_time:
        clip = _decode_clip(content, suffix, name)
    n_frames, height, width = clip.pixels.shape[:3]
    return MediaFile(content, suffix, width, height, n_frames, _rate(clip))


def pixels_of(file: MediaFile, name: str) -> NDArray[np.uint8]:
    """[H, W, 3] of a still, [T, H, W, 3] of a clip."""
    if file.frames is None:
        return decode_picture(file.content, name).pixels
    return _decode_clip(file.content, file.suffix, name).pixels


def suffix_of(content: bytes) -> str | None:
    """The suffix that belongs to a file's first bytes; None when they are no picture or clip that we read."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if content.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return ".gif"
    if content[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return ".mp4"
    if content.startswith(b"\x1a\x45\xdf\xa3"):
        return ".webm"
    return None


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """PNG without metadata of grey [H, W] or RGB [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_clip(clip: NDArray[np.uint8], fps: float) -> bytes:
    """Lossless MP4 (H.264 of RGB) of [T, H, W, 3]; equal pixels give equal bytes."""
    import av

    if ENCODER not in av.codecs_available:
        raise ParagoneError(f"clips cannot be written: this PyAV lacks {ENCODER}; install PyAV's own wheel")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = target.add_stream(ENCODER, rate=rate, options={"qp": "0", "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = clip.shape[2], clip.shape[1], "rgb24"
        stream.codec_context.thread_count = 1
        for picture in clip:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        target.mux(stream.encode())
    return buffer.getvalue()


def as_still(value: Any, name: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a PIL picture, an array or a tensor: [H, W], [H, W, C] or [C, H, W], uint8 or floats of 0..1.

    Raises `InputError` for anything whose range or axes are not certain.
    """
    pixels = _as_array(value, name)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    return array_to_rgb(_to_uint8(pixels, name), name)


def as_clip(value: Any, name: str) -> NDArray[np.uint8]:
    """uint8 [T, H, W, 3] of a list of stills, or of an array or tensor [T, H, W, C], [T, C, H, W], or 1 of these."""
    if isinstance(value, (list, tuple)):
        if len(value) == 1 and (isinstance(value[0], (list, tuple)) or getattr(value[0], "ndim", 0) > 3):
            return as_clip(value[0], name)
        if not value:
            raise InputError(f"{name}: a clip without a frame")
        frames = [as_still(frame, name) for frame in value]
        if len({frame.shape for frame in frames}) > 1:
            raise InputError(f"{name}: the frames of a clip are of several sizes")
        return np.stack(frames)
    pixels = _as_array(value, name)
    if pixels.ndim == 5 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim != 4 or not len(pixels):
        raise InputError(f"{name}: shape {pixels.shape} is no clip of [frames, height, width, channels]")
    return np.stack([as_still(frame, name) for frame in pixels])


def _as_array(value: Any, name: str) -> NDArray[Any]:
    if isinstance(value, Image.Image):
        return np.asarray(value.convert("RGBA") if value.has_transparency_data else value.convert("RGB"))
    if hasattr(value, "detach"):  # a tensor, without importing torch to know
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name}: {type(value).__name__} is no picture: give PIL, an array, a tensor or encoded bytes")
    return value


def _to_uint8(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(f"{name}: {pixels.dtype} pixels have no certain range; convert them to uint8 first")
    if not np.isfinite(pixels).all():
        raise InputError(f"{name}: the picture has pixels that are NaN or infinite")
    low, high = float(pixels.min(initial=0.0)), float(pixels.max(initial=0.0))
    if low < -ROUNDING or high > 1.0 + ROUNDING:
        raise InputError(f"{name}: float pixels run from {low:.3g} to {high:.3g}; scale them to 0..1 first")
    return np.round(np.clip(pixels.astype(np.float64), 0.0, 1.0) * 255.0).astype(np.uint8)


def _moves(content: bytes, suffix: str) -> bool:
    if suffix in VIDEOS:
        return True
    try:
        with Image.open(io.BytesIO(content), formats=ANIMATIONS) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # a JPEG, or damaged: `decode_picture` says what it is
        return False


def _decode_clip(content: bytes, suffix: str, name: str) -> Decoded:
    return (decode_video if suffix in VIDEOS else decode_animation)(content, name, EVERY_FRAME)


def _rate(clip: Decoded) -> float | None:
    """Frames a second, on average; None for a single frame."""
    if clip.times_s is None or len(clip.times_s) < 2:
        return None
    return round(float((len(clip.times_s) - 1) / (clip.times_s[-1] - clip.times_s[0])), 6)


def _what_it_is(content: bytes) -> str:
    if not content:
        return "an empty file"
    start = content[:60].decode("utf-8", errors="replace")
    return (
        f"something that begins with {' '.join(start.split())[:40]!r}"
        if start.isprintable() or "<" in start
        else (f"{len(content)} bytes of an unknown format")
    )
