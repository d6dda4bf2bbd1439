"""Intervals: do the ways to them agree, is the fast bootstrap the slow one. `test_coverage` asks whether they cover."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from paragone.arena import bootstrap as resampling
from paragone.arena.bootstrap import bias_corrected, bootstrap, multinomial_columns, poisson
from paragone.arena.bradley_terry import BradleyTerry, fit_bradley_terry
from paragone.arena.elo import fit_elo
from paragone.arena.intervals import rank_intervals
from paragone.arena.likelihood import maximise, pairs_of
from paragone.arena.pairs import simulate_ranks
from paragone.arena.ratings import Ratings
from paragone.arena.ties import Davidson, RaoKupper, fit_davidson, fit_rao_kupper
from paragone.arena.votes import Cells
from paragone.data.errors import NotIdentifiable, UsageError

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)


def probabilities(d: Array, nu: float) -> Array:
    """[3, …] Davidson's win, loss and tie."""
    share = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full_like(d, nu)])
    return share / share.sum(axis=0)


def arena(rng: np.random.Generator, theta: Array, *, votes: int, nu: float) -> pd.DataFrame:
    """Votes on pairs that meet unequally often."""
    share = np.linspace(1, 3, theta.size)
    a = rng.choice(theta.size, votes, p=share / share.sum())
    b = (a + rng.integers(1, theta.size, size=votes)) % theta.size
    p = probabilities(theta[a] - theta[b], nu)
    outcome = (rng.random(votes) > np.cumsum(p, axis=0)[:2]).sum(axis=0)
    names = np.array([f"m{k}" for k in range(theta.size)], object)
    winner = np.array(["model_a", "model_b", "tie"], object)[outcome]
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner})


def clustered_arena(seed: int) -> pd.DataFrame:
    """60 voters of 10 votes each; every voter has tastes of their own, so that their votes go together."""
    rng = np.random.default_rng(seed)
    theta = np.array([-0.6, -0.2, 0.2, 0.6])
    rows = []
    for voter in range(60):
        taste = theta + rng.normal(0, 1.2, 4)
        for _ in range(10):
            a, b = rng.choice(4, 2, replace=False)
            won = rng.random() < 1 / (1 + math.exp(taste[b] - taste[a]))
            rows.append((f"m{a}", f"m{b}", "model_a" if won else "model_b", f"v{voter}"))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "voter"])


def spread(fitted: Ratings) -> Array:
    """[M] standard errors in the order of the names."""
    assert fitted.variance is not None
    return np.sqrt(fitted.variance)[np.argsort(fitted.models)]


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson, fit_rao_kupper])
def test_bootstrap_and_sandwich_agree_on_many_votes(fit: Callable[..., Ratings]) -> None:
    votes = arena(np.random.default_rng(0), np.linspace(-1, 1, 6), votes=5000, nu=0.7)
    sandwich, drawn = fit(votes), fit(votes, ci="bootstrap", bootstrap=2000)
    np.testing.assert_allclose(spread(drawn), spread(sandwich), rtol=0.08)
    np.testing.assert_allclose(drawn.rating, sandwich.rating, atol=1e-9)
    assert drawn.parameters["bootstrap_degenerate"] == 0
    np.testing.assert_allclose(drawn.rating_upper, sandwich.rating_upper, atol=0.3 * spread(sandwich).max())


def test_clustered_and_weighted_bootstraps_agree_with_their_sandwich() -> None:
    votes = clustered_arena(0)
    by_voter = fit_bradley_terry(votes, cluster="voter")
    drawn = fit_bradley_terry(votes, cluster="voter", ci="bootstrap", bootstrap=2000)
    np.testing.assert_allclose(spread(drawn), spread(by_voter), rtol=0.1)
    assert (spread(by_voter) > 1.1 * spread(fit_bradley_terry(votes))).all()
    weighted = votes.assign(weight=np.random.default_rng(1).choice([0.2, 1.0, 3.0], len(votes)))
    drawn = fit_bradley_terry(weighted, ci="bootstrap", bootstrap=2000)
    np.testing.assert_allclose(spread(drawn), spread(fit_bradley_terry(weighted)), rtol=0.1)


def test_bias_corrected_intervals() -> None:
    """Replicates with their median at the estimate: plain quantiles. Normal ones about a shifted mean b: b taken off
    twice, so that the interval is about estimate − b.
    """
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1, (2, 200_000)) + np.array([[0.0], [0.3]])
    lower, upper = bias_corrected(drawn, np.zeros(2))
    np.testing.assert_allclose(lower, [-1.96, -1.96 - 0.3], atol=0.03)
    np.testing.assert_allclose(upper, [1.96, 1.96 - 0.3], atol=0.03)
    same = bias_corrected(np.full((1, 100), 7.0), np.array([7.0]))
    assert [float(end[0]) for end in same] == [7.0, 7.0]
    far = bias_corrected(drawn[:1, :100], np.array([9.0]))
    np.testing.assert_allclose(far, drawn[0, :100].max(), atol=0.05)


def test_the_bootstrap_repeats_itself() -> None:
    votes = arena(np.random.default_rng(0), np.linspace(-1, 1, 6), votes=500, nu=0.7)
    first, again, other = (fit_bradley_terry(votes, ci="bootstrap", seed=seed).to_dict() for seed in (1, 1, 2))
    assert first == again
    assert first["models"] != other["models"]


@pytest.mark.parametrize("model", [BradleyTerry(), Davidson(), RaoKupper()], ids=["bt", "davidson", "rao-kupper"])
@pytest.mark.parametrize("precision", [0.0, 0.2])
def test_replicates_are_full_fits(monkeypatch: pytest.MonkeyPatch, model: Any, precision: float) -> None:
    """Every replicate of the batched chord iteration equals a damped Newton fit of the same resampled votes."""
    votes = arena(np.random.default_rng(3), np.linspace(-1, 1, 5), votes=150, nu=0.7)
    cells = Cells.from_votes(votes).settle("tie")
    pairs, kept = pairs_of(cells), []
    refit = resampling._Refit.all

    def keep(self: Any, weight: Array, centre: Array | None) -> Array:
        theta = refit(self, weight, centre)
        kept.append((weight, centre, theta))
        return theta

    monkeypatch.setattr(resampling._Refit, "all", keep)
    options = {"tolerance": 1e-6 / POINTS, "precision": precision}
    fit = maximise(model, pairs, cells.weight[:3], **options)
    bootstrap(model, fit, cells, None, replicates=40, seed=0, **options)
    assert sum(theta.shape[1] for _, _, theta in kept) == 40
    for weight, centre, theta in kept:
        for r in np.flatnonzero(np.isfinite(theta).all(axis=0)):
            one = maximise(model, pairs, weight[:, :, r], centre=None if centre is None else centre[:, r], **options)
            np.testing.assert_allclose(theta[:, r], one.theta, atol=1e-6 / POINTS)


def test_replicates_without_a_fit_are_counted_and_said() -> None:
    """Model b wins 3 of 40 against a, so a replicate lacks those wins with probability (37/40)^40, about 4 %."""
    rows = [("a", "b", "model_a")] * 37 + [("a", "b", "model_b")] * 3
    votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])
    fitted = fit_bradley_terry(votes, ci="bootstrap", bootstrap=2000)
    assert fitted.parameters["bootstrap_degenerate"] == pytest.approx(2000 * (37 / 40) ** 40, rel=0.3)
    assert f"{fitted.parameters['bootstrap_degenerate']} of 2000 bootstrap replicates" in fitted.warnings[0]
    chain = [(f"m{k}", f"m{k + 1}", winner) for k in range(8) for winner in ("model_a", "model_b")]
    with pytest.raises(NotIdentifiable, match="no finite ratings"):
        fit_bradley_terry(pd.DataFrame(chain, columns=votes.columns), ci="bootstrap")


@pytest.mark.parametrize("wins", [1, 5, 20, 200])
def test_with_a_prior_the_interval_of_an_undefeated_model_is_near_the_posterior(wins: int) -> None:
    """Two models, N(0, 350) each: d has the density σ(d)^wins · N(d; 0, 2·350²), integrated here on a grid."""
    votes = pd.DataFrame([("a", "b", "model_a")] * wins, columns=["model_a", "model_b", "winner"])
    d = np.linspace(-30, 40, 100_001)
    log_density = -wins * np.logaddexp(0, -d) - d**2 / (4 * (350 / POINTS) ** 2)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    deviation = POINTS * math.sqrt((weight * (d - (weight * d).sum()) ** 2).sum())
    fitted = fit_bradley_terry(votes, prior=350.0)
    assert fitted.difference("a", "b")[1] == pytest.approx(deviation, rel=0.15)


def test_the_bootstrap_with_a_prior_redraws_its_centre_and_says_what_it_cannot_see() -> None:
    rows = [("a", "b", "model_a")] * 20 + [("b", "c", "model_a"), ("b", "c", "model_b")] * 5
    votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])
    drawn = fit_bradley_terry(votes, prior=350.0, ci="bootstrap")
    assert drawn.parameters["bootstrap_degenerate"] == 0
    assert spread(drawn)[0] > 60
    assert "never vary" in drawn.warnings[1]
    few = arena(np.random.default_rng(0), np.linspace(-1, 1, 4), votes=60, nu=0.7)
    sandwich, drawn = (fit_bradley_terry(few, prior=100.0, ci=ci) for ci in ("sandwich", "bootstrap"))  # type: ignore[arg-type]
    np.testing.assert_allclose(spread(drawn), spread(sandwich), rtol=0.15)


@pytest.mark.parametrize("cells", [50, 2000])
def test_multinomial_columns_are_multinomial(cells: int) -> None:
    rng = np.random.default_rng(0)
    n = rng.choice([0, 1, 3, 10, 40], cells)
    total, p = int(n.sum()), n / n.sum()
    drawn = multinomial_columns(rng, n, 4000)
    assert drawn.shape == (cells, 4000)
    assert (drawn.sum(axis=0) == total).all()
    assert (drawn >= 0).all()
    assert (drawn == np.rint(drawn)).all()
    assert not drawn[n == 0].any()
    mean, variance = total * p, total * p * (1 - p)
    filled = n > 0
    z = (drawn.mean(axis=1) - mean)[filled] / np.sqrt(variance[filled] / 4000)
    assert np.abs(z).max() < 4.7
    assert (z**2).mean() == pytest.approx(1, abs=6 * math.sqrt(2 / filled.sum()))
    for count in (1, 3, 10, 40):
        same = drawn[n == count]
        assert same.var(axis=1).mean() == pytest.approx(variance[n == count].mean(), rel=0.1)
        frequency = np.array([(same == k).mean() for k in range(80)])
        expected = stats.binom.pmf(np.arange(80), total, count / total)
        np.testing.assert_allclose(frequency, expected, atol=6 * math.sqrt(0.25 / same.size))
    # Counts of one draw share the total: the sum of half the cells varies as a binomial, less than a Poisson would.
    half = p[: cells // 2].sum()
    assert drawn[: cells // 2].sum(axis=0).var() == pytest.approx(total * half * (1 - half), rel=0.12)


@pytest.mark.parametrize("mean", [0.3, 7.5, 90.0, 5000.0])
def test_poisson_by_inversion_is_poisson(mean: float) -> None:
    drawn = poisson(np.random.default_rng(0), mean, (500, 2000)).reshape(-1)
    values = np.arange(int(mean + 12 * math.sqrt(mean) + 40))
    expected = drawn.size * stats.poisson.pmf(values, mean)
    seen = np.bincount(drawn.astype(int), minlength=values.size)
    assert seen.size == values.size
    common = expected > 10
    chi_squared = ((seen - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(chi_squared, common.sum() - 1) > 1e-4
    rare = expected[~common].sum()
    assert abs(seen[~common].sum() - rare) < 6 * math.sqrt(rare) + 1


@pytest.mark.parametrize("model", [BradleyTerry(), Davidson(), RaoKupper()], ids=["bt", "davidson", "rao-kupper"])
def test_many_cells_are_refitted_to_a_thousandth_of_a_point(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    """60 models and 1,770 pairs: each replicate of the fast bootstrap beside a damped Newton fit of the same votes."""
    votes = arena(np.random.default_rng(1), np.random.default_rng(0).normal(0, 0.8, 60), votes=40_000, nu=0.6)
    cells = Cells.from_votes(votes).settle("tie")
    pairs, kept = pairs_of(cells), []
    refit = resampling._Refit.all

    def keep(self: Any, weight: Array, centre: Array | None) -> Array:
        theta = refit(self, weight, centre)
        kept.append((weight, theta))
        return theta

    monkeypatch.setattr(resampling._Refit, "all", keep)
    fit = maximise(model, pairs, cells.weight[:3], tolerance=1e-6 / POINTS)
    drawn = bootstrap(
        model, fit, cells, None, replicates=100, seed=0, tolerance=resampling.TOLERANCE / POINTS, precision=0.0
    )
    assert drawn.n_degenerate == 0
    worst = 0.0
    for weight, theta in kept:
        for r in range(0, theta.shape[1], 4):
            exact = maximise(model, pairs, weight[:, :, r], tolerance=1e-6 / POINTS).theta
            worst = max(worst, POINTS * float(np.abs(theta[:, r] - exact).max()))
    assert worst < resampling.TOLERANCE


@given(arrays(float, st.integers(1, 12), elements=st.floats(-5, 5)), st.randoms(use_true_random=False))
def test_rank_intervals_by_their_definition(centre: Array, random: Any) -> None:
    half = np.array([random.uniform(0, 3) for _ in centre])
    lower, upper = centre - half, centre + half
    best, worst = rank_intervals(lower, upper)
    for i in range(centre.size):
        assert best[i] == 1 + sum(lower[j] > upper[i] for j in range(centre.size))
        assert worst[i] == centre.size - sum(upper[j] < lower[i] for j in range(centre.size))


def test_simulated_ranks() -> None:
    votes = arena(np.random.default_rng(0), np.array([-0.3, -0.29, 0.0, 1.5]), votes=800, nu=0.5)
    fitted = fit_bradley_terry(votes)
    ranks = simulate_ranks(fitted)
    assert ranks["model"].tolist() == list(fitted.models)
    assert ranks["p_best"].sum() == pytest.approx(1)
    assert ranks["p_best"][0] > 0.99
    frame = fitted.to_frame()
    assert (ranks["rank_lower"] >= frame["rank_lower"]).all()
    assert (ranks["rank_upper"] <= frame["rank_upper"]).all()
    assert (ranks["rank_lower"] <= frame["rank"]).all()
    a, b = (name for name in fitted.models if name in {"m0", "m1"})
    difference, error = fitted.difference(a, b)
    only = simulate_ranks(fit_bradley_terry(votes[votes["model_a"].isin([a, b]) & votes["model_b"].isin([a, b])]))
    assert only["p_best"].sum() == pytest.approx(1)
    assert difference / error < 3
    with pytest.raises(UsageError, match="cannot be simulated"):
        simulate_ranks(fit_elo(votes))
