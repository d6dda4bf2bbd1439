"""Cycles: models that beat each other in a ring, which no list of ratings can show.

A majority relation without rings of three has no rings at all (a tournament is transitive iff it has no 3-cycle), so
rings of three are what is sought, among pairs whose votes show who wins.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

LEVEL_SCORE = 0.5


def beats(matrix: pd.DataFrame) -> pd.DataFrame:
    """The ordered pairs of a `win_matrix` whose 95 % interval of the win rate lies above one half."""
    return matrix[matrix["win_rate_lower"] > LEVEL_SCORE].reset_index(drop=True)


def three_cycles(matrix: pd.DataFrame, *, most: int = 20) -> list[tuple[str, str, str]]:
    """Rings a beats b beats c beats a among the pairs of `beats`, clearest first, at most `most` of them.

    Each ring is given once, from its model of the least name; the clearest has the largest least lower bound.
    """
    won = beats(matrix)
    names = sorted({*won["model_a"], *won["model_b"]})
    place = {name: k for k, name in enumerate(names)}
    lower = np.zeros((len(names), len(names)))
    lower[won["model_a"].map(place), won["model_b"].map(place)] = won["win_rate_lower"]
    found = []
    for a in range(len(names)):
        after = np.flatnonzero(lower[a, a + 1 :]) + a + 1
        before = np.flatnonzero(lower[a + 1 :, a]) + a + 1
        for b, c in np.argwhere(lower[np.ix_(after, before)]):
            ring = (a, int(after[b]), int(before[c]))
            found.append((min(lower[ring[k], ring[(k + 1) % 3]] for k in range(3)), ring))
    found.sort(key=lambda item: (-item[0], item[1]))
    return [(names[a], names[b], names[c]) for _, (a, b, c) in found[:most]]
