"""What each sample adds to a metric: the column behind every gate, in whatever way the metric allows.

- fd: its influence function, with the value corrected by halves for the bias of finite n (a bias that does not cancel
  between checkpoints; paragone.metrics.fd_infinity);
- kid: Hájek's projection of the unbiased statistic of all samples. Between two generators the terms of the reference
  alone cancel (the relative test of Bounliphone et al. 2016, arXiv:1511.04581);
- vendi: its influence function;
- precision, density, authenticity, near_duplicates: the mean of what each sample is;
- recall, coverage, and every other metric of features: a jackknife that leaves out one of 20 groups of samples.

The reference and the training set are the yardstick of both checkpoints: they are taken as fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paragone.data.errors import TooFewSamples, UsageError
from paragone.metrics.checks_paired import Column
from paragone.metrics.estimates import Metric, Side, features_of
from paragone.metrics.fd_infinity import statistics_of_rows
from paragone.metrics.feature_statistics import FeatureStatistics, Rows
from paragone.metrics.frechet import frechet_distance, frechet_estimate_and_influence
from paragone.metrics.kernel import cubic_kernel
from paragone.metrics.memorisation import near_duplicates, training_neighbours
from paragone.metrics.neighbours import Distances, neighbour_distances
from paragone.metrics.precision_recall import Balls, balls
from paragone.metrics.rows_neighbours import NEIGHBOURS
from paragone.metrics.run_items import GROUPS, Items
from paragone.metrics.vendi import vendi_influence

Array = NDArray[np.float64]
Single = NDArray[np.float32]
TILE = 1024  # rows of a kernel or of distances that are computed together
SPARE = 6  # neighbours beyond the k-th that are kept, for those that fall out with a group


@dataclass(frozen=True, eq=False)
class Sides:
    """One run's samples beside what they are measured against."""

    generated: Side
    items: Items
    reference: Side | None = None
    training: Side | None = None

    @property
    def made(self) -> Rows:
        """Features of the generated samples [N, D]."""
        return features_of(self.generated, "generated")

    @property
    def real(self) -> Rows:
        """Features of the reference [M, D]."""
        if self.reference is None:
            raise UsageError("this metric compares with a reference; name it with --reference")
        return features_of(self.reference, "reference")

    @cached_property
    def balls(self) -> Balls:
        """Memberships of the balls of precision, recall, density and coverage."""
        return balls(self.real, self.made, k=NEIGHBOURS)

    @property
    def seen(self) -> Rows:
        """Features of the training set [L, D]."""
        if self.training is None:
            raise UsageError("this metric needs the generator's training set; name it with --training")
        return features_of(self.training, "training")


def column_of(row: Metric, sides: Sides, *, seed: int = 0) -> Column:
    """The column of `row`; raises `TooFewSamples` where its test is not defined for so few."""
    maker = COLUMNS.get(row.name)
    return maker(sides) if maker is not None else _by_recomputing(row, sides, seed=seed)


# ---- Distances between distributions -------------------------------------------------------------------------------


def _frechet(sides: Sides) -> Column:
    made, statistics = sides.made, sides.generated.statistics
    assert sides.reference is not None
    n, dim = made.shape
    rows = sides.items.halves()
    if min(map(len, rows)) <= dim:
        raise TooFewSamples(
            f"a tested Fréchet distance in {dim} dimensions needs {2 * dim + 2} samples at least; there are {n} "
            "(kid does with fewer)"
        )
    known = sides.reference.statistics
    if known.n is not None and known.n <= dim:
        raise TooFewSamples(
            f"a tested Fréchet distance in {dim} dimensions needs more reference samples than that; there are {known.n}"
        )
    estimate, influence = frechet_estimate_and_influence(known, statistics, generated_features=made)
    if influence.generated is None:
        raise TooFewSamples("a covariance lacks full rank, so there is no standard error: use fewer dimensions")
    of_halves = [frechet_distance(known, statistics_of_rows(made, half)) for half in rows]
    corrected = 2 * estimate.value - sum(of_halves) / 2
    return Column(corrected, influence.generated, method="influence, bias by halves", plain=estimate.value)


def _kernel(sides: Sides) -> Column:
    made, real = sides.made, sides.real
    n, m = len(made), len(real)
    if min(n, m) < 2:
        raise TooFewSamples(f"a kernel distance needs at least 2 samples a side; there are {n} and {m}")
    among, between = _mean_kernels(made), np.zeros(n)
    for start in range(0, n, TILE):
        block = made[start : start + TILE].astype(np.float64)
        for other in range(0, m, TILE):
            between[start : start + TILE] += cubic_kernel(block, real[other : other + TILE].astype(np.float64)).sum(1)
    between /= m
    value = float(among.mean() - 2 * between.mean() + _mean_kernels(real).mean())
    return Column(value, 2 * (among - between), method="relative kernel test")


def _mean_kernels(rows: Rows) -> Array:
    """Mean kernel [N] of each row with the others; a tile above the diagonal serves both of its sides."""
    sums = np.zeros(len(rows))
    for start in range(0, len(rows), TILE):
        here = slice(start, min(start + TILE, len(rows)))
        block = rows[here].astype(np.float64)
        kernel = cubic_kernel(block, block)
        np.fill_diagonal(kernel, 0.0)
        sums[here] += kernel.sum(axis=1)
        for other in range(here.stop, len(rows), TILE):
            there = slice(other, min(other + TILE, len(rows)))
            kernel = cubic_kernel(block, rows[there].astype(np.float64))
            sums[here] += kernel.sum(axis=1)
            sums[there] += kernel.sum(axis=0)
    return sums / (len(rows) - 1)


def _vendi(sides: Sides) -> Column:
    found, influence = vendi_influence(sides.made)
    return Column(found.value, influence, method="influence", depends_on_n=True)


# ---- Means over samples --------------------------------------------------------------------------------------------


def mean_column(values: Array, method: str = "") -> Column:
    """The column of a metric that is the mean of its samples' own values [N]."""
    return Column(float(values.mean()), values, is_mean=True, method=method)


def _precision(sides: Sides) -> Column:
    return mean_column((sides.balls.about_generated > 0).astype(np.float64))


def _density(sides: Sides) -> Column:
    return mean_column(sides.balls.about_generated / NEIGHBOURS)


def _authenticity(sides: Sides) -> Column:
    return mean_column(training_neighbours(sides.seen, sides.made).authentic.astype(np.float64))


def _near_duplicates(sides: Sides) -> Column:
    return mean_column(near_duplicates(sides.seen, sides.made).astype(np.float64))


# ---- A jackknife over groups ---------------------------------------------------------------------------------------


def _groups(items: Items) -> NDArray[np.intp]:
    groups = items.groups(GROUPS)
    if np.bincount(groups, minlength=GROUPS).min() < 1:
        raise TooFewSamples(f"a jackknife over {GROUPS} groups needs as many clusters of samples; there are fewer")
    return groups


def _jackknifed(value: float, left_out: Array, method: str = "jackknife over groups") -> Column:
    """Pseudo-values of a metric [G] from its values without each group."""
    pseudo = GROUPS * value - (GROUPS - 1) * left_out
    return Column(value, pseudo, of="groups", method=method, depends_on_n=True)


def _coverage(sides: Sides) -> Column:
    """Reference balls with a sample inside: each ball's samples are counted by group, once."""
    real, made, groups = sides.real, sides.made, _groups(sides.items)
    if len(real) <= NEIGHBOURS:
        raise TooFewSamples(f"coverage needs more than {NEIGHBOURS} reference samples; there are {len(real)}")
    radii = neighbour_distances(real, NEIGHBOURS)
    counts = np.zeros((len(real), GROUPS))
    distances = Distances(made, real)
    for tile in distances.tiles():
        inside = distances.within(tile, radii[None, tile.columns])
        counts[tile.columns] += inside.T.astype(np.float32) @ np.eye(GROUPS, dtype=np.float32)[groups[tile.rows]]
    total = counts.sum(axis=1)
    left_out = (total[:, None] - counts > 0).mean(axis=0)
    return _jackknifed(float((total > 0).mean()), left_out)


def _recall(sides: Sides) -> Column:
    """Reference samples inside a ball of generated ones, whose radii grow when a group is left out.

    The value is exact; the values without a group, which only give the noise, are by plain products in float32.
    """
    real, made, groups = sides.real, sides.made, _groups(sides.items)
    value = float(sides.balls.recalled.mean())
    centre = made.mean(axis=0, dtype=np.float64).astype(made.dtype)
    fake, true = ((rows - centre).astype(np.float32, copy=False) for rows in (made, real))
    radii = _radii_without_groups(fake, groups)
    recalled = np.zeros((GROUPS, len(true)), dtype=np.bool_)
    for start in range(0, len(fake), TILE):
        rows = slice(start, min(start + TILE, len(fake)))
        squared = _squared(fake[rows], true)
        for group in range(GROUPS):
            recalled[group] |= (squared <= radii[group, rows, None]).any(axis=0)
    return _jackknifed(value, recalled.mean(axis=1))


def _radii_without_groups(rows: Single, groups: NDArray[np.intp]) -> Single:
    """Squared distance [G, N] to the k-th other row outside each group; below 0 for rows of the group itself."""
    kept = min(NEIGHBOURS + SPARE, len(rows) - 1)
    radii = np.full((GROUPS, len(rows)), -1.0, np.float32)
    for start in range(0, len(rows), TILE):
        here = np.arange(start, min(start + TILE, len(rows)))
        squared = _squared(rows[here], rows)
        squared[np.arange(len(here)), here] = np.inf
        near = np.argpartition(squared, kept - 1, axis=1)[:, :kept]
        distances = np.take_along_axis(squared, near, axis=1)
        order = np.argsort(distances, axis=1)
        near, distances = np.take_along_axis(near, order, axis=1), np.take_along_axis(distances, order, axis=1)
        for group in range(GROUPS):
            outside = groups[near] != group
            place = np.minimum((np.cumsum(outside, axis=1) < NEIGHBOURS).sum(axis=1), kept - 1)
            mine = groups[here] != group
            radii[group, here[mine]] = distances[np.arange(len(here)), place][mine]
    return radii


def _squared(x: Single, y: Single) -> Single:
    squared: Single = x @ y.T
    squared *= -2
    squared += np.square(x).sum(axis=1)[:, None]
    squared += np.square(y).sum(axis=1)
    return squared


def _by_recomputing(row: Metric, sides: Sides, *, seed: int) -> Column:
    """Any metric of features, computed once more without each group."""
    if "logits" in row.requires:
        raise UsageError(f"{row.name}: a run record keeps features, not class logits, so it cannot be a gate")
    made, groups, whole = sides.made, _groups(sides.items), sides.generated

    def value(side: Side) -> float:
        found = row.estimate(reference=sides.reference, generated=side, training=sides.training, seed=seed)
        return float(found.value)

    def without(group: int) -> Side:
        kept = made[groups != group]
        tags = whole.statistics
        statistics = FeatureStatistics.from_features(kept, extractor=tags.extractor, protocol=tags.protocol)
        return Side(statistics, kept)

    return _jackknifed(value(whole), np.array([value(without(group)) for group in range(GROUPS)]))


COLUMNS: dict[str, Callable[[Sides], Column]] = {
    "fd": _frechet,
    "kid": _kernel,
    "vendi": _vendi,
    "precision": _precision,
    "density": _density,
    "recall": _recall,
    "coverage": _coverage,
    "authenticity": _authenticity,
    "near_duplicates": _near_duplicates,
}
