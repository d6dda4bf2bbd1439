"""Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

One network knows the class and, asked with "no class", also the digits as a whole. With scale w the sampler follows

    f∅ + w (f - f∅),

f being the answer with the class and f∅ without: w = 1 is the plain model, more exaggerates what tells the class from
the rest, 0 forgets the class. The rule is the same for ε, velocities and scores, because at a given x_t each is an
affine function of the score with factors that do not depend on the class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paragone.data.generators.reference.network import NO_CLASS, Network


def guided(network: Network, scale: float) -> Network:
    """`network` as a sampler should see it at this guidance scale; twice the cost unless the scale is 1."""
    if scale == 1.0:
        return network

    def follow(x: Tensor, time: Tensor, digit: Tensor) -> Tensor:
        unguided = network(x, time, torch.full_like(digit, NO_CLASS))
        return unguided + scale * (network(x, time, digit) - unguided)

    return follow
