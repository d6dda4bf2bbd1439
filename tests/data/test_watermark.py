"""Known watermarks are found with the right confidence, and nothing is found where nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

from paragone.data.errors import TooFewSamples
from paragone.data.records import WATERMARK_ALPHA
from paragone.data.watermark import (
    METHODS,
    PAYLOADS,
    SCALE,
    Null,
    coin_p_value,
    decode_watermark,
    is_applicable,
    watermark_tests,
)

PICTURES = Path(__file__).with_name("pictures")  # written by invisible-watermark 0.2.0 itself
HAAR = np.sqrt(0.5) * np.array([[1, 1], [1, -1]])


def picture(seed: int, size: tuple[int, int] = (288, 320), noise: float = 4.0, contrast: float = 70.0) -> np.ndarray:
    """A smooth picture with some grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / rng.uniform(20, 60) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(20, 60)) for _ in range(3)]
    pixels = 128 + contrast * np.stack(waves, axis=-1) + rng.normal(0, noise, (*size, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def marked(pixels: np.ndarray, payload: np.ndarray, method: str) -> np.ndarray:
    """The method as it is described, block by block: the oracle of the reader. Sides are multiples of 8 here."""
    rgb = pixels.astype(np.float64)
    y = rgb @ [0.299, 0.587, 0.114]
    u, v = 0.492 * (rgb[:, :, 2] - y), 0.877 * (rgb[:, :, 0] - y)
    height, width = u.shape
    bands = np.einsum("ia,jb,xayb->xiyj", HAAR, HAAR, (u + 128).reshape(height // 2, 2, width // 2, 2))
    coarse, n = bands[:, 0, :, 0], 0
    for top in range(0, height // 2, 4):
        for left in range(0, width // 2, 4):
            block = coarse[top : top + 4, left : left + 4]
            bit, n = payload[n % payload.size], n + 1
            if method == "dwtDctSvd":
                left_vectors, values, right_vectors = np.linalg.svd(block)
                values[0] = (values[0] // SCALE + 0.25 + 0.5 * bit) * SCALE
                block[:] = left_vectors @ np.diag(values) @ right_vectors
            else:
                place = np.unravel_index(np.argmax(np.abs(block.ravel()[1:])) + 1, (4, 4))
                value = block[place]
                block[place] = np.copysign((abs(value) // SCALE + 0.25 + 0.5 * bit) * SCALE, value)
    u = np.einsum("ia,jb,xiyj->xayb", HAAR, HAAR, bands).reshape(height, width) - 128
    red, blue = y + v / 0.877, y + u / 0.492
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    return np.clip(np.round(np.stack([red, green, blue], axis=-1)), 0, 255).astype(np.uint8)


def test_payloads_have_the_lengths_that_are_embedded() -> None:
    assert {name: bits.size for name, bits in PAYLOADS.items()} == {
        "Stable Diffusion 1": 136,
        "Stable Diffusion 2": 32,
        "SDXL": 48,
        "FLUX": 46,  # bin() drops the two zeros in front
    }
    assert bytes(np.packbits(PAYLOADS["Stable Diffusion 2"])) == b"SDV2"


@pytest.mark.parametrize(
    ("n", "alpha", "least"),
    [(48, 1e-6, 41), (46, 1e-6, 39), (32, 1e-6, 30), (136, 1e-6, 96), (48, 1e-9, 44), (46, 1e-9, 43), (136, 1e-9, 103)],
)
def test_how_many_bits_must_agree(n: int, alpha: float, least: int) -> None:
    assert coin_p_value(n, least) <= alpha < coin_p_value(n, least - 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_payload_is_found(payload: str, method: str) -> None:
    best, second, *_ = watermark_tests(marked(picture(1, (384, 384), contrast=20), PAYLOADS[payload], method)) or ()
    assert (best.payload, best.method) == (payload, method)
    assert best.found
    assert best.matches >= 0.9 * best.bits
    assert not second.found


def test_real_files_of_the_tool_itself() -> None:
    """The agreement is what invisible-watermark's own decoder reads in them: 40 of 46, and all of 32."""
    flux = np.asarray(Image.open(PICTURES / "flux-dwtdct.png"))
    assert (decode_watermark(flux, method="dwtDct", n_bits=46) == PAYLOADS["FLUX"]).sum() == 40
    [best, *_] = watermark_tests(flux) or ()
    assert (best.payload, best.matches) == ("FLUX", 40)
    assert 8 * binom.sf(39, 46, 0.5) <= best.p_value < 1e-5
    assert not best.found  # it is marked, and yet not past doubt
    [best, *_] = watermark_tests(np.asarray(Image.open(PICTURES / "sd2-dwtdctsvd.png"))) or ()
    assert (best.payload, best.method, best.matches) == ("Stable Diffusion 2", "dwtDctSvd", 32)
    assert best.found


def test_small_pictures_cannot_hold_one() -> None:
    assert not is_applicable(np.zeros((256, 256, 3), np.uint8))
    assert watermark_tests(np.zeros((256, 256, 3), np.uint8)) is None
    assert watermark_tests(np.zeros((100, 655, 3), np.uint8)) is None
    assert watermark_tests(np.zeros((257, 256, 3), np.uint8)) is not None


def test_odd_sizes_and_flat_pictures() -> None:
    for size in ((263, 251), (1001, 70)):
        assert len(watermark_tests(picture(3, size)) or ()) == len(PAYLOADS) * len(METHODS)
    for level in (0, 77, 128, 255):  # every bit the same: agreement is the payload's own balance, and no evidence
        tests = watermark_tests(np.full((300, 300, 3), level, np.uint8)) or ()
        assert min(test.p_value for test in tests) == 1.0


def test_nothing_is_found_in_two_hundred_pictures_without_one() -> None:
    rng = np.random.default_rng(0)
    smallest = [(watermark_tests(picture(seed, noise=rng.uniform(0, 20))) or ())[0].p_value for seed in range(200)]
    assert min(smallest) > WATERMARK_ALPHA
    assert np.mean(np.array(smallest) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_null_of_ones_own_pictures_is_never_bolder() -> None:
    null = Null.fit(picture(seed, noise=2.0) for seed in range(1000, 1020))
    assert null.n_pictures == 20
    sample = marked(picture(1, (384, 384), contrast=20), PAYLOADS["SDXL"], "dwtDct")
    [plain, *_], [checked, *_] = watermark_tests(sample) or (), watermark_tests(sample, null=null) or ()
    assert (checked.payload, checked.matches) == (plain.payload, plain.matches)
    assert checked.p_value >= plain.p_value
    assert checked.found
    for seed in range(5):
        pairs = zip(
            sorted(watermark_tests(picture(seed)) or (), key=lambda t: (t.payload, t.method)),
            sorted(watermark_tests(picture(seed), null=null) or (), key=lambda t: (t.payload, t.method)),
            strict=True,
        )
        assert all(one.p_value <= two.p_value for one, two in pairs)


def test_a_null_widens_where_bits_hang_together() -> None:
    """Pictures that all decode to much the same bits: agreement varies more than with fair coins."""
    alike = [np.clip(picture(7) + k % 3, 0, 255).astype(np.uint8) for k in range(20)]
    flat = [np.full((300, 300, 3), level, np.uint8) for level in range(0, 200, 10)]
    null = Null.fit(alike)
    assert null.p_value("dwtDct", "SDXL", 41) >= 0.99 * coin_p_value(48, 41)
    both = Null.fit([*alike, *flat])
    assert both.n_pictures == 40
    with pytest.raises(TooFewSamples, match="needs 20 unmarked pictures of more than 256×256 px, not 2"):
        Null.fit([picture(0), picture(1), np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.peers
@pytest.mark.parametrize("size", [(300, 260), (512, 512), (431, 389)])
def test_the_same_bits_as_invisible_watermark(size: tuple[int, int]) -> None:
    tool = pytest.importorskip("imwatermark", reason="pip install --no-deps invisible-watermark==0.2.0")
    pixels = picture(11, size)
    for name, payload in PAYLOADS.items():
        for method in METHODS:
            encoder, decoder = tool.WatermarkEncoder(), tool.WatermarkDecoder("bits", payload.size)
            encoder.set_watermark("bits", [int(bit) for bit in payload])
            bgr = np.ascontiguousarray(pixels[:, :, ::-1])
            for image in (bgr, encoder.encode(bgr, method)):
                theirs = np.asarray(decoder.decode(image, method), np.uint8)
                ours = decode_watermark(np.ascontiguousarray(image[:, :, ::-1]), method=method, n_bits=payload.size)
                assert (ours == theirs).all(), (name, method)
