"""Less-voted pairs come first, every pair keeps a chance, and the propensity said is the propensity drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena.matchmaking import FLOOR, draw_pair, pair_propensities

names = st.text(min_size=1, max_size=3)
counts = st.dictionaries(st.tuples(names, names), st.integers(0, 10**6), min_size=1, max_size=12)


@given(counts)
def test_a_distribution_with_a_floor(n_votes: dict[tuple[str, str], int]) -> None:
    p = pair_propensities(n_votes)
    assert list(p) == sorted(n_votes)
    assert sum(p.values()) == pytest.approx(1.0)
    assert min(p.values()) >= FLOOR / len(p)
    for one in p:
        for two in p:
            if n_votes[one] < n_votes[two]:
                assert p[one] >= p[two]


def test_closed_form() -> None:
    p = pair_propensities({("a", "b"): 0, ("a", "c"): 1, ("b", "c"): 2}, floor=0.0)
    assert list(p.values()) == pytest.approx([6 / 11, 3 / 11, 2 / 11])


def test_drawn_as_said() -> None:
    p = pair_propensities({("a", "b"): 0, ("a", "c"): 9, ("b", "c"): 99})
    rng = random.Random(1)
    drawn = Counter(draw_pair(p, rng) for _ in range(20_000))
    for pair, probability in p.items():
        assert drawn[pair] / 20_000 == pytest.approx(probability, abs=0.015)
