"""From the bytes of one picture file, or one array, to RGB: every policy that decides which pixels a metric sees.

Metrics disagree between tools because each decodes in its own way, mostly without saying so. The rules here:

- 16-bit pictures are scaled to 8 bits (value / 257), never clipped; 16-bit colour takes the high byte, as Pillow does;
- transparency is composited on white; what lies hidden under it does not count;
- the EXIF orientation is applied; colour profiles are not;
- grey, 1-bit, palette and CMYK pictures become RGB;
- of an animation or a multi-page file the first frame is taken, and a note says so;
- floating-point and 32-bit integer pictures, pictures over `MAX_PIXELS` and damaged files are refused.
"""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from paragone.data.errors import UnreadableImage

MAX_PIXELS = 64_000_000  # px: a larger picture is taken for a decompression bomb
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
ANIMATED = "an animation or several pages: only the first frame is used"

_COLOUR_MODES = frozenset({"1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WITHOUT_RANGE = {"F": "floating point", "I": "32-bit integers"}
_header_lock = threading.Lock()  # catch_warnings changes the whole process


class Decoded(NamedTuple):
    """One picture or clip as RGB, and what the reader should know about how it came to be."""

    pixels: NDArray[np.uint8]  # [H, W, 3], of a clip [T, H, W, 3]
    note: str = ""
    times_s: NDArray[np.float64] | None = None  # [T], of a clip's frames, from its first; None where not known


def decode_picture(content: bytes, name: str) -> Decoded:
    """Decode a PNG, JPEG, WebP, BMP, TIFF or GIF file; `name` is what errors call it.

    Raises `UnreadableImage` for a damaged, empty, oversized or unsupported file.
    """
    if not content:
        raise UnreadableImage(f"{name}: the file is empty (0 bytes); replace or delete it")
    try:
        with _open(content) as picture:
            _check(picture, name)
            note = ANIMATED if getattr(picture, "n_frames", 1) > 1 else ""
            picture.seek(0)
            picture.load()
            return Decoded(_to_rgb(ImageOps.exif_transpose(picture)), note)
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"{name}: over {MAX_PIXELS / 1e6:.0f} megapixels; scale it down first") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = "no known picture format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UnreadableImage(
            f"{name}: damaged, truncated or not a picture ({reason or type(error).__name__}); replace or delete it"
        ) from error


def array_to_rgb(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """uint8 or uint16 [H, W] or [H, W, 1 | 3 | 4] → a new uint8 [H, W, 3], under the same rules as files."""
    if array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(f"{name}: {array.dtype} pixels have no certain range; convert them to uint8 first")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise UnreadableImage(f"{name}: shape {array.shape} is not [height, width, 1, 3 or 4 channels]")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise UnreadableImage(f"{name}: over {MAX_PIXELS / 1e6:.0f} megapixels; scale it down first")
    pixels = _to_8_bit(array) if array.dtype == np.uint16 else array.astype(np.uint8, copy=False)
    if pixels.shape[2] == 4:
        return _on_white(pixels)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")  # a copy: torch wants to own it


def _open(content: bytes) -> Image.Image:
    """Read the header only. Pillow merely warns of a bomb up to twice its limit; here that is an error too."""
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content), formats=FORMATS)


def _check(picture: Image.Image, name: str) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise UnreadableImage(
            f"{name}: {picture.width}×{picture.height} px, over {MAX_PIXELS / 1e6:.0f} megapixels; scale it down first"
        )
    if picture.mode in _WITHOUT_RANGE:
        raise UnreadableImage(
            f"{name}: {_WITHOUT_RANGE[picture.mode]} have no certain range of values; convert to 8 or 16 bits"
        )
    if picture.mode not in _COLOUR_MODES | _SIXTEEN_BIT_MODES:
        raise UnreadableImage(f"{name}: colour mode {picture.mode} is not supported; convert it to RGB")


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode in _SIXTEEN_BIT_MODES:
        return _sixteen_bit_grey(picture)
    if picture.has_transparency_data:
        return _on_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _sixteen_bit_grey(picture: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(picture).astype(np.uint16)
    grey = _to_8_bit(values)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):  # PNG may name one grey value that is see-through
        grey[values == transparent] = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


def _to_8_bit(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """65535 / 257 = 255: the exact inverse of widening 8 bits to 16; rounded to nearest."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite [H, W, 4] on white, rounded to nearest."""
    alpha = rgba[:, :, 3:].astype(np.uint32)
    blended = (rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended.astype(np.uint8)
