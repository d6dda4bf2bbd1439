"""Mean and scatter of feature vectors, as a value that merges (Chan, Golub & LeVeque 1983; Pébay 2008).

`FeatureStatistics` is a commutative monoid: batches, shards, devices, classes and resumed runs all meet in `merge`.
The scatter is the sum of outer products about the mean, never a difference of raw moments, so a large common offset
costs no digits. `StatisticsAccumulator` folds batches so that the bits of the result depend on the rows and their
order, not on the batch size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk

from paragone.data.errors import InputError, NotComparable, TooFewSamples

BLOCK_ROWS = 256  # rows that are centred together; part of what fixes the bits of a result
STRIP_ROWS = 32
BLOCK_BYTES = 16 << 20  # of rows that are promoted to float64 together
CHECKED_ROWS = 4096
Rows = NDArray[np.floating[Any]]  # [N, D], float32 or float64


def as_features(features: ArrayLike, *, name: str = "features") -> NDArray[np.float64]:
    """`features` as float64 [N, D]; raises `InputError` unless they are real, finite, two-dimensional, with D ≥ 1."""
    return _checked(features, name=name, first_row=0).astype(np.float64, copy=False)


def as_rows(features: ArrayLike, *, name: str = "features") -> Rows:
    """`features` after the checks of `as_features`, but float32 stays float32 and is not copied.

    For sets that may be large, or on disk: promote them a block at a time, as `promoted` does.
    """
    array = _checked(features, name=name, first_row=0)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def promoted(rows: Rows) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Which rows, and these in float64, of at most `BLOCK_BYTES`; together all of `rows` [N, D] in order."""
    step = max(1, BLOCK_BYTES // (8 * rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, rows[part].astype(np.float64, copy=False)


def _checked(features: ArrayLike, *, name: str, first_row: int) -> NDArray[Any]:
    """The array in its own dtype after the checks of `as_features`; rows are named from `first_row` on."""
    array = np.asarray(features)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name}: dtype {array.dtype} is not a real number type; pass floats")
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{name}: shape {array.shape} is not [N, D]; pass one row per sample")
    for start in range(0, len(array), CHECKED_ROWS):
        finite = np.isfinite(array[start : start + CHECKED_ROWS])
        if not finite.all():
            row, column = (int(index) for index in np.argwhere(~finite)[0])
            raise InputError(
                f"{name}: row {first_row + start + row} is not finite (column {column} is "
                f"{array[start + row, column]}); look at that sample, or leave it out"
            )
    return array


# ---- Values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """What a Gaussian fit needs of N feature vectors. Arrays are read-only float64.

    The tags say what the features are (`extractor`, with its weights' digest) and how images became features
    (`protocol`); None means unknown.
    """

    n: int
    mean: NDArray[np.float64] = field(repr=False)  # [D]
    scatter: NDArray[np.float64] = field(repr=False)  # [D, D], Σ (x - mean)(x - mean)ᵀ
    extractor: str | None = None
    protocol: str | None = None

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError(f"feature statistics: n is {self.n}")
        mean, scatter = _checked_moments(self.mean, self.scatter, name="feature statistics", second="scatter")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scatter", scatter)

    @classmethod
    def empty(cls, dim: int, *, extractor: str | None = None, protocol: str | None = None) -> FeatureStatistics:
        """Statistics of no samples: the neutral element of `merge`."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)), extractor, protocol)

    @classmethod
    def from_features(
        cls, features: ArrayLike, *, extractor: str | None = None, protocol: str | None = None
    ) -> FeatureStatistics:
        """Statistics of `features` [N, D] of any real dtype; raises `InputError` naming a row that is not finite."""
        accumulator = StatisticsAccumulator(extractor=extractor, protocol=protocol)
        accumulator.add(features)
        return accumulator.statistics()

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return len(self.mean)

    def merge(self, other: FeatureStatistics) -> FeatureStatistics:
        """Statistics of both sets of samples together; raises `NotComparable` that says what differs.

        Commutative to the last bit, associative up to rounding. An empty operand without tags is neutral; otherwise an
        unknown tag differs from a known one, because merged samples cannot be told apart again.
        """
        for one, two in ((self, other), (other, self)):
            if one.n == 0 and one.extractor is None and one.protocol is None and one.dim == two.dim:
                return two
        different = _differences(self, other)
        if different:
            raise NotComparable(f"cannot merge feature statistics: {'; '.join(different)}")
        merged = _merged(_Moments(self.n, self.mean, self.scatter), _Moments(other.n, other.mean, other.scatter))
        return FeatureStatistics(*merged, extractor=self.extractor, protocol=self.protocol)

    def covariance(self, ddof: int = 1) -> NDArray[np.float64]:
        """Covariance [D, D], scatter / (n - ddof); raises `TooFewSamples` when n ≤ ddof."""
        if self.n <= ddof:
            raise TooFewSamples(f"a covariance with ddof={ddof} needs at least {ddof + 1} samples; there are {self.n}")
        return self.scatter / (self.n - ddof)

    def save(self, path: str | Path) -> None:
        """Write an .npz that `load` reads back bit for bit, and that pytorch-fid and EDM can read too."""
        from paragone.metrics.statistics_files import save_statistics  # that module builds on this one

        save_statistics(self, path)

    @classmethod
    def load(cls, path: str | Path) -> FeatureStatistics:
        """Read a file that `save` wrote; raises `InputError` for one of another tool, which does not say n."""
        from paragone.metrics.statistics_files import load_statistics

        statistics = load_statistics(path)
        if not isinstance(statistics, cls):
            raise InputError(
                f"{path}: has a mean and a covariance but not the number of samples; "
                "make it again with `paragone stats`, or use it for fd only (load_statistics)"
            )
        return statistics


@dataclass(frozen=True, slots=True, eq=False)
class ForeignStatistics:
    """Mean and covariance out of another tool's file, which does not say of how many samples they are.

    Good for a Fréchet distance; whatever needs n (merging, another ddof, a standard error) is not to be had.
    """

    mean: NDArray[np.float64] = field(repr=False)  # [D]
    sigma: NDArray[np.float64] = field(repr=False)  # [D, D], covariance as the file has it
    source: str = ""
    extractor: str | None = None
    protocol: str | None = None

    def __post_init__(self) -> None:
        mean, sigma = _checked_moments(self.mean, self.sigma, name=self.source or "statistics", second="sigma")
        if not np.allclose(sigma, sigma.T, rtol=1e-5, atol=1e-8 * float(np.abs(sigma).max(initial=0.0))):
            raise InputError(f"{self.source or 'statistics'}: sigma is not symmetric, so it is no covariance")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "sigma", _read_only((sigma + sigma.T) / 2))

    @property
    def n(self) -> None:
        """Unknown, hence always None."""
        return None

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return len(self.mean)

    def covariance(self, ddof: int = 1) -> NDArray[np.float64]:
        """The covariance [D, D] of the file; raises `InputError` for any ddof but 1, which takes n."""
        if ddof != 1:
            raise InputError(
                f"{self.source or 'statistics'}: ddof={ddof} needs the number of samples, which the file does not say"
            )
        return self.sigma


Statistics = FeatureStatistics | ForeignStatistics


def refuse_different_features(reference: Statistics, generated: Statistics) -> None:
    """Raise `NotComparable` when the two sides' dimensions or known tags differ; an unknown tag is taken on trust."""
    different = [
        text for text in _differences(reference, generated, names=("reference", "generated")) if "unknown" not in text
    ]
    if different:
        raise NotComparable(f"features are not comparable: {'; '.join(different)}; extract both sides in the same way")


def _differences(one: Statistics, two: Statistics, names: tuple[str, str] = ("one", "the other")) -> list[str]:
    found = []
    if one.dim != two.dim:
        found.append(f"{names[0]} has {one.dim} dimensions, {names[1]} {two.dim}")
    for tag in ("extractor", "protocol"):
        left, right = getattr(one, tag), getattr(two, tag)
        if left != right:
            found.append(f"{tag} of {names[0]} is {left or 'unknown'}, of {names[1]} {right or 'unknown'}")
    return found


def _checked_moments(
    mean: ArrayLike, second_moment: ArrayLike, *, name: str, second: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read-only float64 views of a mean [D] and a [D, D]; raises `InputError` on a wrong shape or value."""
    vector, matrix = np.asarray(mean, dtype=np.float64), np.asarray(second_moment, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or matrix.shape != (vector.size, vector.size):
        raise InputError(f"{name}: mean has shape {vector.shape} and {second} {matrix.shape}; expected [D] and [D, D]")
    if not (np.isfinite(vector).all() and np.isfinite(matrix).all()):
        raise InputError(
            f"{name}: mean or {second} is not finite; features beyond 1e150 overflow when they are squared"
        )
    return _read_only(vector), _read_only(matrix)


def _read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    view = array.view()
    view.flags.writeable = False
    return view


# ---- Folding -------------------------------------------------------------------------------------------------------


class _Moments(NamedTuple):
    n: int
    mean: NDArray[np.float64]  # [D]
    scatter: NDArray[np.float64]  # [D, D]; while folding, only the upper triangle counts


# An overflow is no warning here but an error of `_checked_moments`, where the statistics are made.
@np.errstate(over="ignore", invalid="ignore")
def _block_moments(block: NDArray[np.float64]) -> _Moments:
    """Moments of the rows of `block`, the upper triangle of the scatter only.

    The mean is refined once, so that a constant column has no scatter at all.
    """
    mean = block.mean(axis=0)
    mean += (block - mean).mean(axis=0)
    centred = block - mean
    return _Moments(len(block), mean, dsyrk(1.0, centred.T, lower=1).T)  # half the work of a full product


@np.errstate(over="ignore", invalid="ignore")
def _merged(a: _Moments, b: _Moments, *, out: NDArray[np.float64] | None = None) -> _Moments:
    """Moments of both sets, the same bits in either order. `out` [D, D] may be a scatter no longer needed."""
    if a.n < b.n:
        a, b = b, a
    if b.n == 0:
        return a
    n = a.n + b.n
    step = b.mean - a.mean
    # Halving a sum, rather than stepping from one mean to the other, treats equals alike.
    mean = (a.mean + b.mean) / 2 if a.n == b.n else a.mean + step * (b.n / n)
    scatter = np.add(a.scatter, b.scatter, out=out)
    step *= np.sqrt(a.n * b.n / n)
    for start in range(0, len(step), STRIP_ROWS):  # the outer product of a strip stays in the cache
        strip = slice(start, start + STRIP_ROWS)
        scatter[strip] += np.outer(step[strip], step)
    return _Moments(n, mean, scatter)


def _mirrored(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    """`scatter` itself, with its upper triangle copied to the lower one, a strip at a time."""
    for start in range(0, len(scatter), STRIP_ROWS):
        strip = slice(start, start + STRIP_ROWS)
        square = scatter[strip, strip]
        square[:] = np.triu(square) + np.triu(square, 1).T
        scatter[strip.stop :, strip] = scatter[strip, strip.stop :].T
    return scatter


class StatisticsAccumulator:
    """Folds feature batches into `FeatureStatistics`; the same rows in the same order give the same bits for any
    batch size.

    Rows are regrouped into blocks of `BLOCK_ROWS`, and blocks merge in pairs like the carries of a binary counter,
    which also keeps the rounding error at log N. Memory: one [D, D] matrix for every binary digit of N / 256, and one
    block.
    """

    def __init__(self, *, extractor: str | None = None, protocol: str | None = None) -> None:
        self.extractor = extractor
        self.protocol = protocol
        self.n = 0
        self._buffer = np.empty((BLOCK_ROWS, 0))
        self._filled = 0
        self._carries: list[_Moments] = []  # sizes fall strictly: powers of two times BLOCK_ROWS

    def add(self, features: ArrayLike) -> None:
        """Take the next rows [N, D], any real dtype; raises `InputError` that counts rows from the first batch on."""
        rows = _checked(features, name="features", first_row=self.n)
        if self._buffer.shape[1] == 0:
            self._buffer = np.empty((BLOCK_ROWS, rows.shape[1]))
        elif rows.shape[1] != self._buffer.shape[1]:
            raise InputError(
                f"features: rows from {self.n} on have {rows.shape[1]} dimensions, those before {self._buffer.shape[1]}"
            )
        taken = 0
        while taken < len(rows):
            count = min(BLOCK_ROWS - self._filled, len(rows) - taken)
            self._buffer[self._filled : self._filled + count] = rows[taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == BLOCK_ROWS:
                self._carry()
        self.n += len(rows)

    def statistics(self) -> FeatureStatistics:
        """Statistics of all rows so far; raises `TooFewSamples` when not even D is known."""
        dim = self._buffer.shape[1]
        if dim == 0:
            raise TooFewSamples("no features were added, so there are no statistics")
        total = _Moments(0, np.zeros(dim), np.zeros((dim, dim)))
        if self._filled:
            total = self._moments_of_buffer()
        for carry in reversed(self._carries):
            total = _merged(carry, total)
        kept = any(total.scatter is carry.scatter for carry in self._carries)
        scatter = _mirrored(total.scatter.copy() if kept else total.scatter)
        return FeatureStatistics(total.n, total.mean, scatter, extractor=self.extractor, protocol=self.protocol)

    def _carry(self) -> None:
        moments = self._moments_of_buffer()
        self._filled = 0
        while self._carries and self._carries[-1].n == moments.n:
            moments = _merged(self._carries.pop(), moments, out=moments.scatter)
        self._carries.append(moments)

    def _moments_of_buffer(self) -> _Moments:
        return _block_moments(self._buffer[: self._filled])
