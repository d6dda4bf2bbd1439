"""Pictures and clips as a judge is sent them: nothing but pixels, and both sides of a battle prepared alike.

Each file is decoded under the rules of `paragone.data.decoding` (orientation applied, transparency on white, 16 bits
scaled) and written anew as PNG: no metadata, no file name, no loss. If the larger of the pictures shown together is
over `MAX_SIDE_PX`, all are reduced by the same factor (Lanczos); if the largest is tiny, all are enlarged by the same
whole factor (repeated pixels), since vision models see little below some dozens of pixels. A clip becomes `N_FRAMES`
frames, evenly spaced, the first and the last among them, each with its time; or one contact sheet of them; or goes as
it is, in a container without metadata (`Form`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import PIL
import PIL.features
from numpy.typing import NDArray
from PIL import Image

from paragone.data.decoding import decode_picture
from paragone.data.errors import InputError, UnreadableImage
from paragone.judges.cache import MediaFacts, MediaIndex
from paragone.judges.clips import native_clip, read_frames
from paragone.judges.sheets import GAP, STRIP, contact_sheet, edges, grid, panels

MAX_SIDE_PX = 1536
SMALL_PX = 224  # a group whose longest side is under half of this is enlarged to about this
N_FRAMES = 8
CACHE_BYTES = 256 << 20
MIME, CLIP_MIME = "image/png", "video/mp4"
RECIPE = "png-5"  # the name of how a file becomes what is sent; another way needs another name

Pixels = NDArray[np.uint8]  # [H, W, 3]
# How clips are shown: as they are, as frames, as one contact sheet each; "single" puts all of a question on one canvas.
Form = Literal["native", "frames", "sheet", "single"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Media:
    """One picture or clip that can be sent; its bytes are only made when they are wanted."""

    facts: MediaFacts
    load: Callable[[], bytes] = field(repr=False, compare=False)

    @property
    def sha256(self) -> str:
        """Of the bytes that are sent."""
        return self.facts.sha256

    @property
    def width(self) -> int:
        """Width, px."""
        return self.facts.width

    @property
    def height(self) -> int:
        """Height, px."""
        return self.facts.height

    @property
    def time_s(self) -> float | None:
        """Of a clip's frame, s."""
        return self.facts.time_s

    @property
    def encoded(self) -> bytes:
        """base64; raises `InputError` when the file is another by now."""
        return self.load()


Shown = tuple[Media, ...]  # one picture, one clip or sheet, or the frames of one clip
_Key = tuple[str, bool, int, int]  # path, is it a clip, time of change, size
_Made = tuple[tuple[MediaFacts, bytes], ...]
_Frames = list[tuple[Pixels, float | None]]


@dataclass(frozen=True, slots=True)
class _Job:
    """What is made of one file, or of all files of a question (`single`, with a name for each)."""

    keys: tuple[_Key, ...]
    form: Form
    factor: float
    columns: int = 0  # of a contact sheet
    names: tuple[str, ...] = ()


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
        self._sizes: dict[_Key, tuple[int, int]] = {}  # width, height
        self._known: dict[_Job, Shown] = {}
        self._kept: OrderedDict[_Job, Future[_Made]] = OrderedDict()
        self._index = index
        self._digests: dict[_Key, str] = {}
        self._lock = threading.Lock()

    def prepare(
        self, files: Sequence[tuple[Path, bool]], form: Form = "frames", scale: float = 1.0
    ) -> tuple[Shown, ...]:
        """The files shown together, each with whether it is a clip, in any form but `single`.

        `scale` (0..1) reduces all of them further. Raises `UnreadableImage` or `InputError`; `NotNative` for a clip
        that cannot be sent as it is.
        """
        keys = [_known_by(path, moving) for path, moving in files]
        for key in keys:
            if form != "native" or not key[1]:
                self._size(key)
        return tuple(self._shown(job) for job in self._jobs(keys, form, scale))

    def at_hand(
        self, files: Sequence[tuple[Path, bool]], form: Form = "frames", scale: float = 1.0
    ) -> tuple[Shown, ...] | None:
        """What `prepare` gives, when that takes no reading and no work; else None."""
        keys = [_known_by(path, moving) for path, moving in files]
        if form == "native" or not all(key in self._sizes for key in keys):
            return None
        found = [self._known.get(job) for job in self._jobs(keys, form, scale)]
        return None if None in found else tuple(shown for shown in found if shown is not None)

    def prepare_single(
        self, groups: Sequence[Sequence[tuple[str, Path, bool]]], scale: float = 1.0
    ) -> tuple[Shown, ...]:
        """One canvas for each group of named files, all reduced by the same factor."""
        jobs = [
            (tuple(_known_by(path, moving) for _, path, moving in group), tuple(name for name, _, _ in group))
            for group in groups
        ]
        layouts = [self._layout(keys) for keys, _ in jobs]
        factor = _scaled(min(self.fit(*layout[1:]) for layout in layouts), scale)
        return tuple(
            self._shown(_Job(keys, "single", factor, columns, names))
            for (keys, names), (columns, *_) in zip(jobs, layouts, strict=True)
        )

    def fit(self, width: int, height: int, wider: int = 0, higher: int = 0) -> float:
        """By what pictures that take so much room together are multiplied; edges (px) are not scaled with them."""
        across, down = self.max_side_px - wider, self.max_side_px - higher
        if width > across or height > down:
            return min(across / width, down / height)
        return float(max(1, SMALL_PX // max(width, height)))

    def _jobs(self, keys: Sequence[_Key], form: Form, scale: float) -> list[_Job]:
        """What is to be made of files whose sizes are known."""
        sizes = [self._sizes[key] for key in keys if form != "native" or not key[1]]
        columns, clip_factor = 0, 1.0
        clips = [self._sizes[key] for key in keys if key[1] and form == "sheet"]
        if clips:
            width, height = max(w for w, _ in clips), max(h for _, h in clips)
            columns, rows = grid(self.n_frames, width, height)
            clip_factor = _scaled(self.fit(columns * width, rows * height, *edges(columns, rows)), scale)
            sizes = [self._sizes[key] for key in keys if not key[1]]
        longest = max((max(size) for size in sizes), default=1)
        factor = _scaled(self.fit(longest, longest), scale)
        jobs = []
        for key in keys:
            if key[1] and form == "native":
                jobs.append(_Job((key,), "native", 1.0))
            elif key[1] and form == "sheet":
                jobs.append(_Job((key,), "sheet", clip_factor, columns))
            else:
                jobs.append(_Job((key,), "frames", factor))
        return jobs

    def _layout(self, keys: Sequence[_Key]) -> tuple[int, int, int, int, int]:
        """Columns of a clip's frames, then width, height and edges of a canvas with everything on it, px."""
        sizes = {key: self._size(key) for key in keys}
        moving = [sizes[key] for key in keys if key[1]]
        if not moving:  # side by side
            wide, high = sum(w for w, _ in sizes.values()), max(h for _, h in sizes.values())
            return 0, wide, high, GAP * (len(keys) + 1), STRIP + 2 * GAP
        width, height = max(w for w, _ in moving), max(h for _, h in moving)
        columns, rows = grid(self.n_frames, width, height, stacked=len(moving))
        stills = [sizes[key] for key in keys if not key[1]]
        wide = max([columns * width, *(w for w, _ in stills)])
        high = len(moving) * rows * height + sum(h for _, h in stills)
        wider, higher = edges(columns, rows)
        return columns, wide, high, wider + 2 * GAP, higher * len(moving) + (STRIP + GAP) * len(keys) + GAP

    def _shown(self, job: _Job) -> Shown:
        shown = self._known.get(job)
        if shown is None:
            digest, recipe = (self._digest(job.keys), self._recipe(job)) if self._index is not None else ("", "")
            facts = self._index.known_media(digest, recipe) if self._index is not None else None
            if facts is None:
                facts = tuple(one for one, _ in self._made(job))
                if self._index is not None:
                    self._index.keep_media(digest, recipe, facts)
            shown = tuple(Media(one, partial(self._load, job, place, one)) for place, one in enumerate(facts))
            self._known[job] = shown
        return shown

    def _load(self, job: _Job, place: int, facts: MediaFacts) -> bytes:
        made, encoded = self._made(job)[place]
        if made.sha256 != facts.sha256:
            raise InputError("a picture changed while it was judged; run the same command again")
        return encoded

    def _recipe(self, job: _Job | None, *, moving: bool = False) -> str:
        """What the bytes that are sent depend on besides the file; without a job, what its size depends on."""
        made_by = f"pillow-{PIL.__version__}-zlib-{PIL.features.version('zlib')}"
        if job is None:
            return f"{RECIPE}-size{'-moving' * moving}-{made_by}"
        frames = f"-{self.n_frames}-frames" if any(key[1] for key in job.keys) else ""
        layout = f"-{job.form}-{job.columns}-{','.join(job.names)}" if job.form != "frames" else ""
        return f"{RECIPE}-x{job.factor!r}{frames}{layout}-{made_by}"

    def _digest(self, keys: Sequence[_Key]) -> str:
        """Of one file's content, or of several."""
        digests = []
        for key in keys:
            known = self._digests.get(key)
            if known is None:
                known = self._digests[key] = hashlib.sha256(_content(Path(key[0]))).hexdigest()
            digests.append(known)
        return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def _size(self, key: _Key) -> tuple[int, int]:
        known = self._sizes.get(key)
        if known is not None:
            return known
        digest, recipe = "", self._recipe(None, moving=key[1])
        if self._index is not None:
            digest = self._digest([key])
            if facts := self._index.known_media(digest, recipe):
                self._sizes[key] = facts[0].width, facts[0].height
                return self._sizes[key]
        frames = self._read(key)
        height, width = frames[0][0].shape[:2]
        if self._index is not None:
            self._index.keep_media(digest, recipe, [MediaFacts(digest, width, height)])
        if self.fit(max(width, height), max(width, height)) == 1.0:  # most likely what is asked for: decode once
            self._made(_Job((key,), "frames", 1.0), frames)
        self._sizes[key] = width, height
        return width, height

    def _made(self, job: _Job, frames: _Frames | None = None) -> _Made:
        with self._lock:
            future = self._kept.get(job)
            mine = future is None
            if future is None:
                future = self._kept[job] = Future()
            self._kept.move_to_end(job)
        if mine:
            try:
                made = self._make(job, frames)
                future.set_result(made)
            except BaseException as error:
                with self._lock:
                    self._kept.pop(job, None)
                future.set_exception(error)
                raise
            with self._lock:
                self.n_encoded += len(made)
                self._forget()
        return future.result()

    def _make(self, job: _Job, frames: _Frames | None) -> _Made:
        if job.form == "native":
            content, width, height = native_clip(Path(job.keys[0][0]))
            return (_as_sent(content, width, height, mime=CLIP_MIME),)
        if job.form == "single":
            named = [(name, *self._panel(key, job)) for name, key in zip(job.names, job.keys, strict=True)]
            canvas = panels([(name, pixels) for name, pixels, _ in named], stacked=job.columns > 0)
            return (encode(canvas, times_s=tuple(time for *_, times in named for time in times)),)
        if job.form == "sheet":
            pixels, times = self._panel(job.keys[0], job)
            return (encode(pixels, times_s=times),)
        read = self._read(job.keys[0]) if frames is None else frames
        return tuple(encode(scaled(pixels, job.factor), time_s=time_s) for pixels, time_s in read)

    def _panel(self, key: _Key, job: _Job) -> tuple[Pixels, tuple[float, ...]]:
        """A picture, or a clip's contact sheet with the times of its frames."""
        read = [(scaled(pixels, job.factor), time_s) for pixels, time_s in self._read(key)]
        if not key[1]:
            return read[0][0], ()
        return contact_sheet([pixels for pixels, _ in read], job.columns), tuple(time_s or 0.0 for _, time_s in read)

    def _forget(self) -> None:
        """Let go of what was used longest ago (the lock is held)."""
        done = {job: sum(len(one) for _, one in kept.result()) for job, kept in self._kept.items() if kept.done()}
        total = sum(done.values())
        for job, size in done.items():
            if total <= CACHE_BYTES:
                return
            del self._kept[job]
            total -= size

    def _read(self, key: _Key) -> _Frames:
        path, moving = Path(key[0]), key[1]
        if moving:
            return read_frames(path, self.n_frames)
        return [(decode_picture(_content(path), str(path)).pixels, None)]


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """[H, W, 3] with both sides multiplied: enlarged by repeating pixels, reduced by Lanczos."""
    if factor == 1.0:
        return pixels
    if factor > 1.0:
        return np.repeat(np.repeat(pixels, int(factor), axis=0), int(factor), axis=1)
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def encode(pixels: Pixels, *, time_s: float | None = None, times_s: tuple[float, ...] = ()) -> tuple[MediaFacts, bytes]:
    """[H, W, 3] as a PNG without metadata, base64."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=3)
    return _as_sent(buffer.getvalue(), pixels.shape[1], pixels.shape[0], time_s=time_s, times_s=times_s)


def _as_sent(
    content: bytes,
    width: int,
    height: int,
    *,
    mime: str = MIME,
    time_s: float | None = None,
    times_s: tuple[float, ...] = (),
) -> tuple[MediaFacts, bytes]:
    digest = hashlib.sha256(content).hexdigest()
    return MediaFacts(digest, width, height, time_s, len(content), mime, times_s), base64.b64encode(content)


def _scaled(factor: float, scale: float) -> float:
    """Enlarging is by whole factors."""
    return factor * scale if factor <= 1.0 else max(1.0, float(int(factor * scale)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error


def _known_by(path: Path, moving: bool) -> _Key:
    try:
        facts = path.stat()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error
    return str(path), moving, facts.st_mtime_ns, facts.st_size
