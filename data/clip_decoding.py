"""From one clip to the chosen frames as RGB: every policy that decides which pixels a metric of clips sees.

- frames are found by their presentation times; a file is taken apart once, and decoded from the key frame before the
  first chosen frame to the last one, no more;
- the rotation that a file states is applied, and pixels that are not square are widened;
- the declared colour matrix and range are honoured. An undeclared matrix is BT.709 from 720 lines on and BT.601 below,
  as players guess; HDR (PQ, HLG) is refused, because its RGB depends on who maps it;
- transparency is composited on white;
- frames of an animation (GIF, WebP, APNG) that claim under 20 ms are shown for 100 ms, as browsers do;
- a clip that is damaged, cut off, empty, of changing size or over a limit is an error that names it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.clip_sampling import ClipRule, FrameTimes, Indices, evenly
from paragone.data.decoding import MAX_PIXELS, Decoded, array_to_rgb, decode_picture
from paragone.data.errors import ClipTooShort, UnreadableVideo

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

ANIMATIONS = ("GIF", "WEBP", "PNG")
MAX_BYTES = 4 << 30  # of a file, which is held in memory undecoded
MAX_CLIP_PIXELS = 1_500_000_000  # of the chosen frames together: 4.5 GB
SHORTEST_MS = 20  # an animation's frame that claims less …
SHOWN_MS = 100  # … is shown for so long
MICRO = 1_000_000  # ticks a second of a container's duration in FFmpeg
HDR = {16: "PQ", 18: "HLG"}  # AVColorTransferCharacteristic
BT601, BT709 = 5, 1
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # AVColorSpace → swscale's number
UNDECLARED = {0, 2}
LINES_OF_BT709 = 720

Digest = Callable[[], bytes]
Pixels = NDArray[np.uint8]


def decode_video(source: Path | bytes, label: str, rule: ClipRule, digest: Digest = bytes) -> Decoded:
    """The chosen frames [T, H, W, 3] of a file that FFmpeg reads; raises `UnreadableVideo` or `ClipTooShort`."""
    import av

    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        raise UnreadableVideo(f"{label}: the file is empty (0 bytes); replace or delete it")
    try:
        with _opened(source) as container:
            parts = _take_apart(container, label)
            if parts.times is not None:
                try:
                    return _decoded(parts, parts.times, rule.choose(parts.times, label, digest), label)
                except _NotAsPromised:
                    pass
            times = _times_by_decoding(parts, container.format.name, label)
            return _decoded(parts, times, rule.choose(times, label, digest), label, by_number=True)
    except (av.FFmpegError, OSError, ValueError, EOFError, _NotAsPromised) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UnreadableVideo(f"{label}: damaged, cut off or not a clip ({reason}); replace or delete it") from error


def _opened(source: Path | bytes) -> InputContainer:
    """Opened so that nothing but this file is read: playlists could name others, and addresses."""
    import av

    if isinstance(source, Path):
        return av.open(f"file:{source}", "r", options={"protocol_whitelist": "file"})
    return av.open(io.BytesIO(source), "r", options={"protocol_whitelist": ""})


# ---- Taking a file apart ---------------------------------------------------------------------------------------------


class _NotAsPromised(Exception):
    """Frames did not come out at the times of their packets."""


class _Parts(NamedTuple):
    """A file's pictures, not yet decoded. `times` is None where packets do not tell them."""

    stream: VideoStream
    packets: Sequence[Packet[VideoStream]]  # in the order of decoding
    times: FrameTimes | None


def _take_apart(container: InputContainer, label: str) -> _Parts:
    if not container.streams.video:
        raise UnreadableVideo(f"{label}: no pictures in it, only sound or less")
    stream = container.streams.video[0]
    packets, n_bytes = [], 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise UnreadableVideo(f"{label}: damaged or cut off; replace or delete it")
        if packet.size:
            packets.append(packet)
            n_bytes += packet.size
        if n_bytes > MAX_BYTES:
            raise UnreadableVideo(f"{label}: over {MAX_BYTES >> 30} GiB; cut it first")
    if not packets and stream.frames:
        raise UnreadableVideo(f"{label}: cut off: none of its {stream.frames} frames is there; replace or delete it")
    if not packets:
        raise ClipTooShort(f"{label}: a clip without a frame; replace or delete it")
    _check_complete(container, stream, packets, label)
    return _Parts(stream, packets, _times_of(stream, packets))


def _check_complete(
    container: InputContainer, stream: VideoStream, packets: Sequence[Packet[VideoStream]], label: str
) -> None:
    """Raise `UnreadableVideo` when the pictures end before the file says they do.

    Fewer packets than promised are not enough: what an edit list takes out is not missing. Nor is an end that is a
    little early when all packets are there: a last one may not say how long it is shown.
    """
    end = max((_end_of(packet) for packet in packets), default=Fraction(0))
    if stream.duration and stream.time_base:
        promised = (stream.duration + (stream.start_time or 0)) * stream.time_base
    elif container.duration and len(container.streams) == 1:
        promised = Fraction(container.duration + (container.start_time or 0), MICRO)
    else:
        promised = Fraction(0)
    slack = Fraction(1, 2) if len(packets) < stream.frames else Fraction(3, 2)  # frames
    if end and end + slack / (stream.average_rate or Fraction(8)) < promised:
        raise UnreadableVideo(f"{label}: cut off: its end is missing; replace or delete it")


def _end_of(packet: Packet[VideoStream]) -> Fraction:
    if packet.pts is None or packet.time_base is None:
        return Fraction(0)
    return Fraction((packet.pts + (packet.duration or 0)) * packet.time_base)


def _times_of(stream: VideoStream, packets: Sequence[Packet[VideoStream]]) -> FrameTimes | None:
    """The times that packets tell; None unless each has one of its own."""
    shown = [packet for packet in packets if not packet.is_discard]
    ticks = [packet.pts for packet in shown if packet.pts is not None]
    if stream.time_base is None or len(ticks) < len(shown) or len(set(ticks)) < len(ticks) or not ticks:
        return None
    last = max(shown, key=lambda packet: packet.pts or 0)
    return _frame_times(sorted(ticks), stream.time_base, last.duration or 0)


def _frame_times(ticks: Sequence[int], base: Fraction, last_duration: int) -> FrameTimes:
    """A last frame that does not say how long it is shown is shown as long as the one before it."""
    duration = last_duration or (ticks[-1] - ticks[-2] if len(ticks) > 1 else 1)
    return FrameTimes(np.array(ticks, np.int64), base, ticks[-1] + duration)


def _times_by_decoding(parts: _Parts, container: str, label: str) -> FrameTimes:
    """The times of the frames that come out, all of which are decoded. AVI has a rate in place of times."""
    frames = [(frame.pts, frame.duration) for frame in _frames(parts, 0, label)]
    ticks = [pts for pts, _ in frames if pts is not None]
    if not frames:
        raise ClipTooShort(f"{label}: a clip without a frame; replace or delete it")
    if len(ticks) == len(frames) and all(earlier < later for earlier, later in itertools.pairwise(ticks)):
        assert parts.stream.time_base is not None
        return _frame_times(ticks, parts.stream.time_base, frames[-1][1] or 0)
    if container == "avi" and parts.stream.average_rate:
        return evenly(len(frames), parts.stream.average_rate)
    raise UnreadableVideo(f"{label}: its frames are not in order of time, or have none; write it anew")


# ---- Decoding --------------------------------------------------------------------------------------------------------


def _decoded(parts: _Parts, times: FrameTimes, chosen: Indices, label: str, *, by_number: bool = False) -> Decoded:
    """The frames at `chosen`, known by their times or by their number; raises `_NotAsPromised` when one is missing."""
    wanted = np.unique(chosen)
    keys = wanted.tolist() if by_number else times.ticks[wanted].tolist()
    place_of = {key: place for place, key in enumerate(keys)}
    to_rgb = _ToRGB(parts.stream, label)
    pixels: Pixels | None = None
    latest: int | None = None
    for number, frame in enumerate(_frames(parts, 0 if by_number else _key_before(parts.packets, keys[0]), label)):
        key = number if by_number else frame.pts
        if key is None or (latest is not None and key <= latest):
            raise _NotAsPromised("its frames come out in another order than their times")
        latest = key
        if key in place_of:
            rgb = to_rgb(frame)
            if pixels is None:
                check_size(len(wanted), rgb.shape[0], rgb.shape[1], label)
                pixels = np.empty((len(wanted), *rgb.shape), np.uint8)
            if rgb.shape != pixels.shape[1:]:
                raise UnreadableVideo(f"{label}: its frames are of several sizes; write it anew in one")
            pixels[place_of.pop(key)] = rgb
        if not place_of or key > keys[-1]:
            break
    if place_of or pixels is None:
        raise _NotAsPromised("a frame does not come out of the decoder")
    return _in_order(pixels, wanted, chosen, times, to_rgb.note)


def _in_order(pixels: Pixels, wanted: Indices, chosen: Indices, times: FrameTimes, note: str = "") -> Decoded:
    """Frames as chosen (some more than once), with their times."""
    seconds = times.seconds()
    if not np.array_equal(wanted, chosen):
        pixels = pixels[np.searchsorted(wanted, chosen)]
    return Decoded(pixels, note, None if seconds is None else seconds[chosen])


def _key_before(packets: Sequence[Packet[VideoStream]], tick: int) -> int:
    """The place of the last key frame that is shown at or before `tick`."""
    found = 0
    for place, packet in enumerate(packets):
        if packet.is_keyframe and packet.pts is not None and packet.pts <= tick:
            found = place
    return found


def _frames(parts: _Parts, first: int, label: str) -> Iterator[VideoFrame]:
    """All frames from the packet `first` on."""
    context = parts.stream.codec_context
    if context.is_open:
        context.flush_buffers()
    else:
        context.options = {"err_detect": "explode"}  # say so; by default FFmpeg paints over what is damaged
        context.thread_count = 1
    for packet in (*parts.packets[first:], None):
        for frame in context.decode(packet):
            if frame.is_corrupt:
                raise UnreadableVideo(f"{label}: the frame at {frame.time} s is damaged; replace or delete it")
            yield frame


class _ToRGB:
    """Frames of one stream as they are meant to be displayed."""

    def __init__(self, stream: VideoStream, label: str) -> None:
        from av.video.reformatter import VideoReformatter

        self._label = label
        self._aspect = stream.sample_aspect_ratio or Fraction(1)
        self._reformatter = VideoReformatter()  # keeps its tables from one frame to the next
        self.note = ""

    def __call__(self, frame: VideoFrame) -> Pixels:
        if frame.color_trc in HDR:
            raise UnreadableVideo(
                f"{self._label}: an HDR clip ({HDR[frame.color_trc]}); map it to standard range first"
            )
        if frame.rotation % 90:
            raise UnreadableVideo(f"{self._label}: turned by {frame.rotation}°; only quarters are understood")
        if frame.interlaced_frame:
            self.note = "interlaced: both fields of a frame are taken as one picture"
        width = max(1, round(frame.width * self._aspect))
        check_size(1, frame.height, width, self._label)
        see_through = any(component.is_alpha for component in frame.format.components)
        found = self._reformatter.reformat(
            frame,
            width=width,
            format="rgba" if see_through else "rgb24",
            src_colorspace=self._matrix(frame),
            threads=1,
        ).to_ndarray()
        pixels = array_to_rgb(found, self._label) if see_through else found
        return np.rot90(pixels, frame.rotation // 90)

    def _matrix(self, frame: VideoFrame) -> int | None:
        if frame.format.is_rgb:
            return None
        if frame.colorspace in UNDECLARED:
            return BT709 if frame.height >= LINES_OF_BT709 else BT601
        if frame.colorspace not in MATRICES:
            raise UnreadableVideo(f"{self._label}: its colour matrix ({frame.colorspace}) is not known; write it anew")
        return MATRICES[frame.colorspace]


def check_size(n: int, height: int, width: int, label: str) -> None:
    """Raise `UnreadableVideo` for frames that are too large, alone or together."""
    if height * width > MAX_PIXELS:
        raise UnreadableVideo(f"{label}: over {MAX_PIXELS / 1e6:.0f} megapixels a frame; scale it down first")
    if n * height * width > MAX_CLIP_PIXELS:
        raise UnreadableVideo(
            f"{label}: {n} frames of {width}×{height} px at once are over {MAX_CLIP_PIXELS / 1e6:.0f} megapixels; take "
            "fewer frames (--clip-frames) or scale it down"
        )


# ---- Animations, folders of frames, arrays ---------------------------------------------------------------------------


def decode_animation(content: bytes, label: str, rule: ClipRule, digest: Digest = bytes) -> Decoded:
    """The chosen frames of a GIF, WebP or PNG animation; one that stands still is a clip of one frame."""
    frames: list[Pixels] = []
    starts, now = [], 0
    try:
        with Image.open(io.BytesIO(content), formats=ANIMATIONS) as picture:
            n = getattr(picture, "n_frames", 1)
            check_size(n, picture.height, picture.width, label)
            for number in range(n):
                picture.seek(number)
                picture.load()
                frames.append(array_to_rgb(np.asarray(picture.convert("RGBA")), label))
                starts.append(now)
                duration = round(picture.info.get("duration") or 0)
                now += duration if duration >= SHORTEST_MS else SHOWN_MS
    except UnreadableVideo:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UnreadableVideo(f"{label}: a damaged or cut-off animation ({error}); replace or delete it") from error
    times = FrameTimes(np.array(starts, np.int64), Fraction(1, 1000), now)
    return _picked(frames, times, rule.choose(times, label, digest), label)


def decode_frame_files(
    files: Sequence[Path], label: str, rule: ClipRule, rate: Fraction | None, digest: Digest = bytes
) -> Decoded:
    """The chosen ones of pictures that are the frames of a clip; only these are decoded."""
    times = evenly(len(files), rate)
    chosen = rule.choose(times, label, digest)
    wanted = np.unique(chosen)
    frames = [decode_picture(files[index].read_bytes(), f"{label}/{files[index].name}").pixels for index in wanted]
    return _picked(frames, times, chosen, label, wanted)


def decode_array(
    array: NDArray[Any], label: str, rule: ClipRule, rate: Fraction | None, digest: Digest = bytes
) -> Decoded:
    """The chosen frames of an array [T, H, W] or [T, H, W, C]."""
    if array.ndim not in (3, 4):
        raise UnreadableVideo(f"{label}: shape {array.shape} is not [frames, height, width, channels]")
    times = evenly(len(array), rate)
    chosen = rule.choose(times, label, digest)
    wanted = np.unique(chosen)
    check_size(len(wanted), array.shape[1], array.shape[2], label)
    return _picked([array_to_rgb(array[index], label) for index in wanted], times, chosen, label, wanted)


def _picked(
    frames: Sequence[Pixels], times: FrameTimes, chosen: Indices, label: str, wanted: Indices | None = None
) -> Decoded:
    """Frames (of all times, or of those at `wanted`) as chosen."""
    if len({frame.shape for frame in frames}) > 1:
        raise UnreadableVideo(f"{label}: its frames are of several sizes; make them one")
    check_size(len(frames), frames[0].shape[0], frames[0].shape[1], label)
    return _in_order(np.stack(frames), np.arange(len(times)) if wanted is None else wanted, chosen, times)
