"""Reading sets of pictures: a folder, zip, tar, npz, npy, parquet, list of paths or array becomes an `ImageSource`.

The number of pictures is known before the first is decoded; the order is the natural one of the names (2 before 10), so
that a folder and a zip of it are read alike. Where they lie is the business of `paragone.data.image_containers`, how
one file becomes RGB that of `paragone.data.decoding`.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paragone.data.decoding import Decoded, array_to_rgb, decode_picture
from paragone.data.errors import InputError, UnreadableImage, UsageError
from paragone.data.image_containers import EXTENSIONS, ArrayPictures, Container, display, open_container

LOSSY_EXTENSIONS = frozenset({".jpg", ".jpeg", ".webp"})
READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)  # RuntimeError: an encrypted zip
BLOCK = 1024  # pictures whose features are kept together
CPU_CHUNK = 16  # pictures that an extractor sees at once on a CPU; a divisor of BLOCK

OnError = Literal["raise", "skip"]


class Picture(NamedTuple):
    """One decoded picture; `pixels` is RGB uint8 [H, W, 3]."""

    name: str
    pixels: NDArray[np.uint8]


class Unreadable(NamedTuple):
    """Why a picture or clip could not be decoded; the reason names it."""

    reason: str
    error: type[InputError] = UnreadableImage


class ImageSource:
    """Pictures in order. Iterating yields `Picture(name, pixels)`, pixels RGB uint8 [H, W, 3].

    `len()` is the number of files, before any is decoded. With `on_error="skip"` an unreadable picture is left out,
    counted and named in `warnings`; otherwise it raises `UnreadableImage`. `read` may be called from several threads.
    `VideoSource` (paragone.data.videos) is the same for clips.
    """

    noun = "pictures"
    block = BLOCK
    cpu_chunk = CPU_CHUNK

    def __init__(
        self,
        container: Container,
        *,
        origin: str,
        on_error: OnError = "raise",
        indices: Sequence[int] | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        self.origin = origin
        self.on_error = on_error
        self._container = container
        self._indices = range(len(container.names)) if indices is None else indices
        self._notices = tuple(notices)
        self._notes: dict[int, str] = {}
        self._skipped: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Picture]:
        for index in range(len(self)):
            read = self.read(index)
            if self.record(index, read) and isinstance(read, Decoded):
                yield Picture(self.name(index), read.pixels)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each picture: its path relative to the folder or archive."""
        return tuple(map(self.name, range(len(self))))

    def is_clean(self, span: range) -> bool:
        """Whether no picture in `span` has been noted or left out so far."""
        return not any(index in span for index in (*self._notes, *self._skipped))

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the pictures that were left out as unreadable so far."""
        return tuple(map(self.name, self._skipped))

    @property
    def kept_names(self) -> tuple[str, ...]:
        """The names of the pictures that were not left out so far: those of the rows of features."""
        return tuple(self.name(index) for index in range(len(self)) if index not in self._skipped)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the pictures read so far, one line each."""
        noted = [f"{self._container.prefix}{self.name(index)}: {note}" for index, note in self._notes.items()]
        lines = [*self._notices, *noted]
        if self._skipped:
            lines.append(f"{self.origin}: {len(self._skipped)} of {len(self)} {self.noun} were unreadable and left out")
            lines += [f"left out: {reason}" for reason in self._skipped.values()]
        return tuple(lines)

    @property
    def lossy_fraction(self) -> float | None:
        """The share of files in a lossy format, judged by their names; None for arrays, which do not tell."""
        kinds = [PurePosixPath(name).suffix.lower() for name in self.names]
        known = sum(kind in EXTENSIONS for kind in kinds)
        return sum(kind in LOSSY_EXTENSIONS for kind in kinds) / known if known else None

    def name(self, index: int) -> str:
        """The name of one picture."""
        return self._container.names[self._indices[index]]

    def read(self, index: int) -> Decoded | Unreadable:
        """Decode one picture (thread-safe, changes nothing); an unreadable one comes back as a value."""
        label = self._container.prefix + self.name(index)
        try:
            content = self._container.content(self._indices[index])
            if isinstance(content, bytes):
                return decode_picture(content, label)
            return Decoded(array_to_rgb(content, label))
        except UnreadableImage as error:
            return Unreadable(str(error))
        except READ_ERRORS as error:
            return Unreadable(f"{label}: cannot be read ({error})")

    def record(self, index: int, read: Decoded | Unreadable) -> bool:
        """Note what `read(index)` gave. True for a picture, False for one to leave out; raises `UnreadableImage`."""
        if isinstance(read, Unreadable):
            if self.on_error == "raise":
                raise read.error(f"{read.reason} (or leave such files out with --on-error skip)")
            self._skipped[index] = read.reason
            return False
        if read.note:
            self._notes[index] = read.note
        return True

    def digest(self) -> str:
        """sha256 (hex) over the contents in order; names do not count, so a folder and a zip of it agree."""
        total = hashlib.sha256()
        for index in range(len(self)):
            total.update(self.content_digest(index))
        return total.hexdigest()

    def content_digest(self, index: int) -> bytes:
        """sha256 of one picture's undecoded content; that of nothing when it cannot even be read."""
        try:
            content = self._container.content(self._indices[index])
        except (UnreadableImage, *READ_ERRORS):
            return hashlib.sha256().digest()  # `read` says what is wrong
        if isinstance(content, bytes):
            return hashlib.sha256(content).digest()
        return hashlib.sha256(f"{content.dtype.str}{content.shape}".encode() + content.tobytes()).digest()

    def shard(self, number: int, count: int) -> ImageSource:
        """Every `count`-th picture from the `number`-th on (1 ≤ number ≤ count): disjoint, and complete together."""
        if not 1 <= number <= count:
            raise UsageError(f"shard {number}/{count}: write i/k with 1 ≤ i ≤ k")
        indices = self._indices[number - 1 :: count]
        if not indices:
            raise InputError(f"{self.origin}: shard {number}/{count} is empty, there are only {len(self)} {self.noun}")
        return self._with(indices)

    def part(self, positions: Sequence[int]) -> ImageSource:
        """The pictures at `positions` only, in that order, with nothing recorded of them yet; may be empty."""
        return self._with([self._indices[position] for position in positions])

    def _with(self, indices: Sequence[int]) -> ImageSource:
        return ImageSource(
            self._container, origin=self.origin, on_error=self.on_error, indices=indices, notices=self._notices
        )

    def findings(self) -> tuple[dict[int, str], dict[int, str]]:
        """Notes on pictures, and reasons for which pictures were left out, both by index."""
        return dict(self._notes), dict(self._skipped)

    def adopt(self, positions: Sequence[int], notes: Mapping[int, str], skipped: Mapping[int, str]) -> None:
        """Take over the `findings` of a `part` of these pictures, which lay at `positions`."""
        self._notes |= {positions[index]: note for index, note in notes.items()}
        self._skipped |= {positions[index]: reason for index, reason in skipped.items()}


def read_images(
    source: str | os.PathLike[str] | NDArray[Any] | ImageSource, *, on_error: OnError = "raise"
) -> ImageSource:
    """Open a set of pictures; nothing is decoded yet.

    `source`: an `ImageSource` (returned as it is, with its own `on_error`); a folder (read recursively: png, jpg, jpeg,
    webp, bmp, tif, tiff, gif, in any case; hidden files and __MACOSX are ignored); a zip or tar of such files; an
    `.npz` with uint8 images (`arr_0`, [N, H, W, C]); an `.npy` of them; a `.parquet` with one column of encoded
    pictures (bytes, or structs of bytes and path); a `.txt` with one path a line (relative to the list, read in its
    own order); or an array [N, H, W, C].

    Policies: 16-bit is scaled (/257), not clipped; transparency is composited on white; EXIF orientation is honoured;
    grey, 1-bit, palette and CMYK become RGB; animations give their first frame with a warning; floating-point
    pictures, pictures over 64 megapixels and damaged files are unreadable. `on_error="raise"` stops at the first
    unreadable picture with `UnreadableImage`, `"skip"` leaves it out and says so in `ImageSource.warnings`.

    Raises `InputError` when there is nothing to read.
    """
    if on_error not in ("raise", "skip"):
        raise UsageError(f"on_error is {on_error!r}: use raise or skip")
    if isinstance(source, ImageSource):
        return source
    if isinstance(source, np.ndarray):
        return ImageSource(ArrayPictures(source, "array"), origin="array", on_error=on_error)
    origin = display(str(source))
    container, notices = open_container(Path(source))
    if not container.names:
        raise InputError(f"{origin}: no pictures there ({', '.join(sorted(EXTENSIONS))})")
    return ImageSource(container, origin=origin, on_error=on_error, notices=notices)
