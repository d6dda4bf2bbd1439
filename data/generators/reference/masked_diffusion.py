"""Masked discrete diffusion over grey levels (Sahoo et al. 2024, MDLM, arXiv:2406.07524; Austin et al. 2021,
arXiv:2107.03006).

The noise is MASK: at time t each token is hidden with probability t, and stays hidden from then on (the absorbing
state). The network guesses the hidden tokens from those that are left; the evidence bound is a weighted cross entropy,

    -log p(x) ≤ ∫₀¹ 1/t · E[ Σ_{i hidden} -log p(xᵢ | x_t) ] dt        (Sahoo et al., eq. 10, for a linear schedule).

Sampling starts with every token hidden. Each step reveals some at once, in random order, as many at each step (Chang
et al. 2022, MaskGIT, arXiv:2202.04200), each drawn as if the others of its step were not. One token a step is exact;
fewer steps are faster, and lose what the tokens of a step have to do with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.network import N_PIXELS, Weights, answer, train_network
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


def even_times(n: int, rng: torch.Generator) -> Tensor:
    """Times [n, 1] in 0..1 that cover the range evenly: each is uniform, and a mean over them has little noise."""
    return ((torch.arange(n) + torch.rand(1, generator=rng)) / n)[:, None]


def hide(tokens: Tensor, t: Tensor, rng: torch.Generator) -> Tensor:
    """`tokens` [N, L] of which each is MASK with probability t, [N, 1]."""
    return torch.where(torch.rand(tokens.shape, generator=rng) < t, MASK, tokens)


def masked_loss(network: Guesser, tokens: Tensor, digit: Tensor, rng: torch.Generator) -> Tensor:
    """The evidence bound per token, in nats."""
    t = even_times(len(tokens), rng)
    noisy = hide(tokens, t, rng)
    log_p = log_probability(network(noisy, digit), tokens)
    return -(log_p * (noisy == MASK) / t).mean()


def train_masked_diffusion(digits: Digits, *, steps: int, seed: int, progress: Progress = silent) -> dict[str, Tensor]:
    """Weights of the guessing network after `steps` steps."""
    return train_network(
        to_tokens(digits.images),
        digits.labels,
        masked_loss,
        build=TokenNetwork,
        steps=steps,
        seed=seed,
        task="train masked diffusion",
        progress=progress,
    )[steps]


class MaskedDiffusion:
    """A trained model that reveals the 64 pixels in `steps` steps."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Weights, *, steps: int = 16) -> None:
        self.name = name
        self.steps = steps
        self.network = TokenNetwork().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Reveal every request's pixels; noise row 0 decides their levels, row 1 their order."""
        yield from answer(requests, self._draw, n_noise=2, dtype=torch.float64)

    def _draw(self, noise: Tensor, digit: Tensor) -> Tensor:
        uniform, order = torch.special.ndtr(noise[:, 0]), noise[:, 1]
        hidden = torch.full(uniform.shape, MASK)
        return tokens_to_pixels(reveal(self.network, hidden, uniform, order, digit, slice(N_PIXELS), self.steps))


def turns(order: Tensor, steps: int) -> Iterator[Tensor]:
    """Which tokens [N, L] each step reveals: equally many, from the smallest value of `order` [N, L] to the largest."""
    rank = order.argsort(1).argsort(1)
    yield from (rank * steps // order.shape[1] == k for k in range(steps))


def reveal(
    network: Guesser, tokens: Tensor, uniform: Tensor, order: Tensor, digit: Tensor, span: slice, steps: int
) -> Tensor:
    """`tokens` [N, L] with those in `span` drawn, given the others; `uniform` (in 0..1) and `order` are [N, L]."""
    tokens = tokens.clone()
    for now in turns(order[:, span], steps):
        drawn = choose(network(tokens, digit)[:, span], uniform[:, span])
        tokens[:, span] = torch.where(now, drawn, tokens[:, span])
    return tokens


def path_log_likelihood(
    network: Guesser, tokens: Tensor, hidden: Tensor, order: Tensor, digit: Tensor, span: slice, steps: int
) -> Tensor:
    """Log p, [N] in nats, that `reveal` turns `hidden` into `tokens` in `span`, in this order.

    Over all pixels, one a step, its mean over orders is the evidence bound.
    """
    total = torch.zeros(len(tokens), dtype=torch.float64)
    seen = hidden.clone()
    for now in turns(order[:, span], steps):
        log_p = log_probability(network(seen, digit)[:, span], tokens[:, span])
        total += (log_p * now).sum(1)
        seen[:, span] = torch.where(now, tokens[:, span], seen[:, span])
    return total
