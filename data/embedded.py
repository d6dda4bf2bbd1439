"""What stands in a file beside its pictures: a C2PA manifest, an XMP packet. Read without any library, nothing decoded.

Where a manifest lies (C2PA 2.2, appendix A): the chunk `caBX` of a PNG, `APP11` segments of a JPEG, the chunk `C2PA` of
a WebP, a `uuid` box of MP4, QuickTime, AVIF and HEIC. This says only whether one is there. XMP lies where its part 3
(Adobe, 2020) puts it. A damaged file gives what was found up to the damage.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MOST_XMP = 1 << 22  # bytes of a packet; a compressed one that expands to more is cut off
LONGEST_WORD = 300  # characters of a value
_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_BRANDS = {b"qt  ": "video/quicktime", b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic"}
_SOURCE_TYPE = re.compile(
    rb"DigitalSourceType\s*(?:=\s*[\"']([^\"'<>]{1,300})[\"']|[^<>]{0,40}resource\s*=\s*[\"']([^\"'<>]{1,300})[\"']"
    rb"|[^<>]{0,40}>\s*([^<>]{1,300}?)\s*<)"
)
_REMOTE = re.compile(rb"provenance\s*(?:=\s*[\"']|[^<>]{0,40}>\s*)(https?://[^\s\"'<>]{1,300})")


@dataclass(frozen=True, slots=True)
class Embedded:
    """What was found in one file."""

    mime: str | None  # None: of a container that is not walked here
    c2pa: bool = False  # whether there is a manifest
    xmp: bytes = b""

    @property
    def source_type(self) -> str | None:
        """The last word of the IPTC digital source type in the XMP packet, such as `trainedAlgorithmicMedia`."""
        found = _SOURCE_TYPE.search(self.xmp)
        return None if found is None else last_word(next(filter(None, found.groups())).decode("utf-8", "replace"))

    @property
    def remote(self) -> str | None:
        """Where the XMP packet says that the manifest is, when that is elsewhere; it is not fetched."""
        found = _REMOTE.search(self.xmp)
        return None if found is None else found[1].decode("ascii", "replace")


def last_word(uri: str) -> str | None:
    """`http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia` → `trainedAlgorithmicMedia`."""
    return re.split(r"[/#:]", uri.strip().rstrip("/"))[-1][:LONGEST_WORD] or None


def embedded(content: bytes) -> Embedded:
    """What a picture's or a clip's file carries."""
    if content.startswith(_PNG):
        return _gathered("image/png", _png(content))
    if content.startswith(b"\xff\xd8\xff"):
        return _gathered("image/jpeg", _jpeg(content))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _gathered("image/webp", _webp(content))
    if content[4:8] == b"ftyp":
        return _gathered(_BRANDS.get(content[8:12], "video/mp4"), _boxes(content, 0, len(content)))
    return Embedded(None)


Part = tuple[bool, bytes]  # whether it is a manifest, or else XMP


def _gathered(mime: str, parts: Iterator[Part]) -> Embedded:
    c2pa, xmp = False, b""
    for manifest, packet in parts:
        c2pa, xmp = c2pa or manifest, xmp or packet[:MOST_XMP]
    return Embedded(mime, c2pa, xmp)


def _png(content: bytes) -> Iterator[Part]:
    at = len(_PNG)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length]
        if kind == b"caBX":
            yield True, b""
        elif kind == b"iTXt" and data.startswith(_XMP_KEYWORD):
            compressed, rest = data[len(_XMP_KEYWORD)], data[len(_XMP_KEYWORD) + 2 :]
            text = rest.split(b"\0", 2)[-1]  # after the language and the translated keyword
            yield False, _inflated(text) if compressed else text
        at += 12 + length


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_XMP)
    except zlib.error:
        return b""


def _jpeg(content: bytes) -> Iterator[Part]:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the picture itself begins
            return
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        data = content[at + 4 : at + 2 + length]
        if marker == 0xEB and b"jumb" in data[:32] and b"c2pa" in data:
            yield True, b""
        elif marker == 0xE1 and data.startswith(_XMP_SEGMENT):
            yield False, data[len(_XMP_SEGMENT) :]
        at += 2 + max(length, 2)


def _webp(content: bytes) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, at)
        if kind == b"C2PA":
            yield True, b""
        elif kind == b"XMP ":
            yield False, content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _boxes(content: bytes, start: int, end: int) -> Iterator[Part]:
    """Boxes of ISO/IEC 14496-12; QuickTime keeps XMP in moov/udta."""
    at = start
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1 and at + 16 <= end:
            size, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        if size == 0:
            size = end - at
        if size < head or at + size > end:
            return
        if kind == b"uuid":
            user_type = content[at + head : at + head + 16]
            if user_type == _C2PA_BOX:
                yield True, b""
            elif user_type == _XMP_BOX:
                yield False, content[at + head + 16 : at + size]
        elif kind in (b"moov", b"udta"):
            yield from _boxes(content, at + head, at + size)
        elif kind == b"XMP_":
            yield False, content[at + head : at + size]
        at += size
