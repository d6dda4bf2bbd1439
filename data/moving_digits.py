"""Moving digits: clips of one handwritten digit that flies straight and bounces off the walls, its velocity known.

After Moving MNIST (Srivastava, Mansimov & Salakhutdinov 2015, arXiv:1502.04681), with the digits of `data.digits` and
whole pixels a frame, so that every frame shows the digit undistorted and its centroid moves by exactly the velocity.
An image-to-video prompt gives the first frame and says where the digit goes; what follows is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.digits import N_CLASSES, SIZE_PX, Digits
from paragone.data.errors import InputError
from paragone.data.records import Prompt, Task

CANVAS_PX = 16
N_FRAMES = 16
FPS = 8.0
ROOM_PX = CANVAS_PX - SIZE_PX  # from one wall to the other
DIRECTIONS = {  # (down, right) in px a frame
    "right": (0, 1),
    "down and right": (1, 1),
    "down": (1, 0),
    "down and left": (1, -1),
    "left": (0, -1),
    "up and left": (-1, -1),
    "up": (-1, 0),
    "up and right": (-1, 1),
}


@dataclass(frozen=True)
class Move:
    """One clip's recipe: which digit starts where and flies in which direction."""

    digit: int
    image: NDArray[np.uint8]  # [8, 8]
    start: tuple[int, int]  # of the digit's upper left corner: row and column, 0..8
    direction: str  # a key of DIRECTIONS

    @property
    def source(self) -> str:
        """Where a project keeps the first frame, relative to its folder."""
        return f"sources/{self._id}.png"

    @cached_property
    def prompt(self) -> Prompt:
        """The image-to-video request whose answer is `clip`."""
        text = f"the handwritten {self.digit} moves {self.direction} and bounces off the walls"
        return Prompt(self._id, text, Task.IMAGE_TO_VIDEO, ("moving digits",), source=self.source)

    @cached_property
    def clip(self) -> NDArray[np.uint8]:
        """[16, 16, 16] grey frames, the first of which is the anchor."""
        return render(self.image, self.places)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """[16, 2] row and column of the digit's corner in each frame."""
        return trajectory(self.start, DIRECTIONS[self.direction])

    @property
    def _id(self) -> str:
        return f"move-{self.digit}-{self.direction.replace(' and ', '-')}"


def trajectory(start: ArrayLike, velocity: ArrayLike, n_frames: int = N_FRAMES) -> NDArray[np.int64]:
    """[T, 2] places of a corner that starts in 0..8 and is reflected where it would leave that range."""
    straight = np.asarray(start) + np.arange(n_frames)[:, None] * np.asarray(velocity)
    places: NDArray[np.int64] = ROOM_PX - abs(straight % (2 * ROOM_PX) - ROOM_PX)
    return places


def render(image: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[T, 16, 16] frames of a digit [8, 8] on black at `places` [T, 2]."""
    clip = np.zeros((len(places), CANVAS_PX, CANVAS_PX), np.uint8)
    for frame, (row, column) in zip(clip, places, strict=True):
        frame[row : row + SIZE_PX, column : column + SIZE_PX] = image
    return clip


def draw_moves(digits: Digits, *, seed: int) -> list[Move]:
    """Each digit in each direction, 80 moves, with random images of `digits` (each at most once) and random starts."""
    rng = np.random.default_rng(seed)
    moves = []
    for digit in range(N_CLASSES):
        images = rng.permutation(digits.of_class(digit))
        starts = rng.integers(0, ROOM_PX + 1, size=(len(DIRECTIONS), 2))
        moves += [
            Move(digit, image, (int(row), int(column)), direction)
            for image, (row, column), direction in zip(images, starts, DIRECTIONS, strict=False)
        ]
    return moves


def random_clips(digits: Digits, n: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`n` clips [N, 16, 16, 16] of random digits, and their directions [N] by their places in `DIRECTIONS`."""
    velocities = np.array(list(DIRECTIONS.values()))
    directions = rng.integers(len(velocities), size=n)
    starts = rng.integers(0, ROOM_PX + 1, size=(n, 2))
    images = digits.images[rng.integers(len(digits), size=n)]
    clips = [
        render(image, trajectory(start, velocity))
        for image, start, velocity in zip(images, starts, velocities[directions], strict=True)
    ]
    return np.stack(clips), directions


def prompt_direction(prompt: Prompt) -> int:
    """Which of `DIRECTIONS` a prompt of this data set asks for, by its place in the table."""
    for place, name in enumerate(DIRECTIONS):
        if f" moves {name} and bounces" in prompt.text:
            return place
    raise InputError(f"prompt {prompt.id!r} is none of moving digits: {prompt.text!r}")


def centroids(clip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[T, 2] mean row and column of the light in each frame [T, H, W]; the middle of a frame that is black."""
    light = clip.astype(np.float64)
    total = light.sum(axis=(1, 2))
    rows, columns = np.arange(clip.shape[1]), np.arange(clip.shape[2])
    sums = np.stack([(light.sum(axis=2) * rows).sum(axis=1), (light.sum(axis=1) * columns).sum(axis=1)], axis=1)
    middle = np.array([(clip.shape[1] - 1) / 2, (clip.shape[2] - 1) / 2])
    return np.where(total[:, None] > 0, sums / np.maximum(total, 1.0)[:, None], middle)


def velocity_error(clip: NDArray[np.uint8], places: NDArray[np.int64]) -> float:
    """Mean distance, in px a frame, between the velocity of the light in `clip` and that of `places` [T, 2].

    0 for the real clip; 1 to √2 for one that stands still.
    """
    return float(np.linalg.norm(np.diff(centroids(clip), axis=0) - np.diff(places, axis=0), axis=1).mean())


def seen_at(clip: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[T, 8, 8] what a clip [T, 16, 16] shows where the digit should be."""
    windows = [frame[r : r + SIZE_PX, c : c + SIZE_PX] for frame, (r, c) in zip(clip, places, strict=True)]
    return np.stack(windows)
