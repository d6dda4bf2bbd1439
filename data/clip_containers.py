"""Where clips lie: files, animations, folders of frames and arrays, each a table of names and undecoded contents.

A folder holds either clips (video files, animations, `.npy` arrays) or the frames of clips, a folder for each; one that
holds a video beside a still picture is refused, because either could have been meant. Where names are looked for,
hidden files and archives' names are treated as for pictures (`paragone.data.image_containers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.errors import InputError
from paragone.data.image_containers import (
    EXTENSIONS,
    ListedPictures,
    TarPictures,
    ZipPictures,
    display,
    files_among,
    mapped_array,
    natural_key,
    open_archive,
    suffix_of,
    walk,
)

VIDEOS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".3gp", ".y4m"}
)
MAY_MOVE = frozenset({".gif", ".webp", ".png", ".apng"})
ARRAYS = frozenset({".npy"})
CLIPS = VIDEOS | MAY_MOVE | ARRAYS
STILLS = EXTENSIONS | {".apng"}

Kind = Literal["pictures", "clips"]


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Pictures that are the frames of one clip, in order."""

    files: tuple[Path, ...]


Content = Path | bytes | FrameFiles | NDArray[Any]


class ClipContainer(Protocol):
    """Where clips lie: their names in order, and the undecoded content of each. `content` is thread-safe."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def prefix(self) -> str: ...  # what to put before a name so that the user finds the clip

    def content(self, index: int, /) -> Content: ...


class ClipTable(NamedTuple):
    """Clips whose contents are known without reading them."""

    names: tuple[str, ...]
    prefix: str
    contents: Sequence[Content]

    def content(self, index: int) -> Content:
        """What lies under the name at `index`."""
        return self.contents[index]


def open_clips(path: Path) -> ClipContainer:
    """The clips at `path`; raises `InputError` when there are none."""
    origin = display(str(path))
    if path.is_dir():
        found: ClipContainer = _folder(path, origin)
    elif not path.is_file():
        raise InputError(f"{origin}: no such file or folder")
    elif path.suffix.lower() in (".npy", ".npz"):
        found = array_clips(mapped_array(path), origin)
    elif path.suffix.lower() in (".txt", ".lst"):
        listed = ListedPictures(path)
        found = ClipTable(listed.names, "", listed.paths)
    elif path.suffix.lower() in CLIPS:
        found = ClipTable((display(path.name),), f"{display(str(path.parent))}/", [path])
    else:
        found = _archive(path)
    if not found.names:
        raise InputError(f"{origin}: no clips there ({', '.join(sorted(CLIPS))}, or folders of frames)")
    return found


def array_clips(array: NDArray[Any], origin: str) -> ClipTable:
    """The slices of an array [N, T, H, W, C] as clips; raises `InputError`."""
    if array.ndim != 5 or array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{origin}: {array.dtype} {array.shape} is not uint8 clips [N, frames, height, width, channels]; convert it"
        )
    return ClipTable(tuple(f"{origin}[{index}]" for index in range(len(array))), "", array)  # type: ignore[arg-type]


def kind_of(path: Path) -> Kind:
    """Whether what lies at `path` is clips or pictures, by names and, of animations, by content.

    A folder of animations only is clips. Folders of frames are pictures here: nothing tells a clip's frames from other
    pictures. Raises `InputError` for a set with videos and still pictures.
    """
    if path.is_dir():
        names = walk(path)
        videos, others = files_among(names, VIDEOS), files_among(names, EXTENSIONS | {".apng"})
        if not videos:
            moving = bool(others) and all(suffix_of(name) in MAY_MOVE - {".png"} for name in others)
            return "clips" if moving and all(is_animation(path / name) for name in others) else "pictures"
        _refuse_mixture(path, videos, [name for name in others if not is_animation(path / name)])
        return "clips"
    if not path.is_file():
        return "pictures"  # which says that it is not there
    suffix = path.suffix.lower()
    if suffix in VIDEOS or (suffix in MAY_MOVE and is_animation(path)):
        return "clips"
    if suffix in (".npy", ".npz"):
        return "clips" if mapped_array(path).ndim == 5 else "pictures"
    if suffix in (".txt", ".lst"):
        return _kind_of_names(path, ListedPictures(path).names)
    if suffix == ".parquet" or suffix in EXTENSIONS:
        return "pictures"
    return _kind_of_names(path, open_archive(path, CLIPS | STILLS).names)


def _kind_of_names(path: Path, names: Iterable[str]) -> Kind:
    videos, stills = files_among(names, VIDEOS), files_among(names, EXTENSIONS)
    if videos:
        _refuse_mixture(path, videos, [name for name in stills if suffix_of(name) not in MAY_MOVE])
    return "clips" if videos else "pictures"


def _refuse_mixture(path: Path, clips: Sequence[str], stills: Sequence[str]) -> None:
    if clips and stills:
        raise InputError(
            f"{display(str(path))}: holds clips ({len(clips)}, such as {display(clips[0])}) and still pictures "
            f"({len(stills)}, such as {display(stills[0])}); keep them apart"
        )


def _folder(folder: Path, origin: str) -> ClipTable:
    names = walk(folder)
    pictures = files_among(names, STILLS)
    moving = [name for name in pictures if suffix_of(name) in MAY_MOVE and is_animation(folder / name)]
    stills = [name for name in pictures if name not in set(moving)]
    files = files_among([*files_among(names, VIDEOS | ARRAYS), *moving], CLIPS)
    _refuse_mixture(folder, files, stills)
    if not stills:
        return ClipTable(tuple(map(display, files)), f"{origin}/", [folder / name for name in files])
    return _frame_folders(folder, origin, stills)


def _frame_folders(folder: Path, origin: str, stills: Sequence[str]) -> ClipTable:
    """A clip for each folder of pictures; `stills` are in natural order already."""
    groups: dict[str, list[Path]] = {}
    for name in stills:
        groups.setdefault(PurePosixPath(name).parent.as_posix(), []).append(folder / name)
    if "." in groups and len(groups) > 1:
        raise InputError(
            f"{origin}: pictures lie directly in it and in {len(groups) - 1} folders below it; give each clip a "
            "folder of its own"
        )
    inside = sorted(groups, key=lambda name: (natural_key(name), name))
    return ClipTable(tuple(map(display, inside)), f"{origin}/", [FrameFiles(tuple(groups[name])) for name in inside])


def _archive(path: Path) -> ZipPictures | TarPictures:
    archive = open_archive(path, VIDEOS | (MAY_MOVE - {".png"}))
    _refuse_mixture(path, archive.names, files_among(archive.members, EXTENSIONS - MAY_MOVE))
    return archive


# ---- Animations ------------------------------------------------------------------------------------------------------


def is_animation(path: Path) -> bool:
    """Whether a GIF, WebP or PNG file moves; False for other files and damaged ones."""
    tell = {".gif": _gif_moves, ".webp": _webp_moves, ".png": _png_moves, ".apng": _png_moves}.get(path.suffix.lower())
    try:
        return tell is not None and tell(path)
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError):
        return False


def _gif_moves(path: Path) -> bool:
    with Image.open(path, formats=("GIF",)) as picture:
        return bool(getattr(picture, "is_animated", False))


def _webp_moves(path: Path) -> bool:
    """The animation bit of the extended header."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def _png_moves(path: Path) -> bool:
    """Whether a chunk `acTL` comes before the first `IDAT`."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return False
        while len(head := file.read(8)) == 8:
            if head[4:] in (b"acTL", b"IDAT"):
                return head[4:] == b"acTL"
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False
