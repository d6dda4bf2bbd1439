"""GIST with colour: what a picture is like at a glance, without any weights (Oliva & Torralba 2001, IJCV 42(3)).

A bank of Gabor filters at several scales and orientations, the amplitude of each response averaged over a 4×4 grid.
The bank is the one of the authors' reference code. Four choices differ from it, because a Fréchet distance is to be
taken of the result and must grow with the damage done to a set of photographs:

- No prefilter. Local contrast normalisation divides by the very energy that noise adds and blur removes: strong levels
  of damage then hardly differ, and a change of contrast does not show.
- The square root of each averaged amplitude. Amplitudes of natural images are heavy-tailed; unrooted, differences in
  contrast between photographs drown weak noise and compression (levels of JPEG, measured against other photographs
  than those compressed, then come out of order).
- Opponent colours beside luminance, and the mean colour of each cell: the filters hardly see brightness and hue, and
  most of the distance due to missing modes of a distribution lies in those means.
- No padding: the filters wrap around at the border, on both sides alike.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paragone.metrics.extractors.base import refuse_weights
from paragone.metrics.protocols import PARAGONE, check_protocol

if TYPE_CHECKING:  # torch takes seconds, which a run whose features are all cached need not wait
    import torch
    from torch import Tensor

NAME = "gist-1"  # a change to the formula or to a constant below is a new name
SIZE_PX = 64
GRID = 4
LUMINANCE_ORIENTATIONS = (8, 8, 4)  # of each scale, from fine to coarse
COLOUR_ORIENTATIONS = (4, 4, 4)  # the eye resolves colour less finely than brightness
FINEST_FREQUENCY = 0.3  # cycles a pixel
SCALE_RATIO = 1.85
N_CHANNELS = 3

# Rows: luminance (ITU-R BT.601), red against green, yellow against blue. Input 0..1.
OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))


def load(*, weights: Path | None, protocol: str) -> Gist:
    """The extractor `gist`; raises `UsageError` when weights or another protocol than its own are asked for."""
    refuse_weights(weights, extractor="gist")
    check_protocol(protocol, [PARAGONE], extractor="gist")
    return Gist()


class Gist:
    """752 numbers a picture: 20 + 12 + 12 filters and 3 means in each of 4×4 cells, and nothing learnt."""

    name = NAME
    warnings: tuple[str, ...] = ()
    protocol = PARAGONE
    resize = f"clean-{SIZE_PX}"
    fingerprint = NAME
    has_logits = False
    dim = (sum(LUMINANCE_ORIENTATIONS) + 2 * sum(COLOUR_ORIENTATIONS) + N_CHANNELS) * GRID**2

    @cached_property
    def _filters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Opponent colours, and the banks for luminance and for colour."""
        import torch

        return (
            torch.tensor(OPPONENT),
            gabor_bank(SIZE_PX, LUMINANCE_ORIENTATIONS),
            gabor_bank(SIZE_PX, COLOUR_ORIENTATIONS),
        )

    def to(self, device: torch.device) -> None:
        """Move the filters to `device`."""
        opponent, luminance_bank, colour_bank = self._filters
        self._filters = opponent.to(device), luminance_bank.to(device), colour_bank.to(device)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [H, W, 3] → float32 [3, 64, 64] in 0..1."""
        from paragone.metrics.extractors.resize import resize_clean, to_planes

        return resize_clean(to_planes(image), SIZE_PX) / 255

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, 64, 64] in 0..1 → features [N, 752]; on a CPU a row has the same bits in every batch."""
        import torch

        # One image's responses fit a processor's cache, and no image then sees its neighbours' rounding.
        step = 1 if batch.device.type == "cpu" else len(batch)
        return torch.cat([self._describe(images) for images in torch.split(batch, step)]), None

    def _describe(self, images: Tensor) -> Tensor:
        import torch

        opponent, luminance_bank, colour_bank = self._filters
        channels = torch.einsum("oc,nchw->nohw", opponent, images)
        luminance, red_green, yellow_blue = torch.fft.fft2(channels).split(1, dim=1)
        filtered = [
            luminance * luminance_bank,
            red_green * colour_bank,
            yellow_blue * colour_bank,
        ]
        amplitude = torch.fft.ifft2(torch.cat(filtered, dim=1)).abs()
        return torch.cat([_cell_means(amplitude).sqrt(), _cell_means(channels)], dim=1).flatten(1)


def gabor_bank(size: int, orientations: tuple[int, ...]) -> Tensor:
    """Transfer functions [K, size, size], float32: one-sided Gabor filters, scale by scale, orientation by orientation.

    A filter at frequency f₀, one of n orientations of its scale, is exp(-3.5 (f/f₀ - 1)²) · exp(-n² π φ² / 32), φ being
    the angle to its orientation.
    """
    import torch

    frequency = np.fft.fftfreq(size)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    radius, angle = np.hypot(fx, fy), np.arctan2(fy, fx)
    bank = []
    for scale, count in enumerate(orientations):
        centre = FINEST_FREQUENCY / SCALE_RATIO**scale
        for index in range(count):
            turned = (angle - np.pi * index / count + np.pi) % (2 * np.pi) - np.pi
            bank.append(np.exp(-3.5 * (radius / centre - 1) ** 2 - np.pi / 32 * count**2 * turned**2))
    return torch.from_numpy(np.stack(bank).astype(np.float32))


def _cell_means(planes: Tensor) -> Tensor:
    """[N, K, S, S] → [N, K, GRID, GRID]."""
    n, count, size, _ = planes.shape
    cell = size // GRID
    return planes.reshape(n, count, GRID, cell, GRID, cell).mean(dim=(3, 5))
