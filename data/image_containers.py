"""Where pictures lie: folder, list, zip, tar, array or parquet file, each a table of names and undecoded contents.

Names inside archives are labels only: nothing is ever unpacked by name. What an archive claims of itself is checked
before it is believed: an archive or member that expands beyond reason is refused, and so are two files of one name,
because readers disagree on which of them counts.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from paragone.data.errors import InputError, UnreadableImage

if TYPE_CHECKING:
    from pyarrow import Schema  # type: ignore[import-untyped]
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
# Pictures that are not read: leaving them out is worth a warning, leaving out a text file is not.
OTHER_PICTURES = frozenset({".avif", ".heic", ".heif", ".jxl", ".jp2", ".exr", ".hdr", ".ppm", ".pgm", ".pnm", ".svg"})
MAX_FILE_BYTES = 1 << 29  # a file in an archive that claims more is refused unread
MAX_EXPANSION = 200  # times its own size that an archive may expand to …
ALWAYS_ALLOWED_BYTES = 1 << 30  # … beyond this much, which needs no excuse


class Container(Protocol):
    """Where pictures lie: their names in order, and the undecoded content of each. `content` is thread-safe."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def prefix(self) -> str: ...  # what to put before a name so that the user finds the picture

    def content(self, index: int, /) -> bytes | NDArray[Any]: ...


class SupportsRead(Protocol):
    """Whatever gives up to `size` bytes at a time."""

    def read(self, size: int, /) -> bytes: ...


def open_container(path: Path) -> tuple[Container, list[str]]:
    """The container at `path`, and warnings about pictures in it that are not read; raises `InputError`."""
    origin = display(str(path))
    if path.is_dir():
        everything = walk(path)
        return FolderPictures(path, files_among(everything, EXTENSIONS)), _left_out(everything, origin)
    if not path.is_file():
        raise InputError(f"{origin}: no such file or folder")
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        images = mapped_array(path)
        return ArrayPictures(images, origin), []
    if suffix in (".txt", ".lst"):
        return ListedPictures(path), []
    if suffix == ".parquet":
        return ParquetPictures(path), []
    if suffix in EXTENSIONS:
        raise InputError(f"{origin}: one picture is not a set; give the folder it is in")
    archive = open_archive(path, EXTENSIONS)
    return archive, _left_out(archive.members, origin)


def open_archive(path: Path, extensions: Collection[str]) -> ZipPictures | TarPictures:
    """The files with one of `extensions` in a zip or tar; raises `InputError` for anything else."""
    origin = display(str(path))
    try:
        if zipfile.is_zipfile(path):
            return ZipPictures(path, extensions)
        return TarPictures(path, extensions)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, lzma.LZMAError) as error:
        raise InputError(
            f"{origin}: not a folder, zip, tar, npz, npy, parquet or .txt list of pictures, or damaged ({error})"
        ) from error


class FolderPictures:
    """Files below a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self.prefix = f"{display(str(folder))}/"
        self._paths = tuple(names)
        self.names = tuple(map(display, names))

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
        self.paths: list[Path] = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                listed = path.parent / line.strip()
                if not listed.is_file():
                    raise InputError(f"{path}, line {number}: no file {line.strip()!r}; correct or delete the line")
                self.paths.append(listed)
        self.names = tuple(display(listed.as_posix()) for listed in self.paths)

    def content(self, index: int) -> bytes:
        return self.paths[index].read_bytes()


class ZipPictures:
    """Members of a zip archive."""

    def __init__(self, path: Path, extensions: Collection[str] = EXTENSIONS) -> None:
        self._archive = zipfile.ZipFile(path)
        self.prefix = f"{display(str(path))}/"
        infos = [info for info in self._archive.infolist() if not info.is_dir()]
        _refuse_repeated(path, [info.filename for info in infos])
        _refuse_bomb(path, sum(info.file_size for info in infos))
        members = {info.filename: info for info in infos}
        self.members = tuple(members)
        self.names = files_among(members, extensions)
        self._infos = [members[name] for name in self.names]

    def content(self, index: int) -> bytes:
        _check_member(self.prefix + self.names[index], self._infos[index].file_size)
        return self._archive.read(self._infos[index])


class TarPictures:
    """Regular members of a tar archive; a compressed one is expanded once into a temporary file."""

    def __init__(self, path: Path, extensions: Collection[str] = EXTENSIONS) -> None:
        self._path = self._expand(path)
        self.prefix = f"{display(str(path))}/"
        with tarfile.open(self._path, mode="r:") as archive:
            infos = [info for info in archive if info.isreg() and not info.issparse()]
        _refuse_repeated(path, [info.name for info in infos])
        members = {info.name: info for info in infos}
        self.members = tuple(members)
        self.names = files_among(members, extensions)
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
                with opener(path) as packed:
                    expanded = _expanded(path, packed, suffix=".tar")
                weakref.finalize(self, os.unlink, expanded)
                return expanded
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


class ParquetPictures:
    """Rows of a parquet file with a column of encoded pictures: Hugging Face's {bytes, path} structs, or plain bytes.

    One row group is held at a time. A null is an unreadable picture.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        shown = display(str(path))
        try:
            self._file: ParquetFile = pq.ParquetFile(path, memory_map=True)
            self._column, self._is_struct, has_path = _picture_column(self._file.schema_arrow, shown)
            metadata = self._file.metadata
            sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            paths = self._read_paths() if has_path else [None] * sum(sizes)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{shown}: not a readable parquet file ({error})") from error
        self.prefix = f"{shown}/"
        self._starts = np.cumsum([0, *sizes])
        named = all(paths) and len(set(paths)) == len(paths)
        self.names = tuple(display(str(given)) if named else f"row {row}" for row, given in enumerate(paths))
        self._lock = threading.Lock()
        self._held: tuple[int, list[Any]] = (-1, [])

    def content(self, index: int) -> bytes:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        with self._lock:
            if self._held[0] != group:
                self._held = (-1, [])  # the old group goes before the new one comes
                self._held = (group, self._file.read_row_group(group, columns=[self._leaf]).column(0).to_pylist())
            cell = self._held[1][index - int(self._starts[group])]
        content = cell["bytes"] if self._is_struct and cell is not None else cell
        if content is None:
            raise UnreadableImage(f"{self.prefix}{self.names[index]}: null instead of a picture; fill or drop the row")
        return bytes(content)

    @property
    def _leaf(self) -> str:
        return f"{self._column}.bytes" if self._is_struct else self._column

    def _read_paths(self) -> list[str | None]:
        cells = self._file.read(columns=[f"{self._column}.path"]).column(0).to_pylist()
        return [None if cell is None else cell["path"] for cell in cells]


def _picture_column(schema: Schema, shown: str) -> tuple[str, bool, bool]:
    """Name of the column of pictures, whether it is a struct, and whether that has a `path`; raises `InputError`."""
    import pyarrow as pa

    found = []
    for field in schema:
        inner = {part.name: part.type for part in field.type.fields} if pa.types.is_struct(field.type) else {}
        plain = inner.get("bytes", field.type)
        if pa.types.is_binary(plain) or pa.types.is_large_binary(plain):
            found.append((field.name, bool(inner), "path" in inner))
    if len(found) != 1:
        names = ", ".join(name for name, *_ in found) or "none"
        raise InputError(
            f"{shown}: wanted one column of encoded pictures (bytes, or structs with bytes), found {names}; keep one"
        )
    return found[0]


def mapped_array(path: Path) -> NDArray[Any]:
    """The array of samples in an .npy or .npz file, mapped from disk; raises `InputError`."""
    return _npz_images(path) if path.suffix.lower() == ".npz" else _npy_images(path)


def _npy_images(path: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = npy_format.open_memmap(path, mode="r")  # refuses Python objects
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a readable .npy file ({error})") from error
    return loaded


def _npz_images(path: Path) -> NDArray[Any]:
    """`arr_0`, or the only array of images in the file, mapped from disk; a compressed one is expanded there first."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            _refuse_repeated(path, [info.filename for info in archive.infolist()])
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if "arr_0" not in members and len(members) != 1:
                found = ", ".join(sorted(members)) or "nothing"
                raise InputError(f"{path}: no images in it: it has {found}, and images are called arr_0")
            info = members.get("arr_0") or next(iter(members.values()))
            if info.compress_type == zipfile.ZIP_STORED:
                return _map_member(path, file, info)
            _refuse_bomb(path, info.file_size)
            with archive.open(info) as member:
                expanded = _expanded(path, member, suffix=".npy")
        try:
            mapped: NDArray[Any] = npy_format.open_memmap(expanded, mode="r")
        except BaseException:
            expanded.unlink()
            raise
        weakref.finalize(mapped, os.unlink, expanded)
        return mapped
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
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


def _expanded(path: Path, packed: SupportsRead, *, suffix: str) -> Path:
    """What `packed` holds, as a new temporary file, written piece by piece; raises `InputError` for a bomb."""
    size = 0
    with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as plain:
        try:
            while piece := packed.read(1 << 20):
                size += len(piece)
                _refuse_bomb(path, size)
                plain.write(piece)
        except BaseException:
            plain.close()
            os.unlink(plain.name)
            raise
    return Path(plain.name)


def _refuse_bomb(path: Path, expanded: int) -> None:
    packed = path.stat().st_size
    if expanded > max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * packed):
        raise InputError(
            f"{display(str(path))}: expands to {expanded / 1e6:,.0f} MB or more from {packed / 1e6:,.1f} MB; refused "
            "as a decompression bomb: unpack it yourself if it is none"
        )


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                f"{display(str(path))}: holds {count} files called {display(name)}; which one counts is not certain: "
                "make it again with one"
            )


def _check_member(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UnreadableImage(f"{name}: {size / 1e6:.0f} MB for one picture; refused as a decompression bomb")


def walk(folder: Path) -> list[str]:
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


def files_among(names: Iterable[str], extensions: Collection[str]) -> tuple[str, ...]:
    """Those of `names` with one of `extensions` and not hidden, in natural order."""
    chosen = [name for name in names if suffix_of(name) in extensions]
    return tuple(sorted(chosen, key=lambda name: (natural_key(name), name)))


def _left_out(names: Iterable[str], origin: str) -> list[str]:
    """A warning when there are pictures of formats that are not read."""
    kinds = Counter(suffix for suffix in map(suffix_of, names) if suffix in OTHER_PICTURES)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return [f"{origin}: left out {counted}: formats that are not read; convert them to PNG"] if kinds else []


def suffix_of(name: str) -> str:
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


def display(name: str) -> str:
    """A file name that can be printed and written as JSON, whatever bytes it is made of."""
    return name.encode("utf-8", "backslashreplace").decode()
