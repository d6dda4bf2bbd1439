"""Rank correlations against scipy, enumeration and simulation."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from paragone.arena.correlation import RankCorrelation, kendall, spearman
from paragone.data.errors import UsageError

BOTH = pytest.mark.parametrize(("ours", "theirs"), [(spearman, spearmanr), (kendall, kendalltau)])


@BOTH
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_value_is_scipys(ours, theirs, data) -> None:  # type: ignore[no-untyped-def]
    n = data.draw(st.integers(3, 7))
    x, y = (data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)) for _ in range(2))
    found = ours(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found.value is None
        assert "same number" in found.note
    else:
        assert found.value == pytest.approx(theirs(x, y).statistic, abs=1e-12)
        assert ours(y, x).p_value == pytest.approx(found.p_value)
        assert ours(x, [-value for value in y]).value == pytest.approx(-found.value)


@BOTH
def test_p_value_counts_all_permutations(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    x, y = [1, 2, 3, 4, 5, 6], [2, 1, 3, 3, 6, 5]
    observed = abs(theirs(x, y).statistic)
    every = [abs(theirs(x, order).statistic) for order in permutations(y)]
    assert ours(x, y).p_value == pytest.approx(np.mean([value >= observed - 1e-12 for value in every]))


def test_drawn_permutations_are_near_the_exact_p_value() -> None:
    rng = np.random.default_rng(3)
    x = rng.permutation(14)
    y = x + rng.normal(0, 8, 14)
    exact = kendalltau(x, y, method="exact").pvalue
    error = math.sqrt(exact * (1 - exact) / 9999)
    assert abs(kendall(x, y).p_value - exact) < 4 * error + 1e-4
    assert kendall(x, y) == kendall(x, y)


@pytest.mark.slow
@BOTH
def test_intervals_cover(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    """Of a bivariate normal ρ and τ are known: (6/π) asin(r/2) and (2/π) asin r."""
    r, n, rng = 0.6, 25, np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(r / 2) if ours is spearman else 2 / math.pi * math.asin(r)
    covered = 0
    for _ in range(150):
        x = rng.normal(size=n)
        y = r * x + math.sqrt(1 - r**2) * rng.normal(size=n)
        found = ours(x, y)
        covered += found.lower <= truth <= found.upper
    assert 0.89 <= covered / 150 <= 0.99


@BOTH
def test_what_is_undefined_says_so(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    assert ours([], []) == RankCorrelation(0, note="undefined: 0 models with both numbers, 3 are needed")
    assert "1 model with" in ours([1], [2]).note
    assert ours([1, 2, 3], [4, 4, 4]).value is None
    three = ours([1, 2, 3], [1, 3, 2])
    assert three.value is not None
    assert (three.lower, three.note) == (None, "too few models for an interval")
    assert ours(range(6), range(6)).note == "no interval of a perfect order"
    with pytest.raises(UsageError, match="finite"):
        ours([1, 2, math.nan], [1, 2, 3])
    with pytest.raises(UsageError, match="one length"):
        ours([1, 2, 3], [1, 2])


def test_many_models_stay_quick() -> None:
    x = np.arange(300.0)
    found = kendall(x, np.sin(x))
    assert found.p_value is not None
    assert found.n == 300
