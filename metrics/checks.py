"""Did a checkpoint get worse: the verdict on each metric, and on all of them together.

Every gate has a margin, the worsening that is still tolerated, and a test of non-inferiority: D is the worsening of the
candidate against the baseline (above 0 is worse), L and U its one-sided bounds at level α.

- **improved**: U < 0;
- **pass**: U < margin, the candidate is shown not to be worse by the margin or more;
- **regressed**: L > 0, and D itself is beyond the margin;
- **inconclusive**: none of these, and then with the smallest worsening that this many samples would show, and how
  many would do.

Over the gates, "improved" and "regressed" are held to a family-wise error rate of α by Holm's steps (1979). "pass" is
not corrected: a release needs all of its gates to pass, and the chance that all pass in error is no larger than that of
one (Berger 1982, Technometrics 24, intersection-union tests). Slices, which only explain, go by the false discovery
rate (Benjamini & Hochberg 1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from paragone.data.errors import UsageError

ALPHA = 0.05
POWER = 0.8
Level = Callable[[float], float]  # from an error rate to the level at which one look may spend it


class Verdict(StrEnum):
    """What a check says of one metric, or of a candidate."""

    IMPROVED = "improved"
    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    REGRESSED = "regressed"


@dataclass(frozen=True, slots=True)
class Gate:
    """A metric that decides, and the worsening of it that is tolerated, in the metric's own units."""

    metric: str
    margin: float
    stated: str = ""  # as it was asked for, such as 5%

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise UsageError(
                f"margin of {self.metric}: {self.margin:g} is no tolerance; name one above 0 with "
                f"--margin {self.metric}=VALUE"
            )


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of one metric with its tests. `worsening` is candidate minus baseline where lower is better,
    otherwise the other way round; the one-sided p-values are of no worsening, no improvement, and no less than the
    margin.
    """

    baseline: float
    candidate: float
    worsening: float
    standard_error: float
    degrees_of_freedom: float
    p_worse: float
    p_better: float
    p_margin: float
    n_baseline: int
    n_candidate: int
    method: str
    notes: tuple[str, ...] = ()

    def bounds(self, level: float) -> tuple[float, float]:
        """Lower and upper one-sided bounds of the worsening, each at `level`."""
        half = float(stdtrit(self.degrees_of_freedom, 1 - level)) * self.standard_error
        return self.worsening - half, self.worsening + half


@dataclass(frozen=True, slots=True)
class Untested:
    """Why a gate could not be tested on these samples: it is inconclusive, whatever its values."""

    baseline: float
    candidate: float
    reason: str
    n_baseline: int
    n_candidate: int
    least: int | None = None  # samples that a test needs


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one gate, and what it rests on.

    `low` and `high` bound the worsening from either side at level `level`. `detectable`: the least true worsening that
    these samples show with `power`; `n_needed`: samples of the candidate that show the margin.
    """

    metric: str
    higher_is_better: bool
    verdict: Verdict
    margin: float
    stated_margin: str
    baseline: float
    candidate: float
    n_baseline: int
    n_candidate: int
    method: str
    level: float
    power: float
    worsening: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None
    p_worse_adjusted: float | None = None  # by Holm, over the gates of one look
    p_better: float | None = None
    p_margin: float | None = None
    detectable: float | None = None
    n_needed: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


def decide(
    gates: Sequence[Gate],
    outcomes: Sequence[Difference | Untested],
    higher_is_better: Sequence[bool],
    *,
    alpha: float = ALPHA,
    power: float = POWER,
    level: Level | None = None,
) -> tuple[Finding, ...]:
    """The finding of every gate. `level`: what one look of several may spend of an error rate; all of it by default.

    A gate that could not be tested takes its step of Holm's procedure like one that shows nothing.
    """
    _check_rates(alpha, power)
    spend = level or (lambda rate: rate)
    worse = [outcome.p_worse if isinstance(outcome, Difference) else 1.0 for outcome in outcomes]
    better = [outcome.p_better if isinstance(outcome, Difference) else 1.0 for outcome in outcomes]
    are_worse, are_better = (holm_rejects(p_values, alpha, level=spend) for p_values in (worse, better))
    adjusted = holm(worse)
    found = []
    for place, (gate, outcome, higher) in enumerate(zip(gates, outcomes, higher_is_better, strict=True)):
        if isinstance(outcome, Untested):
            found.append(_not_tested(gate, outcome, higher, level=spend(alpha), power=power))
            continue
        verdict = Verdict.INCONCLUSIVE
        if are_better[place]:
            verdict = Verdict.IMPROVED
        elif outcome.p_margin <= spend(alpha):
            verdict = Verdict.PASS
        elif are_worse[place] and outcome.worsening > gate.margin:
            verdict = Verdict.REGRESSED
        found.append(_told(gate, outcome, higher, verdict, adjusted[place], level=spend(alpha), power=power))
    return tuple(found)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """That of a candidate: regressed if any gate is, else inconclusive if any is, improved if one is and all hold."""
    for one in (Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.IMPROVED):
        if one in verdicts:
            return one
    return Verdict.PASS


def _not_tested(gate: Gate, outcome: Untested, higher: bool, *, level: float, power: float) -> Finding:
    return Finding(
        metric=gate.metric,
        higher_is_better=higher,
        verdict=Verdict.INCONCLUSIVE,
        margin=gate.margin,
        stated_margin=gate.stated,
        baseline=outcome.baseline,
        candidate=outcome.candidate,
        n_baseline=outcome.n_baseline,
        n_candidate=outcome.n_candidate,
        method="not tested",
        level=level,
        power=power,
        n_needed=outcome.least,
        reason=outcome.reason,
    )


def _told(
    gate: Gate, outcome: Difference, higher: bool, verdict: Verdict, adjusted: float, *, level: float, power: float
) -> Finding:
    low, high = outcome.bounds(level)
    detectable = detectable_effect(outcome.standard_error, outcome.degrees_of_freedom, alpha=level, power=power)
    needed = needed_samples(outcome.n_candidate, detectable, gate.margin)
    reason = ""
    notes = list(outcome.notes)
    if verdict is Verdict.INCONCLUSIVE:
        reason = (
            f"these samples show a worsening of {detectable:.3g} or more; for the margin of {gate.margin:.3g} it takes "
            f"about {needed:,}"
            if detectable > gate.margin
            else f"the worsening lies near the margin of {gate.margin:.3g}"
        )
    if verdict is Verdict.PASS and outcome.p_worse <= level:
        notes.append("a real worsening, but smaller than the margin")
    return Finding(
        metric=gate.metric,
        higher_is_better=higher,
        verdict=verdict,
        margin=gate.margin,
        stated_margin=gate.stated,
        baseline=outcome.baseline,
        candidate=outcome.candidate,
        n_baseline=outcome.n_baseline,
        n_candidate=outcome.n_candidate,
        method=outcome.method,
        level=level,
        power=power,
        worsening=outcome.worsening,
        standard_error=outcome.standard_error,
        low=low,
        high=high,
        p_worse=outcome.p_worse,
        p_worse_adjusted=adjusted,
        p_better=outcome.p_better,
        p_margin=outcome.p_margin,
        detectable=detectable,
        n_needed=needed if verdict is Verdict.INCONCLUSIVE else None,
        reason=reason,
        notes=tuple(notes),
    )


# ---- Power ---------------------------------------------------------------------------------------------------------


def detectable_effect(
    standard_error: float, degrees_of_freedom: float, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The least true worsening that a one-sided test at `alpha` finds with `power`; also the least margin that a
    candidate without any worsening passes with `power`.
    """
    _check_rates(alpha, power)
    return float(stdtrit(degrees_of_freedom, 1 - alpha) + stdtrit(degrees_of_freedom, power)) * standard_error


def needed_samples(n: int, detectable: float, effect: float) -> int:
    """Samples that make `effect` detectable, where `n` samples make `detectable` so: n falls as 1 / effect²."""
    return max(2, math.ceil(n * (detectable / effect) ** 2))


# ---- Families ------------------------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those at or below α, and FWER ≤ α under any dependence."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def holm_rejects(p_values: Sequence[float], alpha: float, *, level: Level) -> list[bool]:
    """Which hypotheses Holm's steps reject when each step's share α / (m - j) is spent through `level`."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = [False] * len(p_values)
    for step, place in enumerate(order):
        if p_values[place] > level(alpha / (len(p_values) - step)):
            break
        rejected[place] = True
    return rejected


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """q-values [m]: reject those at or below q, and the expected share of false ones among them is at most q."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(np.minimum(1.0, p[order] * len(p) / ranks))
    return adjusted


def upper_tail(t: float, degrees_of_freedom: float) -> float:
    """P(T ≥ t) of Student's t; at t = ±∞ (no noise at all) 0 and 1."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    return float(stdtr(degrees_of_freedom, -t))


def _check_rates(alpha: float, power: float) -> None:
    if not 0 < alpha < 0.5:
        raise UsageError(f"alpha={alpha}: give an error rate above 0 and below 0.5")
    if not 0.5 <= power < 1:
        raise UsageError(f"power={power}: give a chance from 0.5 to below 1")
