"""Denoising diffusion implicit models: a DDPM's weights in few steps (Song, Meng & Ermon 2021, arXiv:2010.02502).

Training fixes only the marginals q(x_t | x₀), so other chains with these marginals may be sampled. A step from t to
any earlier s (eq. 12) is

    x_s = √ᾱ_s x̂₀ + √(1 - ᾱ_s - σ²) ε̂ + σ z,    σ² = η² (1 - ᾱ_s) / (1 - ᾱ_t) · (1 - ᾱ_t / ᾱ_s)    (eq. 16).

With η = 0 the only randomness is the starting noise, and the path is a discretised ordinary differential equation;
with η = 1 and every step it is DDPM's ancestral chain. x̂₀ is clipped to the range of pixels, and ε̂ belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.ddpm import T, cosine_alpha_bar
from paragone.data.generators.reference.guidance import guided
from paragone.data.generators.reference.network import DigitNetwork, Network, Weights, answer
from paragone.data.records import Task


class DDIM:
    """A trained DDPM, sampled in `steps` steps at noise level `eta` (0: deterministic, 1: ancestral)."""

    task = Task.TEXT_TO_IMAGE

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        steps: int = 20,
        eta: float = 0.0,
        guidance: float = 1.0,
        build: Callable[[], nn.Module] = DigitNetwork,
    ) -> None:
        self.name = name
        self.steps = steps
        self.eta = eta
        self.guidance = guidance
        self.network = build().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Draw each request's chain; noise row 0 starts it, row k drives the k-th step."""
        sampler = partial(implicit, guided(self.network, self.guidance), steps=self.steps, eta=self.eta)
        yield from answer(requests, sampler, n_noise=self.steps if self.eta else 1, dtype=torch.float64)


def implicit(network: Network, noise: Tensor, digit: Tensor, *, steps: int, eta: float, largest: float = 1.0) -> Tensor:
    """Walk from x_T = noise[:, 0] to x_0, [N, D], in about even strides; x̂₀ is clipped to ±`largest`.

    `noise` is [N, steps, D]; with η = 0 its first row is enough.
    """
    alpha_bar = cosine_alpha_bar().to(noise.dtype)
    x = noise[:, 0]
    visited = [round(T * (steps - k) / steps) for k in range(steps + 1)]
    for k, (step, earlier) in enumerate(pairwise(visited), start=1):
        now, before = alpha_bar[step], alpha_bar[earlier]
        epsilon = network(x, torch.full((len(x),), step / T, dtype=x.dtype), digit)
        x0 = ((x - (1.0 - now).sqrt() * epsilon) / now.sqrt()).clamp(-largest, largest)
        epsilon = (x - now.sqrt() * x0) / (1.0 - now).sqrt()
        variance = eta**2 * (1.0 - before) / (1.0 - now) * (1.0 - now / before)
        x = before.sqrt() * x0 + (1.0 - before - variance).clamp(min=0.0).sqrt() * epsilon
        if eta and earlier:
            x = x + variance.sqrt() * noise[:, k]
    return x
