"""Which share of a model's battles a judge answered.

A judge that refuses the pictures of one model oftener than those of others distorts the board, however right its
verdicts are: what it would have said is missing, and not at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Coverage:
    """One model: `share` of its `n_asked` battles was answered, with its Wilson interval."""

    model: str
    n_asked: int
    n_answered: int
    share: float
    lower: float
    upper: float


def wilson(successes: float, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share: within 0..1, and not of width zero at either end. `n` is not 0."""
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = sqrt(z2 * (successes * (n - successes) / n + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def coverage(asked: Iterable[tuple[str, str, bool]]) -> tuple[Coverage, ...]:
    """The coverage of each model, by name, from (model_a, model_b, was it answered) of each battle.

    The intervals hold for all models together with probability `LEVEL` (Bonferroni).
    """
    n_asked: Counter[str] = Counter()
    n_answered: Counter[str] = Counter()
    for model_a, model_b, answered in asked:
        for model in (model_a, model_b):
            n_asked[model] += 1
            n_answered[model] += answered
    level = 1 - (1 - LEVEL) / max(1, len(n_asked))
    rows = []
    for model in sorted(n_asked):
        share = n_answered[model] / n_asked[model]
        interval = wilson(n_answered[model], n_asked[model], level=level)
        rows.append(Coverage(model, n_asked[model], n_answered[model], share, *interval))
    return tuple(rows)


def differing(rows: Sequence[Coverage]) -> tuple[Coverage, ...]:
    """The models whose interval does not hold the share of all models together: they are refused unlike the others."""
    n_asked = sum(row.n_asked for row in rows)
    if not n_asked:
        return ()
    overall = sum(row.n_answered for row in rows) / n_asked
    return tuple(row for row in rows if not row.lower - 1e-9 <= overall <= row.upper + 1e-9)
