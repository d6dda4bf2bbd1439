"""What the reference models share: a residual MLP conditioned on time and class, its training, and its answers.

Time enters through sines and cosines (Vaswani et al. 2017), the class through an embedding whose last row means "no
class", which training uses for a tenth of the images (guidance.py says why). Losses and samplers take any callable
with the network's arguments, so that another backbone, a guided network or a closed form can stand in its place.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paragone.data.digits import N_CLASSES, SIZE_PX, prompt_class
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.progress import Progress, silent

N_PIXELS = SIZE_PX * SIZE_PX
NO_CLASS = N_CLASSES
UNCONDITIONAL_FRACTION = 0.1
BATCH = 128
LEARNING_RATE = 2e-3

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # x [N, D], time [N] in 0..1, class [N] in 0..10 → [N, D]
Loss = Callable[[Any, Tensor, Tensor, torch.Generator], Tensor]  # what `build` makes, examples, classes, noise's source
Sampler = Callable[[Tensor, Tensor], Tensor]  # noise [N, n_noise, n_values], classes [N] → pixels [N, 64] in -1..1
Weights = Mapping[str, Tensor]


class DigitNetwork(nn.Module):
    """x [N, n_values] in about -1..1, time [N] in 0..1, class [N] in 0..10 (10 = no class) → [N, n_values]."""

    frequencies: Tensor

    def __init__(self, n_values: int = N_PIXELS, width: int = 256, depth: int = 3, n_frequencies: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0.0, math.log(1000.0), n_frequencies)))
        self.enter = nn.Linear(n_values, width)
        self.time = nn.Sequential(nn.Linear(2 * n_frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.digit = nn.Embedding(N_CLASSES + 1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_values))

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
    examples: Tensor,
    labels: NDArray[np.int64],
    loss: Loss,
    *,
    steps: int,
    seed: int,
    task: str,
    build: Callable[[], nn.Module] = DigitNetwork,
    start: Weights | None = None,
    keep: Sequence[int] = (),
    batch: int = BATCH,
    progress: Progress = silent,
) -> dict[int, dict[str, Tensor]]:
    """Minimise `loss` over `examples` [N, …] with Adam; return the averaged weights at the end and each step in `keep`.

    The weights that are kept are exponential moving averages (decay 0.99 after a short warm-up), as samplers use them.
    Training begins at `start`, or at the random weights of `build`.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network, average = build(), build()
    if start is not None:
        network.load_state_dict(start)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    classes = torch.from_numpy(labels)
    kept: dict[int, dict[str, Tensor]] = {}
    for step in range(1, steps + 1):
        index = torch.randint(len(examples), (batch,), generator=rng)
        dropped = torch.rand(batch, generator=rng) < UNCONDITIONAL_FRACTION
        batch_loss = loss(network, examples[index], torch.where(dropped, NO_CLASS, classes[index]), rng)
        optimiser.zero_grad()
        batch_loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        _follow(average, network, decay=min(0.99, (1 + step) / (10 + step)))
        if step in keep or step == steps:
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
    requests: Sequence[GenerationRequest],
    sampler: Sampler,
    *,
    n_noise: int = 1,
    n_values: int = N_PIXELS,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Generation]:
    """Answer digit requests with one batched call of `sampler(noise, classes)`.

    In float64 an answer has the same bytes whichever requests are answered with it; in float32 a matrix product of
    another shape rounds otherwise, by a grey level at the most.
    """
    noise = torch.from_numpy(np.stack([request_noise(request, (n_noise, n_values)) for request in requests])).to(dtype)
    digit = torch.tensor([prompt_class(request.prompt) for request in requests])
    images = to_images(sampler(noise, digit))
    for request, image in zip(requests, images, strict=True):
        yield Generation(request, image)
