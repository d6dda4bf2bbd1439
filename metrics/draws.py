"""Which samples go into the random subsets of a kernel distance, drawn as each tool draws them.

torch-fidelity fixes its seed. clean-fid, dgm-eval and stylegan3 draw from numpy's global generator and torchmetrics
from torch's, unseeded: their numbers are reproduced by seeding that generator with ours just before the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import UsageError

Indices = NDArray[np.intp] | None  # None: all of them, in their order
TORCH_FIDELITY_SEED = 2020


@dataclass(frozen=True, slots=True)
class Drawing:
    """The generator, the side that is drawn first, and the seed (None: the caller's)."""

    generator: Literal["numpy", "numpy-legacy", "torch"]
    first: Literal["reference", "generated"]
    seed: int | None = None


# "first" holds for each tool's usual call: fidelity --input1 GENERATED --input2 REFERENCE, compute_kid(GENERATED,
# REFERENCE) of clean-fid, dgm-eval REFERENCE GENERATED.
DRAWS = {
    "paragone": Drawing("numpy", "reference"),
    "torch-fidelity": Drawing("numpy-legacy", "generated", TORCH_FIDELITY_SEED),
    "clean-fid": Drawing("numpy-legacy", "reference"),
    "torchmetrics": Drawing("torch", "reference"),
    "dgm-eval": Drawing("numpy-legacy", "reference"),
    "stylegan3": Drawing("numpy-legacy", "generated"),
}


def drawn_subsets(
    draws: str, n_reference: int, n_generated: int, *, size: int, subsets: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """For each subset, `size` indices of the reference and of the generated side, without replacement in each."""
    if draws not in DRAWS:
        raise UsageError(f"draws {draws!r}: use {' or '.join(DRAWS)}")
    how = DRAWS[draws]
    take = _taker(how, seed if how.seed is None else how.seed, size)
    for _ in range(subsets):
        if how.first == "reference":
            of_reference = take(n_reference)
            yield of_reference, take(n_generated)
        else:
            of_generated = take(n_generated)
            yield take(n_reference), of_generated


def _taker(how: Drawing, seed: int, size: int) -> Callable[[int], Indices]:
    """A function from the number of samples to the indices of the next draw."""
    if how.generator == "torch":
        import torch

        source = torch.Generator().manual_seed(seed)
        return lambda n: torch.randperm(n, generator=source)[:size].numpy()
    if how.generator == "numpy-legacy":
        legacy = np.random.RandomState(seed)
        return lambda n: legacy.choice(n, size, replace=False)
    rng = np.random.default_rng(seed)
    return lambda n: None if n == size else rng.choice(n, size, replace=False)
