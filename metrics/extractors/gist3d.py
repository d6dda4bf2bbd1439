"""GIST in time: what a clip looks like and how it moves, without any weights.

Three parts:

- what is seen: GIST of each frame (`paragone.metrics.extractors.gist`), averaged over time, in each quarter;
- how it changes: the root mean square over time of the differences of GIST from one frame to the next;
- how it moves, in each quarter: of luminance, at lags of 1 and 2 frames, how much changes, how fast brightness as a
  whole goes up or down, and the velocity by the gradient constraint (Lucas & Kanade 1981: least squares of
  Iₓu + Iᵧv + Iₜ = 0), its mean and its root mean square over time.

Time is counted in frames, as in the networks for clips: take clips of one rate, or `--fps`. Reversed time shows in the
mean velocity alone; shuffled and frozen time in everything but the first part.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from paragone.metrics.extractors.base import FrameCount, refuse_weights
from paragone.metrics.extractors.gist import GRID, OPPONENT, SIZE_PX, Gist
from paragone.metrics.protocols import PARAGONE, check_protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME = "gist3d-1"  # a change to the formula or to a constant below is a new name
LAGS = (1, 2)
HALVES = 2  # the picture is looked at in HALVES × HALVES parts
BLUR_PX = 5  # box that luminance is averaged over before gradients are taken
RIDGE = 1e-5  # squared grey levels (0..1) a pixel: below it, gradients are noise and the velocity goes to zero
# A distance adds up variances: with these units none of the parts outweighs the others on photographs in motion.
CHANGE_WEIGHT = 4.0
VELOCITY_UNIT_PX = 10.0  # a frame
PARTS_OF_MOTION = 6  # change, rise, and mean and root mean square of both velocities


def load(*, weights: Path | None, protocol: str) -> Gist3D:
    """The extractor `gist3d`; raises `UsageError` when weights or another protocol than its own are asked for."""
    refuse_weights(weights, extractor="gist3d")
    check_protocol(protocol, [PARAGONE], extractor="gist3d")
    return Gist3D()


class Gist3D:
    """283 numbers a clip: 188 of what is seen, 47 of how it changes, 48 of how it moves; nothing learnt."""

    samples: Literal["clips"] = "clips"
    frames = FrameCount(max(LAGS) + 1)
    name = NAME
    warnings: tuple[str, ...] = ()
    protocol = PARAGONE
    resize = f"clean-{SIZE_PX}"
    fingerprint = NAME
    has_logits = False
    dim = Gist.dim // GRID**2 * (HALVES**2 + 1) + len(LAGS) * PARTS_OF_MOTION * HALVES**2

    @cached_property
    def _gist(self) -> Gist:
        return Gist()

    def to(self, device: torch.device) -> None:
        """Move the filters to `device`."""
        self._gist.to(device)

    def prepare(self, frames: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 [T, H, W, 3] → float32 [3, T, 64, 64] in 0..1."""
        from paragone.metrics.extractors.clip_resize import prepared_clip

        return prepared_clip(frames, "clean", SIZE_PX, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))

    def __call__(self, batch: Tensor) -> tuple[Tensor, None]:
        """[N, 3, T, 64, 64] in 0..1 → features [N, 283]; clips do not see each other."""
        import torch

        return torch.stack([self._describe(clip.transpose(0, 1)) for clip in batch]), None

    def _describe(self, frames: Tensor) -> Tensor:
        """[T, 3, 64, 64] → [D]."""
        import torch
        from torch.nn import functional

        cells = self._gist(frames)[0].reshape(len(frames), -1, GRID, GRID)
        seen = functional.avg_pool2d(cells.mean(dim=0), GRID // HALVES)
        changes = cells.diff(dim=0).square().mean(dim=0).sqrt().mean(dim=(1, 2)) * CHANGE_WEIGHT
        luminance = torch.einsum("c,tchw->thw", torch.tensor(OPPONENT[0], device=frames.device), frames)
        return torch.cat([seen.flatten(), changes, *(_motion(luminance, lag) for lag in LAGS)])


def _motion(luminance: Tensor, lag: int) -> Tensor:
    """Of [T, S, S]: change, rise, and velocity across and down (mean, root mean square), [24]."""
    import torch
    from torch.nn import functional

    smooth = functional.avg_pool2d(luminance[:, None], BLUR_PX, 1, BLUR_PX // 2, count_include_pad=False)[:, 0]
    middle = (smooth[lag:] + smooth[:-lag]) / 2
    over_time = (smooth[lag:] - smooth[:-lag]) / lag
    down, across = torch.gradient(middle, dim=(1, 2))
    moments = torch.stack([across * across, down * down, across * down, across * over_time, down * over_time], dim=1)
    xx, yy, xy, xt, yt = _cells(moments).unbind(1)
    xx, yy = xx + RIDGE, yy + RIDGE
    determinant = xx * yy - xy * xy
    velocity = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt]) / (determinant * VELOCITY_UNIT_PX)
    change = _cells(over_time.abs()[:, None])[:, 0].mean(dim=0)
    rise = _cells(over_time[:, None])[:, 0].square().mean(dim=0).sqrt()
    return torch.cat(
        [
            change.flatten(),
            rise.flatten(),
            velocity.mean(dim=1).flatten(),
            velocity.square().mean(dim=1).sqrt().flatten(),
        ]
    )


def _cells(planes: Tensor) -> Tensor:
    """[T, K, S, S] → means [T, K, HALVES, HALVES]."""
    from torch.nn import functional

    return functional.avg_pool2d(planes, planes.shape[-1] // HALVES)
