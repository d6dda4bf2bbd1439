"""The autoregressive baseline: pixel after pixel, each given those before it (van den Oord et al. 2016,
arXiv:1601.06759).

    log p(x) = Σᵢ log p(xᵢ | x₁ … xᵢ₋₁)

is exact for any distribution; the network learns the factors by maximum likelihood, at a random pixel of each picture.
Sampling needs one evaluation a pixel, and what is drawn is never taken back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.network import Weights, answer, train_network
from paragone.data.generators.reference.token_network import (
    MASK,
    Guesser,
    TokenNetwork,
    choose,
    log_probability,
    to_tokens,
    tokens_to_pixels,
)
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

BATCH = 256  # each picture teaches one pixel of 64 at a time


def next_pixel_loss(network: Guesser, tokens: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """Mean of -log p(xᵢ | x₁ … xᵢ₋₁), in nats, at a random pixel i of each row of `tokens` [N, L]."""
    n, length = tokens.shape
    i = torch.randint(length, (n, 1), generator=rng)
    hidden = torch.where(torch.arange(length) < i, tokens, MASK)
    log_p = log_probability(network(hidden, digit), tokens)
    return -log_p.gather(1, i).mean()


def train_autoregressive(digits: Digits, *, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the network after `steps` steps."""
    return train_network(
        to_tokens(digits.images),
        digits.labels,
        next_pixel_loss,
        build=TokenNetwork,
        batch=BATCH,
        steps=steps,
        seed=seed,
        task="train autoregressive model",
        progress=progress,
    )[steps]


class Autoregressive:
    """A trained model, sampled pixel by pixel."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Weights) -> None:
        self.name = name
        self.network = TokenNetwork().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Draw every request's pixels in reading order; value i of its noise decides pixel i."""
        yield from answer(requests, self._draw, dtype=torch.float64)

    def _draw(self, noise: Tensor, digit: Tensor) -> Tensor:
        return tokens_to_pixels(pixel_by_pixel(self.network, torch.special.ndtr(noise[:, 0]), digit))


def pixel_by_pixel(network: Guesser, uniform: Tensor, digit: Tensor) -> Tensor:
    """Tokens [N, L] drawn with `uniform` [N, L], which lies in 0..1."""
    tokens = torch.full(uniform.shape, MASK)
    for i in range(uniform.shape[1]):
        tokens[:, i] = choose(network(tokens, digit)[:, i], uniform[:, i])
    return tokens


def log_likelihood(network: Guesser, tokens: Tensor, digit: Tensor) -> Tensor:
    """Log p(x) of each row of `tokens` [N, L] in nats, [N], by the chain rule."""
    seen = torch.full_like(tokens, MASK)
    total = torch.zeros(len(tokens), dtype=torch.float64)
    for i in range(tokens.shape[1]):
        total += log_probability(network(seen, digit)[:, i], tokens[:, i])
        seen[:, i] = tokens[:, i]
    return total
