"""What a voter is sent instead of a model's file: the same pixels in a new PNG that tells nothing else.

Both sides of a battle are one size in pixels, come from the same encoder with the same settings, have no chunk but
IHDR, IDAT and IEND, and are padded to a multiple of 64 KiB. They are made together and kept together, so that the time
to the first byte does not depend on which side, or which model, was seen before.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from paragone.arena.ui.pictures import Pixels, read_picture, read_sample_picture, same_box
from paragone.data.errors import UnreadableImage
from paragone.data.records import Sample

SIZE_STEP = 64 * 1024  # bytes: lengths are multiples of it
WHITE = 128  # luminance from which on a mask lets the picture change
LARGEST_PX = 4096  # on the longer side; more is reduced
KEPT_BYTES = 128 * 2**20
MOST_SHAPES = 100_000
STORED_NOTHING = b"\x00\x00\x00\xff\xff"  # a deflate block with no content (RFC 1951, 3.2.4)
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_CHUNK_BYTES = 12  # of a chunk besides its data
_UP = 2  # PNG's filter type: each byte less the one above


class Pair(NamedTuple):
    """Both sides of a battle as PNG files."""

    a: bytes
    b: bytes


def render(picture: Pixels, other: tuple[int, ...]) -> bytes:
    """One side in the box that it shares with a picture of the shape `other`."""
    both = [picture] if picture.shape == other else [picture, np.zeros(other, np.uint8)]
    return plain_png(same_box(both, small_px=1, large_px=LARGEST_PX)[0])  # the page enlarges


def render_source(folder: Path, source: str) -> bytes:
    """The input picture of an editing task; raises `UnreadableImage`, also for a path that leads out of the project."""
    path = source_path(folder, source)
    return plain_png(same_box([read_picture(path)], small_px=1, large_px=LARGEST_PX)[0])


def render_outline(folder: Path, mask: str) -> bytes:
    """The edge of an editing task's mask as a transparent PNG of the mask's size; raises `UnreadableImage`.

    White with a dark rim, so that it is seen on everything.
    """
    picture = Image.fromarray(same_box([read_picture(source_path(folder, mask))], small_px=1, large_px=LARGEST_PX)[0])
    free = picture.convert("L").point(lambda level: 255 if level >= WHITE else 0)
    thin = max(1, round(max(picture.size) / 400))
    line, rim = (free.filter(ImageFilter.MaxFilter(2 * reach + 1)) for reach in (thin, 2 * thin))
    outline = Image.new("RGBA", picture.size)
    outline.paste((20, 20, 24, 255), mask=ImageChops.subtract(rim, free))
    outline.paste((255, 255, 255, 255), mask=ImageChops.subtract(line, free))
    buffer = io.BytesIO()
    outline.save(buffer, format="PNG")
    return buffer.getvalue()


def source_path(folder: Path, source: str) -> Path:
    """Where an input file is; raises `UnreadableImage` when that is not in the project."""
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UnreadableImage(f"{source}: leads out of the project folder")
    return path


def plain_png(picture: Pixels) -> bytes:
    """[H, W, 3] pixels as a PNG of IHDR, IDAT and IEND whose length is a multiple of `SIZE_STEP`."""
    height, width = picture.shape[:2]
    coder = zlib.compressobj(1, strategy=zlib.Z_RLE)  # for PNG, a third quicker than level 1's own, and no larger
    stream = coder.compress(_filtered(picture)) + coder.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    fixed = len(_PNG_HEAD) + 3 * _CHUNK_BYTES + len(header)
    n_blocks, n_chunks = _padding(fixed + len(stream))
    stream = stream[:2] + STORED_NOTHING * n_blocks + stream[2:]
    pieces = [stream[n : n + 1] for n in range(n_chunks)]  # chunks of one byte: twelve bytes of padding each
    return b"".join(
        (
            _PNG_HEAD,
            _chunk(b"IHDR", header),
            *(_chunk(b"IDAT", piece) for piece in (*pieces, stream[n_chunks:])),
            _chunk(b"IEND", b""),
        )
    )


def _filtered(picture: Pixels) -> bytes:
    """PNG's scanlines, every one less the one above it: quick, and good on photographs and flat areas alike."""
    height, width = picture.shape[:2]
    rows = np.ascontiguousarray(picture).reshape(height, 3 * width)
    lines = np.empty((height, 1 + 3 * width), np.uint8)
    lines[:, 0] = _UP
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    return lines.tobytes()


def _padding(length: int) -> tuple[int, int]:
    """How many empty blocks (5 bytes) and chunks more (12 bytes) lead from `length` to a multiple of `SIZE_STEP`.

    Every number of bytes from 44 on is a sum of fives and twelves.
    """
    missing = -length % SIZE_STEP
    if missing < 44:
        missing += SIZE_STEP
    n_chunks = next(n for n in range(5) if (missing - _CHUNK_BYTES * n) % len(STORED_NOTHING) == 0)
    return (missing - _CHUNK_BYTES * n_chunks) // len(STORED_NOTHING), n_chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


Key = tuple[object, ...]


class Renditions:
    """Renditions that were made last, up to `KEPT_BYTES`; threads may share it, and each pair is made by one of them.

    A side is kept by itself: what it looks like depends on the other's shape alone.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._shapes: dict[Key, tuple[int, ...]] = {}
        self._size = 0
        self._lock = threading.Lock()
        self._making: dict[Key, threading.Lock] = {}

    def pair(self, folder: Path, sample_a: Sample, sample_b: Sample) -> Pair:
        """Both sides; raises `UnreadableImage`."""
        names = _name(folder, sample_a), _name(folder, sample_b)
        found = self._find(names)
        if found is not None:
            return found
        with self._lock:
            turn = self._making.setdefault(names, threading.Lock())
        try:
            with turn:
                return self._find(names) or self._make(folder, (sample_a, sample_b), names)
        finally:
            with self._lock:
                self._making.pop(names, None)

    def _make(self, folder: Path, samples: tuple[Sample, Sample], names: tuple[Key, Key]) -> Pair:
        """Decode and encode what is not there."""
        read: dict[Key, Pixels] = {}
        shapes: dict[Key, tuple[int, ...]] = {}
        for name, sample in zip(names, samples, strict=True):
            shape = self._shapes.get(name)
            if shape is None:
                read[name] = read_sample_picture(folder, sample)
                shape = read[name].shape
            shapes[name] = self._shapes[name] = shape
        sides = []
        for name, other, sample in zip(names, reversed(names), samples, strict=True):
            key = (name, shapes[other])
            with self._lock:
                side = self._kept.get(key)
            if side is None:
                picture = read.get(name)
                side = render(read_sample_picture(folder, sample) if picture is None else picture, shapes[other])
                self._keep(key, side)
            sides.append(side)
        return Pair(*sides)

    def _find(self, names: tuple[Key, ...]) -> Pair | None:
        with self._lock:
            shapes = [self._shapes.get(name) for name in names]
            keys = list(zip(names, reversed(shapes), strict=True))
            if not all(key in self._kept for key in keys):
                return None
            for key in keys:
                self._kept.move_to_end(key)
            return Pair(*(self._kept[key] for key in keys))

    def _keep(self, key: Key, side: bytes) -> None:
        with self._lock:
            self._size += len(side) - len(self._kept.get(key, b""))
            self._kept[key] = side
            while self._size > self._kept_bytes and len(self._kept) > 2:
                _, old = self._kept.popitem(last=False)
                self._size -= len(old)
            if len(self._shapes) > MOST_SHAPES:
                self._shapes = {name: self._shapes[name] for name, _ in self._kept if name in self._shapes}


def _name(folder: Path, sample: Sample) -> Key:
    return str(folder), sample.path, sample.sha256
