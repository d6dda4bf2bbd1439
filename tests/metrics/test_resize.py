"""Resizing against Pillow and against a slow bilinear interpolation after TensorFlow 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from paragone.metrics.extractors.resize import RESIZERS, normalised, resize_clean, resize_tf1, to_planes

RNG = np.random.default_rng(0)
SHAPES = [(32, 32), (64, 48), (299, 300), (512, 300), (301, 777), (5, 400), (1, 9)]


def picture(shape: tuple[int, int]) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)


def slow_tf1(plane: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """tf.image.resize_bilinear(align_corners=False) of TensorFlow 1, a pixel at a time."""
    height, width = plane.shape
    out = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = i * height / size, j * width / size
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = plane[top, left] * (1 - (x - left)) + plane[top, right] * (x - left)
            lower = plane[bottom, left] * (1 - (x - left)) + plane[bottom, right] * (x - left)
            out[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_is_pillows_bicubic_in_floating_point(shape: tuple[int, int]) -> None:
    image = picture(shape)
    resized = resize_clean(to_planes(image), 299).numpy()
    for channel in range(3):
        plane = Image.fromarray(image[..., channel].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resized[channel], np.clip(np.asarray(plane), 0, 255), atol=0.01)


@pytest.mark.parametrize("shape", [(17, 64), (64, 17), (40, 40), (3, 5)])
def test_tf1_samples_from_the_corner_without_half_pixels(shape: tuple[int, int]) -> None:
    image = picture(shape)
    resized = resize_tf1(to_planes(image), 40)
    np.testing.assert_allclose(resized[0], slow_tf1(image[..., 0].astype(float), 40), atol=0.01)
    assert torch.equal(resized[:, 0, 0], to_planes(image)[:, 0, 0])


@pytest.mark.parametrize("name", RESIZERS)
def test_every_resizer_keeps_a_picture_of_the_right_size_and_a_plain_one(name: str) -> None:
    image = picture((20, 20))
    torch.testing.assert_close(RESIZERS[name](image, 20), to_planes(image), rtol=0, atol=1e-4)
    flat = RESIZERS[name](np.full((31, 12, 3), (10, 100, 200), np.uint8), 20)
    torch.testing.assert_close(flat, torch.tensor([10.0, 100, 200])[:, None, None].expand(3, 20, 20), rtol=0, atol=1e-3)


def test_what_sets_the_resizers_apart() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:17, 17:] = 255
    made = {name: resize(image, 15) for name, resize in RESIZERS.items()}
    assert made["bicubic-antialias"].max() > 255.5  # overshoots at an edge
    assert made["clean"].max() == 255
    assert torch.equal(made["pil-bicubic"], made["pil-bicubic"].round())
    assert not torch.equal(made["clean"], made["clean"].round())
    for name, other in made.items():
        for second, than in made.items():
            assert name == second or (other - than).abs().max() > 1e-3, (name, second)


def test_normalised_channel_by_channel() -> None:
    planes = torch.tensor([0.0, 128.0, 255.0])[:, None, None].expand(3, 2, 2)
    found = normalised(planes, (0.0, 128.0, 5.0), (1.0, 2.0, 125.0))
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([0.0, 0.0, 2.0]))
