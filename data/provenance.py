"""Where a file says that it comes from: its C2PA manifest, checked, and the IPTC source type in its metadata.

A manifest is signed. It is *valid* when it and the file are as they were signed, and *trusted* when, besides, the
signer's certificate leads to an anchor: those of a PEM file, or those that c2pa-python brings. The signer's name alone
is no trust, for anybody can put any name into a certificate of their own. Most vendors' certificates lead to no anchor
that c2pa-python knows, so give their roots. Without c2pa-python (`pip install 'paragone[provenance]'`) a manifest is
seen but not checked. Nothing is fetched: neither manifests that are elsewhere nor revocation lists.

Absence proves nothing: a copy, a screenshot or a new encoding has no manifest and no metadata any more.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from paragone.data.decoding import decode_picture
from paragone.data.embedded import embedded, last_word
from paragone.data.errors import InputError, UnreadableImage
from paragone.data.records import AI_SOURCE_TYPES, Provenance, ProvenanceState
from paragone.data.watermark import Null, watermark_tests

ABSENCE = (
    "Absence proves nothing: a copy or a new encoding has lost its manifest, its metadata and often its watermark."
)
NEEDS_EXTRA = "c2pa-python is not installed, so manifests were seen but not checked: pip install 'paragone[provenance]'"
_STATES = {
    "Valid": ProvenanceState.UNTRUSTED,
    "Trusted": ProvenanceState.TRUSTED,
    "Invalid": ProvenanceState.INVALID,
}
LONGEST = 200  # characters of a name
Source = tuple[str | None, str | None]  # a source type, and where it stands
MOST_CODES = 20


def can_verify() -> bool:
    """Whether c2pa-python is here."""
    return importlib.util.find_spec("c2pa") is not None


class ProvenanceReader:
    """Reads files with one set of trust anchors; threads may share it.

    Raises `InputError` for a file of anchors that holds no certificate.
    """

    def __init__(self, anchors: Path | None = None) -> None:
        pem = b"" if anchors is None else _read_anchors(anchors)
        self.anchors = hashlib.sha256(pem).hexdigest() if pem else None
        self.verifies = can_verify()
        self._context = _context(pem, anchors) if self.verifies else None

    def read(self, content: bytes) -> Provenance:
        """What one file says; a file that nobody can read says nothing, and its state tells so."""
        sha256, found = hashlib.sha256(content).hexdigest(), embedded(content)
        bare: Source = (found.source_type, "xmp") if found.source_type else (None, None)
        if found.mime is not None and not found.c2pa:
            if found.remote is None:
                return Provenance(sha256, ProvenanceState.ABSENT, *bare)
            return Provenance(sha256, ProvenanceState.NOT_CHECKED, *bare, codes=("manifest.remote",))
        if not self.verifies:
            return Provenance(sha256, ProvenanceState.NOT_CHECKED, *bare)
        return self._verified(content, sha256, found.mime, bare)

    def _verified(self, content: bytes, sha256: str, mime: str | None, bare: Source) -> Provenance:
        from c2pa import C2paError, Reader

        try:
            reader = Reader.try_create(mime, io.BytesIO(content), context=self._context)
            if reader is None:
                return Provenance(sha256, ProvenanceState.ABSENT, *bare)
            with reader:
                document = json.loads(reader.json())
        except C2paError.NotSupported:  # a container that C2PA has no place in
            return Provenance(sha256, ProvenanceState.ABSENT, *bare)
        except (C2paError, ValueError) as error:
            return Provenance(sha256, ProvenanceState.UNREADABLE, *bare, codes=(_short(str(error)),))
        return self._told(document, sha256, bare)

    def _told(self, document: dict[str, Any], sha256: str, bare: Source) -> Provenance:
        manifests = document.get("manifests") or {}
        active = manifests.get(document.get("active_manifest")) or {}
        others = [manifest for manifest in manifests.values() if manifest is not active]
        types = [word for manifest in (active, *others) for word in _source_types(manifest)]
        source_type = next((word for word in types if word in AI_SOURCE_TYPES), types[0] if types else None)
        signature = active.get("signature_info") or {}
        names = (signature.get("issuer"), signature.get("common_name"))
        tools = [info.get("name") for info in active.get("claim_generator_info") or [] if isinstance(info, dict)]
        tool = next((name for name in (*tools, active.get("claim_generator")) if name), None)
        codes = dict.fromkeys(str(status.get("code")) for status in document.get("validation_status") or [])
        return Provenance(
            sha256=sha256,
            state=_STATES.get(str(document.get("validation_state")), ProvenanceState.UNREADABLE),
            source_type=source_type or bare[0],
            source_in="c2pa" if source_type else bare[1],
            signer=_short(", ".join(dict.fromkeys(filter(None, names)))) or None,
            tool=_short(tool) if tool else None,
            codes=tuple(map(_short, codes))[:MOST_CODES],
            anchors=self.anchors,
        )


def _read_anchors(path: Path) -> bytes:
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise InputError(f"{path}: holds no certificate; trust anchors are a PEM file (-----BEGIN CERTIFICATE-----)")
    return pem


def _context(pem: bytes, anchors: Path | None) -> Any:
    from c2pa import C2paError, Context, Settings

    settings: dict[str, Any] = {"verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}}
    try:
        if pem:
            settings["trust"] = {"user_anchors": pem.decode("ascii")}
        return Context(Settings.from_dict(settings))
    except (C2paError, UnicodeDecodeError) as error:
        raise InputError(f"{anchors}: cannot be used as trust anchors: {_short(str(error))}") from error


def _source_types(value: object) -> Iterator[str]:
    """Digital source types anywhere in the assertions of a manifest: on actions, ingredients, embedded metadata."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key.split(":")[-1].casefold() == "digitalsourcetype":
                if word := last_word(inner):
                    yield word
            else:
                yield from _source_types(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _source_types(inner)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def check_file(
    content: bytes, name: str, reader: ProvenanceReader, *, watermarks: bool = False, null: Null | None = None
) -> Provenance:
    """What a file says, and with `watermarks` also the most telling test for one; clips have none that is known.

    A picture that cannot be decoded, or is too small to hold a payload, has no tests (`watermarks` is None).
    """
    found = reader.read(content)
    if not watermarks:
        return found
    try:
        tests = watermark_tests(decode_picture(content, name).pixels, null=null)
    except UnreadableImage:
        return found
    return found if tests is None else replace(found, watermarks=tests[:1])
