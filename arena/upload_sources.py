"""Where an upload lies: a folder, a zip archive or files in memory, each a table of names that were checked.

A name is a label: nothing is ever written under it, and nothing is read that it could lead to outside of the upload.
Names are still refused when they try (absolute, "..", backslash, drive, control characters), because such an archive
was not made in good faith; so are links, special files, encrypted members, and names that differ in case or in how
their letters are composed only, since readers disagree on which of them counts.
"""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from paragone.data.errors import InputError, UnreadableImage

MANIFEST = "manifest.csv"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LITTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one upload may be. The defaults hold a set of 10,000 large pictures."""

    files: int = 10_000
    file_bytes: int = 64 << 20
    total_bytes: int = 8 << 30
    ratio: int = 200  # a compressed member may expand to so many times its size (pictures hardly expand at all)


class Source(Protocol):
    """The files of an upload by name; `read` gives one file's bytes."""

    @property
    def names(self) -> Iterable[str]: ...

    def read(self, name: str, /) -> bytes: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def open_source(source: Path | bytes | Mapping[str, bytes], *, limits: Limits) -> Source:
    """A folder, a zip (its path or its bytes), or files by name; raises `InputError` for one that is not in order."""
    if isinstance(source, Mapping):
        return MemorySource(source, limits)
    if isinstance(source, Path) and source.is_dir():
        return FolderSource(source, limits)
    if isinstance(source, Path) and not source.is_file():
        raise InputError(f"{source}: no such folder or zip archive")
    return ZipSource(source, limits)


class _Closing:
    """Most sources hold nothing open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""


class MemorySource(_Closing):
    """Files that came one by one, as from a browser."""

    def __init__(self, files: Mapping[str, bytes], limits: Limits) -> None:
        _check_sizes({name: len(content) for name, content in files.items()}, limits, "the upload")
        _check_names(files)
        self._files = files
        self.names = tuple(files)

    def read(self, name: str) -> bytes:
        """One file's bytes."""
        return self._files[name]


class FolderSource(_Closing):
    """Regular files below a folder."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        sizes: dict[str, int] = {}
        for place, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name not in _LITTER)
            for name in (*folders, *files):
                path = Path(place, name)
                mode = path.lstat().st_mode
                relative = path.relative_to(folder).as_posix()
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise InputError(f"{relative!r}: a link or special file; put the file itself there")
                if stat.S_ISREG(mode) and name not in _LITTER:
                    sizes[relative] = path.lstat().st_size
        _check_sizes(sizes, limits, str(folder))
        _check_names(sizes)
        self._limit = limits.file_bytes
        self.names = tuple(sorted(sizes))

    def read(self, name: str) -> bytes:
        """One file's bytes; a link that took the file's place meanwhile is not followed."""
        try:
            handle = os.open(self._folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError as error:
            raise UnreadableImage(f"{name}: cannot be read: {error.strerror}") from error
        with open(handle, "rb") as file:
            content = file.read(self._limit + 1)
        if len(content) > self._limit:
            raise UnreadableImage(f"{name}: grew beyond {_mb(self._limit)} while it was read")
        return content


class ZipSource(_Closing):
    """Members of a zip archive; what it claims of itself is checked before it is believed."""

    def __init__(self, archive: Path | bytes, limits: Limits) -> None:
        shown = str(archive) if isinstance(archive, Path) else "the zip archive"
        try:
            self._zip = zipfile.ZipFile(archive if isinstance(archive, Path) else io.BytesIO(archive))
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise InputError(f"{shown}: not a zip archive, or damaged ({error})") from error
        try:
            members = [info for info in self._zip.infolist() if not _is_litter(info.filename)]
            for info in members:
                _check_member(info, limits)
            infos = [info for info in members if not info.is_dir()]
            _check_sizes([(info.filename, info.file_size) for info in infos], limits, shown)
            _check_names(info.filename for info in infos)
        except InputError:
            self._zip.close()
            raise
        self._infos = {info.filename: info for info in infos}
        self.names = tuple(self._infos)

    def read(self, name: str) -> bytes:
        """One member's bytes, never more than it claimed to have."""
        info = self._infos[name]
        try:
            with self._zip.open(info) as member:
                content = member.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise UnreadableImage(f"{name}: its place in the archive is damaged ({error})") from error
        if len(content) != info.file_size:
            raise UnreadableImage(f"{name}: is not as long as the archive says; make the archive again")
        return content

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()


def _check_member(info: zipfile.ZipInfo, limits: Limits) -> None:
    name = info.orig_filename  # zipfile cuts `filename` at a NUL
    check_name(name.removesuffix("/"))
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{name!r}: a link or special file; put the file itself into the archive")
    if info.flag_bits & 1:
        raise InputError(f"{name!r}: encrypted; upload an archive without a password")
    if info.compress_type not in _METHODS:
        raise InputError(f"{name!r}: compressed in an uncommon way; make the archive with plain zip")
    if info.file_size > limits.ratio * max(info.compress_size, 1) and info.file_size > 1 << 20:
        raise InputError(
            f"{name!r}: expands to {_mb(info.file_size)} from {info.compress_size:,} bytes; refused as a bomb"
        )


def check_name(name: str) -> None:
    """Raise `InputError` for a file's name that could lead anywhere but into the upload, or hides what it is."""
    strange = [letter for letter in name if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if strange:
        raise InputError(f"{name!r}: its name has the invisible character U+{ord(strange[0]):04X}; rename the file")
    parts = name.split("/")
    if not name or "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{name!r}: not a plain path inside of the upload; use names such as model/1.png")
    if len(name.encode()) > 500:
        raise InputError(f"{name[:60]!r}…: a name of more than 500 bytes; shorten it")


def _check_names(names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        check_name(name)
        same = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if same is not name:
            twice = "is there twice" if same == name else f"and {same!r} are the same name on some systems"
            raise InputError(f"{name!r} {twice}; which one counts is not certain: rename or delete one")


def _check_sizes(sizes: Mapping[str, int] | list[tuple[str, int]], limits: Limits, shown: str) -> None:
    pairs = list(sizes.items()) if isinstance(sizes, Mapping) else sizes
    if len(pairs) > limits.files + 1:  # and the manifest
        raise InputError(f"{shown}: {len(pairs):,} files; one upload takes {limits.files:,}: send it in parts")
    for name, size in pairs:
        if size > limits.file_bytes:
            raise InputError(f"{name!r}: {_mb(size)}; one file may have {_mb(limits.file_bytes)}")
    total = sum(size for _, size in pairs)
    if total > limits.total_bytes:
        raise InputError(f"{shown}: {_mb(total)} unpacked; one upload takes {_mb(limits.total_bytes)}: split it")


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return ".." not in parts and (parts[0] in _LITTER or parts[-1] in _LITTER)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
