"""Pictures for the pages: checked against their digest, decoded, and written anew, so that nothing but pixels is sent.

A battle's two pictures get the same size and format. File names, metadata and the original bytes stay on the server. A
colour profile is applied, since people look at the result (metrics read files as their protocols say, without).
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from paragone.data.decoding import ANIMATED, FORMATS, decode_picture
from paragone.data.errors import UnreadableImage
from paragone.data.records import Sample

Pixels = NDArray[np.uint8]


class MovingPicture(UnreadableImage):
    """A video or an animation, where only a still picture can be shown."""


SMALL_PX = 512  # pictures are enlarged, by a whole factor, to about this
LARGE_PX = 1400  # and reduced to this: Streamlit would resize anything wider than 1460 px by itself
GAP_PX = 4
PAPER = 128  # grey around pictures of another shape
VIDEO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # at byte 4: MP4, and QuickTime that is older
MATROSKA = b"\x1aE\xdf\xa3"  # and WebM
_SRGB = ImageCms.createProfile("sRGB")
log = logging.getLogger(__name__)


def read_sample_picture(folder: Path, sample: Sample) -> Pixels:
    """[H, W, 3] sRGB pixels of a sample; raises `UnreadableImage` when its file is missing, damaged or another's."""
    path = folder / sample.path
    return picture_of(read_recorded(path, sample.sha256), str(path))


def read_recorded(path: Path, sha256: str) -> bytes:
    """A file whose digest is known; raises `UnreadableImage` when it is missing or has changed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UnreadableImage(f"{path}: has changed since it was recorded (its sha256 is another)")
    return content


def is_video(content: bytes) -> bool:
    """MP4, QuickTime, Matroska or WebM by its first bytes; animations are pictures in this respect."""
    return content[4:8] in VIDEO_BOXES or content[:4] == MATROSKA


def read_picture(path: Path) -> Pixels:
    """[H, W, 3] sRGB pixels of a file; raises `UnreadableImage`."""
    try:
        return picture_of(path.read_bytes(), str(path))
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read: {error.strerror}") from error


def picture_of(content: bytes, name: str) -> Pixels:
    """[H, W, 3] sRGB pixels of a still picture's file, upright, its colour profile applied; `UnreadableImage` else."""
    if is_video(content):
        raise MovingPicture(f"{name}: a video; only still pictures can be shown")
    decoded = decode_picture(content, name)
    if decoded.note == ANIMATED:
        raise MovingPicture(f"{name}: {decoded.note}; only still pictures can be shown")
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:  # the header; what it says has been checked
        profile = picture.info.get("icc_profile")
        if not profile:
            return decoded.pixels
        try:
            return _in_srgb(decoded.pixels, picture, profile)
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.warning("%s: its colour profile cannot be used (%s); shown without it", name, error)
            return decoded.pixels


def _in_srgb(pixels: Pixels, picture: Image.Image, content: bytes) -> Pixels:
    """Pixels in the colours that the file's profile gives them."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    space = profile.profile.xcolor_space.strip()
    if space == "RGB":
        if "sRGB" in (ImageCms.getProfileDescription(profile) or ""):
            return pixels
        source = Image.fromarray(pixels)
    elif space == "GRAY":
        source = Image.fromarray(pixels[:, :, 0])
    elif space == "CMYK" and picture.mode == "CMYK":
        source = ImageOps.exif_transpose(picture)
    else:
        raise ValueError(f"a profile of {space} in a picture of {picture.mode}")
    converted = ImageCms.profileToProfile(source, profile, _SRGB, outputMode="RGB")
    if converted is None:
        raise ValueError("it converts nothing")
    return np.array(converted)


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
    return [_enlarge(fit(picture, box), zoom) for picture in pictures]


def fit(picture: Pixels, box: tuple[int, int]) -> Pixels:
    """A picture in a box (height, width), not enlarged but by a whole factor, centred on grey."""
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
