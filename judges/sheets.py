"""Contact sheets: many frames, or all pictures of a question, on one canvas, for endpoints that take few images.

Frames run in the order of time, from left to right and then from top to bottom. Numbers and names stand in strips
outside the frames, so that no pixel of a sample is painted over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 6  # px around each frame
STRIP = 20  # px above each frame for its number, and above each panel for its name
GREY, WHITE = 40, 255

Pixels = NDArray[np.uint8]  # [H, W, 3]


def grid(n: int, width: int, height: int, *, stacked: int = 1) -> tuple[int, int]:
    """Columns and rows for `n` frames of this size: the sheet's longer side is the shortest that can be had.

    `stacked` sheets will stand on top of each other. Of equals the wider is taken.
    """
    shapes = [(columns, ceil(n / columns)) for columns in range(n, 0, -1)]
    return min(shapes, key=lambda shape: max(shape[0] * width, stacked * shape[1] * height))


def edges(columns: int, rows: int) -> tuple[int, int]:
    """What a sheet is wider and higher than its frames, px."""
    return GAP * (columns + 1), (GAP + STRIP) * rows + GAP


def contact_sheet(frames: Sequence[Pixels], columns: int) -> Pixels:
    """The frames [H, W, 3], all of one size, in rows of `columns`, each with its number above it."""
    height, width = frames[0].shape[:2]
    rows = ceil(len(frames) / columns)
    wider, higher = edges(columns, rows)
    canvas = np.full((rows * height + higher, columns * width + wider, 3), GREY, np.uint8)
    names = []
    for place, frame in enumerate(frames):
        x, y = GAP + place % columns * (width + GAP), GAP + place // columns * (height + STRIP + GAP)
        canvas[y + STRIP : y + STRIP + height, x : x + width] = frame
        names.append((x, y, str(place + 1)))
    return _written(canvas, names)


def panels(named: Sequence[tuple[str, Pixels]], *, stacked: bool) -> Pixels:
    """Pictures [H, W, 3] of any size on one canvas, beside or below each other, each with its name above it."""
    sizes = [pixels.shape[:2] for _, pixels in named]
    heights, widths = [h + STRIP + GAP for h, _ in sizes], [w + GAP for _, w in sizes]
    width = max(widths) if stacked else sum(widths)
    height = sum(heights) if stacked else max(heights)
    canvas = np.full((height + GAP, width + GAP, 3), GREY, np.uint8)
    x = y = GAP
    names = []
    for (name, pixels), (h, w) in zip(named, sizes, strict=True):
        canvas[y + STRIP : y + STRIP + h, x : x + w] = pixels
        names.append((x, y, name))
        x, y = (x, y + STRIP + h + GAP) if stacked else (x + w + GAP, y)
    return _written(canvas, names)


def _written(canvas: Pixels, names: Sequence[tuple[int, int, str]]) -> Pixels:
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(STRIP - 5)
    for x, y, name in names:
        draw.text((x + 2, y), name, fill=(WHITE,) * 3, font=font)
    return np.asarray(picture)
