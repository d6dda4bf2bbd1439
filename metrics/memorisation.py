"""Memorisation: which generated samples are copies of training data, and does the generator lean on them at all.

Authenticity (Alaa et al. 2022, arXiv:2102.08921; AuthPct in Stein et al. 2023, arXiv:2306.04675): a generated sample is
authentic when it lies farther from its nearest training sample than that one lies from its own nearest fellow. Near
duplicates: the same with one yardstick for all, half the median spacing of the training set, so that a training picture
that occurs twice does not hide its copies. C_T (Meehan et al. 2020, arXiv:2004.05675): whether generated samples lie
nearer to the training set than held-out ones do. Samples far from all data look original to all three: read them beside
precision or a distance, never alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from paragone.data.errors import InputError, NotComparable, TooFewSamples, UsageError
from paragone.metrics.feature_statistics import FeatureStatistics, Rows, as_rows, promoted
from paragone.metrics.neighbours import nearest, neighbour_distances


@dataclass(frozen=True, slots=True, eq=False)
class TrainingNeighbours:
    """For each of M generated samples, the training sample next to it: rows of a memorisation gallery."""

    nearest: NDArray[np.intp]  # [M], row of the training set; the first of several at the same distance
    distance: NDArray[np.float64]  # [M], to it
    spacing: NDArray[np.float64]  # [M], from it to its nearest other training sample; the largest where several tie
    authentic: NDArray[np.bool_]  # [M], distance > spacing

    @property
    def authenticity(self) -> float:
        """Share of authentic samples, in [0, 1]; 0 for a model that replays its training set."""
        return float(self.authentic.mean())

    @property
    def copied(self) -> float:
        """Share of samples whose features equal those of a training sample, in [0, 1]."""
        return float((self.distance == 0).mean())


def authenticity(training: ArrayLike, generated: ArrayLike) -> float:
    """Share of `generated` [M, D] that is authentic, given `training` [N, D]; errors as for `training_neighbours`."""
    return training_neighbours(training, generated).authenticity


def training_neighbours(training: ArrayLike, generated: ArrayLike) -> TrainingNeighbours:
    """Nearest training sample of each generated one, in float64; raises `TooFewSamples` for N < 2 or M < 1."""
    known, made = as_rows(training, name="training"), as_rows(generated, name="generated")
    if known.shape[1] != made.shape[1]:
        raise NotComparable(f"training has {known.shape[1]} dimensions, generated {made.shape[1]}; use one extractor")
    if len(known) < 2 or len(made) < 1:
        raise TooFewSamples(
            f"authenticity needs at least 2 training samples and 1 generated; there are {len(known)} and {len(made)}"
        )
    pairs = nearest(made, known)
    hit, where = np.unique(pairs.y, return_inverse=True)
    spacings = neighbour_distances(known, 1, hit)[where]
    starts = np.searchsorted(pairs.x, np.arange(len(made)))
    squared, spacing = pairs.squared[starts], np.maximum.reduceat(spacings, starts)
    return TrainingNeighbours(pairs.y[starts], np.sqrt(squared), np.sqrt(spacing), squared > spacing)


# ---- Near duplicates -----------------------------------------------------------------------------------------------

DUPLICATE_THRESHOLD = 0.5


def near_duplicates(
    training: ArrayLike, samples: ArrayLike, *, threshold: float = DUPLICATE_THRESHOLD
) -> NDArray[np.bool_]:
    """Which of `samples` [M, D] lie within `threshold` median spacings of a sample of `training` [N, D]: [M].

    The spacing of a training sample is the distance to its nearest other one. Equal features always count. How many
    of a fresh set count depends on the dimension, so compare with a held-out set. Raises `TooFewSamples` for N < 2 or
    M < 1.
    """
    known, made = as_rows(training, name="training"), as_rows(samples, name="samples")
    if known.shape[1] != made.shape[1]:
        raise NotComparable(f"training has {known.shape[1]} dimensions, samples {made.shape[1]}; use one extractor")
    if not threshold >= 0:
        raise UsageError(f"threshold={threshold}: need 0 or more")
    if len(known) < 2 or len(made) < 1:
        raise TooFewSamples(
            f"near duplicates need at least 2 training samples and 1 other; there are {len(known)} and {len(made)}"
        )
    spacing = float(np.median(np.sqrt(neighbour_distances(known, 1))))
    return np.sqrt(_squared_to_nearest(made, known)) <= threshold * spacing


def _squared_to_nearest(x: Rows, y: Rows) -> NDArray[np.float64]:
    pairs = nearest(x, y)
    return pairs.squared[np.searchsorted(pairs.x, np.arange(len(x)))]


# ---- C_T -----------------------------------------------------------------------------------------------------------

CELLS = 3
COMPONENTS = 64
LEAST_IN_A_CELL = 20  # generated samples; a smaller cell says too little to be averaged in


@dataclass(frozen=True, slots=True)
class Cell:
    """One region of the training set: how many samples of either side it has, and their rank statistic."""

    n_held_out: int
    n_generated: int
    z: float | None  # standard normal for equal distances; below 0 when generated samples lie nearer. None: too few


@dataclass(frozen=True, slots=True)
class DataCopying:
    """C_T: far below 0 the generator copies, about 0 it does as well as fresh data, far above it underfits."""

    value: float
    standard_error: float  # when nothing is copied
    cells: tuple[Cell, ...]


def c_t(
    training: ArrayLike,
    held_out: ArrayLike,
    generated: ArrayLike,
    *,
    cells: int = CELLS,
    components: int = COMPONENTS,
    seed: int = 0,
) -> DataCopying:
    """Data-copying test of `generated` [M, D], given `training` [N, D] and `held_out` [L, D] data that it has not seen.

    On the first principal components of the training set, k-means splits space into cells; in each, distances to the
    nearest training sample are ranked (Mann-Whitney). The z of cells with 20 generated samples or more are averaged by
    the held-out samples in them. Raises `TooFewSamples` for fewer than 20 per cell on any side, `InputError` when no
    cell can be judged.
    """
    if cells < 1 or components < 1:
        raise UsageError(f"cells={cells}, components={components}: need at least 1 of each")
    given = (("training", training), ("held_out", held_out), ("generated", generated))
    sides = _principal(_three_sides([as_rows(side, name=name) for name, side in given], cells), components)
    labels = _cells(sides, cells, seed)
    to_held_out, to_generated = (_squared_to_nearest(side, sides[0]) for side in sides[1:])
    found = tuple(_cell(to_held_out[labels[1] == i], to_generated[labels[2] == i]) for i in range(cells))
    judged = [(cell.n_held_out, cell.z) for cell in found if cell.z is not None]
    if not judged:
        raise InputError(
            "c_t: generated and held-out samples share no cell of the training set, so nothing is compared"
        )
    weights, scores = np.array(judged, dtype=np.float64).T
    weights /= weights.sum()
    return DataCopying(float(weights @ scores), float(np.linalg.norm(weights)), found)


def _three_sides(sides: list[Rows], cells: int) -> list[Rows]:
    """The sides as they are, once they are known to fit together and to be large enough."""
    if len({side.shape[1] for side in sides}) > 1:
        raise NotComparable(f"the sides have {[side.shape[1] for side in sides]} dimensions; use one extractor")
    if min(map(len, sides)) < cells * LEAST_IN_A_CELL:
        raise TooFewSamples(
            f"c_t with {cells} cells needs at least {cells * LEAST_IN_A_CELL} samples a side; "
            f"there are {', '.join(str(len(side)) for side in sides)} (training, held-out, generated)"
        )
    return sides


def _principal(sides: list[Rows], components: int) -> list[NDArray[np.float64]]:
    """The first principal components of the training set, of all sides; all dimensions where there are no more."""
    n, dim = sides[0].shape
    if dim <= components:
        return [side.astype(np.float64, copy=False) for side in sides]
    mean, axes = _axes(sides[0], min(components, n - 1))
    found = [np.empty((len(side), axes.shape[1])) for side in sides]
    for side, projected in zip(sides, found, strict=True):
        for part, block in promoted(side):
            projected[part] = (block - mean) @ axes
    return found


def _axes(rows: Rows, components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean [D] and the first principal axes [D, C] of `rows` [N, D]."""
    n, dim = rows.shape
    if n > dim:
        statistics = FeatureStatistics.from_features(rows)
        last = (dim - components, dim - 1)
        return statistics.mean, scipy.linalg.eigh(statistics.covariance(), subset_by_index=last, check_finite=False)[1]
    mean = rows.mean(axis=0, dtype=np.float64)
    _, _, axes = scipy.linalg.svd(rows - mean, full_matrices=False, check_finite=False)
    return mean, axes[:components].T


def _cells(sides: list[NDArray[np.float64]], cells: int, seed: int) -> list[NDArray[np.intp]]:
    from sklearn.cluster import KMeans

    if len(np.unique(sides[0], axis=0)) < cells:
        raise InputError(f"c_t: the training set has fewer than {cells} different samples; ask for fewer cells")
    model = KMeans(cells, n_init=10, random_state=seed).fit(sides[0])
    return [np.asarray(model.predict(side)) for side in sides]


def _cell(held_out: NDArray[np.float64], generated: NDArray[np.float64]) -> Cell:
    from scipy.stats import rankdata  # half a second, which most runs can do without

    n, m = len(held_out), len(generated)
    if m < LEAST_IN_A_CELL or n == 0:
        return Cell(n, m, None)
    wins = rankdata(np.concatenate([generated, held_out]))[:m].sum() - m * (m + 1) / 2
    return Cell(n, m, float((wins - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)))
