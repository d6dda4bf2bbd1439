"""JEDi's distance, made unbiased: squared MMD with the kernel k(x, y) = (x·y / D)², times 100 (Luo et al. 2024,
arXiv:2410.05203, §4).

The published value is the V-statistic: it counts every sample with itself, and is biased upwards by what that adds (of
standard normal features some 200 / n: 3.1 at 64 samples of either side of one distribution, 0.2 at 1024). The
U-statistic leaves these pairs out. The kernel has no constant: it compares nothing but the second moments E[x xᵀ], so
it cannot tell X from -X, and is blind to every odd moment. Read it beside FVD and KVD, whose kernels see means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, NotComparable, TooFewSamples
from paragone.metrics.feature_statistics import as_rows
from paragone.metrics.kernel import PlainRows, Tile, mmd

SCALE = 100.0


@dataclass(frozen=True, slots=True)
class Jedi:
    """`unbiased` may be negative: it scatters about zero when both distributions agree. `biased` is the published form.

    The standard error is that of both, and errs on the large side at distance zero.
    """

    unbiased: float
    biased: float
    standard_error: float


@np.errstate(over="ignore", invalid="ignore")
def jedi(reference: ArrayLike, generated: ArrayLike) -> Jedi:
    """The distance of `reference` [N, D] and `generated` [M, D], in float64, by blocks of the kernel.

    Raises `TooFewSamples` for fewer than 2 samples a side, `NotComparable` for different dimensions.
    """
    x, y = as_rows(reference, name="reference"), as_rows(generated, name="generated")
    if x.shape[1] != y.shape[1]:
        raise NotComparable(f"reference has {x.shape[1]} dimensions, generated {y.shape[1]}; use one extractor")
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise TooFewSamples(f"a kernel distance needs at least 2 samples a side; there are {n} and {m}")
    found = mmd(PlainRows(x), PlainRows(y), _kernel(x.shape[1]))
    own_x, own_y = _own(PlainRows(x)), _own(PlainRows(y))
    biased = (found.within_x * (n - 1) + own_x) / n + (found.within_y * (m - 1) + own_y) / m - 2 * found.between
    values = np.array([found.unbiased, biased, found.standard_error])
    if not np.isfinite(values).all():
        raise InputError("features beyond 1e75 overflow in the quadratic kernel; rescale both sides alike")
    return Jedi(*(SCALE * values).tolist())


def _kernel(dim: int) -> Tile:
    def tile(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = x @ y.T
        found /= dim
        found *= found
        return found

    return tile


def _own(rows: PlainRows) -> float:
    """Mean kernel of a sample with itself."""
    total = sum(float(np.square(np.square(rows.block(part)).sum(axis=1) / rows.dim).sum()) for part in rows.parts())
    return total / len(rows)
