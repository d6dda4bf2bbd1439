"""Denoising diffusion with the ε-loss and ancestral sampling (Ho, Jain & Abbeel 2020, arXiv:2006.11239).

Noise is added in T steps, x_t = √ᾱ_t x₀ + √(1 - ᾱ_t) ε, with the cosine schedule for ᾱ (Nichol & Dhariwal 2021,
arXiv:2102.09672, eq. 17). The network predicts ε; each ancestral step draws x_{t-1} from the Gaussian posterior
q(x_{t-1} | x_t, x₀) at the predicted x₀, clipped to the range of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.guidance import guided
from paragone.data.generators.reference.network import (
    DigitNetwork,
    Network,
    Weights,
    answer,
    to_pixels,
    train_network,
)
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

T = 200


def cosine_alpha_bar(n_steps: int = T) -> Tensor:
    """ᾱ_0 … ᾱ_T, shape [T + 1]: from 1 (the image) to about 0 (noise)."""
    angle = (torch.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * (math.pi / 2)
    alpha_bar = torch.cos(angle) ** 2
    return alpha_bar / alpha_bar[0]


def ddpm_loss(network: Network, x0: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """The simple ε-loss (Ho et al., eq. 14) at uniform steps 1..T."""
    step = torch.randint(1, T + 1, (len(x0),), generator=rng)
    noise = torch.randn(x0.shape, generator=rng)
    alpha_bar = cosine_alpha_bar()[step][:, None]
    noisy = alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * noise
    return functional.mse_loss(network(noisy, step / T, digit), noise)


def train_ddpm(
    digits: Digits,
    *,
    steps: int,
    seed: int,
    build: Callable[[], nn.Module] = DigitNetwork,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Weights of the noise predictor that `build` makes, after `steps` steps."""
    return train_network(
        to_pixels(digits.images),
        digits.labels,
        ddpm_loss,
        build=build,
        steps=steps,
        seed=seed,
        task="train DDPM",
        progress=progress,
    )[steps]


class DDPM:
    """A trained diffusion model, sampled by all T ancestral steps at guidance scale `guidance`."""

    task = Task.TEXT_TO_IMAGE

    def __init__(
        self, name: str, weights: Weights, *, guidance: float = 1.0, build: Callable[[], nn.Module] = DigitNetwork
    ) -> None:
        self.name = name
        self.guidance = guidance
        self.network = build()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Draw each request's chain; noise row 0 starts it, row t drives the step into x_{t-1}."""
        yield from answer(requests, partial(ancestral, guided(self.network, self.guidance)), n_noise=T)


def ancestral(network: Network, noise: Tensor, digit: Tensor) -> Tensor:
    """Walk from x_T = noise[:, 0] down to x_0, [N, D]; `noise` is [N, T, D]."""
    alpha_bar = cosine_alpha_bar()
    x = noise[:, 0]
    for step in range(T, 0, -1):
        now, before = alpha_bar[step], alpha_bar[step - 1]
        beta = (1.0 - now / before).clamp(max=0.999)
        epsilon = network(x, torch.full((len(x),), step / T), digit)
        x0 = ((x - (1.0 - now).sqrt() * epsilon) / now.sqrt()).clamp(-1.0, 1.0)
        x = (before.sqrt() * beta * x0 + (1.0 - beta).sqrt() * (1.0 - before) * x) / (1.0 - now)
        if step > 1:
            x = x + (beta * (1.0 - before) / (1.0 - now)).sqrt() * noise[:, step - 1]
    return x
