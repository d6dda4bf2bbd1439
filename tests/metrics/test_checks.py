"""Verdicts, families and power: against hand-made cases, SciPy, and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from paragone.data.errors import UsageError
from paragone.metrics.checks import (
    Difference,
    Gate,
    Untested,
    Verdict,
    benjamini_hochberg,
    decide,
    detectable_effect,
    holm,
    holm_rejects,
    needed_samples,
    overall,
    upper_tail,
)
from paragone.metrics.checks_sequential import nominal_levels, spent

FREEDOM = 1e6


def outcome(worsening: float, error: float, margin: float) -> Difference:
    p = [upper_tail(x / error, FREEDOM) for x in (worsening, -worsening, margin - worsening)]
    return Difference(1.0, 2.0, worsening, error, FREEDOM, *p, 100, 100, "t")


@pytest.mark.parametrize(
    ("worsening", "error", "verdict"),
    [
        (-2.0, 0.5, Verdict.IMPROVED),
        (-0.1, 0.3, Verdict.PASS),
        (0.5, 0.1, Verdict.PASS),  # a real worsening, below the margin
        (0.5, 1.0, Verdict.INCONCLUSIVE),
        (1.2, 1.0, Verdict.INCONCLUSIVE),  # beyond the margin, but perhaps nothing
        (0.9, 0.3, Verdict.INCONCLUSIVE),  # worse for certain, but neither below the margin nor beyond it
        (3.0, 0.5, Verdict.REGRESSED),
    ],
)
def test_the_verdict_of_one_gate(worsening: float, error: float, verdict: Verdict) -> None:
    gate = Gate("fd", 1.0)
    (found,) = decide([gate], [outcome(worsening, error, 1.0)], [False])
    assert found.verdict is verdict
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.6449 * error, rel=1e-3)
    assert (found.n_needed is not None) == (verdict is Verdict.INCONCLUSIVE)
    assert bool(found.notes) == (verdict is Verdict.PASS and worsening == 0.5)


def test_an_untested_gate_is_inconclusive_and_says_what_it_needs() -> None:
    (found,) = decide([Gate("fd", 1.0)], [Untested(3.0, 9.0, "too few", 10, 10, least=130)], [False])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.n_needed == 130
    assert found.reason == "too few"


def test_more_gates_make_a_regression_harder_to_claim_but_not_a_pass() -> None:
    once = outcome(2.0, 1.0, 0.5)  # p = 0.023
    alone = decide([Gate("a", 0.5)], [once], [False])
    among = decide(
        [Gate(name, 0.5) for name in "abc"], [once, outcome(0.1, 1.0, 0.5), outcome(0.2, 1.0, 0.5)], [False] * 3
    )
    assert alone[0].verdict is Verdict.REGRESSED
    assert among[0].verdict is Verdict.INCONCLUSIVE
    assert among[0].p_worse_adjusted == pytest.approx(3 * upper_tail(2.0, FREEDOM))
    passing = outcome(0.0, 0.5, 1.0)  # p of the margin 0.023
    assert {one.verdict for one in decide([Gate(name, 1.0) for name in "abc"], [passing] * 3, [False] * 3)} == {
        Verdict.PASS
    }


def test_a_candidate_is_as_bad_as_its_worst_gate() -> None:
    improved, passed, open_, worse = Verdict.IMPROVED, Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.REGRESSED
    assert overall([improved, worse, open_]) is worse
    assert overall([improved, open_]) is open_
    assert overall([improved, passed]) is improved
    assert overall([passed]) is passed


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_rejects([0.01, 0.04, 0.03, 0.005], 0.05, level=lambda rate: rate) == [True, False, False, True]


def test_benjamini_and_hochberg_as_scipy_has_them() -> None:
    p = np.random.default_rng(0).uniform(size=50) ** 3
    assert benjamini_hochberg(p) == pytest.approx(scipy.stats.false_discovery_control(p))


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_that_is_no_tolerance_is_refused(margin: float) -> None:
    with pytest.raises(UsageError, match="fd"):
        Gate("fd", margin)


def test_the_samples_asked_for_have_the_power_promised() -> None:
    """A paired difference with σ = 1: n for an effect of 0.2 at 5 % and 80 %, then 4,000 experiments of that size."""
    n = needed_samples(50, detectable_effect(1 / math.sqrt(50), FREEDOM), 0.2)
    assert n == math.ceil((1.6449 + 0.8416) ** 2 / 0.2**2)
    drawn = np.random.default_rng(1).normal(0.2, 1.0, (4000, n))
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / math.sqrt(n))
    assert (t > scipy.stats.t.ppf(0.95, n - 1)).mean() == pytest.approx(0.8, abs=0.03)


# ---- Looks ---------------------------------------------------------------------------------------------------------


def test_bounds_are_those_of_the_published_tables() -> None:
    """Lan & DeMets with the O'Brien-Fleming type function, one-sided 2.5 % (Jennison & Turnbull 2000; ldbounds)."""
    five = -scipy.stats.norm.ppf(nominal_levels([0.2, 0.4, 0.6, 0.8, 1.0], 0.025))
    assert five == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    two = -scipy.stats.norm.ppf(nominal_levels([0.5, 1.0], 0.025))
    assert two == pytest.approx([2.9626, 1.9686], abs=2e-4)
    assert nominal_levels([1.0], 0.05) == pytest.approx([0.05])


def test_looking_three_times_keeps_the_error_rate() -> None:
    shares = (0.3, 0.6, 1.0)
    steps = np.random.default_rng(2).normal(size=(200_000, 3)) * np.sqrt(np.diff((0.0, *shares)))
    z = np.cumsum(steps, axis=1) / np.sqrt(shares)
    stopped = (scipy.stats.norm.sf(z) <= nominal_levels(shares, 0.05)).any(axis=1).mean()
    assert stopped == pytest.approx(0.05, abs=0.002)
    assert (scipy.stats.norm.sf(z) <= 0.05).any(axis=1).mean() > 0.08  # what retrying until green would do


def test_spending_begins_with_nothing_and_ends_with_all() -> None:
    assert spent(0.0, 0.05) == 0.0
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    assert spent(0.2, 0.05) < 1e-4


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (0.0, 1.0), (0.5, 1.2), (0.5, 0.5)])
def test_looks_that_do_not_rise_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="looks"):
        nominal_levels(shares, 0.05)
