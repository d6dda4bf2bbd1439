"""Flow matching on straight paths (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003).

Between noise x₀ ~ N(0, I) and an image x₁ lies the path x_t = (1 - t) x₀ + t x₁, whose velocity is x₁ - x₀. The
network regresses that velocity, v(x_t, t) ≈ E[x₁ - x₀ | x_t], and Euler steps along v carry noise to images.

Training times are uniform, or logit-normal, t = 1 / (1 + exp(-z)) with z ~ N(0, 1), which spends more of the training
between noise and image, where the regression is hardest (Esser et al. 2024, arXiv:2403.03206, eq. 19).
"""

from __future__ import annotations

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

Times = Callable[[int, torch.Generator], Tensor]


def uniform_times(n: int, rng: torch.Generator) -> Tensor:
    """Times [n] spread evenly over 0..1."""
    return torch.rand(n, generator=rng)


def logit_normal_times(n: int, rng: torch.Generator) -> Tensor:
    """Times [n] whose logits are standard normal."""
    return torch.randn(n, generator=rng).sigmoid()


def flow_matching_loss(
    network: Network, x1: Tensor, digit: Tensor, rng: torch.Generator, *, times: Times = uniform_times
) -> Tensor:
    """Mean squared error of the velocity (Lipman et al., eq. 14, with σ_min = 0)."""
    x0 = torch.randn(x1.shape, generator=rng)
    time = times(len(x1), rng)
    between = (1.0 - time[:, None]) * x0 + time[:, None] * x1
    return functional.mse_loss(network(between, time, digit), x1 - x0)


def train_flow_matching(
    digits: Digits,
    *,
    steps: int,
    keep: Sequence[int] = (),
    seed: int,
    times: Times = uniform_times,
    build: Callable[[], nn.Module] = DigitNetwork,
    progress: Progress = silent,
) -> dict[int, dict[str, Tensor]]:
    """Weights of the velocity network at the last training step and at each one in `keep`."""
    return train_network(
        to_pixels(digits.images),
        digits.labels,
        partial(flow_matching_loss, times=times),
        build=build,
        steps=steps,
        keep=keep,
        seed=seed,
        task="train flow matching",
        progress=progress,
    )


class FlowMatching:
    """A trained flow, integrated with `steps` Euler steps and guidance scale `guidance`."""

    task = Task.TEXT_TO_IMAGE

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        steps: int = 50,
        guidance: float = 1.0,
        build: Callable[[], nn.Module] = DigitNetwork,
    ) -> None:
        self.name = name
        self.steps = steps
        self.guidance = guidance
        self.network = build()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Integrate dx/dt = v(x, t) from t = 0 to 1 for all requests at once."""
        yield from answer(requests, partial(integrate, guided(self.network, self.guidance), steps=self.steps))


def integrate(network: Network, noise: Tensor, digit: Tensor, *, steps: int) -> Tensor:
    """Where `steps` equal Euler steps carry `noise` [N, 1, D], [N, D]."""
    x = noise[:, 0]
    for step in range(steps):
        x = x + network(x, torch.full((len(x),), step / steps, dtype=x.dtype), digit) / steps
    return x
