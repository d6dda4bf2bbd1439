"""The built-in data set: 1,797 handwritten digits (8×8 scans) that scikit-learn ships, as prompts and two disjoint
halves.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998. Generators may
see the *training* half only; metrics and judges are fitted against the *reference* half, which no generator has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paragone.data.errors import UnreadableImage
from paragone.data.records import Prompt

N_CLASSES = 10
SIZE_PX = 8
PROMPTS = tuple(
    Prompt(id=f"digit-{digit}", text=f"a handwritten {digit}", tags=("digits",)) for digit in range(N_CLASSES)
)


@dataclass(frozen=True, slots=True)
class Digits:
    """Images with their labels."""

    images: NDArray[np.uint8]  # [N, 8, 8] grey, 0..255
    labels: NDArray[np.int64]  # [N] in 0..9

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, digit: int) -> NDArray[np.uint8]:
        """The images of one digit, [n, 8, 8]."""
        chosen: NDArray[np.uint8] = self.images[self.labels == digit]
        return chosen


def load_digits_split(*, seed: int = 0) -> tuple[Digits, Digits]:
    """The training half and the reference half, stratified by class and drawn with `seed`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # the scans have 17 grey levels, 0..16
    labels = bunch.target.astype(np.int64)
    train, reference = train_test_split(np.arange(len(labels)), test_size=0.5, stratify=labels, random_state=seed)
    return _subset(images, labels, train), _subset(images, labels, reference)


def prompt_class(prompt: Prompt) -> int:
    """The digit that a prompt of this data set asks for."""
    return PROMPTS.index(prompt)


def _subset(images: NDArray[np.uint8], labels: NDArray[np.int64], index: NDArray[np.int64]) -> Digits:
    ordered = np.sort(index)
    return Digits(images[ordered], labels[ordered])


def read_digits(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """The 8×8 grey pictures in `paths`, [N, 8, 8].

    Raises `UnreadableImage` for a picture that is broken or of another size.
    """
    images = np.empty((len(paths), SIZE_PX, SIZE_PX), np.uint8)
    for image, path in zip(images, paths, strict=True):
        image[...] = read_grey(path, SIZE_PX)
    return images


def read_grey(path: Path, size_px: int) -> NDArray[np.uint8]:
    """A square picture in grey; raises `UnreadableImage` for one that is broken or of another size."""
    try:
        with Image.open(path) as picture:
            pixels: NDArray[np.uint8] = np.asarray(picture.convert("L"))
        if pixels.shape != (size_px, size_px):
            raise ValueError(f"it is {pixels.shape[1]}×{pixels.shape[0]}")
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"{path}: not a readable {size_px}×{size_px} picture of a digit ({error})") from error
    return pixels
