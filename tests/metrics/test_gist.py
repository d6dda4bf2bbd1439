"""GIST: the filters are the published ones, and a Fréchet distance of it grows with every kind of damage."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
import sklearn.datasets
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage.transform import swirl

from paragone.data.errors import UsageError
from paragone.metrics import frechet_distance
from paragone.metrics.extractors import gist
from paragone.metrics.extractors.gist import Gist, gabor_bank, load

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
PHOTOGRAPHS = (
    SKIMAGE / "astronaut.png",
    SKIMAGE / "chelsea.png",
    SKIMAGE / "coffee.png",
    SKIMAGE / "rocket.jpg",
    SKIMAGE / "hubble_deep_field.jpg",
    SKIMAGE / "ihc.png",
    SKIMAGE / "retina.jpg",
    SKIMAGE / "motorcycle_left.png",
    SKLEARN / "china.jpg",
    SKLEARN / "flower.jpg",
)
PATCH_PX = 64
PER_PHOTOGRAPH = 9

Images = NDArray[np.uint8]
Features = NDArray[np.float32]


def cut_patches(seed: int) -> Images:
    """[90, 64, 64, 3]: as many random patches from each photograph, photograph by photograph."""
    rng = np.random.default_rng(seed)
    patches = []
    for path in PHOTOGRAPHS:
        with Image.open(path) as photograph:
            pixels = np.asarray(photograph.convert("RGB"))
        height, width, _ = pixels.shape
        for _ in range(PER_PHOTOGRAPH):
            y, x = rng.integers(height - PATCH_PX + 1), rng.integers(width - PATCH_PX + 1)
            patches.append(pixels[y : y + PATCH_PX, x : x + PATCH_PX])
    return np.stack(patches)


def features_of(images: Images) -> Features:
    extractor = Gist()
    with torch.inference_mode():
        return extractor(torch.stack([extractor.prepare(image) for image in images]))[0].numpy()


@pytest.fixture(scope="module")
def clean() -> Images:
    return cut_patches(seed=0)


@pytest.fixture(scope="module")
def clean_features(clean: Images) -> Features:
    return features_of(clean)


# ---- Damage ----------------------------------------------------------------------------------------------------------


def with_noise(images: Images, sd: float) -> Images:
    noisy = images + np.random.default_rng(1).normal(0, sd, images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def blurred(images: Images, radius: float) -> Images:
    return np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))) for image in images])


def swirled(images: Images, strength: float) -> Images:
    turned = [
        swirl(image, strength=strength, radius=PATCH_PX * 0.75, order=1, mode="reflect", preserve_range=True)
        for image in images
    ]
    return np.rint(np.stack(turned)).astype(np.uint8)


def compressed(images: Images, quality: int) -> Images:
    decoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(buffer)))
    return np.stack(decoded)


def with_salt_and_pepper(images: Images, share: float) -> Images:
    drawn = np.random.default_rng(1).random(images.shape[:3])
    damaged = images.copy()
    damaged[drawn < share / 2] = 0
    damaged[drawn > 1 - share / 2] = 255
    return damaged


DAMAGE: dict[str, tuple[Callable[[Images, float], Images], tuple[float, ...]]] = {
    "Gaussian noise": (with_noise, (2, 4, 8, 16, 32, 64)),
    "blur": (blurred, (0.4, 0.7, 1.0, 1.5, 2.5, 4.0)),
    "swirl": (swirled, (0.25, 0.5, 1.0, 2.0, 3.0, 4.0)),
    "JPEG": (compressed, (90, 70, 50, 30, 15, 5)),
    "salt and pepper": (with_salt_and_pepper, (0.005, 0.01, 0.03, 0.08, 0.2, 0.4)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_distance_grows_with_the_damage(kind: str, clean: Images, clean_features: Features) -> None:
    damage, levels = DAMAGE[kind]
    distances = [frechet_distance(clean_features, features_of(damage(clean, level))) for level in levels]
    assert distances[0] > 0
    assert (np.diff(distances) > 0).all(), distances


def test_distance_to_other_photographs_grows_with_compression(clean: Images, clean_features: Features) -> None:
    """No pairing here: the sets share no patch, so that the weak levels must show beside the sampling noise."""
    others = cut_patches(seed=1)
    levels = (70, 30, 15, 5)
    distances = [frechet_distance(clean_features, features_of(compressed(others, level))) for level in levels]
    assert (np.diff([frechet_distance(clean_features, features_of(others)), *distances]) > 0).all(), distances


@pytest.mark.parametrize("seed", range(3))
def test_distance_grows_as_modes_are_dropped(clean_features: Features, seed: int) -> None:
    photograph = np.repeat(np.arange(len(PHOTOGRAPHS)), PER_PHOTOGRAPH)
    order = np.random.default_rng(seed).permutation(len(PHOTOGRAPHS))
    distances = [
        frechet_distance(clean_features, clean_features[~np.isin(photograph, order[:dropped])])
        for dropped in (1, 2, 3, 4, 6, 8)
    ]
    assert distances[0] > 0
    assert (np.diff(distances) > 0).all(), distances


# ---- The descriptor --------------------------------------------------------------------------------------------------


def test_bank_is_the_published_formula() -> None:
    bank = gabor_bank(16, (4, 2)).numpy()
    assert bank.shape == (6, 16, 16)
    for scale, count, first in ((0, 4, 0), (1, 2, 4)):
        for index in range(count):
            for row, column in ((0, 0), (1, 3), (15, 2), (8, 8), (5, 12)):
                fy, fx = (k / 16 if k < 8 else k / 16 - 1 for k in (row, column))
                turned = math.atan2(fy, fx) - math.pi * index / count
                while not -math.pi <= turned < math.pi:
                    turned += math.copysign(2 * math.pi, -turned)
                ratio = math.hypot(fx, fy) / (0.3 / 1.85**scale)
                expected = math.exp(-10 * 0.35 * (ratio - 1) ** 2 - 2 * (16 * count**2 / 32**2) * math.pi * turned**2)
                assert bank[first + index, row, column] == pytest.approx(expected, rel=1e-5, abs=1e-30)


@pytest.mark.parametrize("orientation", range(8))
def test_a_grating_excites_the_filter_of_its_orientation(orientation: int) -> None:
    angle = math.pi * orientation / 8
    y, x = np.mgrid[:64, :64]
    grating = 127.5 + 100 * np.cos(2 * math.pi * 0.3 * (x * math.cos(angle) + y * math.sin(angle)))
    image = np.repeat(np.rint(grating).astype(np.uint8)[..., None], 3, axis=2)
    responses = features_of(image[None])[0][: 20 * 16].reshape(20, 16).mean(axis=1)
    assert int(responses.argmax()) == orientation


def test_grey_has_no_colour_and_a_flat_picture_only_its_mean() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    features = features_of(grey[None])[0]
    assert np.abs(features[20 * 16 : 44 * 16]).max() < 1e-3
    assert np.abs(features[45 * 16 :]).max() < 1e-6
    flat = features_of(np.full((1, 64, 64, 3), (255, 0, 0), np.uint8))[0].reshape(47, 16)
    np.testing.assert_allclose(flat[44:], np.repeat([[0.299], [0.5], [0.25]], 16, axis=1), atol=1e-6)


def test_cells_are_a_4_by_4_grid_in_reading_order() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[16:32, 48:] = 255
    means = features_of(image[None])[0].reshape(47, 16)[44]
    np.testing.assert_allclose(means, np.eye(16)[7], atol=1e-6)


def test_features_of_a_picture_do_not_depend_on_its_batch(clean: Images, clean_features: Features) -> None:
    for size in (1, 7, 64):
        parts = [features_of(clean[start : start + size]) for start in range(0, len(clean), size)]
        assert np.concatenate(parts).tobytes() == clean_features.tobytes()


def test_any_size_gives_one_shape_and_no_nan() -> None:
    extractor = Gist()
    for shape in ((1, 1), (8, 8), (5, 300), (64, 64), (200, 100)):
        prepared = extractor.prepare(np.full((*shape, 3), 7, np.uint8))
        assert prepared.shape == (3, 64, 64)
        features, logits = extractor(prepared[None])
        assert features.shape == (1, extractor.dim) == (1, 752)
        assert features.isfinite().all()
        assert logits is None


def test_weights_and_other_protocols_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no weights"):
        load(weights=tmp_path / "x", protocol="paragone")
    with pytest.raises(UsageError, match="'clean-fid': the extractor gist knows paragone"):
        load(weights=None, protocol="clean-fid")
    assert load(weights=None, protocol="paragone").name == gist.NAME
