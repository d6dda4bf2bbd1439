"""Renditions: exact pixels, one size, nothing else in the file, made once; colour profiles against a second opinion."""

from __future__ import annotations

import io
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from sklearn.datasets import load_sample_image

from paragone.arena.ui import renditions
from paragone.arena.ui.pictures import MovingPicture, picture_of, read_sample_picture
from paragone.arena.ui.renditions import SIZE_STEP, Pair, Renditions, plain_png
from paragone.data import Sample
from paragone.data.errors import UnreadableImage
from paragone.data.files import file_digest


def save(folder: Path, name: str, pixels: np.ndarray) -> Sample:
    path = folder / name
    Image.fromarray(pixels).save(path)
    return Sample(name, file_digest(path), name, "p", name, 0, pixels.shape[1], pixels.shape[0])


def render_pair(folder: Path, a: Sample, b: Sample) -> Pair:
    return Renditions().pair(folder, a, b)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class TestPng:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 200), st.integers(1, 200), st.booleans())
    def test_pixels_come_back_and_length_is_a_step(self, height: int, width: int, flat: bool) -> None:
        pixels = np.full((height, width, 3), 77, np.uint8) if flat else noise(height, width)
        content = plain_png(pixels)
        assert len(content) % SIZE_STEP == 0
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.info == {}
            assert np.array_equal(np.asarray(picture), pixels)

    def test_every_chunk_is_sound(self) -> None:
        content, at, data = plain_png(noise(50, 60)), 8, b""
        while at < len(content):
            size = int.from_bytes(content[at : at + 4], "big")
            kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
            assert kind in (b"IHDR", b"IDAT", b"IEND")
            assert int.from_bytes(content[at + 8 + size : at + 12 + size], "big") == zlib.crc32(kind + body)
            assert size > 0 or kind == b"IEND"
            data += body if kind == b"IDAT" else b""
            at += 12 + size
        decoder = zlib.decompressobj()
        assert len(decoder.decompress(data)) == 50 * (1 + 3 * 60)
        assert decoder.eof
        assert decoder.unused_data == b""

    @given(st.integers(0, 3 * SIZE_STEP))
    def test_padding_always_fits(self, length: int) -> None:
        n_blocks, n_chunks = renditions._padding(length)
        assert n_blocks >= 0
        assert 0 <= n_chunks < 5
        padded = length + 5 * n_blocks + 12 * n_chunks
        assert padded % SIZE_STEP == 0
        assert padded - length < SIZE_STEP + 44


class TestPairs:
    @pytest.mark.parametrize("sizes", [((300, 400), (300, 400)), ((64, 64), (512, 512)), ((1, 300), (300, 1))])
    def test_one_box(self, tmp_path: Path, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
        a, b = (save(tmp_path, f"{n}.png", noise(*size, n)) for n, size in enumerate(sizes))
        pair = render_pair(tmp_path, a, b)
        assert pair.a[16:24] == pair.b[16:24]

    def test_large_pictures_are_not_touched(self, tmp_path: Path) -> None:
        pixels = noise(200, 2048)
        a, b = save(tmp_path, "a.png", pixels), save(tmp_path, "b.png", pixels)
        with Image.open(io.BytesIO(render_pair(tmp_path, a, b).a)) as picture:
            assert np.array_equal(np.asarray(picture), pixels)

    def test_two_that_differ_in_one_place_stay_apart(self, tmp_path: Path) -> None:
        pixels = noise(400, 600)
        edited = pixels.copy()
        edited[200, 300] ^= 255
        pair = render_pair(tmp_path, save(tmp_path, "a.png", pixels), save(tmp_path, "b.png", edited))
        with Image.open(io.BytesIO(pair.b)) as picture:
            assert np.array_equal(np.asarray(picture), edited)

    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The first value of every picture that was encoded."""
        made: list[int] = []

        def slowly(picture: np.ndarray) -> bytes:
            made.append(int(picture[0, 0, 0]))
            time.sleep(0.05)
            return plain_png(picture)

        monkeypatch.setattr(renditions, "plain_png", slowly)
        return made

    def flat(self, tmp_path: Path, value: int, *, width: int = 400) -> Sample:
        return save(tmp_path, f"{value}.png", np.full((300, width, 3), value, np.uint8))

    def test_made_once(self, tmp_path: Path, made: list[int]) -> None:
        a, b, c = (self.flat(tmp_path, value) for value in (1, 2, 3))
        kept = Renditions()
        pairs: list[Pair] = []
        threads = [threading.Thread(target=lambda: pairs.append(kept.pair(tmp_path, a, b))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [1, 2]
        assert len(set(pairs)) == 1
        assert kept.pair(tmp_path, b, a) == pairs[0][::-1]
        assert kept.pair(tmp_path, c, b).b == pairs[0].b
        assert made == [1, 2, 3]

    def test_another_box_is_another_rendition(self, tmp_path: Path, made: list[int]) -> None:
        a, b = self.flat(tmp_path, 1), self.flat(tmp_path, 2)
        wide = self.flat(tmp_path, 3, width=900)
        kept = Renditions()
        first, second = kept.pair(tmp_path, a, b), kept.pair(tmp_path, a, wide)
        assert first.a != second.a
        assert second.a[16:24] == second.b[16:24] != first.a[16:24]
        assert kept.pair(tmp_path, a, b) == first
        assert len(made) == 4

    def test_what_was_not_asked_for_longest_goes(self, tmp_path: Path, made: list[int]) -> None:
        samples = [self.flat(tmp_path, value) for value in range(1, 5)]
        kept = Renditions(kept_bytes=3 * SIZE_STEP)
        kept.pair(tmp_path, *samples[:2])
        kept.pair(tmp_path, *samples[2:])  # no room for the first
        kept.pair(tmp_path, samples[1], samples[2])
        assert made == [1, 2, 3, 4]
        kept.pair(tmp_path, samples[0], samples[2])
        assert made == [1, 2, 3, 4, 1]
        assert kept._size == 3 * SIZE_STEP

    def test_changed_file_is_not_kept_as_failed(self, tmp_path: Path) -> None:
        a, b = save(tmp_path, "a.png", noise(30, 40)), save(tmp_path, "b.png", noise(30, 40))
        kept, content = Renditions(), (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(b"other")
        with pytest.raises(UnreadableImage, match="has changed"):
            kept.pair(tmp_path, a, b)
        (tmp_path / "a.png").write_bytes(content)
        assert kept.pair(tmp_path, a, b).a


class TestColours:
    """Profiles from Pillow's own LittleCMS; what is applied is checked by going back."""

    def with_profile(self, pixels: np.ndarray, profile: bytes, kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, icc_profile=profile)
        return buffer.getvalue()

    def test_srgb_changes_nothing(self) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        pixels = load_sample_image("china.jpg")[:100, :100]
        assert np.array_equal(picture_of(self.with_profile(pixels, profile), "x"), pixels)

    def test_a_swapped_profile_is_applied(self) -> None:
        """With the primaries of red and blue exchanged: what comes out has them exchanged, too."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        profile = profile.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
        swapped = profile.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
        pixels = load_sample_image("flower.jpg")[100:200, 200:300]
        shown = picture_of(self.with_profile(pixels, swapped), "x").astype(int)
        assert np.abs(shown - pixels[:, :, ::-1]).max() <= 3
        assert np.abs(shown - pixels).max() > 50

    def test_a_broken_profile_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        pixels = noise(20, 20)
        assert np.array_equal(picture_of(self.with_profile(pixels, b"no profile at all"), "x.png"), pixels)
        assert "x.png: its colour profile cannot be used" in caplog.text

    def test_upright(self) -> None:
        pixels, tags, buffer = noise(20, 30), Image.Exif(), io.BytesIO()
        tags[0x0112] = 6  # turned by a quarter
        Image.fromarray(pixels).save(buffer, "PNG", exif=tags)
        assert np.array_equal(picture_of(buffer.getvalue(), "x"), np.rot90(pixels, -1))


def test_moving_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(20, 20, n)) for n in range(2)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        sample = Sample("s", file_digest(tmp_path / name), name, "p", "m", 0, 20, 20)
        with pytest.raises(MovingPicture, match="only still pictures"):
            read_sample_picture(tmp_path, sample)
    for content in (b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3webm"):
        with pytest.raises(MovingPicture, match="a video"):
            picture_of(content, "x")
