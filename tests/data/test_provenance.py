"""Manifests signed by an authority of our own, in four containers: found, checked, tampered with and stripped."""

from __future__ import annotations

import importlib.util
import io
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paragone.data import provenance
from paragone.data.embedded import MOST_XMP, Embedded, embedded, last_word
from paragone.data.errors import InputError
from paragone.data.provenance import ProvenanceReader
from paragone.data.records import ProvenanceState

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
MIMES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "mp4": "video/mp4"}
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description %s/></rdf:RDF></x:xmpmeta>"""
TERM = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def encode(kind: str) -> bytes:
    """A picture, or a clip of eight frames."""
    buffer = io.BytesIO()
    if kind != "mp4":
        Image.fromarray(PIXELS).save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()))
        return buffer.getvalue()
    import av

    with av.open(buffer, "w", format="mp4") as clip:
        stream = clip.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(PIXELS, format="rgb24")))
        clip.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def certificates() -> ModuleType:
    pytest.importorskip("c2pa", reason="needs paragone[provenance]")
    spec = importlib.util.spec_from_file_location("certificates", Path(__file__).with_name("certificates.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["certificates"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def authority(certificates: ModuleType) -> Any:
    return certificates.make_authority()


@pytest.fixture(scope="module")
def signed(authority: Any) -> dict[str, bytes]:
    return {kind: authority.sign(encode(kind), mime) for kind, mime in MIMES.items()}


@pytest.fixture
def anchors(authority: Any, tmp_path: Path) -> Path:
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.root)
    return path


@pytest.mark.parametrize("kind", MIMES)
def test_states(kind: str, signed: dict[str, bytes], anchors: Path) -> None:
    unsigned = ProvenanceReader().read(encode(kind))
    assert (unsigned.state, unsigned.signer, unsigned.says_ai) == (ProvenanceState.ABSENT, None, False)
    strange = ProvenanceReader().read(signed[kind])
    assert strange.state is ProvenanceState.UNTRUSTED  # whole, but nobody vouches for who signed
    assert strange.codes == ("signingCredential.untrusted",)
    assert strange.anchors is None
    known = ProvenanceReader(anchors).read(signed[kind])
    assert (known.state, known.codes) == (ProvenanceState.TRUSTED, ())
    assert known.anchors is not None
    for found in (strange, known):
        assert (found.source_type, found.source_in, found.says_ai) == ("trainedAlgorithmicMedia", "c2pa", True)
        assert (found.signer, found.tool) == ("Mock Vendor, Mock Vendor Signer", "Test Painter")


@pytest.mark.parametrize(("kind", "place"), [("png", -30), ("jpg", -30), ("webp", -30), ("mp4", -200)])
def test_one_changed_byte_makes_it_invalid(kind: str, place: int, signed: dict[str, bytes], anchors: Path) -> None:
    tampered = bytearray(signed[kind])
    tampered[place] ^= 1
    found = ProvenanceReader(anchors).read(bytes(tampered))
    assert found.state is ProvenanceState.INVALID
    assert any("mismatch" in code for code in found.codes)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_new_encoding_takes_it_away(kind: str, signed: dict[str, bytes], anchors: Path) -> None:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(signed[kind])) as picture:
        picture.convert("RGB").save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()))
    found = ProvenanceReader(anchors).read(buffer.getvalue())
    assert found.state is ProvenanceState.ABSENT
    assert found.source_type is None


def test_a_namesake_is_not_trusted(certificates: ModuleType, anchors: Path) -> None:
    """Another authority that calls itself the same: the name is the same, and the state is not."""
    forged = certificates.make_authority().sign(encode("png"), "image/png")
    found = ProvenanceReader(anchors).read(forged)
    assert found.state is ProvenanceState.UNTRUSTED
    assert found.signer == "Mock Vendor, Mock Vendor Signer"


def test_a_photograph_says_so(certificates: ModuleType, authority: Any) -> None:
    found = ProvenanceReader().read(authority.sign(encode("jpg"), "image/jpeg", source=certificates.CAMERA))
    assert (found.source_type, found.says_ai) == ("digitalCapture", False)


def test_a_cut_off_file_is_unreadable(signed: dict[str, bytes]) -> None:
    found = ProvenanceReader().read(signed["png"][:-4000])
    assert found.state is ProvenanceState.UNREADABLE
    assert found.codes


@pytest.mark.parametrize("kind", MIMES)
def test_without_the_extra_it_is_seen_and_not_checked(
    kind: str, signed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "can_verify", lambda: False)
    reader = ProvenanceReader()
    assert reader.read(signed[kind]).state is ProvenanceState.NOT_CHECKED
    assert reader.read(encode(kind)).state is ProvenanceState.ABSENT


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
def test_other_containers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind)
    assert embedded(buffer.getvalue()) == Embedded(None)
    assert ProvenanceReader().read(buffer.getvalue()).state is ProvenanceState.ABSENT
    monkeypatch.setattr(provenance, "can_verify", lambda: False)
    assert ProvenanceReader().read(buffer.getvalue()).state is ProvenanceState.NOT_CHECKED


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\0\0\0\0ftyp"]
)
def test_what_is_no_picture_is_no_error(content: bytes) -> None:
    assert ProvenanceReader().read(content).state in (ProvenanceState.ABSENT, ProvenanceState.UNREADABLE)


@pytest.mark.parametrize(
    "text", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_anchors_that_are_none_are_named(text: bytes, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    path = tmp_path / "roots.pem"
    path.write_bytes(text)
    if b"BEGIN" in text:  # c2pa-python takes it: it then vouches for nobody
        assert ProvenanceReader(path).read(encode("png")).state is ProvenanceState.ABSENT
        return
    with pytest.raises(InputError, match=r"roots\.pem: holds no certificate"):
        ProvenanceReader(path)
    with pytest.raises(InputError, match=r"gone\.pem: cannot be read: No such file"):
        ProvenanceReader(tmp_path / "gone.pem")


def with_xmp(kind: str, packet: bytes) -> bytes:
    """A file with an XMP packet, written as Pillow or a video editor would."""
    if kind == "mp4":
        box = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet
        return encode("mp4") + (8 + len(box)).to_bytes(4, "big") + b"uuid" + box
    buffer = io.BytesIO()
    options: dict[str, Any] = {"xmp": packet}
    if kind == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=len(packet) % 2 == 0)
        options = {"pnginfo": info}
    Image.fromarray(PIXELS).save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", MIMES)
@pytest.mark.parametrize(
    "words",
    [
        b'Iptc4xmpExt:DigitalSourceType="' + TERM + b'"',
        b"a:DigitalSourceType = '" + TERM + b"'",
        b"><Iptc4xmpExt:DigitalSourceType>" + TERM + b"</Iptc4xmpExt:DigitalSourceType><x",
        b'><Iptc4xmpExt:DigitalSourceType rdf:resource="' + TERM + b'"/><x',
    ],
)
def test_metadata_alone_says_it_too(kind: str, words: bytes) -> None:
    found = ProvenanceReader().read(with_xmp(kind, XMP % words))
    assert (found.state, found.source_type, found.source_in) == (
        ProvenanceState.ABSENT,
        "trainedAlgorithmicMedia",
        "xmp",
    )
    assert found.says_ai


def test_a_manifest_that_is_elsewhere_is_not_fetched() -> None:
    packet = XMP % b'dcterms:provenance="https://vendor.example/manifest.c2pa"'
    found = ProvenanceReader().read(with_xmp("jpg", packet))  # a test that reaches for another machine fails
    assert (found.state, found.codes) == (ProvenanceState.NOT_CHECKED, ("manifest.remote",))


def test_the_words_in_a_picture_are_no_metadata() -> None:
    """Bytes that look like a marker, inside compressed pixels or a comment, say nothing."""
    content = encode("jpg") + b' Iptc4xmpExt:DigitalSourceType="' + TERM + b'" jumb c2pa'
    found = ProvenanceReader().read(content)
    assert (found.state, found.source_type) == (ProvenanceState.ABSENT, None)


def test_a_packet_cannot_expand_without_end() -> None:
    bomb = zlib.compress(b"x" * (3 * MOST_XMP))
    chunk = b"XML:com.adobe.xmp\0\x01\0\0\0" + bomb
    body = len(chunk).to_bytes(4, "big") + b"iTXt" + chunk + zlib.crc32(b"iTXt" + chunk).to_bytes(4, "big")
    assert len(embedded(b"\x89PNG\r\n\x1a\n" + body).xmp) == MOST_XMP


def test_last_words() -> None:
    assert last_word(TERM.decode()) == "trainedAlgorithmicMedia"
    assert last_word("digsrctype:trainedAlgorithmicMedia") == "trainedAlgorithmicMedia"
    assert last_word("compositeSynthetic/") == "compositeSynthetic"
    assert last_word(" / ") is None
