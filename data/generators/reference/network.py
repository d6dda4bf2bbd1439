"""The network that the reference models share: a small residual MLP on 64 pixels, conditioned on time and class.

Time enters through sines and cosines (Vaswani et al. 2017), the class through an embedding whose last row means "no
class", which training uses for a tenth of the images so that the model can be guided without a classifier (Ho &
Salimans 2022, arXiv:2207.12598).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.digits import N_CLASSES, SIZE_PX, Digits, prompt_class
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.progress import Progress, silent

N_PIXELS = SIZE_PX * SIZE_PX
NO_CLASS = N_CLASSES
UNCONDITIONAL_FRACTION = 0.1
BATCH = 128
LEARNING_RATE = 2e-3

Loss = Callable[["DigitNetwork", Tensor, Tensor, torch.Generator], Tensor]
Sampler = Callable[["DigitNetwork", Tensor, Tensor, Tensor], Tensor]


class DigitNetwork(nn.Module):
    """x [N, 64] in -1..1, time [N] in 0..1, class [N] in 0..10 (10 = no class) → [N, 64]."""

    frequencies: Tensor

    def __init__(self, width: int = 256, depth: int = 3, n_frequencies: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0.0, math.log(1000.0), n_frequencies)))
        self.enter = nn.Linear(N_PIXELS, width)
        self.time = nn.Sequential(nn.Linear(2 * n_frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.digit = nn.Embedding(N_CLASSES + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, N_PIXELS))

    def forward(self, x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        angle = time[:, None] * self.frequencies
        condition = self.time(torch.cat([angle.sin(), angle.cos()], dim=1)) + self.digit(digit)
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = hidden + block(hidden + condition)
        out: Tensor = self.leave(hidden)
        return out


def to_pixels(images: NDArray[np.uint8]) -> Tensor:
    """[N, 8, 8] uint8 → [N, 64] float32 in -1..1."""
    return torch.from_numpy(images.reshape(len(images), N_PIXELS).astype(np.float32) / 127.5 - 1.0)


def to_images(pixels: Tensor) -> NDArray[np.uint8]:
    """[N, 64] float in -1..1 (clipped) → [N, 8, 8] uint8, rounded."""
    grey = np.round((pixels.clamp(-1.0, 1.0).numpy().astype(np.float64) + 1.0) * 127.5)
    return grey.astype(np.uint8).reshape(-1, SIZE_PX, SIZE_PX)


def train_network(
    digits: Digits,
    loss: Loss,
    *,
    steps: int,
    keep: Sequence[int],
    seed: int,
    task: str,
    progress: Progress = silent,
) -> dict[int, dict[str, Tensor]]:
    """Minimise `loss(network, pixels, classes, rng)` with Adam; return the averaged weights at each step in `keep`.

    The weights that are kept are exponential moving averages (decay 0.99 after a short warm-up), as samplers use them.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network, average = DigitNetwork(), DigitNetwork()
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    pixels, labels = to_pixels(digits.images), torch.from_numpy(digits.labels)
    kept: dict[int, dict[str, Tensor]] = {}
    for step in range(1, steps + 1):
        index = torch.randint(len(pixels), (BATCH,), generator=rng)
        dropped = torch.rand(BATCH, generator=rng) < UNCONDITIONAL_FRACTION
        batch_loss = loss(network, pixels[index], torch.where(dropped, NO_CLASS, labels[index]), rng)
        optimiser.zero_grad()
        batch_loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        _follow(average, network, decay=min(0.99, (1 + step) / (10 + step)))
        if step in keep:
            kept[step] = {name: value.clone() for name, value in average.state_dict().items()}
        if step % 50 == 0 or step == steps:
            progress(task, step, steps)
    return kept


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - decay)


def request_noise(request: GenerationRequest, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal noise that depends on the request alone, so that models are paired by prompt and seed."""
    name = f"{request.prompt.id}/{request.seed}".encode()
    key = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
    return np.random.default_rng(key).standard_normal(shape, dtype=np.float32)


@torch.inference_mode()
def answer(
    network: DigitNetwork, requests: Sequence[GenerationRequest], sampler: Sampler, *, n_noise: int = 1
) -> Iterator[Generation]:
    """Answer digit requests with one batched call of `sampler(network, noise [N, n_noise, 64], classes, no_class)`."""
    noise = torch.from_numpy(np.stack([request_noise(request, (n_noise, N_PIXELS)) for request in requests]))
    digit = torch.tensor([prompt_class(request.prompt) for request in requests])
    images = to_images(sampler(network, noise, digit, torch.full_like(digit, NO_CLASS)))
    for request, image in zip(requests, images, strict=True):
        yield Generation(request, image)
