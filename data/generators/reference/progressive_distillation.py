"""Progressive distillation: half the steps, again and again (Salimans & Ho 2022, arXiv:2202.00512).

With α_t = cos φ and σ_t = sin φ, φ = π t / 2, a noisy image is x_t = α_t x₀ + σ_t ε and its *velocity* is
v = α_t ε - σ_t x₀ (section 4 and appendix D). Both turn on a circle, so the deterministic (DDIM) step from t to s is

    x_s = cos(φ_t - φ_s) x_t - sin(φ_t - φ_s) v,

which, unlike steps from ε, is well defined from pure noise on. A student that starts as a copy of its teacher learns
to make in one step what the teacher makes in two: the v that leads from x_t straight to where the teacher's two half
steps end. The student is the next round's teacher.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
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


def turn(network: Network, x: Tensor, t: Tensor, s: Tensor, digit: Tensor) -> Tensor:
    """One deterministic step of x [N, D] from times t [N] to earlier times s [N]."""
    angle = (math.pi / 2 * (t - s))[:, None]
    return angle.cos() * x - angle.sin() * network(x, t, digit)


def velocity_loss(network: Network, x0: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared error of v at uniform times."""
    t = torch.rand(len(x0), generator=rng)
    noise = torch.randn(x0.shape, generator=rng)
    cos, sin = (math.pi / 2 * t)[:, None].cos(), (math.pi / 2 * t)[:, None].sin()
    return functional.mse_loss(network(cos * x0 + sin * noise, t, digit), cos * noise - sin * x0)


def two_steps_in_one(teacher: Network, x: Tensor, t: Tensor, digit: Tensor, *, stride: float) -> Tensor:
    """The v that takes x [N, D] from t to t - `stride` as two of the teacher's steps do (algorithm 2)."""
    halfway = turn(teacher, x, t, t - stride / 2, digit)
    end = turn(teacher, halfway, t - stride / 2, t - stride, digit)
    angle = math.pi / 2 * stride
    return (math.cos(angle) * x - end) / math.sin(angle)


def distillation_loss(
    network: Network, x0: Tensor, digit: Tensor, rng: torch.Generator, *, teacher: Network, steps: int
) -> Tensor:
    """Mean squared error of the student's v at the times that a student of `steps` steps visits."""
    t = torch.randint(1, steps + 1, (len(x0),), generator=rng) / steps
    noise = torch.randn(x0.shape, generator=rng)
    x = (math.pi / 2 * t)[:, None].cos() * x0 + (math.pi / 2 * t)[:, None].sin() * noise
    with torch.no_grad():
        target = two_steps_in_one(teacher, x, t, digit, stride=1.0 / steps)
    return functional.mse_loss(network(x, t, digit), target)


def train_velocity(digits: Digits, *, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the first teacher, a diffusion model that predicts v."""
    return train_network(
        to_pixels(digits.images),
        digits.labels,
        velocity_loss,
        steps=steps,
        seed=seed,
        task="train v-diffusion",
        progress=progress,
    )[steps]


def distil(
    digits: Digits, teacher: Weights, *, rounds: Sequence[int], steps: int, seed: int, progress: Progress = silent
) -> dict[int, dict[str, Tensor]]:
    """Weights of the student for each number of sampling steps in `rounds`, which halve (16, 8, 4, …).

    Each round trains for `steps` steps; the `teacher` of the first is sampled in twice its steps.
    """
    students: dict[int, dict[str, Tensor]] = {}
    weights = teacher
    for k in rounds:
        before = DigitNetwork()
        before.load_state_dict(weights)
        loss = partial(distillation_loss, teacher=before, steps=k)
        task = f"distil to {k} steps"
        pixels = to_pixels(digits.images)
        weights = students[k] = train_network(
            pixels, digits.labels, loss, start=weights, steps=steps, seed=seed + k, task=task, progress=progress
        )[steps]
    return students


class VelocityDiffusion:
    """A teacher or a student, sampled in `steps` deterministic steps."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Weights, *, steps: int, guidance: float = 1.0) -> None:
        self.name = name
        self.steps = steps
        self.guidance = guidance
        self.network = DigitNetwork().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Turn every request's noise to an image."""
        sampler = partial(walk, guided(self.network, self.guidance), steps=self.steps)
        yield from answer(requests, sampler, dtype=torch.float64)


def walk(network: Network, noise: Tensor, digit: Tensor, *, steps: int) -> Tensor:
    """Where `steps` equal steps take `noise` [N, 1, D], [N, D]."""
    x = noise[:, 0]
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=x.dtype)[:, None].expand(-1, len(x))
    for t, s in pairwise(times):
        x = turn(network, x, t, s, digit)
    return x
