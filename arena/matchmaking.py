"""Which pair of models a person is shown next: the less a pair was voted on, the likelier, but every pair has a chance.

Each draw is recorded with its probability (the propensity), so that estimates can later be weighted back to a
uniform draw.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

FLOOR = 0.1  # the share of battles drawn uniformly
POLICY = f"least-voted/1 floor={FLOOR}"

Pair = tuple[str, str]  # two model names in alphabetical order


def pair_propensities(n_votes: Mapping[Pair, int], *, floor: float = FLOOR) -> dict[Pair, float]:
    """Probability of each pair: p = floor/P + (1 − floor)·w/Σw with w = 1/(1 + votes), for P pairs.

    The result is sorted by pair, sums to 1, and no entry is below floor/P.
    """
    pairs = sorted(n_votes)
    weights = [1.0 / (1 + n_votes[pair]) for pair in pairs]
    total = sum(weights)
    return {
        pair: floor / len(pairs) + (1 - floor) * weight / total for pair, weight in zip(pairs, weights, strict=True)
    }


def draw_pair(propensities: Mapping[Pair, float], rng: random.Random) -> Pair:
    """One pair drawn with its propensity."""
    return rng.choices(list(propensities), weights=list(propensities.values()))[0]
