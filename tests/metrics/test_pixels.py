"""Measures of pixels against scikit-image, closed forms and slow oracles; hashes against what they promise."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from paragone.data.errors import InputError
from paragone.metrics.duplicates import near_hashes, perceptual_hash
from paragone.metrics.pixels import (
    SCALE_WEIGHTS,
    colourfulness,
    luminance,
    ms_ssim,
    psnr,
    sharpness,
    ssim,
)

CHINA, FLOWER = (np.asarray(picture) for picture in sklearn.datasets.load_sample_images().images)
CAT = np.asarray(data.chelsea())
PHOTOGRAPHS = [CHINA, FLOWER, CAT, np.asarray(data.astronaut()), np.asarray(data.coffee())]


def noisy(picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("changed", [noisy(CAT, 5), noisy(CAT, 40), compressed(CAT, 10), CAT[::-1].copy()])
def test_psnr_and_ssim_are_those_of_scikit_image(changed: NDArray[np.uint8]) -> None:
    assert psnr(CAT, changed) == pytest.approx(peak_signal_noise_ratio(CAT, changed, data_range=255), rel=1e-12)
    expected = structural_similarity(
        luminance(CAT),
        luminance(changed),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(CAT, changed) == pytest.approx(expected, rel=1e-9)
    assert ssim(changed, CAT) == pytest.approx(ssim(CAT, changed), rel=1e-12)


def slow_ms_ssim(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """From the definition, with scikit-image's maps: S = l c s and, with equal means, c s."""
    x, y = luminance(one), luminance(two)
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            x, y = (
                v[: v.shape[0] // 2 * 2, : v.shape[1] // 2 * 2]
                .reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2)
                .mean(axis=(1, 3))
                for v in (x, y)
            )
        options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        last = scale == len(SCALE_WEIGHTS) - 1
        # K1 → ∞ makes the factor of luminance one.
        factor = structural_similarity(x, y, K1=0.01 if last else 1e6, **options)
        product *= max(factor, 0) ** weight
    return product


@pytest.mark.parametrize("changed", [noisy(CAT, 20), compressed(CAT, 10), CAT[::-1].copy()])
def test_ms_ssim_follows_its_definition(changed: NDArray[np.uint8]) -> None:
    assert ms_ssim(CAT, changed) == pytest.approx(slow_ms_ssim(CAT, changed), rel=1e-6)


@pytest.mark.peers
def test_ms_ssim_is_that_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not installed")
    import torch

    x, y = (luminance(picture) for picture in (CAT, noisy(CAT, 20)))
    found = image.multiscale_structural_similarity_index_measure(
        *(torch.from_numpy(values)[None, None] for values in (x, y)), data_range=255.0
    )
    # Its window is not cut at 11 px but padded and cropped; scales of odd size differ by a row.
    assert ms_ssim(CAT, noisy(CAT, 20)) == pytest.approx(float(found), abs=2e-3)


def test_equal_pictures_are_best_and_damage_is_ordered() -> None:
    assert psnr(CAT, CAT) == np.inf
    assert ssim(CAT, CAT) == pytest.approx(1, abs=1e-12)
    assert ms_ssim(CAT, CAT) == pytest.approx(1, abs=1e-12)
    for measure in (psnr, ssim, ms_ssim):
        values = [measure(CAT, noisy(CAT, sigma)) for sigma in (2, 10, 40)]
        assert values == sorted(values, reverse=True)
    assert psnr(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)) == 0


def test_small_pictures_are_refused_by_size() -> None:
    small = np.zeros((10, 40, 3), np.uint8)
    with pytest.raises(InputError, match="SSIM needs pictures of at least 11×11 px; this is 40×10"):
        ssim(small, small)
    with pytest.raises(InputError, match="at least 176×176 px; this is 175×200"):
        ms_ssim(np.zeros((200, 175, 3), np.uint8), np.zeros((200, 175, 3), np.uint8))
    with pytest.raises(InputError, match="sharpness"):
        sharpness(np.zeros((2, 9, 3), np.uint8))


def test_colourfulness() -> None:
    grey = np.repeat(CAT[:, :, :1], 3, axis=2)
    assert colourfulness(grey) == 0
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200  # rg = 200, yb = 100, without spread
    assert colourfulness(red) == pytest.approx(0.3 * np.hypot(200, 100))
    half = red.copy()
    half[::2] = 0
    assert colourfulness(half) == pytest.approx(np.hypot(100, 50) + 0.3 * np.hypot(100, 50))
    assert colourfulness(FLOWER) > colourfulness(CHINA) > 0


def test_sharpness_falls_with_blur_and_is_that_of_the_laplacian() -> None:
    from scipy.ndimage import laplace
    from skimage.filters import gaussian

    expected = laplace(luminance(CAT))[1:-1, 1:-1].var()
    assert sharpness(CAT) == pytest.approx(expected, rel=1e-12)
    blurred = [(gaussian(CAT, sigma, channel_axis=2) * 255).astype(np.uint8) for sigma in (0.5, 1, 2)]
    values = [sharpness(picture) for picture in (CAT, *blurred)]
    assert values == sorted(values, reverse=True)


# ---- Hashes ----------------------------------------------------------------------------------------------------------


def bits(one: np.uint64, two: np.uint64) -> int:
    return int(np.bitwise_count(one ^ two))


def test_hashes_of_the_same_picture_are_near_and_of_others_far() -> None:
    for picture in PHOTOGRAPHS:
        half = np.asarray(Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2)))
        for changed in (half, compressed(picture, 30), noisy(picture, 8), (picture * 0.9).astype(np.uint8)):
            assert bits(perceptual_hash(picture), perceptual_hash(changed)) <= 4
    hashes = [perceptual_hash(picture) for picture in PHOTOGRAPHS]
    for index, one in enumerate(hashes):
        assert all(bits(one, other) > 12 for other in hashes[:index])


def test_hash_follows_its_definition() -> None:
    small = np.asarray(Image.fromarray(CAT).convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=float)
    x = np.arange(32)
    cosines = np.array([np.cos(np.pi * k * (2 * x + 1) / 64) for k in range(8)])
    low = cosines @ small @ cosines.T
    expected = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    assert f"{int(perceptual_hash(CAT)):064b}" == expected
    assert perceptual_hash(np.full((9, 9, 3), 7, np.uint8)) == 0


def test_groups_are_chains_of_near_pairs() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 1500, dtype=np.uint64)
    hashes[700] = hashes[3] ^ np.uint64(0b1111)
    hashes[1400] = hashes[700] ^ np.uint64(0b11110000)  # 8 bits from the first, near the second
    hashes[1401] = hashes[10] ^ np.uint64(0b11111)  # one bit too many
    reference = rng.integers(0, 2**64, 40, dtype=np.uint64)
    reference[[7, 9]] = hashes[20]
    found = near_hashes(hashes, reference)
    assert found.groups == ((3, 700, 1400),)
    assert found.of_reference == ((20, 7),)
    assert near_hashes(hashes[:0], None).groups == ()
