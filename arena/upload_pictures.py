"""Is this file one picture and nothing else? What an upload has to be before it is stored.

A file passes when its name, its first bytes and its decoder agree on PNG, JPEG or WebP, its parts add up to its whole
length, and it is one picture of a size that can be shown. So nothing rides along behind the picture: a file that is a
picture and a web page or an archive too (a polyglot) ends after the picture for one reader and not for the other.
Metadata (EXIF, text, C2PA) is part of the format and stays; what voters get is written anew without it.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

from paragone.data.decoding import ANIMATED, decode_picture
from paragone.data.errors import UnreadableImage

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SUFFIX_OF = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
MAX_SIDE_PX = 16_384
_PNG = b"\x89PNG\r\n\x1a\n"
_MARKUP = re.compile(rb"\s*<(\?xml|!doctype|html|svg|script|!--)", re.IGNORECASE)
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # in coded data, anything but a stuffed zero or a restart
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers of JPEG without a length
_EOI, _SOS = 0xD9, 0xDA


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of an uploaded picture."""

    sha256: str
    suffix: str  # ".png", ".jpg" or ".webp"
    width: int  # px, as it is shown
    height: int  # px
    n_bytes: int


def inspect_picture(content: bytes, name: str) -> PictureFacts:
    """The facts of a picture; raises `UnreadableImage` unless `content` is one PNG, JPEG or WebP picture and no more.

    `name` is what errors call it; its ending must be that of the format.
    """
    kind = _kind(content, name)
    declared = SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if declared != kind:
        ending = PurePosixPath(name).suffix or "no ending"
        raise UnreadableImage(f"{name}: {ending}, but the file is a {kind}; give it the ending {SUFFIX_OF[kind]}")
    end = {"PNG": _end_of_png, "JPEG": _end_of_jpeg, "WEBP": _end_of_webp}[kind](content, name)
    if end != len(content):
        raise UnreadableImage(
            f"{name}: {len(content) - end:,} bytes follow the picture's end; save the picture anew without them"
        )
    decoded = decode_picture(content, name)
    height, width, _ = decoded.pixels.shape
    if max(width, height) > MAX_SIDE_PX:
        raise UnreadableImage(f"{name}: {width}×{height} px; up to {MAX_SIDE_PX:,} px a side are taken")
    if decoded.note == ANIMATED:
        raise UnreadableImage(f"{name}: an animation; upload the one frame that is to be judged")
    return PictureFacts(hashlib.sha256(content).hexdigest(), SUFFIX_OF[kind], width, height, len(content))


def _kind(content: bytes, name: str) -> str:
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    what = "an empty file" if not content else "no PNG, JPEG or WebP picture"
    if _MARKUP.match(content.removeprefix(b"\xef\xbb\xbf")[:512]):
        what = "SVG, HTML or XML, which can carry programs"
    raise UnreadableImage(f"{name}: {what}; pictures are uploaded as PNG, JPEG or WebP")


def _end_of_png(content: bytes, name: str) -> int:
    at = len(_PNG)
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content):
            break
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise UnreadableImage(f"{name}: the checksum of its part {kind!r} is wrong; the file is damaged")
        if kind == b"IEND":
            return end
        at = end
    raise UnreadableImage(f"{name}: the PNG ends before its end; the file is cut off")


def _end_of_jpeg(content: bytes, name: str) -> int:
    at = 2
    while at + 2 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == _EOI:
            return at + 2
        elif marker in _ALONE:
            at += 2
        else:
            length = int.from_bytes(content[at + 2 : at + 4], "big")
            at += 2 + max(length, 2)
            if marker == _SOS:
                found = _JPEG_MARKER.search(content, at)
                if found is None:
                    break
                at = found.start()
    raise UnreadableImage(f"{name}: the JPEG ends before its end marker, or is damaged; save it anew")


def _end_of_webp(content: bytes, name: str) -> int:
    size = 8 + int.from_bytes(content[4:8], "little")
    at = 12
    while at + 8 <= min(size, len(content)):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + length + (length & 1)
    if at != size or size > len(content):
        raise UnreadableImage(f"{name}: the parts of the WebP do not add up to its length; the file is damaged")
    return size
