"""Denoising score matching and four ways to sample (Vincent 2011; Song et al. 2021, arXiv:2011.13456).

At noise level s(t) of an SDE (sde.py) the score ∇ log p_t(x) is regressed on -z / s, the score of the noise that was
added. Weighted by s², that is the error of a noise predictor ε(x, t) = -s(t) · score (eq. 7), which sees x at unit
size. Sampling runs time backwards from wide noise (eq. 6, 13 and algorithm 1):

    dx = [f x - g² score] dt + g dw̄       the reverse SDE, by Euler-Maruyama steps
    x ← x + h score + √(2h) z              after each, if wanted, a step of Langevin dynamics corrects x at its level
    dx = [f x - ½ g² score] dt             the probability-flow ODE, with the same marginals and no further noise (Heun)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from paragone.data.generators.reference.sde import SDE
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

FIRST_TIME = 1e-3  # where training begins and sampling ends: at 0 the score of data has no bound
DATA_SD = 0.7  # of the digits' pixels in -1..1
SIGNAL_TO_NOISE = 0.16  # of a corrector's step

Score = Callable[[Tensor, Tensor], Tensor]  # x [N, D], time [N] → ∇ log p_t(x), [N, D]


def score(network: Network, sde: SDE, digit: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The score [N, D] at x [N, D] and time [N] that a noise predictor stands for."""
    size = (DATA_SD**2 * sde.signal(t) ** 2 + sde.noise(t) ** 2).sqrt()
    return -network(x / size[:, None], t, digit) / sde.noise(t)[:, None]


def score_matching_loss(network: Network, x0: Tensor, digit: Tensor, rng: torch.Generator, *, sde: SDE) -> Tensor:
    """Mean of s² |score + z / s|² at uniform times."""
    t = FIRST_TIME + (1.0 - FIRST_TIME) * torch.rand(len(x0), generator=rng)
    z = torch.randn(x0.shape, generator=rng)
    s = sde.noise(t)[:, None]
    noisy = sde.signal(t)[:, None] * x0 + s * z
    return functional.mse_loss(-s * score(network, sde, digit, noisy, t), z)


def train_score(digits: Digits, *, sde: SDE, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the noise predictor after `steps` steps."""
    return train_network(
        to_pixels(digits.images),
        digits.labels,
        partial(score_matching_loss, sde=sde),
        steps=steps,
        seed=seed,
        task=f"train score ({type(sde).__name__})",
        progress=progress,
    )[steps]


class ScoreModel:
    """A trained score, sampled along the reverse SDE (with `correctors` Langevin steps each) or along the ODE."""

    task = Task.TEXT_TO_IMAGE

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        sde: SDE,
        steps: int = 100,
        correctors: int = 0,
        ode: bool = False,
        guidance: float = 1.0,
    ) -> None:
        self.name = name
        self.sde = sde
        self.guidance = guidance
        self._steps, self._correctors, self._ode = steps, correctors, ode
        self.network = DigitNetwork().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Draw each request's path; noise row 0 starts it, each random step takes the next row."""
        n_noise = 1 if self._ode else 1 + self._steps * (1 + self._correctors)
        yield from answer(requests, self._draw, n_noise=n_noise, dtype=torch.float64)

    def _draw(self, noise: Tensor, digit: Tensor) -> Tensor:
        slope = partial(score, guided(self.network, self.guidance), self.sde, digit)
        if self._ode:
            return probability_flow(slope, self.sde, noise, steps=self._steps)
        return reverse_sde(slope, self.sde, noise, steps=self._steps, correctors=self._correctors)


def reverse_sde(score: Score, sde: SDE, noise: Tensor, *, steps: int, correctors: int = 0) -> Tensor:
    """From noise[:, 0] at time 1 to an image [N, D]; `noise` is [N, 1 + steps (1 + correctors), D]."""
    rows = iter(noise.unbind(1))
    times = torch.linspace(1.0, FIRST_TIME, steps + 1, dtype=noise.dtype)
    x = sde.noise(times[0]) * next(rows)
    for now, then in pairwise(times):
        dt = now - then
        x = x - (sde.drift(now) * x - sde.diffusion(now) * score(x, now.expand(len(x)))) * dt
        x = x + (sde.diffusion(now) * dt).sqrt() * next(rows)
        for _ in range(correctors):
            x = langevin(score, x, then, next(rows))
    return x


def langevin(score: Score, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """One step of Langevin dynamics at time t with noise `z` [N, D]: each picture takes a step of its own length."""
    slope = score(x, t.expand(len(x)))
    h = 2.0 * SIGNAL_TO_NOISE**2 / slope.square().mean(1, keepdim=True)
    return x + h * slope + (2.0 * h).sqrt() * z


def probability_flow(score: Score, sde: SDE, noise: Tensor, *, steps: int) -> Tensor:
    """Where Heun's method carries `noise` [N, 1, D] of time 1, [N, D]."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return sde.drift(t) * x - 0.5 * sde.diffusion(t) * score(x, t.expand(len(x)))

    times = torch.linspace(1.0, FIRST_TIME, steps + 1, dtype=noise.dtype)
    x = sde.noise(times[0]) * noise[:, 0]
    for now, then in pairwise(times):
        slope = velocity(x, now)
        ahead = x + (then - now) * slope
        x = x + (then - now) * 0.5 * (slope + velocity(ahead, then))
    return x
