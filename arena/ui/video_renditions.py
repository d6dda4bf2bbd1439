"""What a voter is sent instead of a model's clip: the same pictures at the same times in a new MP4, and nothing else.

As with pictures (`renditions`), both sides are decoded and written anew in one way: one box of pixels, one codec with
one setting, no sound, no metadata, a length that is a multiple of 64 KiB. Quality is set so that a loss cannot be seen,
but the pixels are no longer exactly the model's. It takes about as long as the clip plays, so what was made is kept in
the project folder under `cache/renditions`, which may be deleted at any time.
"""

from __future__ import annotations

import io
import itertools
import logging
import struct
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from paragone.arena.ui.pictures import VIDEO_BOXES, MovingPicture, Pixels, fit, is_video, picture_of, read_recorded
from paragone.arena.ui.renditions import LARGEST_PX, SIZE_STEP, Pair, source_path
from paragone.data.decoding import array_to_rgb
from paragone.data.errors import ParagoneError, UnreadableImage
from paragone.data.files import file_digest, write_atomically
from paragone.data.records import Sample

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

LONGEST_S = 60
MOST_FRAMES = 2000
MOST_PIXELS = 4_200_000_000  # in all frames together: 2000 of 1920 × 1080
RECIPE = 1  # to be raised with every change of what is written
CODECS = {  # the first that PyAV has is used; quality in the codec's own scale, without a loss that can be seen
    "libx264": {"crf": "14", "preset": "veryfast", "profile": "high", "sc_threshold": "0"},
    "libvpx-vp9": {"crf": "12", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
}
FILTERS = {  # taken out: supplemental information (ITU-T H.264, D), in which x264 names itself
    "libx264": "filter_units=remove_types=6",
    "libvpx-vp9": "null",
}
GOP = 24  # frames between two that can be jumped to
MICRO = 1_000_000  # ticks a second of a container's duration in FFmpeg
TICKS = 90_000  # a second, for clips of uneven speed
AT_ONCE = 2  # clips that are worked on
LEAST_GAP = Fraction(2, 100)  # s; browsers show quicker frames of an animation for 0.1 s
ANIMATIONS = {"GIF", "WEBP", "PNG"}
_LIMITED = 1  # FFmpeg's number for 16 to 235
_BT709 = 1  # FFmpeg's number for it: primaries, transfer and matrix
_SEEN_AS_BT601 = 5
_UNKNOWN = 2
_HDR = {16, 18}  # PQ and HLG
_working = threading.BoundedSemaphore(AT_ONCE)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """What a clip turned out to be when all of it was decoded."""

    height: int  # px, as displayed
    width: int
    times: tuple[Fraction, ...]  # s, of each frame from the first
    rate: Fraction  # frames per second, average
    even: bool  # all frames are shown equally long

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width


Frame = tuple[Fraction, Pixels]  # time in s, [H, W, 3]


def survey(content: bytes, name: str) -> Clip:
    """Decode all of a clip; raises `UnreadableImage` when it is damaged, cut off, empty or over a limit."""
    times: list[Fraction] = []
    shape: tuple[int, ...] = ()
    for at, pixels in _frames(content, name):
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise UnreadableImage(f"{name}: its frames are of several sizes")
        times.append(at)
    if not times:
        raise UnreadableImage(f"{name}: a clip without a frame; replace or delete it")
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise UnreadableImage(f"{name}: a clip whose frames are not in order of time; write it anew")
    from_first = tuple(at - times[0] for at in times)
    rate, even = _rate(from_first, _stated_rate(content))
    return Clip(shape[0], shape[1], from_first, rate, even)


def render_clip(content: bytes, name: str, clip: Clip, box: tuple[int, int]) -> bytes:
    """The clip as an MP4 of `box` (height, width; even numbers of px) whose length is a multiple of `SIZE_STEP`."""
    import av

    with tempfile.TemporaryDirectory(prefix="paragone-") as folder:
        path = Path(folder) / "clip"  # a file: the index goes to the front when everything else is written
        try:
            _encode(path, zip(_frames(content, name), clip.times, strict=True), clip, box)
        except av.FFmpegError as error:
            raise UnreadableImage(f"{name}: cannot be written anew ({error})") from error
        return _padded(path.read_bytes())


def _encode(path: Path, frames: Iterable[tuple[Frame, Fraction]], clip: Clip, box: tuple[int, int]) -> None:
    """Write the frames, each with its time from the first."""
    import av

    codec = _codec()
    base = 1 / clip.rate if clip.even else Fraction(1, TICKS)
    settings = {"movflags": "+faststart", "fflags": "+bitexact"}  # bitexact: no word of who wrote it, nor when
    with av.open(path, "w", format="mp4", options=settings) as output:
        stream = output.add_stream(codec, rate=clip.rate, options=dict(CODECS[codec]))
        if not isinstance(stream, av.VideoStream):
            raise TypeError(codec)
        _set_up(stream, box, base)
        clean = av.BitStreamFilterContext(FILTERS[codec], in_stream=stream)
        for n, ((_, pixels), at) in enumerate(frames):
            frame = _in_yuv(fit(pixels, box))
            frame.pts, frame.time_base = n if clip.even else round(at * TICKS), base
            for packet in stream.encode(frame):
                output.mux(clean.filter(packet))
        for packet in stream.encode():
            output.mux(clean.filter(packet))


def _set_up(stream: VideoStream, box: tuple[int, int], base: Fraction) -> None:
    """One setting for all clips: what is the same cannot tell one from another."""
    stream.height, stream.width, stream.pix_fmt = *box, "yuv420p"
    stream.time_base = base
    context = stream.codec_context
    context.time_base = base
    context.gop_size, context.max_b_frames, context.thread_count = GOP, 0, 2
    context.color_range, context.colorspace = _LIMITED, _BT709
    context.color_primaries = context.color_trc = _BT709


def shared_box(shapes: list[tuple[int, int]]) -> tuple[int, int]:
    """The smallest box (height, width) that holds all, in even numbers, which the pixel format wants."""
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    return height + height % 2, width + width % 2


def _codec() -> str:
    import av

    found = next((name for name in CODECS if name in av.codecs_available), None)
    if found is None:
        raise ParagoneError(f"clips cannot be shown: this PyAV has none of {', '.join(CODECS)}; install its own wheel")
    return found


def _in_yuv(pixels: Pixels) -> VideoFrame:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=_BT709)


def _padded(content: bytes) -> bytes:
    """With a box `free` at the end (ISO/IEC 14496-12, 8.1.2), which players skip."""
    missing = -len(content) % SIZE_STEP
    if 0 < missing < 8:  # no room for the box's head
        missing += SIZE_STEP
    return content + (struct.pack(">I4s", missing, b"free") + bytes(missing - 8) if missing else b"")


def _rate(times: tuple[Fraction, ...], stated: Fraction | None) -> tuple[Fraction, bool]:
    """Average frames per second, and whether no frame is a quarter of one off; the file's own word if it fits."""
    if len(times) == 1:
        return stated or Fraction(1), True
    measured = (len(times) - 1) / times[-1]
    for rate in (stated, measured.limit_denominator(1001)):
        if rate and all(abs(at * rate - n) < Fraction(1, 4) for n, at in enumerate(times)):
            return rate, True
    return measured.limit_denominator(1001), False


def _stated_rate(content: bytes) -> Fraction | None:
    import av

    if not is_video(content):
        return None
    with av.open(io.BytesIO(content), "r", format=_container(content)) as source:
        rate = source.streams.video[0].average_rate
    return rate if rate and rate > 0 else None


def _frames(content: bytes, name: str) -> Iterator[Frame]:
    """Every frame, upright and in square pixels, one after the other; what is over a limit ends in an error."""
    n_pixels = 0
    first: Fraction | None = None
    for n, (at, pixels) in enumerate(_video(content, name) if is_video(content) else _animation(content, name), 1):
        first = at if first is None else first
        n_pixels += pixels.shape[0] * pixels.shape[1]
        if n > MOST_FRAMES or at - first > LONGEST_S:
            raise UnreadableImage(f"{name}: over {MOST_FRAMES} frames or {LONGEST_S} s; cut it first")
        if n_pixels > MOST_PIXELS:
            raise UnreadableImage(f"{name}: over {MOST_PIXELS / 1e6:.0f} megapixels in all; scale it down first")
        yield at, pixels


def _check_size(height: int, width: int, name: str) -> None:
    if not 0 < max(height, width) <= LARGEST_PX:
        raise UnreadableImage(f"{name}: {width}×{height} px; clips are shown up to {LARGEST_PX} px a side")


def _container(content: bytes) -> str:
    """FFmpeg's reader for this file. Named, since some of the others follow addresses that a file gives them."""
    return "mov" if content[4:8] in VIDEO_BOXES else "matroska"


def _video(content: bytes, name: str) -> Iterator[Frame]:
    import av

    try:
        with av.open(io.BytesIO(content), "r", format=_container(content)) as source:
            if not source.streams.video:
                raise UnreadableImage(f"{name}: no pictures in it, only sound or less")
            yield from _decoded(source, name)
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise UnreadableImage(f"{name}: damaged, cut off or no clip ({error}); replace or delete it") from error


def _decoded(source: InputContainer, name: str) -> Iterator[Frame]:
    stream = source.streams.video[0]
    context = stream.codec_context
    _check_size(context.height, context.width, name)
    context.options = {"err_detect": "explode"}  # say so; by default FFmpeg paints over what is damaged
    context.thread_count, context.thread_type = 2, "AUTO"
    aspect = stream.sample_aspect_ratio or Fraction(1)
    n_packets, end = 0, Fraction(0)
    for packet in source.demux(stream):
        if packet.is_corrupt:
            raise UnreadableImage(f"{name}: damaged or cut off; replace or delete it")
        if packet.size and packet.pts is not None:
            n_packets += 1
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
        for frame in packet.decode():
            if frame.is_corrupt or frame.pts is None or frame.time_base is None:
                raise UnreadableImage(f"{name}: frame {frame.pts} is damaged or has no time; replace or delete it")
            _check_size(frame.height, frame.width, name)
            yield frame.pts * frame.time_base, _upright(frame, aspect, name)
    promised = Fraction(source.duration or 0, MICRO) if len(source.streams) == 1 else Fraction(0)
    slack = Fraction(3, 2) / (stream.average_rate or Fraction(8))  # a last frame may not say how long it is shown
    if n_packets < stream.frames or end + slack < promised:
        raise UnreadableImage(f"{name}: cut off: its end is missing; replace or delete it")


def _upright(frame: VideoFrame, aspect: Fraction, name: str) -> Pixels:
    """[H, W, 3] of a frame as it is meant to be displayed."""
    if frame.color_trc in _HDR:
        raise UnreadableImage(f"{name}: an HDR clip; only standard range can be shown")
    if frame.rotation % 90:
        raise UnreadableImage(f"{name}: turned by {frame.rotation}°; only quarters can be shown")
    width = max(1, round(frame.width * aspect))
    _check_size(frame.height, width, name)
    unsaid = _BT709 if frame.height >= 720 else _SEEN_AS_BT601  # as browsers and FFmpeg's filters guess
    matrix = unsaid if frame.colorspace in (_UNKNOWN, 0) else int(frame.colorspace)
    pixels = frame.reformat(width=width, format="rgb24", src_colorspace=matrix).to_ndarray()
    return np.rot90(pixels, frame.rotation // 90).astype(np.uint8, copy=False)


def _animation(content: bytes, name: str) -> Iterator[Frame]:
    """Frames of a GIF, WebP or PNG; transparency is put on white."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.format not in ANIMATIONS:
                raise MovingPicture(f"{name}: several pages; only single pictures and animations can be shown")
            _check_size(picture.height, picture.width, name)
            at = Fraction(0)
            for n in range(min(getattr(picture, "n_frames", 1), MOST_FRAMES + 1)):
                picture.seek(n)
                picture.load()
                yield at, array_to_rgb(np.asarray(picture.convert("RGBA")), name)
                gap = Fraction(round(picture.info.get("duration") or 0), 1000)
                at += gap if gap >= LEAST_GAP else Fraction(1, 10)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise UnreadableImage(f"{name}: a damaged or truncated animation ({error}); replace or delete it") from error


class File(NamedTuple):
    """A file and the digest (sha256, hex) that it must have."""

    path: Path
    sha256: str

    def content(self) -> bytes:
        """Its bytes; raises `UnreadableImage` when they are others."""
        return read_recorded(self.path, self.sha256)


class ClipRenditions:
    """Renditions of clips, kept on disk; threads may share it, and each rendition is made by one of them."""

    def __init__(self) -> None:
        self._clips: dict[File, Clip] = {}
        self._moving: dict[File, bool] = {}
        self._lock = threading.Lock()
        self._making: dict[object, threading.Lock] = {}

    def known(self, folder: Path, *samples: Sample) -> bool:
        """Whether all of these have been found to be clips."""
        return all(self._moving.get(_file(folder, sample), False) for sample in samples)

    def pair(self, folder: Path, sample_a: Sample, sample_b: Sample) -> Pair:
        """Both sides, made before either is sent; raises `UnreadableImage`, and `MovingPicture` if only one moves."""
        files = _file(folder, sample_a), _file(folder, sample_b)
        moving = [self._moves(file) for file in files]
        if not all(moving):
            clip, still = files if moving[0] else files[::-1]
            raise MovingPicture(f"{clip.path}: a clip, against the picture {still.path}; a battle wants two of a kind")
        box = shared_box([self._clip(file).shape for file in files])
        return Pair(*(self._side(folder, file, box) for file in files))

    def alone(self, folder: Path, sample: Sample) -> bytes:
        """One clip by itself; raises `LookupError` for a still picture, `UnreadableImage`."""
        file = _file(folder, sample)
        if not self._moves(file):
            raise LookupError(sample.id)
        return self._side(folder, file, shared_box([self._clip(file).shape]))

    def source(self, folder: Path, source: str) -> bytes:
        """The clip that a task gives to be edited, inside the project folder; raises `UnreadableImage`."""
        path = source_path(folder, source)
        file = File(path, file_digest(path))
        return self._side(folder, file, shared_box([self._clip(file).shape]))

    def _moves(self, file: File) -> bool:
        if file not in self._moving:
            try:
                picture_of(file.content(), str(file.path))
                self._moving[file] = False
            except MovingPicture:
                self._moving[file] = True
        return self._moving[file]

    def _clip(self, file: File) -> Clip:
        with self._turn(file):
            if file not in self._clips:
                with _working:
                    self._clips[file] = survey(file.content(), str(file.path))
            return self._clips[file]

    def _side(self, folder: Path, file: File, box: tuple[int, int]) -> bytes:
        recipe = f"{_codec()}-{RECIPE}-{box[1]}x{box[0]}"
        path = folder / "cache" / "renditions" / f"{file.sha256}-{recipe}.mp4"
        with self._turn(path):
            kept = _kept(path)
            if kept is not None:
                return kept
            clip, started = self._clip(file), time.monotonic()
            with _working:
                content = render_clip(file.content(), str(file.path), clip, box)
            log.info("%s: a rendition was made in %.1f s", file.path, time.monotonic() - started)
            try:
                write_atomically(path, content)
            except OSError as error:
                log.warning("%s: cannot be written (%s): this clip is made anew each time", path, error.strerror)
            return content

    @contextmanager
    def _turn(self, what: object) -> Iterator[None]:
        """One thread at a time for each thing."""
        with self._lock:
            turn = self._making.setdefault(what, threading.Lock())
        try:
            with turn:
                yield
        finally:
            with self._lock:
                self._making.pop(what, None)


def _file(folder: Path, sample: Sample) -> File:
    return File(folder / sample.path, sample.sha256)


def _kept(path: Path) -> bytes | None:
    """A rendition that was made before; None when there is none, or it is not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if content and len(content) % SIZE_STEP == 0 and content[4:8] == b"ftyp" else None
