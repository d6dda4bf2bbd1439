"""What an original file says of its making: text chunks, EXIF, XMP, and whether there is a C2PA manifest.

Shown only after a vote, as plain text. It is the file's own word, of which nothing is checked: anybody can write it,
and anybody can take it away.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image

from paragone.data.records import Sample

LONGEST = 300  # characters of a value; samplers write whole workflows
MOST = 12  # entries
EXIF = ("Software", "ProcessingSoftware", "Make", "Model", "Artist", "ImageDescription", "DateTime")
XMP = re.compile(rb"(?:xmp:CreatorTool|photoshop:Credit|Iptc4xmpExt:DigitalSourceType)(?:=\"|>)([^\"<]{1,300})")
C2PA = (b"c2pa", b"jumb")  # a manifest's label and the type of its box (C2PA 2.1, JUMBF: ISO/IEC 19566-5)
CONTAINER_KEYS = frozenset({"dpi", "gamma", "aspect", "interlace", "jfif", "jfif_version", "jfif_unit", "jfif_density"})
log = logging.getLogger(__name__)

Entry = tuple[str, str]


def original_provenance(folder: Path, sample: Sample) -> tuple[Entry, ...]:
    """Keys and values that a sample's file carries; empty when it has none or cannot be read."""
    try:
        content = (folder / sample.path).read_bytes()
    except OSError as error:
        log.warning("sample %s: cannot be read: %s", sample.id, error.strerror)
        return ()
    return tuple(_shortened(entry) for entry in _entries(content))[:MOST]


def _entries(content: bytes) -> Iterator[Entry]:
    if all(mark in content for mark in C2PA):
        yield "C2PA", "a manifest is in the file; its signature was not checked here"
    try:
        with Image.open(io.BytesIO(content)) as picture:  # reads the header only
            told = dict(picture.info)
            tags = (
                picture.getexif() if "exif" in told or picture.format == "TIFF" else {}
            )  # a PNG would be decoded for it
            exif = {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in tags.items()}
    except Exception:  # decoders of damaged files raise nearly anything
        return
    yield from ((name, str(exif[name])) for name in EXIF if exif.get(name))
    for key, value in told.items():
        if isinstance(key, str) and isinstance(value, str) and key.lower() not in CONTAINER_KEYS:
            yield key, value
        elif key == "comment" and isinstance(value, bytes):
            yield key, value.decode("utf-8", "replace")
    yield from (("XMP", found.decode("utf-8", "replace")) for found in dict.fromkeys(XMP.findall(content)))


def _shortened(entry: Entry) -> Entry:
    key, value = (" ".join(text.replace("\0", " ").split()) for text in entry)
    return key[:60], value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
