"""Resizing as the tools do it: RGB uint8 [H, W, 3] → float32 [3, S, S] in 0..255, never with the aspect ratio kept.

They differ by several grey levels on one picture (Parmar, Zhang & Zhu 2022, arXiv:2104.11222), and agree only where the
picture has the network's size already.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

Resize = Callable[[NDArray[np.uint8], int], Tensor]


def to_planes(image: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 [H, W, 3] → float32 [3, H, W] in 0..255."""
    return torch.from_numpy(image).permute(2, 0, 1).float()


def resize_clean(planes: Tensor, size: int) -> Tensor:
    """[C, H, W] in 0..255 → [C, size, size] by antialiased bicubic interpolation in floating point, clamped, unrounded.

    clean-fid computes the same with Pillow; the two differ by less than 0.01 grey levels.
    """
    if planes.shape[-2:] == (size, size):
        return planes
    return _interpolated(planes, size, mode="bicubic", antialias=True).clamp(0.0, 255.0)


def resize_tf1(planes: Tensor, size: int) -> Tensor:
    """[C, H, W] → [C, size, size] as TensorFlow 1 does: bilinear, sampled at dst · in / out, without antialiasing.

    No half pixels: the output's first row is the input's first row. The grid is float32, as in TensorFlow's kernel.
    """
    height, width = planes.shape[-2:]
    top, bottom, down = _tf1_grid(height, size)
    left, right, across = _tf1_grid(width, size)
    pixels = planes.permute(1, 2, 0)

    def across_columns(rows: Tensor) -> Tensor:
        """[size, W, C] → [size columns, size rows, C]. Whole columns lie together in memory: five times as fast."""
        columns = rows.transpose(0, 1).contiguous()
        first = columns.index_select(0, left)
        return first + (columns.index_select(0, right) - first) * across[:, None, None]

    upper = across_columns(pixels.index_select(0, top))
    lower = across_columns(pixels.index_select(0, bottom))
    return (upper + (lower - upper) * down[:, None]).permute(2, 1, 0)


def _tf1_grid(length: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The neighbours below and above each sample, and the weight [size] of the one above."""
    place = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
    below = place.long()
    return below, (below + 1).clamp_max(length - 1), place - below.float()


def _interpolated(planes: Tensor, size: int, *, mode: Literal["bilinear", "bicubic"], antialias: bool) -> Tensor:
    return functional.interpolate(planes[None], (size, size), mode=mode, antialias=antialias, align_corners=False)[0]


def _resize_with_pillow(image: NDArray[np.uint8], size: int) -> Tensor:
    """Bicubic by Pillow on uint8: the result is rounded to whole grey levels."""
    return to_planes(np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)))


def _on_planes(resize: Callable[[Tensor, int], Tensor]) -> Resize:
    return lambda image, size: resize(to_planes(image), size)


RESIZERS: dict[str, Resize] = {
    "clean": _on_planes(resize_clean),
    "bicubic-antialias": _on_planes(partial(_interpolated, mode="bicubic", antialias=True)),
    "bilinear": _on_planes(partial(_interpolated, mode="bilinear", antialias=False)),
    "bilinear-antialias": _on_planes(partial(_interpolated, mode="bilinear", antialias=True)),
    "tf1": _on_planes(resize_tf1),
    "pil-bicubic": _resize_with_pillow,
}


def normalised(planes: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(planes - mean) / std for each of the three channels, in grey levels 0..255."""
    return (planes - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
