"""A variational autoencoder: pictures as a few numbers that nearly follow a Gaussian (Kingma & Welling 2014,
arXiv:1312.6114).

The encoder gives each picture x a Gaussian q(z | x) = N(μ, diag σ²), the decoder makes a picture of a draw from it.
Training minimises the negative evidence bound (eq. 10), with a small weight on its second term, because here the
latents need to be smooth and not to be noise (as in Rombach et al. 2022, arXiv:2112.10752, appendix G):

    E_q |x - decode(z)|²  +  weight · KL(q(z | x) ‖ N(0, I)),    KL = ½ Σ (μ² + σ² - 1 - ln σ²).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from paragone.data.digits import Digits
from paragone.data.generators.reference.network import N_PIXELS, to_pixels, train_network
from paragone.data.progress import Progress, silent

N_LATENTS = 16
KL_WEIGHT = 0.0005  # against squared error per pixel


class VAE(nn.Module):
    """Pixels [N, 64] in -1..1 ↔ latents [N, 16]."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(N_PIXELS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * N_LATENTS)
        )
        self.decoder = nn.Sequential(
            nn.Linear(N_LATENTS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, N_PIXELS)
        )

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """μ and ln σ² of q(z | x), both [N, 16]."""
        mean, log_variance = self.encoder(pixels).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [N, 64], in about -1..1."""
        pixels: Tensor = self.decoder(latents)
        return pixels

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What becomes of pixels on their way through a draw from q(z | x), and the KL divergence of each, [N]."""
        mean, log_variance = self.encode(pixels)
        return self.decode(mean + (0.5 * log_variance).exp() * noise), kl_to_normal(mean, log_variance)


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) in nats, [N], of μ and ln σ² [N, D]."""
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1)


def vae_loss(network: VAE, pixels: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """The negative evidence bound per pixel, with its second term weighted; the class plays no part."""
    decoded, kl = network(pixels, torch.randn((len(pixels), N_LATENTS), generator=rng))
    loss: Tensor = functional.mse_loss(decoded, pixels) + KL_WEIGHT * kl.mean()
    return loss


def train_vae(digits: Digits, *, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the autoencoder after `steps` steps."""
    return train_network(
        to_pixels(digits.images),
        digits.labels,
        vae_loss,
        build=VAE,
        steps=steps,
        seed=seed,
        task="train VAE",
        progress=progress,
    )[steps]
