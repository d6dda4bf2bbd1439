"""Resizing whole clips as the tools do it: RGB uint8 [T, H, W, 3] → float32 [3, T, S, S] in 0..255.

`bilinear-crop` keeps the aspect ratio and cuts the middle out; the others squash. `inside` leaves the clip as it is,
for graphs that resize themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from paragone.metrics.extractors.resize import resize_tf1
from paragone.metrics.protocols import Channels

INSIDE = "inside"
ClipResize = Callable[[Tensor, int], Tensor]


def prepared_clip(frames: NDArray[np.uint8], resize: str, size: int, mean: Channels, std: Channels) -> Tensor:
    """[T, H, W, 3] → [3, T, size, size], resized by the row of `CLIP_RESIZERS` and scaled to (v - mean) / std."""
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    resized = CLIP_RESIZERS[resize](planes, size).transpose(0, 1)
    return (resized - torch.tensor(mean)[:, None, None, None]) / torch.tensor(std)[:, None, None, None]


def _clean(planes: Tensor, size: int) -> Tensor:
    if planes.shape[-2:] == (size, size):
        return planes
    return functional.interpolate(planes, (size, size), mode="bicubic", antialias=True).clamp(0.0, 255.0)


def _bilinear(planes: Tensor, size: int) -> Tensor:
    return functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)


def _bilinear_crop(planes: Tensor, size: int) -> Tensor:
    """The shorter side to `size`, the longer one rounded up; then the middle, the odd pixel behind."""
    height, width = planes.shape[-2:]
    scale = size / min(height, width)
    target = (size, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), size)
    resized = functional.interpolate(planes, target, mode="bilinear", align_corners=False)
    top, left = ((side - size) // 2 for side in resized.shape[-2:])
    return resized[..., top : top + size, left : left + size]


def _tf1(planes: Tensor, size: int) -> Tensor:
    """All frames as the channels of one picture, which are resized alike."""
    length, channels, height, width = planes.shape
    return resize_tf1(planes.reshape(-1, height, width), size).reshape(length, channels, size, size)


CLIP_RESIZERS: dict[str, ClipResize] = {
    "clean": _clean,
    "bilinear": _bilinear,
    "bilinear-crop": _bilinear_crop,
    "tf1": _tf1,
    INSIDE: lambda planes, size: planes,
}
