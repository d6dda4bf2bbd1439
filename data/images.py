"""Reading sets of pictures: a folder, zip, tar, npz, npy, list of paths or array becomes an `ImageSource`.

The number of pictures is known before the first is decoded; the order is the natural one of the names (2 before 10), so
that a folder and a zip of it are read alike. Names inside archives are labels only: nothing is ever unpacked by name.
How one file becomes RGB is told in `paragone.data.decoding`.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from paragone.data.decoding import Decoded, array_to_rgb, decode_picture
from paragone.data.errors import InputError, UnreadableImage, UsageError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
LOSSY_EXTENSIONS = frozenset({".jpg", ".jpeg", ".webp"})
# Pictures that are not read: leaving them out is worth a warning, leaving out a text file is not.
OTHER_PICTURES = frozenset({".avif", ".heic", ".heif", ".jxl", ".jp2", ".exr", ".hdr", ".ppm", ".pgm", ".pnm", ".svg"})
MAX_FILE_BYTES = 1 << 29  # a file in an archive that claims more is refused unread
READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)  # RuntimeError: an encrypted zip

OnError = Literal["raise", "skip"]


class Picture(NamedTuple):
    """One decoded picture; `pixels` is RGB uint8 [H, W, 3]."""

    name: str
    pixels: NDArray[np.uint8]


class Unreadable(NamedTuple):
    """Why a picture could not be decoded; the reason names it."""

    reason: str


class Container(Protocol):
    """Where pictures lie: their names in order, and the undecoded content of each."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def prefix(self) -> str: ...  # what to put before a name so that the user finds the picture

    def content(self, index: int, /) -> bytes | NDArray[Any]: ...


class ImageSource:
    """Pictures in order. Iterating yields `Picture(name, pixels)`, pixels RGB uint8 [H, W, 3].

    `len()` is the number of files, before any is decoded. With `on_error="skip"` an unreadable picture is left out,
    counted and named in `warnings`; otherwise it raises `UnreadableImage`. `read` may be called from several threads.
    """

    def __init__(
        self,
        container: Container,
        *,
        origin: str,
        on_error: OnError = "raise",
        indices: range | None = None,
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
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the pictures read so far, one line each."""
        noted = [f"{self._container.prefix}{self.name(index)}: {note}" for index, note in self._notes.items()]
        lines = [*self._notices, *noted]
        if self._skipped:
            lines.append(f"{self.origin}: {len(self._skipped)} of {len(self)} pictures were unreadable and left out")
            lines += [f"left out: {reason}" for reason in self._skipped.values()]
        return tuple(lines)

    @property
    def lossy_fraction(self) -> float | None:
        """The share of files in a lossy format, judged by their names; None for arrays, which do not tell."""
        if isinstance(self._container, ArrayPictures):
            return None
        lossy = sum(PurePosixPath(name).suffix.lower() in LOSSY_EXTENSIONS for name in self.names)
        return lossy / len(self)

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
                raise UnreadableImage(f"{read.reason} (or leave such files out with --on-error skip)")
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
            raise InputError(f"{self.origin}: shard {number}/{count} is empty, there are only {len(self)} pictures")
        return ImageSource(
            self._container, origin=self.origin, on_error=self.on_error, indices=indices, notices=self._notices
        )


def read_images(
    source: str | os.PathLike[str] | NDArray[Any] | ImageSource, *, on_error: OnError = "raise"
) -> ImageSource:
    """Open a set of pictures; nothing is decoded yet.

    `source`: an `ImageSource` (returned as it is, with its own `on_error`); a folder (read recursively: png, jpg, jpeg,
    webp, bmp, tif, tiff, gif, in any case; hidden files and __MACOSX are ignored); a zip or tar of such files; an
    `.npz` with uint8 images (`arr_0`, [N, H, W, C]); an `.npy` of them; a `.txt` with one path a line (relative to
    the list, read in its own order); or an array [N, H, W, C].

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
    path = Path(source)
    origin = _display(str(path))
    container, notices = _open(path, origin)
    if not container.names:
        raise InputError(f"{origin}: no pictures there ({', '.join(sorted(EXTENSIONS))})")
    return ImageSource(container, origin=origin, on_error=on_error, notices=notices)


def _open(path: Path, origin: str) -> tuple[Container, list[str]]:
    if path.is_dir():
        everything = _walk(path)
        return FolderPictures(path, _pictures_among(everything)), _left_out(everything, origin)
    if not path.is_file():
        raise InputError(f"{origin}: no such file or folder")
    if path.suffix.lower() == ".npz":
        return ArrayPictures(_npz_images(path), origin), []
    if path.suffix.lower() == ".npy":
        return ArrayPictures(_npy_images(path), origin), []
    if path.suffix.lower() in (".txt", ".lst"):
        return ListedPictures(path), []
    if path.suffix.lower() in EXTENSIONS:
        raise InputError(f"{origin}: one picture is not a set; give the folder it is in")
    archive = _archive(path, origin)
    return archive, _left_out(archive.members, origin)


def _archive(path: Path, origin: str) -> ZipPictures | TarPictures:
    try:
        if zipfile.is_zipfile(path):
            return ZipPictures(path)
        return TarPictures(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, lzma.LZMAError) as error:
        raise InputError(
            f"{origin}: not a folder, zip, tar, npz, npy or .txt list of pictures, or damaged ({error})"
        ) from error


class FolderPictures:
    """Files below a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self.prefix = f"{_display(str(folder))}/"
        self._paths = tuple(names)
        self.names = tuple(map(_display, names))

    def content(self, index: int) -> bytes:
        return (self._folder / self._paths[index]).read_bytes()


class ListedPictures:
    """Files named in a text file, one path a line, relative to that file; blank lines are passed over."""

    prefix = ""

    def __init__(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a list of paths in UTF-8 ({error})") from error
        self._paths: list[Path] = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                listed = path.parent / line.strip()
                if not listed.is_file():
                    raise InputError(f"{path}, line {number}: no file {line.strip()!r}; correct or delete the line")
                self._paths.append(listed)
        self.names = tuple(_display(listed.as_posix()) for listed in self._paths)

    def content(self, index: int) -> bytes:
        return self._paths[index].read_bytes()


class ZipPictures:
    """Members of a zip archive."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self.prefix = f"{_display(str(path))}/"
        members = {info.filename: info for info in self._archive.infolist() if not info.is_dir()}
        self.members = tuple(members)
        self.names = _pictures_among(members)
        self._infos = [members[name] for name in self.names]

    def content(self, index: int) -> bytes:
        _check_member(self.prefix + self.names[index], self._infos[index].file_size)
        return self._archive.read(self._infos[index])


class TarPictures:
    """Regular members of a tar archive; a compressed one is expanded once into a temporary file."""

    def __init__(self, path: Path) -> None:
        self._path = self._expand(path)
        self.prefix = f"{_display(str(path))}/"
        with tarfile.open(self._path, mode="r:") as archive:
            members = {info.name: info for info in archive if info.isreg() and not info.issparse()}
        self.members = tuple(members)
        self.names = _pictures_among(members)
        self._places = [(members[name].offset_data, members[name].size) for name in self.names]

    def content(self, index: int) -> bytes:
        offset, size = self._places[index]
        _check_member(self.prefix + self.names[index], size)
        with self._path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        if len(content) < size:
            raise UnreadableImage(
                f"{self.prefix}{self.names[index]}: the archive ends inside this file; replace the archive"
            )
        return content

    def _expand(self, path: Path) -> Path:
        with path.open("rb") as file:
            head = file.read(6)
        for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
            if head.startswith(magic):
                with opener(path) as packed, tempfile.NamedTemporaryFile(suffix=".tar", delete=False) as plain:
                    weakref.finalize(self, os.unlink, plain.name)
                    shutil.copyfileobj(packed, plain, 1 << 20)
                return Path(plain.name)
        return path


class ArrayPictures:
    """Slices of one array [N, H, W] or [N, H, W, C], uint8 or uint16."""

    prefix = ""

    def __init__(self, array: NDArray[Any], name: str) -> None:
        if array.dtype not in (np.uint8, np.uint16) or array.ndim not in (3, 4) or array.shape[-1] == 0:
            raise InputError(f"{name}: {array.dtype} {array.shape} is not uint8 images [N, H, W, 3]; convert it first")
        self._array = array
        self.names = tuple(f"{name}[{index}]" for index in range(len(array)))

    def content(self, index: int) -> NDArray[Any]:
        pixels: NDArray[Any] = self._array[index]
        return pixels


def _npy_images(path: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = npy_format.open_memmap(path, mode="r")  # refuses Python objects
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error})") from error
    return loaded


def _npz_images(path: Path) -> NDArray[Any]:
    """`arr_0`, or the only array of images in the file; mapped from disk where it is stored uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if "arr_0" not in members and len(members) != 1:
                found = ", ".join(sorted(members)) or "nothing"
                raise InputError(f"{path}: no images in it: it has {found}, and images are called arr_0")
            info = members.get("arr_0") or next(iter(members.values()))
            if info.compress_type != zipfile.ZIP_STORED:
                with archive.open(info) as member:
                    loaded: NDArray[Any] = npy_format.read_array(member, allow_pickle=False)
                return loaded
            return _map_member(path, file, info)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz file ({error})") from error


def _map_member(path: Path, file: IO[bytes], info: zipfile.ZipInfo) -> NDArray[Any]:
    """Map an uncompressed member: the local header is 30 bytes, then a name and an extra field of given lengths."""
    file.seek(info.header_offset)
    header = file.read(30)
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    file.seek(info.header_offset + 30 + lengths)
    version = npy_format.read_magic(file)
    read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order="F" if fortran else "C")


def _check_member(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UnreadableImage(f"{name}: {size / 1e6:.0f} MB for one picture; refused as a decompression bomb")


def _walk(folder: Path) -> list[str]:
    """Every file below `folder` as a relative path with forward slashes; linked folders are followed, loops are not."""
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not _hidden(name))
        found += [Path(place, name).relative_to(folder).as_posix() for name in files]
    return found


def _pictures_among(names: Iterable[str]) -> tuple[str, ...]:
    chosen = [name for name in names if _suffix(name) in EXTENSIONS]
    return tuple(sorted(chosen, key=lambda name: (natural_key(name), name)))


def _left_out(names: Iterable[str], origin: str) -> list[str]:
    """A warning when there are pictures of formats that are not read."""
    kinds = Counter(suffix for suffix in map(_suffix, names) if suffix in OTHER_PICTURES)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return [f"{origin}: left out {counted}: formats that are not read; convert them to PNG"] if kinds else []


def _suffix(name: str) -> str:
    """The extension in lower case; none for a file that is hidden or lies in a hidden folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    return "" if any(map(_hidden, path.parts)) else path.suffix.lower()


def _hidden(part: str) -> bool:
    return part == "__MACOSX" or (part.startswith(".") and part not in (".", ".."))


def natural_key(name: str) -> tuple[tuple[str | int, ...], ...]:
    """Sort key by folder, with numbers as numbers: a/2.png before a/10.png."""
    return tuple(
        tuple(
            int(piece) if position % 2 else piece for position, piece in enumerate(re.split(r"(\d+)", part.casefold()))
        )
        for part in name.split("/")
    )


def _display(name: str) -> str:
    """A file name that can be printed and written as JSON, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()
