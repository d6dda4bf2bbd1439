"""Stopping: are the error rates kept under peeking, and are the formulas what they say?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from paragone.arena.stopping import (
    BETS,
    confidence_sequence,
    e_process,
    scores_against,
    sprt,
    sprt_length,
)
from paragone.data.errors import InputError, UsageError

Array = np.ndarray[Any, Any]


def streams(seed: int, p: float, *, ties: float = 0.0, n: int = 300, votes: int = 1000) -> Array:
    u = np.random.default_rng(seed).random((n, votes))
    return np.where(u < p - ties / 2, 1.0, np.where(u < p + ties / 2, 0.5, 0.0))


def test_peeking_after_every_vote_keeps_the_error_rate_where_a_z_test_does_not() -> None:
    for ties in (0.0, 0.4):
        x = streams(1, 0.5, ties=ties)
        alarms = [e_process(row, alternative="two-sided").verdict == "accept" for row in x]
        assert np.mean(alarms) <= 0.05 + 0.025  # 300 streams: two standard errors
        n = np.arange(1, x.shape[1] + 1)
        mean = np.cumsum(x, axis=1) / n
        z = np.abs(mean - 0.5) * np.sqrt(n) / np.sqrt(np.maximum(np.cumsum(x**2, axis=1) / n - mean**2, 1e-9))
        assert (z[:, 20:] > 1.96).any(axis=1).mean() > 0.3
    below = streams(2, 0.45)
    assert not any(e_process(row).verdict == "accept" for row in below)


def test_the_e_process_finds_a_lead_and_its_mean_is_at_most_1() -> None:
    stopped = [e_process(row).decided_at for row in streams(3, 0.6)]
    assert all(stopped)
    assert 120 < np.mean([at for at in stopped if at]) < 280
    # E[e-value] ≤ 1 at any fixed time: over all 2⁸ equally likely streams it is exactly 1.
    every = np.array(np.meshgrid(*[[0.0, 1.0]] * 8)).reshape(8, -1).T
    for alternative in ("greater", "less", "two-sided"):
        values = [math.exp(e_process(row, alternative=alternative).statistic[-1]) for row in every]  # type: ignore[arg-type]
        assert np.mean(values) == pytest.approx(1.0)


outcomes = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40)


@given(outcomes, st.floats(-200, 200))
def test_the_e_value_is_the_average_wealth_of_the_bets(x: list[float], elo: float) -> None:
    mean = 1 / (1 + 10 ** (-elo / 400))

    def wealth(values: list[float], m: float) -> float:
        return float(np.mean([math.prod(1 + bet / m * (v - m) for v in values) for bet in BETS]))

    up, down = wealth(x, mean), wealth([1 - v for v in x], 1 - mean)
    assert math.exp(e_process(x, elo=elo).statistic[-1]) == pytest.approx(up, rel=1e-6)
    assert math.exp(e_process(x, elo=elo, alternative="less").statistic[-1]) == pytest.approx(down, rel=1e-6)
    both = e_process(x, elo=elo, alternative="two-sided")
    assert math.exp(both.statistic[-1]) == pytest.approx((up + down) / 2, rel=1e-6)


@given(outcomes)
def test_exchanging_the_models_mirrors_everything(x: list[float]) -> None:
    turned = [1 - v for v in x]
    np.testing.assert_allclose(
        e_process(x, elo=30, alternative="less").statistic, e_process(turned, elo=-30).statistic, atol=1e-9
    )
    np.testing.assert_allclose(
        sprt(x, elo0=-10, elo1=30).statistic, -sprt(turned, elo0=-30, elo1=10).statistic, atol=1e-7
    )
    straight, mirrored = confidence_sequence(x), confidence_sequence(turned)
    np.testing.assert_allclose(straight.lower, 1 - mirrored.upper, atol=1e-8)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=30), st.integers(0, 30))
def test_one_vote_at_a_time_or_all_at_once_is_the_same(x: list[float], cut: int) -> None:
    for whole, part in (
        (e_process(x, elo=10.0), e_process(x[:cut], elo=10.0)),
        (sprt(x, elo0=0, elo1=300), sprt(x[:cut], elo0=0, elo1=300)),
    ):
        for value in x[cut:]:
            part = part.extended([value])
        np.testing.assert_array_equal(part.statistic, whole.statistic)
        assert part.to_dict() == whole.to_dict()
    halves = confidence_sequence(x)
    np.testing.assert_array_equal(confidence_sequence(x[:cut]).lower, halves.lower[:cut])


def test_long_streams_are_worked_off_in_blocks() -> None:
    x = streams(4, 0.5, ties=0.3, n=1, votes=150_000)[0]
    whole, few = e_process(x), e_process(x[:400])
    np.testing.assert_allclose(whole.statistic[:400], few.statistic)
    mean, count = 0.5, [(x == v).sum() for v in (0.0, 0.5, 1.0)]
    logs = [
        sum(c * math.log1p(bet / mean * (v - mean)) for c, v in zip(count, (0, 0.5, 1), strict=True)) for bet in BETS
    ]
    top = max(logs)
    assert whole.statistic[-1] == pytest.approx(top + math.log(np.mean(np.exp(np.array(logs) - top))), rel=1e-6)


def test_a_verdict_stands() -> None:
    test = e_process([1.0] * 40)
    assert (test.verdict, test.decided_at is not None) == ("accept", True)
    later = test.extended([0.0] * 400)
    assert (later.verdict, later.decided_at) == ("accept", test.decided_at)
    assert later.n == 440
    assert later.statistic[-1] < later.upper
    assert later.p_value == pytest.approx(math.exp(-test.statistic.max()))


@pytest.mark.slow
def test_confidence_sequences_hold_at_every_vote() -> None:
    for p, ties in ((0.5, 0.0), (0.65, 0.3), (0.95, 0.0)):
        found = [confidence_sequence(row) for row in streams(5, p, ties=ties, n=60, votes=200)]
        assert np.mean([(s.lower.max() <= p) & (p <= s.upper.min()) for s in found]) >= 0.95 - 0.04
        assert np.mean([s.upper[-1] - s.lower[-1] for s in found]) < 0.3
    graded = np.random.default_rng(6).beta(2, 2, 200)  # any scores in [0, 1]
    band = confidence_sequence(graded)
    assert band.lower[-1] < 0.5 < band.upper[-1]
    assert (np.diff(band.lower) >= 0).all()
    assert band.upper[-1] - band.lower[-1] < 0.18


def test_the_sequence_is_what_no_test_refutes() -> None:
    rng = np.random.default_rng(9)
    for n in (1, 5, 40, 120):
        x = rng.choice([0.0, 0.5, 1.0], n, p=[0.2, 0.2, 0.6])
        band = confidence_sequence(x, alpha=0.1)
        for side, bound in (("greater", band.elo_lower[-1]), ("less", band.elo_upper[-1])):
            if math.isinf(bound):
                continue
            out, inside = (-1e-4, 1e-4) if side == "greater" else (1e-4, -1e-4)
            refuted = e_process(x, elo=bound + out, alternative=side, alpha=0.05)  # type: ignore[arg-type]
            assert refuted.verdict == "accept"
            assert e_process(x, elo=bound + inside, alternative=side, alpha=0.05).verdict == "continue"  # type: ignore[arg-type]
        lower = band.lower[-1]
        assert band.elo_lower[-1] == pytest.approx(400 * math.log10(lower / (1 - lower)) if lower else -math.inf)


def slow_ratio(count: Array, values: Array, mean0: float, mean1: float) -> float:
    """Log-likelihoods of the best probabilities with each mean, by a general optimiser."""
    best = []
    for mean in (mean0, mean1):
        result = minimize(
            lambda p: -(count * np.log(np.maximum(p, 1e-12))).sum(),
            np.full(values.size, 1 / values.size),
            bounds=[(1e-9, 1)] * values.size,
            constraints=[
                {"type": "eq", "fun": lambda p: p.sum() - 1},
                {"type": "eq", "fun": lambda p, mean=mean: p @ values - mean},
            ],
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        best.append(-result.fun)
    return best[1] - best[0]


@pytest.mark.parametrize("model", ["trinomial", "pentanomial"])
def test_the_ratio_is_that_of_the_most_likely_outcomes(model: str) -> None:
    size = 3 if model == "trinomial" else 5
    values = np.linspace(0, 1, size)
    rng = np.random.default_rng(7)
    for _ in range(5):
        x = rng.choice(values, 60, p=rng.dirichlet(np.full(size, 4)))
        x[:size] = values  # every outcome comes
        count = np.array([(x == v).sum() for v in values], float)
        means = [1 / (1 + 10 ** (-elo / 400)) for elo in (-20, 40)]
        found = sprt(x, elo0=-20, elo1=40, model=model).statistic[-1]  # type: ignore[arg-type]
        assert found == pytest.approx(slow_ratio(count, values, *means), abs=2e-4)
        variance = (count @ values**2) / 60 - (count @ values / 60) ** 2
        normal = 60 * (means[1] - means[0]) * (2 * x.mean() - sum(means)) / (2 * variance)
        assert found == pytest.approx(normal, rel=0.15, abs=0.05)


def test_sprt_keeps_its_error_rates_and_its_length() -> None:
    for elo, accepts, model in ((-100, 0.05, 0.0), (0, 0.95, 0.4)):
        p = 1 / (1 + 10 ** (-elo / 400))
        found = [sprt(row, elo0=-100, elo1=0) for row in streams(8, p, ties=model, n=250, votes=800)]
        share = np.mean([test.verdict == "accept" for test in found])
        assert share == pytest.approx(accepts, abs=0.045)
        chance, length = sprt_length(elo, elo0=-100, elo1=0, ties=model)
        assert chance == pytest.approx(accepts, abs=1e-9)
        assert np.mean([test.decided_at or 800 for test in found]) == pytest.approx(length, rel=0.15)


def test_pairs_of_a_biased_judge_need_the_pentanomial() -> None:
    """A judge who always takes the first side says the same of every pair: ½, and nothing of the models."""
    assert sprt([0.5] * 400, elo0=0, elo1=50, model="pentanomial").verdict == "reject"
    x = np.array([0.75, 0.25] * 100)
    assert sprt(x, elo0=0, elo1=50, model="pentanomial").statistic[-1] < 0
    with pytest.raises(InputError, match=r"outcome 1 is 0.75; a trinomial SPRT takes 0, 0.5, 1"):
        sprt(x, elo0=0, elo1=50)


def test_the_length_is_longest_between_the_hypotheses() -> None:
    lengths = [sprt_length(elo, elo0=0, elo1=20)[1] for elo in (-40, -10, 0, 9.9999999, 10, 20, 60)]
    assert lengths.index(max(lengths)) in (3, 4)
    assert lengths[3] == pytest.approx(lengths[4], rel=1e-3)
    assert sprt_length(0, elo0=0, elo1=20, ties=0.5)[1] < lengths[2]


def test_nothing_yet() -> None:
    for test in (e_process([]), sprt([], elo0=0, elo1=10)):
        assert (test.verdict, test.n, test.score, test.decided_at) == ("continue", 0, None, None)
    assert e_process([]).p_value == 1.0
    assert sprt([], elo0=0, elo1=10).p_value is None
    assert confidence_sequence([]).lower.size == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([1, 0.5, 1.2], "outcome 3 is 1.2"),
        ([0.5, math.nan], "outcome 2 is nan"),
        ([-1], "outcome 1 is -1"),
        ([[1, 0]], r"shape \(1, 2\)"),
        (["win"], "outcomes are numbers"),
    ],
)
def test_bad_outcomes_are_named(bad: list[Any], message: str) -> None:
    for function in (e_process, confidence_sequence, lambda x: sprt(x, elo0=0, elo1=10)):
        with pytest.raises(InputError, match=message):
            function(bad)


def test_bad_options_are_named() -> None:
    for call, message in (
        (lambda: e_process([1], alpha=0), "alpha=0"),
        (lambda: e_process([1], elo=math.inf), "inf rating points"),
        (lambda: e_process([1], alternative="above"), "alternative"),  # type: ignore[arg-type]
        (lambda: e_process([1], scale=-1), "scale=-1"),
        (lambda: sprt([1], elo0=10, elo1=10), "elo0=10"),
        (lambda: sprt([1], elo0=0, elo1=10, beta=0.99), "less than 1"),
        (lambda: sprt([1], elo0=0, elo1=10, model="binomial"), "trinomial"),  # type: ignore[arg-type]
        (lambda: sprt_length(300, elo0=0, elo1=10, ties=0.9), "ties=0.9"),
    ):
        with pytest.raises(UsageError, match=message):
            call()


def test_scores_are_read_from_votes_whichever_side_a_model_was_on() -> None:
    votes = pd.DataFrame(
        [
            ("a", "b", "model_a"),
            ("b", "a", "model_a"),
            ("a", "c", "model_a"),
            ("b", "a", "tie"),
            ("a", "b", "both_bad"),
        ],
        columns=["model_a", "model_b", "winner"],
    )
    assert scores_against(votes, "a", "b").tolist() == [1.0, 0.0, 0.5, 0.5]
    assert scores_against(votes, "a", "b", both_bad="drop").tolist() == [1.0, 0.0, 0.5]
    assert scores_against(votes, "b", "c").tolist() == []
    with pytest.raises(UsageError, match="no votes on a model called 'd'"):
        scores_against(votes, "a", "d")
