"""Leaving a training loop as it was: random generators, training mode, gradients, autocast.

An evaluation in the middle of training must not change a single bit of what is trained. Whatever it draws, it draws
from generators whose state is put back; every module returns to the mode that it was in itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def undisturbed(*models: nn.Module) -> Iterator[None]:
    """Run what is inside without gradients and with `models` in evaluation mode; afterwards all is as it was."""
    import torch

    modes = [(module, module.training) for model in models for module in model.modules()]
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch autocast off, of the CPU and of a GPU: features are measured in the extractor's own precision."""
    import torch

    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (inside `undisturbed` only)."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
