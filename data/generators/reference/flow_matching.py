"""Flow matching on straight paths (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003).

Between noise x₀ ~ N(0, I) and an image x₁ lies the path x_t = (1 - t) x₀ + t x₁, whose velocity is x₁ - x₀. The
network regresses that velocity, v(x_t, t) ≈ E[x₁ - x₀ | x_t], and Euler steps along v carry noise to images.
Classifier-free guidance with scale w follows v∅ + w (v - v∅), v∅ being the velocity without a class: w = 1 is the
plain model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.network import DigitNetwork, answer, train_network
from paragone.data.progress import Progress, silent
from paragone.data.records import Task


def flow_matching_loss(network: DigitNetwork, x1: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared error of the velocity at uniform times (Lipman et al., eq. 14, with σ_min = 0)."""
    x0 = torch.randn(x1.shape, generator=rng)
    time = torch.rand(len(x1), generator=rng)
    between = (1.0 - time[:, None]) * x0 + time[:, None] * x1
    return functional.mse_loss(network(between, time, digit), x1 - x0)


def train_flow_matching(
    digits: Digits, *, steps: int, keep: Sequence[int], seed: int, progress: Progress = silent
) -> dict[int, dict[str, Tensor]]:
    """Weights of the velocity network at each training step in `keep`."""
    return train_network(
        digits, flow_matching_loss, steps=steps, keep=keep, seed=seed, task="train flow matching", progress=progress
    )


class FlowMatching:
    """A trained flow, integrated with `steps` Euler steps and guidance scale `guidance`."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Mapping[str, Tensor], *, steps: int = 50, guidance: float = 1.0) -> None:
        self.name = name
        self.steps = steps
        self.guidance = guidance
        self.network = DigitNetwork()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Integrate dx/dt = v(x, t) from t = 0 to 1 for all requests at once."""
        yield from answer(self.network, requests, self._integrate)

    def _integrate(self, network: DigitNetwork, noise: Tensor, digit: Tensor, no_class: Tensor) -> Tensor:
        x = noise[:, 0]
        for step in range(self.steps):
            time = torch.full((len(x),), step / self.steps)
            velocity = network(x, time, digit)
            if self.guidance != 1.0:
                unguided = network(x, time, no_class)
                velocity = unguided + self.guidance * (velocity - unguided)
            x = x + velocity / self.steps
        return x
