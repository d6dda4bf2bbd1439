"""Noise that enters continuously: two stochastic differential equations (Song et al. 2021, arXiv:2011.13456).

dx = f(t) x dt + g(t) dw for t in 0..1 turns an image x₀ into x_t = a(t) x₀ + s(t) z with z ~ N(0, I):

    variance exploding   f = 0,          g² = d s²/dt,  a = 1,                s = s_min (s_max / s_min)^t    (eq. 30)
    variance preserving  f = -β(t) / 2,  g² = β(t),     a = exp(-½ ∫₀ᵗ β),    s = √(1 - a²)                  (eq. 32)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class VarianceExploding:
    """Noise is piled on an image that keeps its size (SMLD; Song & Ermon 2019)."""

    s_min: float = 0.02
    s_max: float = 15.0

    def signal(self, t: Tensor) -> Tensor:
        """1: the image stays."""
        return torch.ones_like(t)

    def noise(self, t: Tensor) -> Tensor:
        """A geometric path from s_min to s_max."""
        return self.s_min * (self.s_max / self.s_min) ** t

    def drift(self, t: Tensor) -> Tensor:
        """0: the image stays."""
        return torch.zeros_like(t)

    def diffusion(self, t: Tensor) -> Tensor:
        """The growth of s²."""
        return 2.0 * math.log(self.s_max / self.s_min) * self.noise(t) ** 2


@dataclass(frozen=True, slots=True)
class VariancePreserving:
    """The image shrinks as noise comes in (the limit of DDPM's steps), with β rising linearly."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def signal(self, t: Tensor) -> Tensor:
        """exp(-½ ∫₀ᵗ β)."""
        return torch.exp(-0.5 * (self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2))

    def noise(self, t: Tensor) -> Tensor:
        """What is missing to unit variance."""
        return (1.0 - self.signal(t) ** 2).sqrt()

    def drift(self, t: Tensor) -> Tensor:
        """-β / 2."""
        return -0.5 * self.diffusion(t)

    def diffusion(self, t: Tensor) -> Tensor:
        """β."""
        return self.beta_min + (self.beta_max - self.beta_min) * t


SDE = VarianceExploding | VariancePreserving
