"""Pairs of models: tables against counting and simulation by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq

from paragone.arena import Cells, fit_bradley_terry, fit_davidson, fit_elo, pairwise, simulate_ranks, win_matrix
from paragone.arena.pairs import largest_t, wilson
from paragone.data.errors import InputError, UsageError

Array = np.ndarray[Any, Any]
MODELS = 5
SCORE = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "both_bad": 0.5}


def arena(seed: int, *, votes: int = 600, ties: float = 0.5, theta: Array | None = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    strength = np.linspace(-0.8, 0.8, MODELS) if theta is None else theta
    a = rng.integers(strength.size, size=votes)
    b = (a + rng.integers(1, strength.size, size=votes)) % strength.size
    d = strength[a] - strength[b]
    p = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(votes, ties)])
    outcome = (rng.random(votes) > np.cumsum(p / p.sum(axis=0), axis=0)[:2]).sum(axis=0)
    names = np.array([f"m{k}" for k in range(strength.size)], object)
    winner = np.array(["model_a", "model_b", "tie"], object)[outcome]
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner})


def test_the_win_matrix_counts() -> None:
    votes = pd.concat([arena(0), pd.DataFrame([("m0", "m1", "both_bad")], columns=["model_a", "model_b", "winner"])])
    table = win_matrix(votes)
    assert len(table) == MODELS * (MODELS - 1)
    for row in table.itertuples():
        scores = [
            SCORE[vote.winner] if vote.model_a == row.model_a else 1 - SCORE[vote.winner]
            for vote in votes.itertuples()
            if {vote.model_a, vote.model_b} == {row.model_a, row.model_b}
        ]
        assert row.n_votes == len(scores)
        assert row.win_rate == pytest.approx(np.mean(scores))
        interval = stats.binomtest(0, 1).proportion_ci  # scipy's Wilson takes whole successes only
        if float(sum(scores)).is_integer():
            interval = stats.binomtest(int(sum(scores)), len(scores)).proportion_ci(method="wilson")
            assert row.win_rate_lower == pytest.approx(interval.low)
            assert row.win_rate_upper == pytest.approx(interval.high)
    assert "expected" not in table
    assert table["n_votes"].sum() == 2 * len(votes)
    assert win_matrix(votes, both_bad="drop")["n_votes"].sum() == 2 * len(votes) - 2
    wide = table.pivot(index="model_a", columns="model_b", values="win_rate").to_numpy()
    off = ~np.eye(MODELS, dtype=bool)
    np.testing.assert_allclose((wide + wide.T)[off], 1)
    assert np.isnan(np.diag(wide)).all()
    pd.testing.assert_frame_equal(win_matrix(Cells.from_votes(votes)), table)


def test_wilson_inverts_the_score_test() -> None:
    for share, n in ((0.0, 5.0), (1.0, 7.0), (0.3, 10.5), (0.5, 1000.0)):
        lower, upper = (float(end[0]) for end in wilson(np.array([share]), np.array([n])))

        def test(p: float, share: float = share, n: float = n) -> float:
            return (share - p) ** 2 - stats.norm.ppf(0.975) ** 2 * p * (1 - p) / n

        if share > 0:
            assert lower == pytest.approx(brentq(test, 1e-12, share - 1e-9))
        if share < 1:
            assert upper == pytest.approx(brentq(test, share + 1e-9, 1 - 1e-12))
        assert 0 <= lower <= share <= upper <= 1


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson])
def test_residuals_are_standard_normal_under_the_fit(fit: Any) -> None:
    z: list[float] = []
    for seed in range(40):
        votes = arena(seed, votes=1500, theta=np.linspace(-1, 1, 9))
        table = win_matrix(votes, ratings=fit(votes))
        first = table[table["model_a"] < table["model_b"]]
        z += first["residual"].tolist()
        assert (table["residual"].sum()) == pytest.approx(0, abs=1e-9)
    # 36 pairs less 8 free ratings: the mean square is about 28/36.
    assert np.mean(np.square(z)) == pytest.approx(28 / 36, abs=0.1)
    assert np.abs(np.mean(z)) < 0.1


def test_a_pair_that_the_ratings_cannot_explain_stands_out() -> None:
    votes = arena(1, votes=3000)
    rigged = pd.DataFrame([("m0", "m4", "model_a")] * 60, columns=votes.columns)
    rigged = pd.concat([votes, rigged])
    ratings = fit_bradley_terry(rigged)
    table = win_matrix(rigged, ratings=ratings)
    worst = table.loc[table["residual"].idxmax()]
    assert (worst["model_a"], worst["model_b"]) == ("m0", "m4")
    assert worst["residual"] > 2  # the 60 votes draw the fit after them, or it would be more
    assert worst["expected"] == pytest.approx(ratings.probability("m0", "m4"))
    assert list(dict.fromkeys(table["model_a"])) == list(ratings.models)  # best first
    with pytest.raises(UsageError, match="m4"):
        win_matrix(rigged, ratings=fit_bradley_terry(votes[(votes["model_a"] != "m4") & (votes["model_b"] != "m4")]))
    with pytest.raises(InputError, match="no column 'winner'"):
        win_matrix(votes.drop(columns="winner"))


def test_weights_count_as_fewer_votes() -> None:
    votes = arena(2)
    plain, heavy = win_matrix(votes), win_matrix(votes.assign(weight=3.0))
    pd.testing.assert_frame_equal(plain, heavy)
    uneven = win_matrix(votes.assign(weight=np.where(np.arange(len(votes)) % 2, 3.0, 1.0)))
    width = (table["win_rate_upper"] - table["win_rate_lower"] for table in (uneven, plain))
    assert np.mean(next(width)) > 1.05 * np.mean(next(width))


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson])
def test_the_table_of_pairs_is_what_ratings_say_of_each(fit: Any) -> None:
    ratings = fit(arena(0))
    table = pairwise(ratings)
    assert len(table) == MODELS * (MODELS - 1) // 2
    for row in table.itertuples():
        difference, error = ratings.difference(row.model_a, row.model_b)
        assert difference >= 0
        assert (row.difference, row.standard_error) == pytest.approx((difference, error))
        assert row.lower == pytest.approx(difference - 1.959963984540054 * error)
        assert row.upper == pytest.approx(difference + 1.959963984540054 * error)
        assert row.probability == pytest.approx(ratings.probability(row.model_a, row.model_b))
        assert row.probability_lower < row.probability < row.probability_upper
        assert row.p_better == pytest.approx(stats.norm.cdf(difference / error))
    with pytest.raises(UsageError, match="without intervals"):
        pairwise(fit_elo(arena(0)))


def test_an_anchor_changes_no_pair() -> None:
    votes = arena(0)
    free, tied = pairwise(fit_bradley_terry(votes)), pairwise(fit_bradley_terry(votes, anchor={"m2": 1500.0}))
    pd.testing.assert_frame_equal(free, tied, rtol=1e-6)


def test_the_largest_t_of_equal_independent_ratings_is_tukeys() -> None:
    """Differences of k independent estimates with one variance: the studentised range, over √2."""
    expected = stats.studentized_range.ppf(0.95, 6, np.inf) / math.sqrt(2)
    assert largest_t(np.eye(6) * 25, draws=60_000, seed=0) == pytest.approx(expected, rel=0.01)
    assert largest_t(np.eye(2), draws=60_000, seed=0) == pytest.approx(1.96, abs=0.03)
    assert largest_t(np.zeros((3, 3)), draws=1000, seed=0) == pytest.approx(1.96, abs=0.001)


def test_simultaneous_intervals_are_wider_and_repeat_themselves() -> None:
    ratings = fit_bradley_terry(arena(0))
    alone, together = pairwise(ratings), pairwise(ratings, simultaneous=True)
    assert (together["lower"] < alone["lower"]).all()
    pd.testing.assert_frame_equal(together, pairwise(ratings, simultaneous=True))
    ranks, cautious = simulate_ranks(ratings), simulate_ranks(ratings, simultaneous=True)
    assert (cautious["rank_lower"] <= ranks["rank_lower"]).all()
    assert (cautious["rank_upper"] >= ranks["rank_upper"]).all()
    for row, model in enumerate(ratings.models):
        ahead = together[(together["model_b"] == model) & (together["lower"] > 0)]
        assert cautious["rank_lower"][row] == 1 + len(ahead)
        behind = together[(together["model_a"] == model) & (together["lower"] > 0)]
        assert cautious["rank_upper"][row] == MODELS - len(behind)


def test_simultaneous_ranks_hold_all_at_once() -> None:
    """120 arenas of 6 close models: all six true ranks lie in their intervals in 95 % or more."""
    theta = np.array([0.5, 0.3, 0.2, 0.0, -0.2, -0.8])
    truth = {f"m{k}": k + 1 for k in range(6)}
    every, pair_errors = [], []
    for seed in range(120):
        ratings = fit_bradley_terry(arena(seed, votes=400, ties=0.4, theta=theta))
        ranks = simulate_ranks(ratings, draws=2000, simultaneous=True)
        place = np.array([truth[model] for model in ranks["model"]])
        every.append(((ranks["rank_lower"] <= place) & (place <= ranks["rank_upper"])).all())
        table = pairwise(ratings)
        true = [truth[b] > truth[a] for a, b in zip(table["model_a"], table["model_b"], strict=True)]
        pair_errors.append(float(np.mean(table["p_better"] - true)))
    assert np.mean(every) >= 0.93
    assert abs(np.mean(pair_errors)) < 0.06
