"""Reading sets of clips: a folder of videos, animations or frames, an archive, list or array becomes a `VideoSource`.

The number of clips is known before the first is decoded, and their order is the natural one of their names. Which
frames are taken is the `ClipRule` of the source; where clips lie is the business of `paragone.data.clip_containers`,
how one file becomes RGB that of `paragone.data.clip_decoding`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.clip_containers import ClipContainer, Content, FrameFiles, array_clips, open_clips
from paragone.data.clip_decoding import decode_animation, decode_array, decode_frame_files, decode_video
from paragone.data.clip_sampling import ClipRule
from paragone.data.decoding import Decoded
from paragone.data.errors import InputError, UnreadableImage, UnreadableVideo, UsageError
from paragone.data.files import file_digest
from paragone.data.image_containers import display, mapped_array
from paragone.data.images import READ_ERRORS, ImageSource, OnError, Unreadable

Altered = Literal["", "shuffled", "frozen"]
ANIMATED_HEADS = (b"GIF8", b"\x89PNG")


class Clip(NamedTuple):
    """One clip's chosen frames, RGB uint8 [T, H, W, 3], and their times [T] in s from its first frame, if known."""

    name: str
    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64] | None


class VideoSource(ImageSource):
    """Clips in order, an `ImageSource` whose samples are the frames [T, H, W, 3] that `rule` chooses of each.

    Iterating yields `Clip(name, frames, times_s)`. The digest of a clip is that of its bytes and of the rule, since its
    features depend on both. A clip that is too short for the rule counts as unreadable.
    """

    noun = "clips"
    block = 64
    cpu_chunk = 1

    def __init__(
        self,
        container: ClipContainer,
        *,
        origin: str,
        rule: ClipRule,
        frame_rate: Fraction | None = None,
        on_error: OnError = "raise",
        indices: Sequence[int] | None = None,
        altered: Altered = "",
    ) -> None:
        super().__init__(container, origin=origin, on_error=on_error, indices=indices)  # type: ignore[arg-type]
        self.rule = rule
        self.frame_rate = frame_rate
        self.altered = altered
        self._clips = container

    def __iter__(self) -> Iterator[Clip]:  # type: ignore[override]
        for index in range(len(self)):
            read = self.read(index)
            if self.record(index, read) and isinstance(read, Decoded):
                yield Clip(self.name(index), read.pixels, read.times_s)

    @property
    def lossy_fraction(self) -> float | None:
        """Not known: whether a video codec loses anything does not show in a name."""
        return None

    def read(self, index: int) -> Decoded | Unreadable:
        """Decode the chosen frames of one clip (thread-safe); an unreadable or short one comes back as a value."""
        label = self._clips.prefix + self.name(index)
        try:
            content = self._clips.content(self._indices[index])
            found = self._decoded(content, label)
            return found._replace(pixels=self._alter(found.pixels, content)) if self.altered else found
        except (UnreadableVideo, UnreadableImage) as error:
            return Unreadable(str(error), type(error))
        except READ_ERRORS as error:
            return Unreadable(f"{label}: cannot be read ({error})", UnreadableVideo)

    def _decoded(self, content: Content, label: str) -> Decoded:
        digest = partial(_content_digest, content)
        if isinstance(content, Path) and content.suffix.lower() == ".npy":
            content = mapped_array(content)
        if isinstance(content, np.ndarray):
            return decode_array(content, label, self.rule, self.frame_rate, digest)
        if isinstance(content, FrameFiles):
            return decode_frame_files(content.files, label, self.rule, self.frame_rate, digest)
        if _is_animation(content):
            whole = content.read_bytes() if isinstance(content, Path) else content
            return decode_animation(whole, label, self.rule, digest)
        return decode_video(content, label, self.rule, digest)

    def content_digest(self, index: int) -> bytes:
        """sha256 of one clip's undecoded content and of how frames are chosen of it."""
        try:
            of_content = _content_digest(self._clips.content(self._indices[index]))
        except (InputError, *READ_ERRORS):
            of_content = b""  # `read` says what is wrong
        rate = self.frame_rate if self.rule.fps is not None else None  # it decides nothing else
        return hashlib.sha256(f"{self.rule.name}|{rate}|{self.altered}|".encode() + of_content).digest()

    def control(self, altered: Altered, positions: Sequence[int]) -> VideoSource:
        """The clips at `positions` with their frames shuffled, or all of them the first one."""
        part = self._with([self._indices[position] for position in positions])
        part.altered = altered
        return part

    def _alter(self, frames: NDArray[np.uint8], content: Content) -> NDArray[np.uint8]:
        if self.altered == "frozen":
            return np.repeat(frames[:1], len(frames), axis=0)
        seed = int.from_bytes(_content_digest(content)[:8])  # of the bytes: the same in any order of clips
        return frames[np.random.default_rng(seed).permutation(len(frames))]

    def _with(self, indices: Sequence[int]) -> VideoSource:
        return VideoSource(
            self._clips,
            origin=self.origin,
            rule=self.rule,
            frame_rate=self.frame_rate,
            on_error=self.on_error,
            indices=indices,
            altered=self.altered,
        )


def read_videos(
    source: str | os.PathLike[str] | NDArray[Any] | VideoSource,
    *,
    rule: ClipRule | None = None,
    frame_rate: Fraction | None = None,
    on_error: OnError = "raise",
) -> VideoSource:
    """Open a set of clips; nothing is decoded yet.

    `source`: a folder, read recursively, of videos (mp4, mov, mkv, webm, avi …), of animations (gif, webp, png) and of
    `.npy` arrays [T, H, W, C], or else of folders of pictures, each the frames of one clip in natural order; a zip or
    tar of videos and animations; a `.txt` with one path a line; one video file; an `.npy`, `.npz` or array
    [N, T, H, W, C]. A `VideoSource` is returned as it is.

    `rule`: which frames are taken, by default the first 16. `frame_rate`: of folders of frames and arrays, which do not
    state any; only needed for `ClipRule.fps` and for times. `on_error="raise"` stops at the first clip that is damaged
    or too short with `UnreadableVideo`, `"skip"` leaves it out and says so in `VideoSource.warnings`.

    Raises `InputError` when there is nothing to read, or videos and still pictures side by side.
    """
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error is {on_error!r}: use raise or skip")
    if isinstance(source, VideoSource):
        return source
    if isinstance(source, ImageSource):
        raise UsageError(f"{source.origin}: was opened as pictures; open it with read_videos")
    container: ClipContainer
    if isinstance(source, np.ndarray):
        container, origin = array_clips(source, "array"), "array"
    else:
        container, origin = open_clips(Path(source)), display(str(source))
    return VideoSource(container, origin=origin, rule=rule or ClipRule(), frame_rate=frame_rate, on_error=on_error)


def _is_animation(content: Path | bytes) -> bool:
    """Whether Pillow is to read it, by its first bytes."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            head = file.read(12)
    else:
        head = content[:12]
    return head.startswith(ANIMATED_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _content_digest(content: Content) -> bytes:
    """sha256 of the bytes of a file, of the digests of its frames' files, or of an array."""
    if isinstance(content, Path):
        return bytes.fromhex(file_digest(content))
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    total = hashlib.sha256()
    if isinstance(content, FrameFiles):
        for file in content.files:
            total.update(bytes.fromhex(file_digest(file)))
    else:
        total.update(f"{content.dtype.str}{content.shape}".encode() + np.ascontiguousarray(content).tobytes())
    return total.digest()
