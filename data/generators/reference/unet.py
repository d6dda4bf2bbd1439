"""A U-Net: convolutions on a coarse and a fine grid, joined by a skip (Ronneberger et al. 2015, arXiv:1505.04597).

Going down, the picture is halved so that few convolutions see all of it; going up, the fine maps from before the
halving are joined to the coarse ones, so that no detail has to pass the bottleneck. Each residual block is told time
and class by a shift of its maps (Ho et al. 2020, appendix B). The class takes a network's arguments (network.py) and
stands in any model for the MLP: `build=UNet`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.digits import SIZE_PX
from paragone.data.generators.reference.conditioning import Conditioning

GROUPS = 4


class ResidualBlock(nn.Module):
    """Maps [N, c_in, H, W] and condition [N, width] → [N, c_out, H, W]."""

    def __init__(self, c_in: int, c_out: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.shift = nn.Linear(width, c_out)
        self.second = nn.Sequential(nn.GroupNorm(GROUPS, c_out), nn.SiLU(), nn.Conv2d(c_out, c_out, 3, padding=1))
        self.across = nn.Conv2d(c_in, c_out, 1)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        hidden = self.first(maps) + self.shift(functional.silu(condition))[:, :, None, None]
        out: Tensor = self.across(maps) + self.second(hidden)
        return out


class UNet(nn.Module):
    """x [N, 64], time [N] in 0..1, class [N] in 0..10 → [N, 64], over 8×8 and 4×4 maps."""

    def __init__(self, channels: int = 16, width: int = 64) -> None:
        super().__init__()
        self.condition = Conditioning(width)
        self.enter = nn.Conv2d(1, channels, 3, padding=1)
        self.fine_down = ResidualBlock(channels, channels, width)
        self.down = nn.Conv2d(channels, 2 * channels, 2, stride=2)
        self.coarse = nn.ModuleList(ResidualBlock(2 * channels, 2 * channels, width) for _ in range(2))
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.fine_up = ResidualBlock(2 * channels, channels, width)
        self.leave = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        condition = self.condition(time, digit)
        fine = self.fine_down(self.enter(x.reshape(-1, 1, SIZE_PX, SIZE_PX)), condition)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, condition)
        joined = torch.cat([fine, self.up(coarse)], dim=1)
        out: Tensor = self.leave(self.fine_up(joined, condition))
        return out.flatten(1)
