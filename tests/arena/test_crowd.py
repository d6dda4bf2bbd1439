"""Crowd-BT: formulas against a slow likelihood, and arenas with spammers whose truth is known."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime, minimize

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.crowd import SLAB, fit_crowd, voter_reliability
from paragone.arena.ratings import Ratings
from paragone.data.errors import InputError, NotIdentifiable, UsageError

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)


def simulate(
    seed: int,
    eta: tuple[float, ...],
    *,
    votes: int = 3000,
    models: int = 8,
    voters: int = 60,
    ties: float = 0.0,
) -> tuple[pd.DataFrame, Array, Array]:
    """Votes, true ratings, and the reliability of voters v0, v1, …, who take turns through `eta`."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 1, models)
    reliability = np.array(eta)[np.arange(voters) % len(eta)]
    a, who = rng.integers(models, size=votes), rng.integers(voters, size=votes)
    b = (a + rng.integers(1, models, size=votes)) % models
    share = 1 / (1 + np.exp(theta[b] - theta[a]))
    p = reliability[who] * share + (1 - reliability[who]) * (1 - share)
    winner = np.where(rng.random(votes) < p, "model_a", "model_b").astype(object)
    winner[rng.random(votes) < ties] = "tie"
    names = np.array([f"m{k}" for k in range(models)], object)
    frame = pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner, "voter": [f"v{k}" for k in who]})
    return frame, 1000 + POINTS * (theta - theta.mean()), reliability


def errors(fitted: Ratings, truth: Array) -> Array:
    return fitted.rating - truth[[int(model[1:]) for model in fitted.models]]


def slow_log_likelihood(votes: pd.DataFrame, x: Array, models: list[str], mass: Array) -> float:
    """Of θ and ρ = logit π, vote by vote: each voter's η is 1, or one of the grid's points with the slab's `mass`."""
    theta, pi = dict(zip(models, x[:-1], strict=True)), 1 / (1 + math.exp(-x[-1]))
    eta = np.append((np.arange(SLAB) + 0.5) / SLAB, 1.0)
    each = {name: np.ones(SLAB + 1) for name in votes["voter"]}
    for a, b, winner, voter in votes.itertuples(index=False):
        share = 1 / (1 + math.exp(theta[b] - theta[a]))
        p = eta * share + (1 - eta) * (1 - share)
        each[voter] *= {"model_a": p, "model_b": 1 - p, "tie": np.sqrt(p * (1 - p))}[winner]
    voters = [math.log(one[-1] * pi + (1 - pi) * float(one[:-1] @ mass)) for one in each.values()]
    return sum(voters) + math.log(pi) + math.log(1 - pi)


def slab(alpha: float, beta: float) -> Array:
    """The Beta prior's mass between the edges of the grid, by the trapezium rule."""
    edges = np.linspace(0, 1, SLAB + 1)
    mass = []
    for low, high in itertools.pairwise(edges):
        s = np.linspace(low, high, 2001)
        mass.append(np.trapezoid(s ** (alpha - 1) * (1 - s) ** (beta - 1), s))
    return np.array(mass) / np.sum(mass)


@pytest.mark.parametrize("prior", [(1.0, 1.0), (3.0, 2.0)])
def test_same_as_a_general_optimiser_on_the_slow_likelihood(prior: tuple[float, float]) -> None:
    votes, _, _ = simulate(1, (1, 1, 0.5), votes=120, models=4, voters=9, ties=0.2)
    fitted = fit_crowd(votes, reliability=prior)
    models, mass = sorted(fitted.models), slab(*prior)

    def loss(x: Array) -> float:
        return -slow_log_likelihood(votes, x, models, mass) + x[:-1].sum() ** 2

    rating = dict(zip(fitted.models, fitted.rating.tolist(), strict=True))
    share = fitted.parameters["crowd"]["share_reliable"]
    here = np.array([(rating[m] - 1000) / POINTS for m in models] + [math.log(share / (1 - share))])
    np.testing.assert_allclose(approx_fprime(here, loss, 1e-6), 0, atol=1e-3)
    best = minimize(loss, here + 0.1, method="BFGS", options={"gtol": 1e-3})
    np.testing.assert_allclose(best.x[:-1], here[:-1], atol=2e-3)
    assert fitted.covariance is not None
    hessian = np.stack([approx_fprime(here, lambda x, k=k: approx_fprime(x, loss, 1e-4)[k], 1e-3) for k in range(5)])
    expected = POINTS**2 * np.linalg.inv(hessian)[:4, :4]
    contrast = np.eye(4) - 1 / 4
    order = [models.index(m) for m in fitted.models]
    got = np.empty((4, 4))
    got[np.ix_(order, order)] = fitted.covariance
    np.testing.assert_allclose(got, contrast @ expected @ contrast, rtol=0.05, atol=20)  # 9 voters: no sandwich


def test_spammers_hurt_bradley_terry_but_not_crowd_bt() -> None:
    inside, ours, plain = [], [], []
    for seed in range(12):
        votes, truth, _ = simulate(seed, (1,) * 7 + (0.5,) * 3)
        fitted = fit_crowd(votes)
        off = errors(fitted, truth)
        assert fitted.covariance is not None
        inside += list(np.abs(off) < 1.96 * np.sqrt(np.diag(fitted.covariance)))
        ours.append(np.mean(off**2))
        plain.append(np.mean(errors(fit_bradley_terry(votes), truth) ** 2))
    assert math.sqrt(np.mean(ours)) < 0.4 * math.sqrt(np.mean(plain))
    assert np.mean(inside) > 0.88


def test_without_spammers_little_is_lost() -> None:
    votes, truth, _ = simulate(3, (1.0,))
    fitted = fit_crowd(votes)
    np.testing.assert_allclose(errors(fitted, truth), errors(fit_bradley_terry(votes), truth), atol=15)
    assert fitted.parameters["crowd"]["share_reliable"] > 0.8
    assert fitted.parameters["crowd"]["n_below_half"] == 0
    assert fitted.warnings == ()


def test_adversaries_and_coin_flippers_are_found() -> None:
    votes, truth, reliability = simulate(0, (1, 1, 1, 0.5, 0.05), votes=5000)
    table = voter_reliability(votes)
    true = reliability[[int(name[1:]) for name in table["voter"]]]
    assert list(table.columns) == ["voter", "n_votes", "reliability", "lower", "upper", "p_reliable"]
    assert table["reliability"].is_monotonic_increasing
    assert table["n_votes"].sum() == len(votes)
    assert (table["reliability"][true == 0.05] < 0.3).all()
    assert (table["reliability"][true == 1] > 0.7).all()
    assert (table["p_reliable"][true < 1] < 0.1).all()
    assert ((table["lower"] <= true) & (true <= table["upper"])).mean() > 0.9
    fitted = fit_crowd(votes)
    assert fitted.parameters["crowd"]["n_below_half"] >= 12
    assert np.sqrt(np.mean(errors(fitted, truth) ** 2)) < 30  # the adversaries' votes count, turned over
    assert np.sqrt(np.mean(errors(fit_bradley_terry(votes), truth) ** 2)) > 60


def test_a_voter_with_one_vote_is_judged_by_the_others() -> None:
    votes, _, _ = simulate(0, (1.0,))
    once = pd.DataFrame({"model_a": ["m0"], "model_b": ["m1"], "winner": ["model_a"], "voter": ["new"]})
    table = voter_reliability(pd.concat([votes, once])).set_index("voter")
    share = fit_crowd(votes).parameters["crowd"]["share_reliable"]
    assert table.loc["new", "p_reliable"] == pytest.approx(share, abs=0.15)
    assert table.loc["new", "reliability"] == pytest.approx(table["reliability"].mean(), abs=0.05)


def test_most_votes_against_the_ratings_are_reported() -> None:
    """Forty honest voters with few votes outnumber two adversaries with many."""
    honest, truth, _ = simulate(4, (1.0,), voters=40, votes=600)
    theta = dict(zip([f"m{k}" for k in range(8)], truth, strict=True))
    against, _, _ = simulate(4, (0.0,), voters=2, votes=900)
    fitted = fit_crowd(pd.concat([honest, against.assign(voter="x" + against["voter"])], ignore_index=True))
    assert any("upside down" in note for note in fitted.warnings)
    assert fitted.parameters["crowd"]["n_below_half"] == 2
    assert np.corrcoef(fitted.rating, [theta[m] for m in fitted.models])[0, 1] > 0.95


def test_votes_in_any_order_and_voters_by_any_name() -> None:
    votes, _, _ = simulate(7, (1, 1, 0.5), votes=600)
    base = fit_crowd(votes)
    other = votes.assign(voter=votes["voter"].map(lambda name: -int(name[1:]))).sample(frac=1, random_state=0)
    again = fit_crowd(other.rename(columns={"voter": "who"}), voter="who")
    assert again.models == base.models
    np.testing.assert_allclose(again.rating, base.rating, atol=1e-5)
    assert base.covariance is not None
    np.testing.assert_allclose(again.covariance, base.covariance, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_used_is_refused() -> None:
    votes, _, _ = simulate(0, (1.0,), votes=300)
    with pytest.raises(UsageError, match="no column 'who'"):
        fit_crowd(votes, voter="who")
    with pytest.raises(InputError, match="row 2: voter is empty"):
        fit_crowd(votes.assign(voter=["x", ""] * 150))
    with pytest.raises(NotIdentifiable, match="one voter"):
        fit_crowd(votes.assign(voter="x"))
    with pytest.raises(UsageError, match="reliability="):
        fit_crowd(votes, reliability=(0, 1))
    with pytest.raises(UsageError, match="ci='bootstrap'"):
        fit_crowd(votes, ci="bootstrap")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give the table of votes"):
        fit_crowd("votes.csv")  # type: ignore[arg-type]
    few = fit_crowd(votes.assign(voter=[f"v{k % 5}" for k in range(300)]))
    assert any("only 5 values of voter" in note for note in few.warnings)


def test_a_model_held_by_disbelieved_voters_alone_is_unbounded_or_priored() -> None:
    votes, _, _ = simulate(2, (1, 1, 0.0), votes=3000, models=5, voters=30)
    liars = {f"v{k}" for k in range(2, 30, 3)}
    keep = ~((votes["model_a"] == "m0") | (votes["model_b"] == "m0"))
    top = [("m0", f"m{1 + k % 4}", "model_a", f"v{3 * (k % 10)}") for k in range(40)]
    upset = [("m0", "m1", "model_b", sorted(liars)[0])]
    extra = pd.DataFrame(top + upset, columns=["model_a", "model_b", "winner", "voter"])
    both = pd.concat([votes[keep], extra], ignore_index=True)
    with pytest.raises(NotIdentifiable, match=r"not believed|believed voters"):
        fit_crowd(both)
    assert np.isfinite(fit_crowd(both, prior=300.0).rating).all()


def test_ten_thousand_votes_of_500_voters_take_a_moment() -> None:
    votes, _, _ = simulate(0, (1, 1, 0.5), votes=10_000, voters=500, models=20)
    start = time.process_time()
    fit_crowd(votes)
    assert time.process_time() - start < 5
