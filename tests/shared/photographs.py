"""Clips and pictures cut from real photographs, with motion and damage that is known."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

Frames = NDArray[np.uint8]
HEIGHT, WIDTH = 120, 160


@cache
def photograph(name: str = "china.jpg", width: int = 420) -> NDArray[np.uint8]:
    """A photograph of scikit-learn's, reduced."""
    picture = Image.fromarray(load_sample_image(name))
    return np.asarray(picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS))


def pan(n: int, step_px: int, *, name: str = "china.jpg") -> Frames:
    """[n, 120, 160, 3]: a window that moves to the right by so many whole pixels a frame."""
    source = photograph(name)
    return np.stack([source[40 : 40 + HEIGHT, 5 + step_px * t : 5 + step_px * t + WIDTH] for t in range(n)])


def flickering(n: int, share: float) -> Frames:
    """One window, every other frame brighter by `share`; darkened first, so that nothing is clipped."""
    still = 0.7 * pan(1, 0)[0].astype(np.float64)
    return np.stack([np.rint(still * (1 + share * (t % 2))).astype(np.uint8) for t in range(n)])


def noisy(frames: Frames, levels: float, seed: int = 0) -> Frames:
    noise = np.random.default_rng(seed).normal(0, levels, frames.shape)
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)
