"""Block diffusion: autoregressive over blocks, diffusion within them (Arriola et al. 2025, arXiv:2503.09573).

    log p(x) = Σ_b log p(block_b | blocks before it),    each bounded as in masked diffusion       (their eq. 6 and 8)

Large blocks reveal many pixels at once; small ones see more of the picture before they commit. Between the two ends
lies everything: one block of 64 pixels is masked diffusion, blocks of one pixel are the autoregressive model, whose
likelihood the bound then meets exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from paragone.data.digits import Digits
from paragone.data.generators.base import Generation, GenerationRequest
from paragone.data.generators.reference.masked_diffusion import even_times, hide, path_log_likelihood, reveal
from paragone.data.generators.reference.network import Weights, answer, train_network
from paragone.data.generators.reference.token_network import (
    MASK,
    Guesser,
    TokenNetwork,
    log_probability,
    to_tokens,
    tokens_to_pixels,
)
from paragone.data.progress import Progress, silent
from paragone.data.records import Task

BATCH = 256  # each picture teaches one block at a time


def block_loss(network: Guesser, tokens: Tensor, digit: Tensor, rng: torch.Generator, *, block: int) -> Tensor:
    """The evidence bound per token, in nats, at a random block of each row of `tokens` [N, L]."""
    n, length = tokens.shape
    number = torch.arange(length) // block
    current = torch.randint(length // block, (n, 1), generator=rng)
    t = even_times(n, rng)
    noisy = torch.where(number < current, tokens, torch.where(number > current, MASK, hide(tokens, t, rng)))
    log_p = log_probability(network(noisy, digit), tokens)
    counted = (number == current) & (noisy == MASK)
    return -(log_p * counted / t).sum() / (n * block)


def train_block_diffusion(
    digits: Digits, *, block: int, steps: int, seed: int, progress: Progress = silent
) -> dict[str, Tensor]:
    """Weights of the network for blocks of `block` pixels, which must divide 64, after `steps` steps."""
    return train_network(
        to_tokens(digits.images),
        digits.labels,
        partial(block_loss, block=block),
        build=TokenNetwork,
        batch=BATCH,
        steps=steps,
        seed=seed,
        task=f"train block diffusion ({block})",
        progress=progress,
    )[steps]


class BlockDiffusion:
    """A trained model that draws block after block of `block` pixels, each in `steps` steps."""

    task = Task.TEXT_TO_IMAGE

    def __init__(self, name: str, weights: Weights, *, block: int, steps: int) -> None:
        self.name = name
        self.block = block
        self.steps = steps
        self.network = TokenNetwork().double()
        self.network.load_state_dict(weights)

    def generate(self, requests: Sequence[GenerationRequest], /) -> Iterator[Generation]:
        """Draw every request's blocks; noise row 0 decides the levels, row 1 the order within blocks."""
        yield from answer(requests, self._draw, n_noise=2, dtype=torch.float64)

    def _draw(self, noise: Tensor, digit: Tensor) -> Tensor:
        uniform, order = torch.special.ndtr(noise[:, 0]), noise[:, 1]
        return tokens_to_pixels(block_by_block(self.network, uniform, order, digit, block=self.block, steps=self.steps))


def block_by_block(
    network: Guesser, uniform: Tensor, order: Tensor, digit: Tensor, *, block: int, steps: int
) -> Tensor:
    """Tokens [N, L] drawn with `uniform` [N, L] in 0..1, in the order of `order` [N, L] within each block."""
    tokens = torch.full(uniform.shape, MASK)
    for span in spans(uniform.shape[1], block):
        tokens = reveal(network, tokens, uniform, order, digit, span, steps)
    return tokens


def log_likelihood_bound(
    network: Guesser, tokens: Tensor, order: Tensor, digit: Tensor, *, block: int, steps: int
) -> Tensor:
    """Log p, [N] in nats, that these tokens [N, L] are drawn in this order; no more than log p(x) on average."""
    total = torch.zeros(len(tokens), dtype=torch.float64)
    seen = torch.full_like(tokens, MASK)
    for span in spans(tokens.shape[1], block):
        total += path_log_likelihood(network, tokens, seen, order, digit, span, steps)
        seen[:, span] = tokens[:, span]
    return total


def spans(length: int, block: int) -> list[slice]:
    """The blocks of a sequence."""
    return [slice(start, start + block) for start in range(0, length, block)]
