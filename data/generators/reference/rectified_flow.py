"""Rectified flow: a flow that is straightened by learning from its own answers (Liu et al. 2023, arXiv:2209.03003).

A flow (flow_matching.py) couples each noise x₀ with the image x₁ that it carries it to. A second flow, trained on the
straight lines between these pairs instead of between strangers, crosses itself less; on a straight path, one Euler
step is as good as fifty. How far a flow is from straight (eq. 15) is

    S = ∫₀¹ E |(x₁ - x₀) - v(x_t, t)|² dt   along its own paths x_t, 0 when v is constant on each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from paragone.data.digits import Digits
from paragone.data.generators.reference.flow_matching import integrate
from paragone.data.generators.reference.network import (
    N_PIXELS,
    DigitNetwork,
    Network,
    Weights,
    train_network,
)
from paragone.data.progress import Progress, silent

N_PAIRS = 8192
TEACHER_STEPS = 20


def rectified_loss(network: Network, pair: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared error of the velocity on the line between the two rows of each pair [N, 2, D], at uniform times."""
    x0, x1 = pair.unbind(1)
    time = torch.rand(len(pair), generator=rng)
    between = (1.0 - time[:, None]) * x0 + time[:, None] * x1
    return functional.mse_loss(network(between, time, digit), x1 - x0)


def train_rectified_flow(
    digits: Digits, teacher: Weights, *, steps: int, seed: int, n_pairs: int = N_PAIRS, progress: Progress = silent
) -> dict[str, Tensor]:
    """Weights of a second flow, which starts from the `teacher`, a trained flow, and learns from `n_pairs` answers.

    Of the digits only the labels are used: their shares are the shares of the classes that the teacher is asked for.
    Sample it with `FlowMatching`.
    """
    network = DigitNetwork()
    network.load_state_dict(teacher)
    rng = torch.Generator().manual_seed(seed)
    labels = torch.from_numpy(digits.labels)[torch.randint(len(digits), (n_pairs,), generator=rng)]
    return train_network(
        couple(network, torch.randn((n_pairs, N_PIXELS), generator=rng), labels),
        labels.numpy(),
        rectified_loss,
        start=teacher,
        steps=steps,
        seed=seed,
        task="train rectified flow",
        progress=progress,
    )[steps]


@torch.no_grad()
def couple(teacher: Network, noise: Tensor, digit: Tensor) -> Tensor:
    """Pairs [N, 2, D] of `noise` [N, D] and what the teacher makes of it."""
    return torch.stack([noise, integrate(teacher, noise[:, None], digit, steps=TEACHER_STEPS)], dim=1)


@torch.no_grad()
def bend(network: Network, noise: Tensor, digit: Tensor, *, steps: int = 50) -> float:
    """S per value along the paths from `noise` [N, D]: 0 for a straight flow."""
    velocities = []
    x = noise
    for step in range(steps):
        velocities.append(network(x, torch.full((len(x),), step / steps, dtype=x.dtype), digit))
        x = x + velocities[-1] / steps
    return float(torch.stack(velocities).sub(x - noise).square().mean())
