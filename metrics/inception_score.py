"""Inception score (Salimans et al. 2016, arXiv:1606.03498): exp E KL(p(class | image) ‖ p(class))."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, xlogy

from paragone.data.errors import InputError, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import Rows, as_rows, promoted

DEFAULT_SPLITS = 10


@dataclass(frozen=True, slots=True)
class Splitting:
    """A tool's order of the samples, the edges of its splits, and the ddof of its deviation over them.

    Edges of N samples in K splits: "even" puts split i from N i // K on; "dropped" takes N // K each and leaves the
    rest out; "filled" takes ⌈N / K⌉ each as far as they go, so that there may be fewer than K.
    """

    order: Literal["seeded", "kept", "numpy-2020", "torch"]
    edges: Literal["even", "dropped", "filled"] = "even"
    ddof: int = 0


SPLITTINGS = {
    "paragone": Splitting("seeded"),
    "contiguous": Splitting("kept"),  # the authors' own, stylegan3 and guided-diffusion
    "torch-fidelity": Splitting("numpy-2020"),
    "torchmetrics": Splitting("torch", "filled", ddof=1),
    "dgm-eval": Splitting("numpy-2020", "dropped"),
}


@dataclass(frozen=True, slots=True)
class InceptionScore:
    """Mean and standard deviation over the splits; the mean is between 1 and min(classes, samples a split).

    The deviation is in population form but where the splitting's tool takes another; 0 for a single split.
    """

    mean: float
    standard_deviation: float
    splits: int
    scores: tuple[float, ...] = ()


def inception_score(
    logits: ArrayLike,
    *,
    splits: int | None = None,
    split_size: int | None = None,
    splitting: str = "paragone",
    seed: int | None = None,
) -> InceptionScore:
    """Inception score of `logits` [N, C], in float64, over `splits` (10) splits or splits of `split_size` samples.

    The order of the rows counts: samples sorted by class make every split poor. A `seed` shuffles them first; None
    keeps their order. `splitting` names the tool whose order and edges are taken. Raises `TooFewSamples` for
    N < splits.
    """
    rows = as_rows(logits, name="logits")
    if splitting not in SPLITTINGS:
        raise UsageError(f"splitting {splitting!r}: use {' or '.join(SPLITTINGS)}")
    if splits is not None and split_size is not None:
        raise UsageError(f"splits={splits} and split_size={split_size} exclude each other; give one")
    if any(given is not None and given < 1 for given in (splits, split_size)):
        raise UsageError(f"splits={splits}, split_size={split_size}: need at least 1")
    if rows.shape[1] < 2:
        raise InputError(f"logits: shape {rows.shape} has a single class; an inception score needs at least 2")
    n, how = len(rows), SPLITTINGS[splitting]
    wanted = splits or DEFAULT_SPLITS
    if split_size is None and n < wanted:
        raise TooFewSamples(f"an inception score over {wanted} splits needs at least {wanted} samples; there are {n}")
    order = _order(how, n, seed)
    edges = _edges(how, n, wanted) if split_size is None else [*range(0, n, split_size), n]
    scores = np.array([_score(rows[slice(a, b) if order is None else order[a:b]]) for a, b in pairwise(edges)])
    deviation = float(scores.std(ddof=how.ddof)) if len(scores) > 1 else 0.0
    return InceptionScore(float(scores.mean()), deviation, len(scores), tuple(scores.tolist()))


def _order(how: Splitting, n: int, seed: int | None) -> NDArray[np.intp] | None:
    """The order in which the samples are taken; None keeps theirs."""
    if how.order == "kept" or (how.order == "seeded" and seed is None):
        return None
    if how.order == "numpy-2020":
        return np.random.RandomState(2020).permutation(n)
    if how.order == "seeded":
        return np.random.default_rng(seed).permutation(n)
    import torch

    shuffled: NDArray[np.intp] = torch.randperm(n, generator=torch.Generator().manual_seed(seed or 0)).numpy()
    return shuffled


def _edges(how: Splitting, n: int, splits: int) -> list[int]:
    if how.edges == "even":
        return [n * i // splits for i in range(splits + 1)]
    size = n // splits if how.edges == "dropped" else -(-n // splits)
    edges = [min(size * i, n) for i in range(splits + 1)]
    return list(dict.fromkeys(edges))


def _score(logits: Rows) -> float:
    """exp(H(p(c)) - mean H(p(c | x))) of logits [N, C], which is exp(mean KL(p(c | x) ‖ p(c))), by blocks of rows."""
    marginal, entropies = np.zeros(logits.shape[1]), 0.0
    for _, block in promoted(logits):
        log_p = log_softmax(block, axis=1)
        p = np.exp(log_p)
        marginal += p.sum(axis=0)
        entropies -= float(np.vdot(p, log_p))
    marginal /= len(logits)
    divergence = -float(xlogy(marginal, marginal).sum()) - entropies / len(logits)
    return float(np.exp(max(divergence, 0.0)))  # rounding may take a zero below
