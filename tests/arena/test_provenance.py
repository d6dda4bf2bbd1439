"""What original files say of their making, read without decoding them, and cut to what a page can show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paragone.arena.ui.provenance import LONGEST, MOST, checked_entries, original_provenance
from paragone.data import Sample
from paragone.data.records import Provenance, ProvenanceState, WatermarkTest

PIXELS = Image.fromarray(np.zeros((8, 8, 3), np.uint8))


def told(folder: Path, name: str) -> dict[str, str]:
    return dict(original_provenance(folder, Sample("s", "0" * 64, name, "p", "m", 0, 8, 8)))


def test_text_of_a_png(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "a bear\nSteps: 30, Model: some-model " + "x" * 1000)
    info.add_itxt("Software", "ComfyUI")
    PIXELS.save(tmp_path / "a.png", pnginfo=info, dpi=(72, 72))
    found = told(tmp_path, "a.png")
    assert found["Software"] == "ComfyUI"
    assert found["parameters"].startswith("a bear Steps: 30, Model: some-model")
    assert len(found["parameters"]) == LONGEST
    assert set(found) == {"Software", "parameters"}


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_exif(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0131] = "a sampler"
    PIXELS.save(tmp_path / f"a.{suffix}", exif=exif)
    assert told(tmp_path, f"a.{suffix}")["Software"] == "a sampler"


def with_segment(path: Path, marker: int, data: bytes) -> None:
    """Put a segment at the start of a JPEG."""
    content = path.read_bytes()
    path.write_bytes(content[:2] + bytes([0xFF, marker]) + (2 + len(data)).to_bytes(2, "big") + data + content[2:])


def test_xmp_and_c2pa(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PIXELS.save(path)
    with_segment(path, 0xE1, b'http://ns.adobe.com/xap/1.0/\0<x xmp:CreatorTool="Some Tool">')
    assert told(tmp_path, "a.jpg")["XMP"] == "Some Tool"
    assert "C2PA" not in told(tmp_path, "a.jpg")
    with_segment(path, 0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0\0\0\x18jumdc2pa")
    assert "not checked" in told(tmp_path, "a.jpg")["C2PA"]


def test_what_was_checked_comes_first(tmp_path: Path) -> None:
    PIXELS.save(tmp_path / "a.png")
    sample = Sample("s", "0" * 64, "a.png", "p", "m", 0, 8, 8)
    mark = WatermarkTest("SDXL", "dwtDct", 48, 48, 1e-12)
    found = Provenance("0" * 64, ProvenanceState.UNTRUSTED, "trainedAlgorithmicMedia", "c2pa", "Eve", "Painter")
    entries = dict(original_provenance(tmp_path, sample, replace(found, watermarks=(mark,))))
    assert entries == {
        "C2PA": "valid; nobody vouches for the signer",
        "Source type": "trainedAlgorithmicMedia (in the manifest)",
        "Signed as": "Eve",
        "Made with": "Painter",
        "Watermark": "SDXL (p = 1e-12)",
    }
    bare = Provenance("0" * 64, ProvenanceState.ABSENT, "trainedAlgorithmicMedia", "xmp")
    assert dict(original_provenance(tmp_path, sample, bare)) == {
        "C2PA": "no manifest, which proves nothing",
        "Source type": "trainedAlgorithmicMedia (in metadata that anybody can write)",
    }
    unfound = replace(found, watermarks=(replace(mark, p_value=0.2),))
    assert ("Watermark", "none that is known was found") in checked_entries(unfound)


def test_nothing_to_tell(tmp_path: Path) -> None:
    PIXELS.save(tmp_path / "a.png")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    assert told(tmp_path, "a.png") == told(tmp_path, "damaged.png") == told(tmp_path, "missing.png") == {}


def test_no_more_than_fits(tmp_path: Path) -> None:
    info = PngInfo()
    for n in range(3 * MOST):
        info.add_text(f"key {n}", "value")
    PIXELS.save(tmp_path / "a.png", pnginfo=info)
    assert len(told(tmp_path, "a.png")) == MOST
