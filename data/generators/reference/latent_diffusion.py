"""Latent diffusion: a generator that paints in the latents of an autoencoder (Rombach et al. 2022, arXiv:2112.10752).

A VAE (vae.py) is trained first and frozen. The latents of the training pictures, scaled to unit variance (section 3.3
and appendix G), are what a flow (flow_matching.py) learns to make of noise; the decoder turns its answers into pixels.
The flow works on 16 numbers instead of 64, and never spends effort on what the decoder cannot show; but no answer can
be better than the decoder: what the VAE loses of real digits bounds the model's quality from below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.flow_matching import flow_matching_loss, integrate
from paragone.data.generators.reference.guidance import guided
from paragone.data.generators.reference.network import (
    DigitNetwork,
    Weights,
    answer,
    to_pixels,
    train_network,
)
from paragone.data.generators.reference.vae import N_LATENTS, VAE, train_vae
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

VAE_PREFIX, FLOW_PREFIX, SCALE = "vae.", "flow.", "scale"


def latent_network() -> DigitNetwork:
    """The MLP of the pixel models, over latents."""
    return DigitNetwork(n_values=N_LATENTS)


def train_latent_diffusion(
    digits: Digits, *, vae_steps: int, steps: int, seed: int, progress: Progress = silent
) -> dict[str, Tensor]:
    """Weights of the VAE ("vae.…"), of the flow ("flow.…"), and the latents' "scale" [16]."""
    vae = train_vae(digits, steps=vae_steps, seed=seed, progress=progress)
    latents, scale = encode_all(vae, digits)
    flow = train_network(
        latents,
        digits.labels,
        flow_matching_loss,
        build=latent_network,
        steps=steps,
        seed=seed,
        task="train latent flow",
        progress=progress,
    )[steps]
    named = {VAE_PREFIX + name: value for name, value in vae.items()}
    return named | {FLOW_PREFIX + name: value for name, value in flow.items()} | {SCALE: scale}


@torch.no_grad()
def encode_all(vae: Weights, digits: Digits) -> tuple[Tensor, Tensor]:
    """The mean latents of all digits at unit scale, [N, 16], and the scale, [16], that they were divided by."""
    network = VAE()
    network.load_state_dict(vae)
    mean, _ = network.encode(to_pixels(digits.images))
    scale = mean.square().mean(0).sqrt()
    return mean / scale, scale


class LatentDiffusion:
    """A trained pair, integrated with `steps` Euler steps in the latents and decoded once."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Weights, *, steps: int = 20, guidance: float = 1.0) -> None:
        self.name = name
        self.steps = steps
        self.guidance = guidance
        self.vae, self.flow = VAE().double(), latent_network().double()
        self.vae.load_state_dict(_part(weights, VAE_PREFIX))
        self.flow.load_state_dict(_part(weights, FLOW_PREFIX))
        self._scale = weights[SCALE].double()

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Carry noise to latents for all requests at once, then decode."""
        yield from answer(requests, self._draw, n_values=N_LATENTS, dtype=torch.float64)

    def _draw(self, noise: Tensor, digit: Tensor) -> Tensor:
        latents = integrate(guided(self.flow, self.guidance), noise, digit, steps=self.steps)
        return self.vae.decode(self._scale * latents)


def _part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
