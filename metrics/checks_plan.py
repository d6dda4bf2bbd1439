"""How many samples a check needs before it is run, from a pilot's own columns.

For a one-sided test at α with power 1 - β: n = (z_α + z_β)² σ² / effect², σ² being the variance of what one sample adds
to the difference. Two runs of the pilot's kind have σ² = 2 (1 - ρ) times that of one; ρ, the correlation of samples
of one prompt and seed, is estimated where there are two pilots, and 0 (unpaired) otherwise.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from paragone.data.errors import UsageError
from paragone.metrics.checks import Difference, Gate, Untested
from paragone.metrics.checks_paired import difference_of
from paragone.metrics.run_items import lay_out
from paragone.metrics.run_record import RunRecord

SCHEMA = "paragone.plan/1"


@dataclass(frozen=True, slots=True)
class Planned:
    """One gate: what `n` samples of either run detect, and how many detect the margin. `deviation`: of one sample's
    part of the difference.
    """

    metric: str
    margin: float
    deviation: float | None
    n: int
    detectable: float | None
    n_needed: int | None
    paired: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `paragone plan` prints."""

    alpha: float
    power: float
    told: str
    rows: tuple[Planned, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.plan/1`."""
        return {"schema": SCHEMA, **asdict(self)}


def plan_samples(
    pilot: RunRecord, gates: tuple[Gate, ...], *, second: RunRecord | None = None, alpha: float, power: float
) -> Plan:
    """What each gate of the pilot needs; with a `second` run of the same requests, for paired samples."""
    other = second or pilot
    layout = lay_out(pilot.items, other.items)
    factor = float(ndtri(1 - alpha) + ndtri(power))
    rows = []
    for gate in gates:
        one, two = pilot.measures[gate.metric], other.measures.get(gate.metric)
        if two is None or one.column is None or two.column is None:
            why = one.reason or "not measured of the second pilot"
            rows.append(Planned(gate.metric, gate.margin, None, len(pilot.items), None, None, second is not None, why))
            continue
        # Of one pilot: its own noise, against a run without any; that of two such runs is √2 times that.
        nothing = replace(one.column, contributions=np.zeros_like(one.column.contributions), is_mean=False)
        found = difference_of(
            one.column if second is not None else nothing,
            two.column,
            layout,
            higher_is_better=one.higher_is_better,
            margin=gate.margin,
            counts=(len(pilot.items), len(other.items)),
        )
        rows.append(_row(gate, found, len(pilot.items), factor, paired=second is not None))
    told = layout.told if second is not None else "unpaired: two runs of the pilot's kind, with seeds of their own"
    return Plan(alpha, power, told, tuple(rows))


def _row(gate: Gate, found: Difference | Untested, n: int, factor: float, *, paired: bool) -> Planned:
    if isinstance(found, Untested):
        return Planned(gate.metric, gate.margin, None, n, None, found.least, paired, found.reason)
    standard_error = found.standard_error * (1.0 if paired else math.sqrt(2))
    detectable = factor * standard_error
    return Planned(
        metric=gate.metric,
        margin=gate.margin,
        deviation=standard_error * math.sqrt(n),
        n=n,
        detectable=detectable,
        n_needed=max(2, math.ceil(n * (detectable / gate.margin) ** 2)),
        paired=paired,
    )


@dataclass(frozen=True, slots=True)
class PlannedVotes:
    """Votes for one lead in rating points: by a test at a number fixed beforehand, and by the sequential test."""

    elo: float
    ties: float
    fixed: int
    sprt_if_equal: int
    sprt_if_worse: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON document `paragone.plan/1`."""
        return {"schema": SCHEMA, **asdict(self)}


def fixed_votes(elo: float, *, ties: float, alpha: float, power: float) -> int:
    """Votes that show a lead of `elo` points with `power`, one-sided at `alpha`; ties lower a vote's variance."""
    if not (math.isfinite(elo) and elo > 0):
        raise UsageError(f"a lead of {elo:g} points cannot be planned for; give one above 0")
    if not 0 <= ties < 1:
        raise UsageError(f"ties={ties}: give a share from 0 to below 1")
    score = 1 / (1 + 10 ** (-elo / 400))
    variances = (0.25 - ties / 4, score * (1 - score) - ties / 4)
    if variances[1] <= 0:
        raise UsageError(f"ties={ties}: a lead of {elo:g} points leaves no room for so many ties")
    needed = float(ndtri(1 - alpha)) * math.sqrt(variances[0]) + float(ndtri(power)) * math.sqrt(variances[1])
    return math.ceil((needed / (score - 0.5)) ** 2)
