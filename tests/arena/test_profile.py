"""Profile intervals against brute force, closed forms and what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import log_expit
from scipy.stats import chi2

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.elo import fit_elo
from paragone.arena.ratings import Ratings
from paragone.arena.ties import fit_davidson, fit_rao_kupper
from paragone.data.errors import NotIdentifiable, UsageError

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)
DROP = chi2.ppf(0.95, 1) / 2
OUTCOMES = ["model_a", "model_b", "tie"]


def votes_of(seed: int, *, votes: int, ties: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.integers(4, size=votes)
    b = (a + rng.integers(1, 4, size=votes)) % 4
    d = np.linspace(-0.6, 0.6, 4)[a] - np.linspace(-0.6, 0.6, 4)[b]
    p = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(votes, ties)])
    outcome = (rng.random(votes) > np.cumsum(p / p.sum(axis=0), axis=0)[:2]).sum(axis=0)
    names = np.array(list("abcd"), object)
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": np.array(OUTCOMES, object)[outcome]})


def log_bradley_terry(d: Array, tau: float) -> Array:
    win, loss = log_expit(d), log_expit(-d)
    return np.stack([win, loss, (win + loss) / 2])


def log_davidson(d: Array, tau: float) -> Array:
    share = np.stack([d / 2, -d / 2, np.full_like(d, tau)])
    return share - np.log(np.exp(share).sum(axis=0))


def log_rao_kupper(d: Array, tau: float) -> Array:
    threshold = 1 + math.exp(tau)
    win, loss = 1 / (1 + threshold * np.exp(-d)), 1 / (1 + threshold * np.exp(d))
    return np.log(np.stack([win, loss, 1 - win - loss]))


CASES = [
    pytest.param(fit_bradley_terry, log_bradley_terry, id="bradley-terry"),
    pytest.param(fit_davidson, log_davidson, id="davidson"),
    pytest.param(fit_rao_kupper, log_rao_kupper, id="rao-kupper"),
]


def brute_force(
    votes: pd.DataFrame, log_p: Callable[[Array, float], Array], contrast: Array, *, drop: float, precision: float
) -> tuple[float, float]:
    """Ends of the values of contrast·θ whose best log-likelihood is within `drop`, by a general optimiser and roots."""
    a, b = (votes[side].map("abcd".index).to_numpy() for side in ("model_a", "model_b"))
    outcome = votes["winner"].map(OUTCOMES.index).to_numpy()
    rest = np.linalg.svd(contrast[None])[2][1:]  # directions in which contrast·θ stays

    def theta_at(value: float, x: Array) -> Array:
        return value * contrast / (contrast @ contrast) + x[:3] @ rest

    def loss(value: float, x: Array) -> float:
        theta = theta_at(value, x)
        gauge = 0.5 * precision * (theta**2).sum() if precision else theta.sum() ** 2
        return float(gauge - log_p(theta[a] - theta[b], x[3])[outcome, np.arange(outcome.size)].sum())

    def profile(value: float) -> float:
        return float(minimize(lambda x: loss(value, x), np.zeros(4), method="BFGS", options={"gtol": 1e-7}).fun)

    best = minimize(lambda x: loss(x[4], x[:4]), np.zeros(5), method="BFGS", options={"gtol": 1e-7})
    centre, floor = best.x[4], best.fun + drop
    lower, upper = (
        brentq(lambda value: profile(value) - floor, centre, centre + sign * 8, xtol=1e-7) for sign in (-1, 1)
    )
    return lower, upper


@pytest.mark.parametrize(("fit", "log_p"), CASES)
@pytest.mark.parametrize("options", [{}, {"prior": 250.0}, {"anchor": {"b": 1000.0}}], ids=["mean", "prior", "anchor"])
def test_the_ends_are_those_of_brute_force(
    fit: Callable[..., Ratings], log_p: Callable[[Array, float], Array], options: dict[str, Any]
) -> None:
    ties = 0.0 if fit is fit_bradley_terry else 0.8
    votes = votes_of(3, votes=40, ties=ties)
    fitted = fit(votes, ci="profile", **options)
    precision = (POINTS / 250) ** 2 if "prior" in options else 0.0
    reference = np.eye(4)[1] if "anchor" in options else np.full(4, 0.25)
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    for model in "ad":
        contrast = np.eye(4)["abcd".index(model)] - reference
        ends = brute_force(votes, log_p, contrast, drop=DROP, precision=precision)
        row = fitted.models.index(model)
        assert fitted.rating_lower[row] == pytest.approx(1000 + POINTS * ends[0], abs=0.02)
        assert fitted.rating_upper[row] == pytest.approx(1000 + POINTS * ends[1], abs=0.02)
    assert fitted.parameters["dispersion"] == 1.0
    assert fitted.parameters["ci"] == "profile"


def test_half_win_ties_scale_the_drop_by_their_dispersion() -> None:
    votes = votes_of(5, votes=60, ties=1.0)
    fitted = fit_bradley_terry(votes, ci="profile")
    scores = votes["winner"].map({"model_a": 1.0, "model_b": 0.0, "tie": 0.5})
    p = [fitted.probability(a, b) for a, b in zip(votes["model_a"], votes["model_b"], strict=True)]
    scale = sum((s - q) ** 2 for s, q in zip(scores, p, strict=True)) / sum(q * (1 - q) for q in p)
    assert fitted.parameters["dispersion"] == pytest.approx(scale)
    assert 0.4 < scale < 0.9
    contrast = np.eye(4)[0] - 0.25
    ends = brute_force(votes, log_bradley_terry, contrast, drop=DROP * scale, precision=0.0)
    row = fitted.models.index("a")
    assert fitted.rating_lower is not None
    assert fitted.rating_lower[row] == pytest.approx(1000 + POINTS * ends[0], abs=0.02)


def test_two_models_in_closed_form() -> None:
    """N wins of m: the ends p solve n·log p + m·log(1 − p) = n·log(n/N) + m·log(m/N) − χ²/2."""
    for n, m in ((3, 1), (1, 60), (500, 400)):
        votes = pd.DataFrame(
            [("a", "b", "model_a")] * n + [("a", "b", "model_b")] * m, columns=["model_a", "model_b", "winner"]
        )
        fitted = fit_bradley_terry(votes, ci="profile", anchor={"b": 0.0})
        row = fitted.models.index("a")
        assert fitted.rating_lower is not None
        assert fitted.rating_upper is not None

        def height(d: float, n: int = n, m: int = m) -> float:
            return float(n * log_expit(d) + m * log_expit(-d))

        for end in (fitted.rating_lower[row], fitted.rating_upper[row]):
            assert height(end / POINTS) == pytest.approx(height(math.log(n / m)) - DROP, abs=1e-8)
        assert fitted.rating_lower[1 - row] == pytest.approx(0, abs=1e-9)
        assert fitted.rating_upper[1 - row] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson, fit_rao_kupper])
def test_many_votes_make_it_the_sandwich(fit: Callable[..., Ratings]) -> None:
    votes = votes_of(1, votes=20_000, ties=0.6)
    profile, sandwich = fit(votes, ci="profile"), fit(votes)
    np.testing.assert_allclose(profile.rating_lower, sandwich.rating_lower, atol=0.3)
    np.testing.assert_allclose(profile.rating_upper, sandwich.rating_upper, atol=0.3)
    np.testing.assert_allclose(profile.covariance, sandwich.covariance, rtol=0.1, atol=1)


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson, fit_rao_kupper])
@pytest.mark.parametrize("options", [{}, {"prior": 400.0}, {"anchor": {"a": 1.0}}], ids=["mean", "prior", "anchor"])
def test_few_votes_have_an_interval_about_every_rating(fit: Callable[..., Ratings], options: dict[str, Any]) -> None:
    fitted = 0
    for seed in range(25):
        votes = votes_of(seed, votes=8 + seed % 20, ties=0.5)
        try:
            ratings = fit(votes, ci="profile", **options)
        except (NotIdentifiable, UsageError):
            with pytest.raises((NotIdentifiable, UsageError)):
                fit(votes, ci="none", **options)
            continue
        fitted += 1
        assert ratings.rating_lower is not None
        assert ratings.rating_upper is not None
        assert (ratings.rating_lower <= ratings.rating + 1e-9).all()
        assert (ratings.rating <= ratings.rating_upper + 1e-9).all()
        assert np.isfinite(ratings.rating_lower + ratings.rating_upper).all()
    assert fitted > 8


def test_an_undefeated_model_has_a_long_upper_side_under_a_prior() -> None:
    rows = [("a", "b", "model_a")] * 8 + [("b", "c", "model_a"), ("c", "b", "model_a")] * 4
    votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])
    with pytest.raises(NotIdentifiable, match="undefeated"):
        fit_bradley_terry(votes, ci="profile")
    fitted = fit_bradley_terry(votes, ci="profile", prior=400.0)
    assert fitted.models[0] == "a"
    assert fitted.rating_upper is not None
    assert fitted.rating_lower is not None
    assert fitted.rating_upper[0] - fitted.rating[0] > 1.2 * (fitted.rating[0] - fitted.rating_lower[0])


def test_what_profile_intervals_cannot_do_is_refused() -> None:
    votes = votes_of(0, votes=60, ties=0.5)
    with pytest.raises(UsageError, match="independent"):
        fit_bradley_terry(votes.assign(voter="v"), ci="profile", cluster="voter")
    with pytest.raises(UsageError, match="count once"):
        fit_davidson(votes.assign(weight=2.0), ci="profile")
    with pytest.raises(UsageError, match="'bootstrap'"):
        fit_elo(votes, ci="profile")  # type: ignore[arg-type]
    ties = fit_bradley_terry(votes.assign(winner="tie"), ci="profile")
    assert ties.rating_upper is not None
    assert (ties.rating_upper - ties.rating > 20).all()
