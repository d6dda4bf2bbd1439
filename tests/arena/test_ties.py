"""Davidson and Rao-Kupper: formulas against numerical derivatives, fits against an optimiser and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, linprog, minimize

from paragone.arena.bradley_terry import BradleyTerry, fit_bradley_terry
from paragone.arena.likelihood import OutcomeModel
from paragone.arena.ratings import ALL_RATERS, Ratings
from paragone.arena.ties import Davidson, RaoKupper, fit_davidson, fit_rao_kupper
from paragone.arena.votes import Cells
from paragone.data.errors import NotIdentifiable

POINTS = 400 / math.log(10)
Array = np.ndarray[Any, Any]
OUTCOMES = ["model_a", "model_b", "tie"]


def davidson(d: Array, nu: float) -> Array:
    """[3, V] from the definition in strengths: π_i, π_j and ν√(π_i π_j), normalised."""
    i, j = np.exp(d), np.ones_like(d)
    share = np.stack([i, j, nu * np.sqrt(i * j)])
    return share / share.sum(axis=0)


def rao_kupper(d: Array, threshold: float) -> Array:
    """[3, V] from the definition in strengths: π_i/(π_i + θπ_j) and π_j/(π_j + θπ_i)."""
    i, j = np.exp(d), np.ones_like(d)
    win, loss = i / (i + threshold * j), j / (j + threshold * i)
    return np.stack([win, loss, 1 - win - loss])


CASES: list[tuple[Callable[..., Ratings], OutcomeModel, Callable[[Array, float], Array], str]] = [
    (fit_davidson, Davidson(), davidson, "davidson"),
    (fit_rao_kupper, RaoKupper(), rao_kupper, "rao-kupper"),
]


def random_votes(seed: int, probability: Callable[[Array, float], Array], *, votes: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 1, 5)
    a = rng.integers(5, size=votes)
    b = (a + rng.integers(1, 5, size=votes)) % 5
    p = probability(theta[a] - theta[b], 1.6)
    outcome = (rng.random(votes) > np.cumsum(p, axis=0)).sum(axis=0)
    names = np.array(list("abcde"), object)
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": np.array(OUTCOMES, object)[outcome]})


def counts(*rows: tuple[str, str, str, int]) -> Cells:
    return Cells.from_counts(pd.DataFrame(list(rows), columns=["model_a", "model_b", "winner", "count"]))


@given(st.floats(-8, 8), st.floats(-6, 6))
@pytest.mark.parametrize(("fit", "model", "probability", "name"), CASES, ids=["davidson", "rao-kupper"])
def test_probabilities_and_derivatives(
    fit: object, model: OutcomeModel, probability: Callable[[Array, float], Array], name: str, d: float, tau: float
) -> None:
    here = np.array([d])
    p = np.exp(model.log_likelihood(here, tau))
    np.testing.assert_allclose(p, probability(here, model.tie_parameter(tau)), rtol=1e-7, atol=1e-12)
    by_d, by_tau = model.scores(here, tau)
    dd, dt, tt = model.curvature(here, tau)
    for outcome in range(3):
        slope = approx_fprime([d, tau], lambda x, o=outcome: model.log_likelihood(x[:1], x[1])[o, 0], 1e-7)
        np.testing.assert_allclose([by_d[outcome, 0], by_tau[outcome, 0]], slope, atol=2e-5)
        bend_d = approx_fprime([d, tau], lambda x, o=outcome: model.scores(x[:1], x[1])[0][o, 0], 1e-7)
        bend_tau = approx_fprime([d, tau], lambda x, o=outcome: model.scores(x[:1], x[1])[1][o, 0], 1e-7)
        np.testing.assert_allclose([-dd[outcome, 0], -dt[outcome, 0]], bend_d, atol=2e-5)
        np.testing.assert_allclose([-dt[outcome, 0], -tt[outcome, 0]], bend_tau, atol=2e-5)
    np.testing.assert_allclose((p * by_d).sum(), 0, atol=1e-9)
    np.testing.assert_allclose((p * by_tau).sum(), 0, atol=1e-9)
    expected = ALL_RATERS[name].expected_score(d, model.tie_parameter(tau))
    assert expected == pytest.approx(float(p[0, 0] + p[2, 0] / 2), abs=1e-9)


@given(st.floats(-30, 30), st.floats(-6, 6), st.lists(st.floats(0, 50), min_size=3, max_size=3))
@pytest.mark.parametrize("model", [BradleyTerry(), Davidson(), RaoKupper()], ids=["bt", "davidson", "rao-kupper"])
def test_the_total_score_is_the_sum_of_scores(model: OutcomeModel, d: float, tau: float, counts: list[float]) -> None:
    weight = np.array(counts)[:, None]
    by_d, by_tau = model.scores(np.array([d]), tau)
    total_d, total_tau = model.total_score(weight, np.array([d]), tau)
    np.testing.assert_allclose(total_d, (weight * by_d).sum(axis=0), atol=1e-11)
    if model.has_tie_parameter:
        np.testing.assert_allclose(total_tau, (weight * by_tau).sum(axis=0), atol=1e-11)


@given(st.floats(-20, 20))
def test_bradley_terry_derivatives(d: float) -> None:
    model, here = BradleyTerry(), np.array([d])
    for outcome in range(3):
        slope = approx_fprime([d], lambda x, o=outcome: model.log_likelihood(x, 0)[o, 0], 1e-6)
        bend = approx_fprime([d], lambda x, o=outcome: model.scores(x, 0)[0][o, 0], 1e-6)
        assert model.scores(here, 0)[0][outcome, 0] == pytest.approx(slope[0], abs=1e-5)
        assert model.curvature(here, 0)[0][outcome, 0] == pytest.approx(-bend[0], abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("fit", "model", "probability", "name"), CASES, ids=["davidson", "rao-kupper"])
def test_newton_agrees_with_a_general_optimiser(
    fit: Callable[..., Ratings], model: object, probability: Callable[[Array, float], Array], name: str, seed: int
) -> None:
    votes = random_votes(seed, probability)
    fitted = fit(votes)
    a = np.array([fitted.models.index(name) for name in votes["model_a"]])
    b = np.array([fitted.models.index(name) for name in votes["model_b"]])
    outcome = votes["winner"].map(OUTCOMES.index).to_numpy()
    floor = 0.0 if name == "davidson" else 1.0

    def loss(x: Array) -> float:
        p = probability(x[a] - x[b], floor + math.exp(x[-1]))
        return float(-np.log(p[outcome, np.arange(len(votes))]).sum() + x[:-1].sum() ** 2)

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fitted.rating, 1000 + POINTS * best[:-1], atol=2e-3)
    assert fitted.parameters["tie_parameter"] == pytest.approx(floor + math.exp(best[-1]), abs=1e-4)
    # No step in any direction lowers the loss: a bound that does not hang on the optimiser.
    tie = math.log(fitted.parameters["tie_parameter"] - floor)
    at = np.append((fitted.rating - 1000) / POINTS, tie)
    gradient = [(loss(at + 1e-5 * e) - loss(at - 1e-5 * e)) / 2e-5 for e in np.eye(6)]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_two_models_in_closed_form() -> None:
    """50 wins, 20 losses, 30 ties."""
    cells = counts(("a", "b", "model_a", 50), ("b", "a", "model_a", 20), ("a", "b", "tie", 30))
    fitted = fit_davidson(cells)
    assert fitted.difference("a", "b")[0] == pytest.approx(POINTS * math.log(50 / 20), abs=1e-6)
    assert fitted.parameters["tie_parameter"] == pytest.approx(30 / math.sqrt(50 * 20), abs=1e-9)
    assert fitted.probability("a", "b") == pytest.approx(0.65, abs=1e-9)
    fitted = fit_rao_kupper(cells)
    win, loss = math.log(0.5 / 0.5), math.log(0.2 / 0.8)  # logits of P(a), P(b)
    assert fitted.difference("a", "b")[0] == pytest.approx(POINTS * (win - loss) / 2, abs=1e-6)
    assert fitted.parameters["tie_parameter"] == pytest.approx(math.exp(-(win + loss) / 2), abs=1e-9)
    assert fitted.probability("a", "b") == pytest.approx(0.65, abs=1e-9)


def test_davidson_standard_error_in_closed_form() -> None:
    """log(wins/losses) has the variance 1/wins + 1/losses."""
    fitted = fit_davidson(counts(("a", "b", "model_a", 50), ("b", "a", "model_a", 20), ("a", "b", "tie", 30)))
    assert fitted.difference("a", "b")[1] == pytest.approx(POINTS * math.sqrt(1 / 50 + 1 / 20), rel=1e-9)


@pytest.mark.parametrize(("fit", "model", "probability", "name"), CASES, ids=["davidson", "rao-kupper"])
def test_many_votes_recover_the_tie_parameter(
    fit: Callable[..., Ratings], model: object, probability: Callable[[Array, float], Array], name: str
) -> None:
    fitted = fit(random_votes(0, probability, votes=100_000))
    assert fitted.parameters["tie_parameter"] == pytest.approx(1.6, rel=0.02)
    assert fitted.parameters["ties"] == "modelled"
    assert fitted.method == name


@pytest.mark.parametrize("fit", [fit_davidson, fit_rao_kupper])
def test_without_ties_it_is_bradley_terry(fit: Callable[..., Ratings]) -> None:
    votes = random_votes(1, davidson)
    votes = votes[votes["winner"] != "tie"]
    plain, fitted = fit_bradley_terry(votes), fit(votes)
    assert fitted.models == plain.models
    np.testing.assert_allclose(fitted.rating, plain.rating, atol=1e-9)
    np.testing.assert_allclose(fitted.covariance, plain.covariance, rtol=1e-9)
    assert fitted.parameters["tie_parameter"] == (0.0 if fit is fit_davidson else 1.0)
    assert "no vote is a tie" in fitted.warnings[0]
    assert fitted.probability("a", "b") == pytest.approx(plain.probability("a", "b"))


@pytest.mark.parametrize("fit", [fit_davidson, fit_rao_kupper])
def test_ties_alone_leave_the_tie_parameter_without_a_bound(fit: Callable[..., Ratings]) -> None:
    with pytest.raises(NotIdentifiable, match="every vote is a tie"):
        fit(counts(("a", "b", "tie", 10)))


@pytest.mark.parametrize("fit", [fit_davidson, fit_rao_kupper])
def test_wins_that_follow_an_order_leave_the_tie_parameter_without_a_bound(fit: Callable[..., Ratings]) -> None:
    """Model a beats b, both tie with c: θ = (1, −1, 0) times anything explains all, though the graph is connected."""
    loose = [("a", "b", "model_a", 5), ("a", "c", "tie", 5), ("b", "c", "tie", 5)]
    with pytest.raises(NotIdentifiable, match="tie parameter has no bound"):
        fit(counts(*loose))
    assert np.isfinite(fit(counts(*loose), prior=300.0).rating).all()
    # One upset, or a cycle of wins, is enough.
    assert np.isfinite(fit(counts(*loose, ("b", "a", "model_a", 1))).rating).all()
    cycle = [("a", "b", "model_a", 5), ("b", "c", "model_a", 5), ("c", "a", "model_a", 5), ("a", "b", "tie", 1)]
    assert np.isfinite(fit(counts(*cycle)).rating).all()
    ladder = [("a", "b", "model_a", 5), ("b", "c", "model_a", 5), ("a", "c", "tie", 5)]
    assert np.isfinite(fit(counts(*ladder)).rating).all()
    assert np.isfinite(fit_bradley_terry(counts(*loose)).rating).all()


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(OUTCOMES)).filter(
            lambda v: v[0] < v[1]
        ),
        min_size=3,
        max_size=12,
    )
)
def test_a_fit_exists_exactly_when_no_direction_lets_the_likelihood_grow(rows: list[tuple[str, str, str]]) -> None:
    """A linear programme looks for (θ, τ) along which no vote grows less likely and some parameter moves."""
    models = sorted({name for row in rows for name in row[:2]})
    bounds = []  # each row ≤ 0; the observed outcome keeps the largest exponent of d/2, −d/2, τ
    for a, b, winner in rows:
        half = np.zeros(len(models) + 1)
        half[models.index(a)], half[models.index(b)] = 0.5, -0.5
        tie = np.eye(len(models) + 1)[-1]
        exponent = {"model_a": half, "model_b": -half, "tie": tie}
        bounds += [other - exponent[winner] for name, other in exponent.items() if name != winner]
    moves = False
    for direction in np.vstack([np.eye(len(models) + 1), -np.eye(len(models) + 1)]):
        found = linprog(
            -direction,
            A_ub=np.array(bounds),
            b_ub=np.zeros(len(bounds)),
            A_eq=[[1.0] * len(models) + [0.0]],
            b_eq=[0.0],
            bounds=(-1, 1),
        )
        moves |= -found.fun > 1e-7
    drawn = any(row[2] == "tie" for row in rows)
    if drawn:
        if moves:
            with pytest.raises(NotIdentifiable):
                fit_davidson(frame(rows))
        else:
            assert np.isfinite(fit_davidson(frame(rows)).rating).all()


def frame(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])


EXTREME = [
    [("m1", "m2", "model_a", 46), ("m0", "m2", "model_b", 11), ("m1", "m0", "tie", 266)],
    [("m0", "m1", "tie", 3), ("m1", "m3", "tie", 31966), ("m2", "m3", "model_a", 5), ("m2", "m1", "model_b", 657)],
    [("m2", "m0", "model_b", 2), ("m1", "m2", "tie", 11460), ("m0", "m2", "model_b", 2), ("m0", "m1", "model_a", 523)],
    [
        ("m1", "m0", "model_a", 339),
        ("m1", "m2", "model_b", 2),
        ("m0", "m2", "tie", 815),
        ("m0", "m1", "model_b", 63470),
    ],
    [("m2", "m1", "tie", 6950), ("m0", "m1", "model_b", 3), ("m2", "m0", "model_b", 226)],
    [("m2", "m3", "model_a", 5), ("m3", "m0", "tie", 18865), ("m0", "m2", "model_a", 18), ("m2", "m0", "model_a", 697)],
]


@pytest.mark.parametrize("rows", EXTREME)
def test_extreme_votes_meet_the_moment_equations(rows: list[tuple[str, str, str, int]]) -> None:
    """Under Davidson each model scores what the fit expects, and so do all ties together, far out on the scale too."""
    table = pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "count"])
    fitted = fit_davidson(Cells.from_counts(table), ci="none")
    theta = dict(zip(fitted.models, (fitted.rating - 1000) / POINTS, strict=True))
    d = np.array([theta[a] - theta[b] for a, b in zip(table["model_a"], table["model_b"], strict=True)])
    p = davidson(d, fitted.parameters["tie_parameter"])
    n = table["count"].to_numpy()
    score = table["winner"].map({"model_a": 1.0, "model_b": 0.0, "tie": 0.5}).to_numpy()
    surplus = n * (p[0] + p[2] / 2 - score)
    for model in fitted.models:
        side = (table["model_a"] == model).astype(int) - (table["model_b"] == model).astype(int)
        assert (side * surplus).sum() == pytest.approx(0, abs=1e-6)
    assert (n * p[2]).sum() == pytest.approx(n[table["winner"] == "tie"].sum(), abs=1e-6)
    assert np.isfinite(fit_rao_kupper(Cells.from_counts(table), ci="none").rating).all()
