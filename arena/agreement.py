"""Agreement coefficients of nominal and ordered ratings, and their jackknife over clusters.

    Cohen's κ           1 − Σ w o / Σ w e, e from each rater's own margins     (Cohen, 1960; weighted 1968)
    Krippendorff's α    1 − (n − 1) Σ δ² o / Σ δ² n_c n_k                      (Krippendorff, Content Analysis, 2004)
    Gwet's AC1          (p_a − p_e)/(1 − p_e), p_e = Σ π_k (1 − π_k)/(K − 1)   (Gwet, 2008, BJMSP 61)

All are functions of sums over items, so leaving a cluster out is a subtraction. κ and α correct for what raters with
these margins would agree on by chance, and fall when one category is frequent; AC1 hardly does. κ is of two raters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from paragone.arena.votes import FloatArray, IntArray
from paragone.data.errors import InputError, NotIdentifiable, UsageError

LEVEL = 0.95
Weights = Literal["none", "linear", "quadratic"]
Scale = Literal["nominal", "ordinal"]


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient with its 95 % interval. What is None is undefined or unknown, and `note` says why."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    standard_error: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What the coefficients need of items, summed over them; the leading axes [...] are clusters, or none."""

    confusion: FloatArray  # [..., C, C] chance of each pair of ratings of an item, by two of its raters
    coincidence: FloatArray  # [..., C, C] the same, symmetric and counting an item once for each of its raters
    n_paired: FloatArray  # [...] items with two ratings or more
    share: FloatArray  # [..., C] share of an item's raters who chose each category
    n_rated: FloatArray  # [...] items with a rating

    def total(self) -> Sums:
        """Of all clusters."""
        return Sums(*(getattr(self, name).sum(axis=0) for name in self.__slots__))

    def without_each(self) -> Sums:
        """[G, …] of all clusters but one."""
        return Sums(*(getattr(self, name).sum(axis=0) - getattr(self, name) for name in self.__slots__))


def cohen_kappa(
    first: Sequence[Any], second: Sequence[Any], *, weights: Weights = "none", categories: Sequence[Any] | None = None
) -> float:
    """Cohen's κ of two raters.

    Args:
        first: [N] one label an item; `second` has the labels of the other rater.
        second: see `first`.
        weights: "none", or how a disagreement counts, by the distance of the categories or its square.
        categories: the labels, in order where `weights` use one; by default those that occur, sorted.

    Raises:
        InputError: labels are missing, or unknown, or the two have different numbers of them.
        NotIdentifiable: no items, or all ratings are of one category: then κ is 0/0.
    """
    if len(first) != len(second):
        raise InputError(f"the first rater has {len(first)} ratings and the second {len(second)}; give one an item")
    codes, labels = _code([first, second], categories)
    if (missing := np.flatnonzero((codes < 0).any(axis=0))).size:
        raise InputError(f"rating {missing[0] + 1} is missing; leave the item out for both raters")
    weight = disagreement(len(labels), weights)
    sums = between(counts(codes[:1], len(labels)), counts(codes[1:], len(labels)))
    return _defined(kappa(sums, weight), "Cohen's κ", codes, labels)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Any]] | NDArray[Any],
    *,
    level: Scale = "nominal",
    categories: Sequence[Any] | None = None,
) -> float:
    """Krippendorff's α of any number of raters; None and NaN are missing ratings.

    Args:
        ratings: [raters, items] labels.
        level: "ordinal" when the categories have an order.
        categories: the labels in that order; by default those that occur, sorted.

    Raises:
        InputError: an unknown label.
        NotIdentifiable: no item has two ratings, or all ratings are of one category: then α is 0/0.
    """
    if level not in get_args(Scale):
        raise UsageError(f"level={level!r}: use 'nominal' or 'ordinal'")
    codes, labels = _code(ratings, categories)
    return _defined(alpha(within(counts(codes, len(labels))), level), "Krippendorff's α", codes, labels)


def gwet_ac1(ratings: Sequence[Sequence[Any]] | NDArray[Any], *, categories: Sequence[Any] | None = None) -> float:
    """Gwet's AC1 of any number of raters; None and NaN are missing ratings.

    Args:
        ratings: [raters, items] labels.
        categories: all K labels; by default those that occur. Raises what `krippendorff_alpha` does.
    """
    codes, labels = _code(ratings, categories)
    return _defined(ac1(within(counts(codes, len(labels))), len(labels)), "Gwet's AC1", codes, labels)


def _code(
    ratings: Sequence[Sequence[Any]] | NDArray[Any], categories: Sequence[Any] | None
) -> tuple[IntArray, list[Any]]:
    """[raters, items] index of each label, −1 where it is missing, and the labels."""
    table = pd.DataFrame([list(row) for row in ratings], dtype=object)
    codes, found = pd.factorize(table.to_numpy(object).reshape(-1), sort=categories is None)
    if categories is None:
        return codes.reshape(table.shape).astype(np.int64), list(found)
    labels = list(categories)
    if unknown := [label for label in found if label not in labels]:
        raise InputError(f"the rating {unknown[0]!r} is none of the categories {', '.join(map(str, labels))}")
    index = np.array([*(labels.index(label) for label in found), -1], np.int64)
    return index[codes].reshape(table.shape), labels


def _defined(value: FloatArray, name: str, codes: IntArray, labels: list[Any]) -> float:
    if np.isfinite(value):
        return float(value)
    if not ((codes >= 0).sum(axis=0) >= 2).any():
        raise NotIdentifiable(f"{name} is undefined: no item was rated by two raters")
    used = sorted({str(labels[code]) for code in codes[codes >= 0]})
    raise NotIdentifiable(f"{name} is undefined: every rating is {used[0]!r}, so chance alone explains the agreement")


def counts(codes: IntArray, n_categories: int) -> FloatArray:
    """[N, C] how many of the raters [R, N] chose each category; −1 is missing."""
    n_items = codes.shape[1]
    rater, item = np.nonzero(codes >= 0)
    flat = item * n_categories + codes[rater, item]
    return np.bincount(flat, minlength=n_items * n_categories).reshape(n_items, n_categories).astype(np.float64)


def between(first: FloatArray, second: FloatArray, cluster: IntArray | None = None) -> Sums:
    """Sums for a rater drawn from one group against one from another, from counts [N, C] of both; items of both only.

    With one rater in each group these are the sums of two raters.
    """
    m, n = first.sum(axis=1), second.sum(axis=1)
    shared = (m > 0) & (n > 0)
    p, q = first[shared] / m[shared, None], second[shared] / n[shared, None]
    pairs = p[:, :, None] * q[:, None, :]
    ones = np.ones(p.shape[0])
    parts = (pairs, pairs + pairs.transpose(0, 2, 1), ones, (p + q) / 2, ones)
    return _by_cluster(parts, None if cluster is None else cluster[shared])


def within(count: FloatArray, cluster: IntArray | None = None) -> Sums:
    """Sums for two raters drawn from the same group, from its counts [N, C]."""
    m = count.sum(axis=1)
    n_pairs = m * (m - 1)
    ordered = count[:, :, None] * count[:, None, :] - count[:, :, None] * np.eye(count.shape[1])
    pairs = np.divide(ordered, n_pairs[:, None, None], out=np.zeros_like(ordered), where=n_pairs[:, None, None] > 0)
    share = np.divide(count, m[:, None], out=np.zeros_like(count), where=m[:, None] > 0)
    parts = (pairs, pairs * m[:, None, None], (m > 1).astype(np.float64), share, (m > 0).astype(np.float64))
    return _by_cluster(parts, cluster)


def _by_cluster(parts: tuple[FloatArray, ...], cluster: IntArray | None) -> Sums:
    if cluster is None:
        return Sums(*(part.sum(axis=0) for part in parts))
    size = int(cluster.max(initial=-1)) + 1
    sums = [np.zeros((size, *part.shape[1:])) for part in parts]
    for total, part in zip(sums, parts, strict=True):
        np.add.at(total, cluster, part)
    return Sums(*sums)


def disagreement(n_categories: int, weights: Weights) -> FloatArray:
    """[C, C] how much each pair of categories disagrees."""
    if weights not in get_args(Weights):
        raise UsageError(f"weights={weights!r}: use 'none', 'linear' or 'quadratic'")
    distance: FloatArray = np.abs(np.subtract.outer(np.arange(n_categories), np.arange(n_categories))).astype(
        np.float64
    )
    if weights == "none":
        distance = np.minimum(distance, 1.0)
    return distance**2 if weights == "quadratic" else distance


def raw(sums: Sums) -> FloatArray:
    """[...] share of agreeing pairs of ratings, items alike; NaN without a pair."""
    return _ratio(np.trace(sums.confusion, axis1=-2, axis2=-1), sums.n_paired)


def kappa(sums: Sums, weight: FloatArray) -> FloatArray:
    """[...] κ; NaN where it is undefined."""
    rows, columns = sums.confusion.sum(axis=-1), sums.confusion.sum(axis=-2)
    expected = (weight * rows[..., :, None] * columns[..., None, :]).sum(axis=(-2, -1))
    return 1 - _ratio((weight * sums.confusion).sum(axis=(-2, -1)) * sums.n_paired, expected)


def alpha(sums: Sums, level: Scale) -> FloatArray:
    """[...] α; NaN where it is undefined."""
    n_c = sums.coincidence.sum(axis=-1)
    n = n_c.sum(axis=-1)
    size = n_c.shape[-1]
    if level == "nominal":
        delta = 1 - np.eye(size)
    else:
        middle = np.cumsum(n_c, axis=-1) - n_c / 2  # the mean rank of a category
        delta = (middle[..., :, None] - middle[..., None, :]) ** 2
    expected = (delta * n_c[..., :, None] * n_c[..., None, :]).sum(axis=(-2, -1))
    return 1 - _ratio((n - 1) * (delta * sums.coincidence).sum(axis=(-2, -1)), expected)


def ac1(sums: Sums, n_categories: int) -> FloatArray:
    """[...] AC1 of K categories; NaN where it is undefined, as it is for one category."""
    share = _ratio(sums.share, sums.n_rated[..., None])
    chance = (share * (1 - share)).sum(axis=-1) / max(n_categories - 1, 1)
    return _ratio(raw(sums) - chance, 1 - chance if n_categories > 1 else np.zeros_like(chance))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN over (what rounding left of) 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 1e-12)
    return out


def jackknife(sums: Sums, statistic: Callable[[Sums], FloatArray]) -> Coefficient:
    """A coefficient of all clusters [G, …] with its interval from leaving out one at a time.

    Variance (G − 1)/G · Σ (θ₋g − mean)² (Efron and Stein, Annals of Statistics 9, 1981), Student's t with G − 1
    degrees of freedom, cut off at 1.
    """
    value = float(statistic(sums.total()))
    if not np.isfinite(value):
        return Coefficient(None, note="undefined: every rating is of one category")
    n_clusters = sums.n_rated.size
    if n_clusters < 2:
        return Coefficient(value, note="one cluster: no interval")
    left = statistic(sums.without_each())
    if not np.isfinite(left).all():
        return Coefficient(value, note="undefined without one of the clusters: no interval")
    error = float(np.sqrt((n_clusters - 1) * np.var(left)))
    if error < 1e-12:
        return Coefficient(value, note="the clusters do not differ: no interval")
    half = float(student.ppf((1 + LEVEL) / 2, n_clusters - 1)) * error
    return Coefficient(value, max(value - half, -1.0), min(value + half, 1.0), error)
