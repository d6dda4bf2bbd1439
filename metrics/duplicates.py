"""Near duplicates by perceptual hash: 64 signs of the lowest frequencies of a picture.

The hash is the one known as pHash (Zauner 2010, thesis, Hagenberg): luminance at 32×32 px, its cosine transform, and
for the 8×8 lowest frequencies whether each is above their median. Pictures that differ in size, format, compression or
slight changes of colour differ in few of the 64 bits; unrelated ones in about 32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Hashes = NDArray[np.uint64]
HASHED_PX = 32
LOW = 8
NEAR_BITS = 4  # unrelated pictures come so near with a probability of about 4e-14 a pair
BLOCK_ROWS = 512


def perceptual_hash(picture: NDArray[np.uint8]) -> np.uint64:
    """The 64 bits of an RGB picture [H, W, 3]; a picture of one colour has no frequencies, and the hash 0."""
    small = Image.fromarray(picture).convert("L").resize((HASHED_PX, HASHED_PX), Image.Resampling.LANCZOS)
    low = scipy.fft.dctn(np.asarray(small, dtype=np.float64), type=2)[:LOW, :LOW].ravel()
    low[np.abs(low) < 1e-9 * max(1.0, float(np.abs(low).max()))] = 0.0  # rounding is no frequency
    if not low[1:].any():
        return np.uint64(0)
    return np.uint64(np.packbits(low > np.median(low)).view(">u8")[0])


class Duplicates(NamedTuple):
    """Indices of pictures that are near another."""

    groups: tuple[tuple[int, ...], ...]  # of the generated among themselves, by chains of near pairs
    of_reference: tuple[tuple[int, int], ...]  # generated, and the first reference picture that it is near


def near_hashes(generated: Hashes, reference: Hashes | None, *, within: int = NEAR_BITS) -> Duplicates:
    """Pictures whose hashes differ in at most `within` bits. All pairs are looked at, N² / 2 and N M."""
    n = len(generated)
    rows, columns = _near_pairs(generated, generated, within)
    _, labels = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if n else []
    groups = sorted(tuple(int(index) for index in part) for part in parts if len(part) > 1)
    if reference is None:
        return Duplicates(tuple(groups), ())
    rows, columns = _near_pairs(generated, reference, within)
    found, first = np.unique(rows, return_index=True)
    return Duplicates(tuple(groups), tuple((int(row), int(columns[at])) for row, at in zip(found, first, strict=True)))


def _near_pairs(x: Hashes, y: Hashes, within: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for start in range(0, len(x), BLOCK_ROWS):
        near = np.bitwise_count(x[start : start + BLOCK_ROWS, None] ^ y) <= within
        row, column = np.nonzero(near)
        rows.append(row + start)
        columns.append(column)
    return np.concatenate(rows), np.concatenate(columns)
