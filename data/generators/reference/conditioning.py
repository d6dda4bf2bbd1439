"""What a backbone knows besides the picture: the time as sines and cosines, the class as an embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from paragone.data.digits import N_CLASSES

N_FREQUENCIES = 16


class Conditioning(nn.Module):
    """Time [N] in 0..1 and class [N] in 0..10 (10 = no class) → one vector for both, [N, width]."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0.0, math.log(1000.0), N_FREQUENCIES)))
        self.time = nn.Sequential(nn.Linear(2 * N_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.digit = nn.Embedding(N_CLASSES + 1, width)

    def forward(self, time: Tensor, digit: Tensor) -> Tensor:
        angle = time[:, None] * self.frequencies
        vector: Tensor = self.time(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.digit(digit)
        return vector
