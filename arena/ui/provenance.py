"""What an original file says of its making: text chunks, EXIF, XMP, and its C2PA manifest.

Shown only after a vote, as plain text. It is the file's own word: anybody can write it, and anybody can take it away.
A manifest is checked by `paragone provenance --dir`, whose stored result is told here; never by the page itself.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image

from paragone.data.embedded import embedded
from paragone.data.records import Provenance, ProvenanceState, Sample

LONGEST = 300  # characters of a value; samplers write whole workflows
MOST = 12  # entries
EXIF = ("Software", "ProcessingSoftware", "Make", "Model", "Artist", "ImageDescription", "DateTime")
XMP = re.compile(rb"(?:xmp:CreatorTool|photoshop:Credit|Iptc4xmpExt:DigitalSourceType)(?:=\"|>)([^\"<]{1,300})")
STATES = {
    ProvenanceState.ABSENT: "no manifest, which proves nothing",
    ProvenanceState.UNTRUSTED: "valid; nobody vouches for the signer",
    ProvenanceState.TRUSTED: "valid, and the signer is trusted",
    ProvenanceState.INVALID: "invalid: the file or the manifest was changed",
    ProvenanceState.UNREADABLE: "a manifest that cannot be read",
    ProvenanceState.NOT_CHECKED: "a manifest is in the file; it was not checked",
}
CONTAINER_KEYS = frozenset({"dpi", "gamma", "aspect", "interlace", "jfif", "jfif_version", "jfif_unit", "jfif_density"})
log = logging.getLogger(__name__)

Entry = tuple[str, str]


def original_provenance(folder: Path, sample: Sample, checked: Provenance | None = None) -> tuple[Entry, ...]:
    """Keys and values that a sample's file carries; empty when it has none or cannot be read.

    `checked` is what `paragone provenance` found, which comes first.
    """
    try:
        content = (folder / sample.path).read_bytes()
    except OSError as error:
        log.warning("sample %s: cannot be read: %s", sample.id, error.strerror)
        return ()
    if checked is None and embedded(content).c2pa:
        checked = Provenance(sample.sha256, ProvenanceState.NOT_CHECKED)
    first = () if checked is None else checked_entries(checked)
    return tuple(_shortened(entry) for entry in (*first, *_entries(content)))[:MOST]


def checked_entries(found: Provenance) -> Iterator[Entry]:
    """What was found out about a file's origin, in words."""
    yield "C2PA", STATES[found.state]
    if found.source_type is not None:
        where = "in the manifest" if found.source_in == "c2pa" else "in metadata that anybody can write"
        yield "Source type", f"{found.source_type} ({where})"
    if found.signer is not None:
        yield "Signed as", found.signer
    if found.tool is not None:
        yield "Made with", found.tool
    for mark in found.watermarks or ():
        yield "Watermark", f"{mark.payload} (p = {mark.p_value:.1g})" if mark.found else "none that is known was found"


def _entries(content: bytes) -> Iterator[Entry]:
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
