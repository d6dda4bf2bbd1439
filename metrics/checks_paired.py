"""The difference of one metric between two runs, from what each sample adds to it.

A metric of a run is a value and a column of *contributions*: to first order the value moves like the mean of the column
(for a mean it is the mean; for a Fréchet distance its influence function; for a kernel distance its Hájek projection).
One formula then covers every case. Each cluster, a prompt with its seeds or a single sample, adds s = Σ_b / n_b - Σ_a /
n_a of its centred contributions to the difference, and SE² = Σ s², with G / (G - 1) for small numbers of clusters.
Clusters that are in both runs cancel what they have in common; clusters in one run only do not. Strata are centred by
themselves. Means of fully paired clusters are tested by flipping signs (Fisher 1935), which needs no normality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paragone.metrics.checks import Difference, Untested, upper_tail
from paragone.metrics.run_items import Layout

Array = NDArray[np.float64]
FLIPS = 9999
EXACT_CLUSTERS = 14  # up to here all 2^G signs are tried
BLOCK = 4 << 20  # signs at a time


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One metric of one run. `value` is what is compared: freed of the bias of finite n where the metric has one."""

    value: float
    contributions: Array  # [n], or [G] pseudo-values of a jackknife over groups of samples
    of: Literal["samples", "groups"] = "samples"
    is_mean: bool = False  # value = mean of the contributions
    method: str = ""
    depends_on_n: bool = False  # so that only runs of equal size may be compared
    plain: float | None = None  # the value before it was freed of bias, where it was

    @property
    def standard_error(self) -> float:
        """That of the value by itself, if samples (or groups) are independent."""
        return float(self.contributions.std(ddof=1) / np.sqrt(len(self.contributions)))


def difference_of(
    baseline: Column,
    candidate: Column,
    layout: Layout,
    *,
    higher_is_better: bool,
    margin: float,
    counts: tuple[int, int],
    seed: int = 0,
) -> Difference | Untested:
    """The worsening of the candidate, with its standard error and tests. `counts`: samples of either run."""
    one, two, layout_of = baseline, candidate, layout
    if one.of == "groups":
        layout_of = _layout_of_groups(len(one.contributions), layout.told)
    elif one.is_mean and layout.shared_baseline is not None and layout.shared_candidate is not None:
        one, two, layout_of = _shared(one, two, layout)
    sign = -1.0 if higher_is_better else 1.0
    worsening = sign * (two.value - one.value) + 0.0  # no negative zero
    found = _standard_error(one.contributions, two.contributions, layout_of)
    if found is None:
        return Untested(
            one.value, two.value, "fewer than 2 clusters of samples do not tell how they vary", *counts, least=2
        )
    standard_error, freedom = found
    flips = _cluster_differences(one, two, layout_of) if one.is_mean else None
    if flips is None:
        worse, better, within = (
            upper_tail(_ratio(distance, standard_error), freedom)
            for distance in (worsening, -worsening, margin - worsening)
        )
        method = "Student's t"
    else:
        differences, shares = flips
        worse, better = (sign_flip_p(factor * differences, seed=seed) for factor in (sign, -sign))
        within = sign_flip_p(-(sign * differences - margin * shares), seed=seed)
        method = f"sign flips of {len(differences):,} clusters"
    return Difference(
        baseline=one.value,
        candidate=two.value,
        worsening=worsening,
        standard_error=standard_error,
        degrees_of_freedom=freedom,
        p_worse=worse,
        p_better=better,
        p_margin=within,
        n_baseline=counts[0],
        n_candidate=counts[1],
        method=f"{candidate.method}, {method}" if candidate.method else method,
    )


def _ratio(distance: float, standard_error: float) -> float:
    if standard_error > 0:
        return distance / standard_error
    return float(np.copysign(np.inf, distance)) if distance else 0.0


def _layout_of_groups(count: int, told: str) -> Layout:
    groups = np.arange(count)
    return Layout(groups, groups, np.zeros(count, dtype=np.intp), None, None, told)


def _shared(baseline: Column, candidate: Column, layout: Layout) -> tuple[Column, Column, Layout]:
    """Means over the samples that are in both runs only."""
    assert layout.shared_baseline is not None
    assert layout.shared_candidate is not None
    rows_a, rows_b = layout.shared_baseline, layout.shared_candidate
    values = [column.contributions[rows] for column, rows in ((baseline, rows_a), (candidate, rows_b))]
    columns = [
        Column(float(kept.mean()), kept, is_mean=True, method=column.method)
        for kept, column in zip(values, (baseline, candidate), strict=True)
    ]
    kept = Layout(layout.of_baseline[rows_a], layout.of_candidate[rows_b], layout.strata, None, None, layout.told)
    return columns[0], columns[1], kept


def _standard_error(baseline: Array, candidate: Array, layout: Layout) -> tuple[float, float] | None:
    """Standard error of the difference and its degrees of freedom; None where a stratum has but one cluster."""
    strata = layout.strata
    total = np.zeros(len(strata))
    fewest = np.full(strata.max(initial=0) + 1, np.iinfo(np.intp).max)
    for factor, values, clusters in ((-1.0, baseline, layout.of_baseline), (1.0, candidate, layout.of_candidate)):
        centred = _centred(values, strata[clusters])
        total += factor * np.bincount(clusters, centred, minlength=len(strata)) / len(values)
        present = np.bincount(clusters, minlength=len(strata)) > 0
        fewest = np.minimum(fewest, np.bincount(strata[present], minlength=len(fewest)))
    used = np.bincount(strata[np.union1d(layout.of_baseline, layout.of_candidate)], minlength=len(fewest)) > 0
    if (fewest[used] < 2).any():
        return None
    squares = np.bincount(strata, np.square(total), minlength=len(fewest))[used]
    variance = float((squares * fewest[used] / (fewest[used] - 1)).sum())
    return float(np.sqrt(variance)), float((fewest[used] - 1).sum())


def _centred(values: Array, strata: NDArray[np.intp]) -> Array:
    sums, counts = np.bincount(strata, values), np.bincount(strata)
    centred: Array = values - (sums / np.maximum(counts, 1))[strata]
    return centred


def _cluster_differences(baseline: Column, candidate: Column, layout: Layout) -> tuple[Array, Array] | None:
    """What each cluster adds to the difference of the means, and its share of the samples; None unless all are paired.

    Where seeds differ within shared prompts, prompts are the clusters, and they pair as well.
    """
    sums = []
    for column, clusters in ((baseline, layout.of_baseline), (candidate, layout.of_candidate)):
        n = len(column.contributions)
        counts = np.bincount(clusters, minlength=len(layout.strata))
        sums.append((np.bincount(clusters, column.contributions, minlength=len(layout.strata)) / n, counts / n))
    (sum_a, share_a), (sum_b, share_b) = sums
    present = (share_a > 0) | (share_b > 0)
    if ((share_a > 0) != (share_b > 0))[present].any():
        return None
    return (sum_b - sum_a)[present], ((share_a + share_b) / 2)[present]


def sign_flip_p(differences: Array, *, seed: int = 0, flips: int = FLIPS) -> float:
    """Chance that the sum of `differences` [G] with random signs is as large as theirs: all signs for G ≤ 14.

    Otherwise (1 + hits) / (1 + flips), which is never zero (Phipson & Smyth 2010). Where no draw is as large, this says
    no more than that there were few draws, and Hoeffding's bound (1963, theorem 2) on the chance may be less.
    """
    moved = differences[differences != 0]
    observed = float(differences.sum())
    tolerance = 1e-12 * float(np.abs(moved).sum())
    if len(moved) <= EXACT_CLUSTERS:
        signs = ((np.arange(1 << len(moved))[:, None] >> np.arange(len(moved))) & 1) * 2 - 1
        return float((signs @ moved >= observed - tolerance).mean())
    rng = np.random.default_rng(seed)
    hits, done = 0, 0
    while done < flips:
        count = min(flips - done, max(1, BLOCK // len(moved)))
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count * len(moved) // 8)), np.uint8), count=count * len(moved))
        sums = 2 * (bits.reshape(count, len(moved)) @ moved) - float(moved.sum())
        hits += int((sums >= observed - tolerance).sum())
        done += count
    least = (1 + hits) / (1 + flips)
    return least if hits else min(least, float(np.exp(-(observed**2) / (2 * np.square(moved).sum()))))
