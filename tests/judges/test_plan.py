"""The plan of battles and the coverage of what came of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from paragone.data.errors import TooFewSamples
from paragone.data.records import Battle, Sample, sample_id
from paragone.judges.coverage import coverage, differing, wilson
from paragone.judges.plan import PER_PAIR, Order, in_order, new_battles


def samples(models: str = "abc", n: int = 12) -> list[Sample]:
    return [
        Sample(sample_id(model, f"p{k % 3}", k, "0" * 64), "0" * 64, f"{model}{k}.png", f"p{k % 3}", model, k, 8, 8)
        for model in models
        for k in range(n)
    ]


def first_shown(battles: list[Battle]) -> Counter[tuple[str, str]]:
    return Counter((battle.model_a, battle.model_b) for battle in battles)


def test_the_same_plan_each_time() -> None:
    stored = samples()
    assert new_battles(stored, n_battles=24) == new_battles(stored[::-1], n_battles=24)
    assert new_battles(stored, n_battles=24, seed=1) != new_battles(stored, n_battles=24)


def test_a_longer_plan_holds_the_shorter_one() -> None:
    few, many = (new_battles(samples(), n_battles=n) for n in (9, 30))
    assert set(few) < set(many)


def test_how_many_without_being_told() -> None:
    assert len(new_battles(samples())) == 3 * PER_PAIR
    assert len(new_battles(samples(n=4))) == 3 * 4
    with pytest.raises(TooFewSamples):
        new_battles(samples(n=4), n_battles=100)
    with pytest.raises(TooFewSamples):
        new_battles(samples("a"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=60))
def test_balanced_is_balanced_within_each_pair(pairs: list[tuple[str, str]]) -> None:
    battles = [
        Battle(f"b{n}", "p", one, two, f"{one}{n}", f"{two}{n}") for n, (one, two) in enumerate(pairs) if one != two
    ]
    shown = in_order(battles, Order.BALANCED)
    counts = first_shown(shown)
    for one, two in counts:
        assert abs(counts[one, two] - counts[two, one]) <= 1
    for before, after in zip(battles, shown, strict=True):
        assert {before.sample_a, before.sample_b} == {after.sample_a, after.sample_b}
        assert (before == after) == (before.id == after.id)
        assert after.sample_a.startswith(after.model_a)
    assert in_order(battles, Order.BOTH) == in_order(battles, Order.FIRST_ONLY) == battles


def test_a_plan_is_balanced_as_it_is() -> None:
    battles = new_battles(samples(), n_battles=30)
    counts = first_shown(in_order(battles, Order.BALANCED))
    assert set(counts.values()) == {5}


@given(n=st.integers(1, 400), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_is_the_librarys(n: int, share: float, level: float) -> None:
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level=level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_coverage_counts_both_sides() -> None:
    rows = coverage([("a", "b", True)] * 3 + [("a", "c", False)])
    assert [(row.model, row.n_asked, row.n_answered, row.share) for row in rows] == [
        ("a", 4, 3, 0.75),
        ("b", 3, 3, 1.0),
        ("c", 1, 0, 0.0),
    ]
    assert all(0 <= row.lower <= row.share <= row.upper <= 1 for row in rows)
    assert coverage([]) == ()
    assert differing(()) == ()


def test_a_model_that_is_refused_oftener_is_named() -> None:
    rng = np.random.default_rng(0)
    pairs = [(one, two) for one in "abcd" for two in "abcd" if one != two] * 40
    fair = coverage((one, two, bool(rng.random() < 0.9)) for one, two in pairs)
    assert differing(fair) == ()
    leaning = coverage((one, two, bool(rng.random() < (0.6 if "d" in (one, two) else 0.99))) for one, two in pairs)
    assert "d" in {row.model for row in differing(leaning)}


def test_equal_coverage_is_rarely_called_unequal() -> None:
    """The interval holds for all models at once: at most about one false alarm in twenty."""
    rng = np.random.default_rng(1)
    pairs = [(one, two) for one in "abcdef" for two in "abcdef" if one < two] * 20
    alarms = sum(bool(differing(coverage((a, b, bool(rng.random() < 0.9)) for a, b in pairs))) for _ in range(60))
    assert alarms <= 8
