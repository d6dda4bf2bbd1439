"""Pictures for the pages: checked against their digest, decoded, and written anew, so that nothing but pixels is sent.

A battle's two pictures get the same size and format. File names, metadata, colour profiles and the original bytes stay
on the server.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.decoding import decode_picture
from paragone.data.errors import UnreadableImage
from paragone.data.records import Sample

Pixels = NDArray[np.uint8]

SMALL_PX = 512  # pictures are enlarged, by a whole factor, to about this
LARGE_PX = 1400  # and reduced to this: Streamlit would resize anything wider than 1460 px by itself
GAP_PX = 4
PAPER = 128  # grey around pictures of another shape


def read_sample_picture(folder: Path, sample: Sample) -> Pixels:
    """[H, W, 3] RGB pixels of a sample; raises `UnreadableImage` when its file is missing, damaged or another's."""
    path = folder / sample.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sample.sha256:
        raise UnreadableImage(f"{path}: has changed since it was recorded as sample {sample.id}")
    return decode_picture(content, str(path)).pixels


def same_box(pictures: Sequence[Pixels], *, small_px: int = SMALL_PX, large_px: int = LARGE_PX) -> list[Pixels]:
    """Pictures of one size: each fitted into the smallest box that holds all, then enlarged or reduced alike.

    Enlarging repeats pixels (nearest neighbour, whole factor); a picture that is not the box's size is scaled by the
    largest factor that fits, whole when it is above 1, and centred on grey.
    """
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    shrink = min(1.0, large_px / max(height, width))
    box = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    zoom = max(1, round(small_px / max(box)))
    return [_enlarge(_fit(picture, box), zoom) for picture in pictures]


def _fit(picture: Pixels, box: tuple[int, int]) -> Pixels:
    factor = min(box[0] / picture.shape[0], box[1] / picture.shape[1])
    if factor >= 2:
        picture = _enlarge(picture, math.floor(factor))
    elif factor < 1:
        size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    if picture.shape[:2] == box:
        return picture
    canvas = np.full((*box, 3), PAPER, np.uint8)
    top, left = (box[0] - picture.shape[0]) // 2, (box[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _enlarge(picture: Pixels, factor: int) -> Pixels:
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def contact_sheet(pictures: Sequence[Pixels | None], *, columns: int) -> Pixels:
    """Pictures side by side in rows, in their order, with a gap between; None leaves a place empty."""
    present = [picture for picture in pictures if picture is not None]
    tiles = same_box(present, small_px=SMALL_PX // columns, large_px=LARGE_PX // columns - GAP_PX) if present else []
    height, width = tiles[0].shape[:2] if tiles else (SMALL_PX // columns,) * 2
    rows = math.ceil(len(pictures) / columns)
    size = (rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3)
    sheet = np.full(size, PAPER, np.uint8)
    following = iter(tiles)
    for place, picture in enumerate(pictures):
        if picture is not None:
            top, left = place // columns * (height + GAP_PX), place % columns * (width + GAP_PX)
            sheet[top : top + height, left : left + width] = next(following)
    return sheet


def to_png(picture: Pixels) -> bytes:
    """PNG bytes with pixels and nothing else."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def to_data_uri(png: bytes) -> str:
    """The picture inside its own address: no URL of it exists that could be looked up again later."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
