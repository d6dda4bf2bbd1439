"""Pictures and clips as a judge is sent them: nothing but pixels, and both sides of a battle prepared alike.

Each file is decoded under the rules of `paragone.data.decoding` (orientation applied, transparency on white, 16 bits
scaled) and written anew as PNG: no metadata, no file name, no loss. If the larger of the pictures shown together is
over `MAX_SIDE_PX`, all are reduced by the same factor (Lanczos); if the largest is tiny, all are enlarged by the same
whole factor (repeated pixels), since vision models see little below some dozens of pixels. A clip becomes
`N_FRAMES` frames, evenly spaced, the first and the last among them, each with its time.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.features
from numpy.typing import NDArray
from PIL import Image

from paragone.data.decoding import MAX_PIXELS, decode_picture
from paragone.data.errors import InputError, UnreadableImage
from paragone.judges.cache import MediaFacts, MediaIndex

MAX_SIDE_PX = 1536
SMALL_PX = 224  # a group whose longest side is under half of this is enlarged to about this
N_FRAMES = 8
MAX_FRAMES = 20_000  # of a clip that are counted before it is refused
CACHE_BYTES = 256 << 20
MIME = "image/png"
RECIPE = "png-3"  # the name of how a file becomes what is sent; another way needs another name

Pixels = NDArray[np.uint8]  # [H, W, 3]


@dataclass(frozen=True, slots=True)
class Media:
    """One picture ready to be sent; `encoded` is base64."""

    sha256: str  # of the PNG's bytes
    encoded: bytes
    width: int  # px
    height: int  # px
    time_s: float | None = None  # of a clip's frame


@dataclass(frozen=True, slots=True)
class KnownMedia:
    """A picture that was prepared before, by this recipe: it is only prepared again if its bytes are wanted."""

    facts: MediaFacts
    load: Callable[[], Media]

    @property
    def sha256(self) -> str:
        """As `Media` has it."""
        return self.facts.sha256

    @property
    def width(self) -> int:
        """As `Media` has it, px."""
        return self.facts.width

    @property
    def height(self) -> int:
        """As `Media` has it, px."""
        return self.facts.height

    @property
    def time_s(self) -> float | None:
        """As `Media` has it."""
        return self.facts.time_s

    @property
    def encoded(self) -> bytes:
        """base64; raises `InputError` when the picture is another by now."""
        media = self.load()
        if media.sha256 != self.facts.sha256:
            raise InputError("a picture changed while it was judged; run the same command again")
        return media.encoded


Shown = tuple[Media | KnownMedia, ...]  # one picture, or the frames of one clip
Prepared = tuple[Media, ...]


class MediaPreparer:
    """Prepares files for sending, and keeps what it prepared, up to `CACHE_BYTES`. May be used from several threads.

    A file is known by its path, time of change and size: one that changes is prepared anew. With an `index`, what a
    file becomes is remembered by its content, so that a request whose reply is known needs no decoding.
    """

    def __init__(
        self, *, max_side_px: int = MAX_SIDE_PX, n_frames: int = N_FRAMES, index: MediaIndex | None = None
    ) -> None:
        self.max_side_px = max_side_px
        self.n_frames = n_frames
        self.n_encoded = 0
        self._sides: dict[tuple[Any, ...], int] = {}
        self._kept: OrderedDict[tuple[Any, ...], Future[Prepared]] = OrderedDict()
        self._index = index
        self._digests: dict[tuple[Any, ...], str] = {}
        self._lock = threading.Lock()

    def prepare(self, files: Sequence[tuple[Path, bool]]) -> tuple[Shown, ...]:
        """The files shown together, each with whether it is a clip; raises `UnreadableImage` or `InputError`."""
        keys = [_known_by(path, moving) for path, moving in files]
        factor = self.factor(max(self._longest_side(key) for key in keys))
        return tuple(self._shown(key, factor) for key in keys)

    def factor(self, longest_px: int) -> float:
        """By what the sides of a group with this longest side are multiplied."""
        if longest_px > self.max_side_px:
            return self.max_side_px / longest_px
        return float(max(1, SMALL_PX // longest_px))

    def _shown(self, key: tuple[Any, ...], factor: float) -> Shown:
        if self._index is None:
            return self._encoded(key, factor)
        digest, recipe = self._digest(key), self._recipe(key, factor)
        known = self._index.known_media(digest, recipe)
        if known is None:
            made = self._encoded(key, factor)
            self._index.keep_media(
                digest, recipe, [MediaFacts(one.sha256, one.width, one.height, one.time_s) for one in made]
            )
            return made
        return tuple(
            KnownMedia(facts, partial(_nth, self._encoded, key, factor, place)) for place, facts in enumerate(known)
        )

    def _recipe(self, key: tuple[Any, ...], factor: float | None) -> str:
        """What the bytes that are sent depend on besides the file; without a factor, what its size depends on."""
        how = f"x{factor!r}" if factor is not None else "size"
        frames = f"-{self.n_frames}-frames" if key[1] else ""
        return f"{RECIPE}-{how}{frames}-pillow-{PIL.__version__}-zlib-{PIL.features.version('zlib')}"

    def _digest(self, key: tuple[Any, ...]) -> str:
        with self._lock:
            known = self._digests.get(key)
        if known is None:
            known = hashlib.sha256(_content(Path(key[0]))).hexdigest()
            with self._lock:
                self._digests[key] = known
        return known

    def _longest_side(self, key: tuple[Any, ...]) -> int:
        with self._lock:
            known = self._sides.get(key)
        if known is None and self._index is not None:
            digest, recipe = self._digest(key), self._recipe(key, None)
            if facts := self._index.known_media(digest, recipe):
                known = self._sides[key] = max(facts[0].width, facts[0].height)
            else:
                known = self._read_longest_side(key)
                self._index.keep_media(digest, recipe, [MediaFacts(digest, known, known)])
        return self._read_longest_side(key) if known is None else known

    def _read_longest_side(self, key: tuple[Any, ...]) -> int:
        frames = self._read(key)
        known: int = max(frames[0][0].shape[:2])
        with self._lock:
            self._sides[key] = known
        if self.factor(known) == 1.0:  # most likely what will be asked for: decode once
            self._encoded(key, 1.0, frames)
        return known

    def _encoded(
        self, key: tuple[Any, ...], factor: float, frames: list[tuple[Pixels, float | None]] | None = None
    ) -> Prepared:
        with self._lock:
            future = self._kept.get((key, factor))
            mine = future is None
            if future is None:
                future = self._kept[key, factor] = Future()
            self._kept.move_to_end((key, factor))
        if mine:
            try:
                read = self._read(key) if frames is None else frames
                shown = tuple(encode(scaled(pixels, factor), time_s=time_s) for pixels, time_s in read)
                future.set_result(shown)
            except BaseException as error:
                with self._lock:
                    self._kept.pop((key, factor), None)
                future.set_exception(error)
                raise
            with self._lock:
                self.n_encoded += len(shown)
                self._forget()
        return future.result()

    def _forget(self) -> None:
        """Let go of what was used longest ago (the lock is held)."""
        done = {key: sum(len(one.encoded) for one in kept.result()) for key, kept in self._kept.items() if kept.done()}
        total = sum(done.values())
        for key, size in done.items():
            if total <= CACHE_BYTES:
                return
            del self._kept[key]
            total -= size

    def _read(self, key: tuple[Any, ...]) -> list[tuple[Pixels, float | None]]:
        path, moving = Path(key[0]), key[1]
        if moving:
            return list(read_frames(path, self.n_frames))
        return [(decode_picture(_content(path), str(path)).pixels, None)]


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """[H, W, 3] with both sides multiplied: enlarged by repeating pixels, reduced by Lanczos."""
    if factor == 1.0:
        return pixels
    if factor > 1.0:
        return np.repeat(np.repeat(pixels, int(factor), axis=0), int(factor), axis=1)
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def encode(pixels: Pixels, *, time_s: float | None = None) -> Media:
    """[H, W, 3] as a PNG without metadata, base64."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=3)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return Media(digest, base64.b64encode(content), pixels.shape[1], pixels.shape[0], time_s)


def read_frames(path: Path, n_frames: int) -> list[tuple[Pixels, float]]:
    """`n_frames` frames [H, W, 3] of a clip with their times (s), evenly spaced, first and last among them.

    A clip with fewer frames gives some of them more than once. Raises `InputError` without PyAV, and `UnreadableImage`
    for a clip that cannot be decoded.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(f"{path}: reading clips needs PyAV; install it with: pip install av") from error
    try:
        with av.open(str(path)) as container:
            _check_size(container, path)
            total = sum(1 for _ in _decoded(container, path))
        wanted = np.linspace(0, max(0, total - 1), n_frames).round().astype(int).tolist() if total else []
        kept: dict[int, tuple[Pixels, float]] = {}
        with av.open(str(path)) as container:
            for index, frame in enumerate(_decoded(container, path)):
                if index in wanted:
                    kept[index] = frame.to_ndarray(format="rgb24"), float(frame.time or 0.0)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UnreadableImage(f"{path}: not a clip that can be decoded ({error}); replace or delete it") from error
    if not wanted or set(wanted) - set(kept):
        raise UnreadableImage(f"{path}: no frames in it; replace or delete it")
    start = kept[wanted[0]][1]
    return [(kept[index][0], kept[index][1] - start) for index in wanted]


def _check_size(container: Any, path: Path) -> None:
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise UnreadableImage(f"{path}: over {MAX_PIXELS / 1e6:.0f} megapixels a frame; scale it down first")


def _decoded(container: Any, path: Path) -> Any:
    for count, frame in enumerate(container.decode(video=0), start=1):
        if count > MAX_FRAMES:
            raise UnreadableImage(f"{path}: over {MAX_FRAMES} frames; cut it first")
        yield frame


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error


def _nth(
    prepare: Callable[[tuple[Any, ...], float], Prepared], key: tuple[Any, ...], factor: float, place: int
) -> Media:
    return prepare(key, factor)[place]


def _known_by(path: Path, moving: bool) -> tuple[Any, ...]:
    try:
        facts = path.stat()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error
    return str(path), moving, facts.st_mtime_ns, facts.st_size
