"""What original files say of their making, read without decoding them, and cut to what a page can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paragone.arena.ui.provenance import LONGEST, MOST, original_provenance
from paragone.data import Sample

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


def test_xmp_and_c2pa(tmp_path: Path) -> None:
    PIXELS.save(tmp_path / "a.jpg")
    path = tmp_path / "a.jpg"
    path.write_bytes(path.read_bytes() + b'<x xmp:CreatorTool="Some Tool"> jumb ... c2pa')
    found = told(tmp_path, "a.jpg")
    assert found["XMP"] == "Some Tool"
    assert "not checked" in found["C2PA"]


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
