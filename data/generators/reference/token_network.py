"""Digits as sequences of grey levels, and the network that the discrete models share.

A scan has 17 grey levels, so a picture is 64 tokens without any loss, in reading order; one more token, MASK, stands
for a pixel that is not known. The network sees the known pixels and the class, and guesses the level of every pixel.
The discrete models differ only in what they hide from it: all that comes later (autoregressive.py), pixels here and
there (masked_diffusion.py), or pixels here and there in one block and all after it (block_diffusion.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.digits import N_CLASSES
from paragone.data.generators.reference.network import N_PIXELS

N_LEVELS = 17
MASK = N_LEVELS
GREY_STEP = 255 / (N_LEVELS - 1)

Guesser = Callable[[Tensor, Tensor], Tensor]  # tokens [N, L], some of them MASK, class [N] → logits [N, L, levels]


class TokenNetwork(nn.Module):
    """A residual MLP: tokens [N, 64] in 0..17 (17 = MASK), class [N] in 0..10 (10 = no class) → logits [N, 64, 17]."""

    def __init__(self, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * N_PIXELS, width)
        self.digit = nn.Embedding(N_CLASSES + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, N_PIXELS * N_LEVELS))

    def forward(self, tokens: Tensor, digit: Tensor) -> Tensor:
        known = tokens != MASK
        grey = torch.where(known, tokens_to_pixels(tokens), 0.0)
        hidden = self.enter(torch.cat([grey, known], dim=1).to(self.enter.weight.dtype))
        condition = self.digit(digit)
        for block in self.blocks:
            hidden = hidden + block(hidden + condition)
        logits: Tensor = self.leave(hidden)
        return logits.reshape(-1, N_PIXELS, N_LEVELS)


def to_tokens(images: NDArray[np.uint8]) -> Tensor:
    """[N, 8, 8] grey 0..255 → [N, 64] levels 0..16."""
    return torch.from_numpy(np.round(images.reshape(len(images), N_PIXELS) / GREY_STEP).astype(np.int64))


def tokens_to_pixels(tokens: Tensor) -> Tensor:
    """[N, 64] levels 0..16 → [N, 64] float64 in -1..1."""
    return tokens.double() * (2.0 / (N_LEVELS - 1)) - 1.0


def choose(logits: Tensor, uniform: Tensor) -> Tensor:
    """The level, [...], at which the cumulative distribution of `logits` [..., levels] passes `uniform` [...]."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    return (cumulative[..., :-1] < uniform[..., None]).sum(-1)


def log_probability(logits: Tensor, level: Tensor) -> Tensor:
    """Log p, [...], of each `level` [...] under `logits` [..., levels]."""
    return logits.double().log_softmax(-1).gather(-1, level[..., None])[..., 0]
