"""What generators deliver, and the files that it becomes: bit by bit, whole, and never of an uncertain range."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.arena.ui.video_renditions import survey
from paragone.data.errors import InputError
from paragone.data.generators.media import as_clip, as_still, delivered, encode_clip, pixels_of, suffix_of

rng = np.random.default_rng(0)
CLIP = rng.integers(0, 256, (7, 18, 31, 3), dtype=np.uint8)


def file_of(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("fps", [8.0, 24.0, 29.97, 0.5])
def test_a_clip_comes_back_bit_by_bit(fps: float) -> None:
    content = encode_clip(CLIP, fps)
    assert content == encode_clip(CLIP, fps)
    file = delivered(content, "x")
    assert (file.suffix, file.width, file.height, file.frames) == (".mp4", 31, 18, 7)
    assert file.fps == pytest.approx(fps, rel=1e-3)
    assert np.array_equal(pixels_of(file, "x"), CLIP)
    assert len(survey(content, "x").times) == 7  # the arena's battles take it


@pytest.mark.parametrize(
    ("form", "suffix", "options"),
    [("PNG", ".png", {}), ("JPEG", ".jpg", {}), ("WEBP", ".webp", {"lossless": True}), ("GIF", ".gif", {})],
)
def test_a_delivered_still_is_kept_as_it_came(form: str, suffix: str, options: dict[str, Any]) -> None:
    content = file_of(CLIP[0], form, **options)
    file = delivered(content, "x")
    assert (file.content, file.suffix, file.width, file.height, file.frames) == (content, suffix, 31, 18, None)
    if form in ("PNG", "WEBP"):
        assert np.array_equal(pixels_of(file, "x"), CLIP[0])


def test_an_animation_is_a_clip() -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), n * 60, np.uint8)) for n in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=250)
    file = delivered(buffer.getvalue(), "x")
    assert (file.frames, file.fps, file.suffix) == (3, 4.0, ".gif")
    assert pixels_of(file, "x").shape == (3, 4, 4, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!doctype html><p>503", "begins with '<!doctype html>"),
        (bytes(range(200)), "200 bytes of an unknown format"),
        (file_of(CLIP[0], "PNG")[:300], "damaged, truncated"),
        (encode_clip(CLIP, 8.0)[:2000], "damaged, cut off"),
        (encode_clip(CLIP, 8.0)[:40], "damaged, cut off"),
    ],
)
def test_what_is_damaged_or_no_media(content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        delivered(content, "x")


def test_a_clip_with_a_hole_is_not_taken_for_whole() -> None:
    content = bytearray(encode_clip(CLIP, 8.0))
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    with pytest.raises(InputError):
        delivered(bytes(content), "x")


def test_the_suffix_is_what_the_content_is() -> None:
    assert suffix_of(b"\x1a\x45\xdf\xa3....") == ".webm"
    assert suffix_of(b"text") is None


def test_stills_of_every_kind_give_the_same_pixels() -> None:
    import torch

    pixels = CLIP[0]
    floats = pixels.astype(np.float32) / 255
    for value in [
        pixels,
        floats,
        floats[None],
        np.moveaxis(floats, -1, 0),
        torch.from_numpy(np.moveaxis(floats, -1, 0).copy()).to(torch.float64),
        torch.from_numpy(pixels.copy()),
        Image.fromarray(pixels),
    ]:
        assert np.array_equal(as_still(value, "x"), pixels)
    assert np.array_equal(as_still(pixels[..., 0], "x"), np.repeat(pixels[..., :1], 3, axis=2))
    clear = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    assert (as_still(clear, "x") == 255).all()


def test_clips_of_every_kind_give_the_same_pixels() -> None:
    floats = CLIP.astype(np.float64) / 255
    for value in [CLIP, floats, floats[None], [floats], list(CLIP), [Image.fromarray(f) for f in CLIP], [list(CLIP)]]:
        assert np.array_equal(as_clip(value, "x"), CLIP)
    assert np.array_equal(as_clip(np.moveaxis(floats, -1, 1), "x"), CLIP)  # channels first


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full((4, 4, 3), -0.5), "run from -0.5 to 0"),
        (np.full((4, 4, 3), 200.0), "scale them to 0..1"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.zeros((4, 4, 3), np.int64), "int64 pixels have no certain range"),
        (np.zeros((5, 4, 7), np.uint8), "shape"),
        ("a picture", "str is no picture"),
        (None, "NoneType is no picture"),
    ],
)
def test_what_is_not_certain_is_refused(value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_still(value, "x")


def test_frames_of_several_sizes_are_no_clip() -> None:
    for value in ([CLIP[0], CLIP[0, :5]], [], np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(InputError):
            as_clip(value, "x")
