"""Ratings with covariates: against a dense logistic regression, and simulations whose truth is known."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.contextual import fit_contextual
from paragone.arena.covariates import covariate_columns
from paragone.arena.ratings import Ratings
from paragone.data.errors import InputError, NotIdentifiable, UsageError

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)
MIRRORED = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}


def simulate(
    seed: int, *, votes: int = 3000, models: int = 6, gamma: tuple[float, ...] = (0.5, -0.3), side: float = 0.0,
    ties: float = 0.0, spread: float = 0.7, confounded: float = 0.0,
) -> tuple[pd.DataFrame, Array]:  # fmt: skip
    """Votes with covariates x0, x1, …, and the true strengths; `confounded` gives later models more of x0."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, spread, models)
    a = rng.integers(models, size=votes)
    b = (a + rng.integers(1, models, size=votes)) % models
    x = rng.normal(0, 1, (votes, 2, len(gamma)))
    x[:, :, :1] += confounded * np.stack([a, b], axis=1)[:, :, None] / models
    d = theta[a] - theta[b] + (x[:, 0] - x[:, 1]) @ np.array(gamma) + side
    winner = np.where(rng.random(votes) < 1 / (1 + np.exp(-d)), "model_a", "model_b").astype(object)
    winner[rng.random(votes) < ties] = "tie"
    names = np.array([f"m{k}" for k in range(models)], object)
    frame = pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner})
    for k in range(len(gamma)):
        frame[f"x{k}_a"], frame[f"x{k}_b"] = x[:, 0, k], x[:, 1, k]
    return frame, theta


def table(fitted: Ratings) -> dict[str, float]:
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def coefficients(fitted: Ratings) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in fitted.parameters["covariates"]}


def dense_oracle(votes: pd.DataFrame, z: Array, *, ridge: Array, cluster: Array | None = None) -> tuple[Array, Array]:
    """β and its sandwich by Newton on the dense design, one row a vote; θ has mean 0 and no column is dropped."""
    models = sorted({*votes["model_a"], *votes["model_b"]})
    x = np.zeros((len(votes), len(models)))
    for row, (a, b) in enumerate(zip(votes["model_a"], votes["model_b"], strict=True)):
        x[row, models.index(a)], x[row, models.index(b)] = 1, -1
    x = np.hstack([x, z])
    y = votes["winner"].map({"model_a": 1.0, "model_b": 0.0, "tie": 0.5}).to_numpy()
    penalty = np.diag(np.concatenate([np.zeros(len(models)), ridge]))
    gauge = np.zeros((x.shape[1],) * 2)
    gauge[: len(models), : len(models)] = 1
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + penalty
        beta = beta + np.linalg.solve(hessian + gauge, x.T @ (y - p) - penalty @ beta)
    scores = x * (y - p)[:, None]
    if cluster is not None:
        scores = np.stack([scores[cluster == c].sum(axis=0) for c in np.unique(cluster)])
        scores = scores * math.sqrt(len(scores) / (len(scores) - 1))
    inverse = np.linalg.inv(hessian + gauge)
    contrast = np.eye(x.shape[1])
    contrast[: len(models), : len(models)] -= 1 / len(models)
    return beta, contrast @ inverse @ (scores.T @ scores + penalty) @ inverse @ contrast.T


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 20.0])
def test_same_as_a_dense_logistic_regression(ridge: float, clustered: bool) -> None:
    votes, _ = simulate(3, votes=800, ties=0.2, side=0.3)
    votes["who"] = np.arange(len(votes)) % 40
    fitted = fit_contextual(
        votes, covariates=["x0", "x1"], side=True, ridge=ridge, cluster="who" if clustered else None
    )
    z = np.stack([votes["x0_a"] - votes["x0_b"], votes["x1_a"] - votes["x1_b"], np.ones(len(votes))], axis=1)
    sd = np.sqrt((z**2).mean(axis=0))
    cluster = votes["who"].to_numpy() if clustered else None
    beta, covariance = dense_oracle(votes, z / sd, ridge=np.full(3, ridge), cluster=cluster)
    order = [int(model[1:]) for model in fitted.models]
    np.testing.assert_allclose(fitted.rating, 1000 + POINTS * (beta - beta[:6].mean())[order], atol=1e-6)
    assert fitted.covariance is not None
    np.testing.assert_allclose(fitted.covariance, POINTS**2 * covariance[np.ix_(order, order)], rtol=1e-6, atol=1e-6)
    for k, row in enumerate(fitted.parameters["covariates"]):
        assert row["sd"] == pytest.approx(sd[k])
        assert row["points_per_sd"] == pytest.approx(POINTS * beta[6 + k], abs=1e-6)
        assert row["points"] == pytest.approx(row["points_per_sd"] / sd[k])
        assert row["coefficient"] == pytest.approx(beta[6 + k] / sd[k], abs=1e-8)
        error = POINTS * math.sqrt(covariance[6 + k, 6 + k]) / sd[k]
        assert row["standard_error"] == pytest.approx(error, rel=1e-6)
        assert row["upper"] - row["points"] == pytest.approx(1.959964 * error, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"cluster": "who"}, {"prior": 200.0}, {"anchor": {"m2": 900}}])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_covariates_it_is_bradley_terry(options: dict[str, Any], weighted: bool) -> None:
    votes, _ = simulate(1, votes=500, ties=0.3)
    votes["who"] = np.arange(len(votes)) % 35
    if weighted:
        votes["weight"] = np.random.default_rng(0).uniform(0.5, 3, len(votes))
    ours, plain = fit_contextual(votes, **options), fit_bradley_terry(votes, **options)
    np.testing.assert_allclose(ours.rating, plain.rating, rtol=0, atol=1e-8)
    assert ours.covariance is not None
    assert plain.covariance is not None
    np.testing.assert_allclose(ours.covariance, plain.covariance, rtol=1e-8, atol=1e-8)
    assert set(plain.parameters) < set(ours.parameters)
    assert ours.parameters["covariates"] == []


@given(flips=st.lists(st.booleans(), min_size=150, max_size=150), seed=st.integers(0, 5))
def test_mirroring_some_votes_with_their_covariates_changes_nothing(flips: list[bool], seed: int) -> None:
    """Also the reason why differences are not centred: the mean of x0_a − x0_b is far from 0 here."""
    votes, _ = simulate(seed, votes=150, models=4)
    votes["x0_a"] += 3
    votes["first"] = 1.0
    turned = votes.copy()
    rows = np.flatnonzero(flips)
    for a, b in (("model_a", "model_b"), ("x0_a", "x0_b"), ("x1_a", "x1_b")):
        turned.loc[rows, a], turned.loc[rows, b] = votes.loc[rows, b], votes.loc[rows, a]
    turned.loc[rows, "winner"] = votes.loc[rows, "winner"].map(MIRRORED)
    turned.loc[rows, "first"] = -1.0
    before = fit_contextual(votes, covariates=["x0", "x1", "first"], ridge=1.0)
    after = fit_contextual(turned, covariates=["x0", "x1", "first"], ridge=1.0)
    assert table(after) == pytest.approx(table(before), abs=1e-6)
    for name, row in coefficients(before).items():
        assert coefficients(after)[name] == pytest.approx(row, abs=1e-6)
    by_side = fit_contextual(votes, covariates=["x0", "x1"], side=True, ridge=1.0)
    assert coefficients(by_side)["side"]["points"] == pytest.approx(coefficients(before)["first"]["points"], abs=1e-6)


def test_true_coefficients_and_strengths_are_covered() -> None:
    """60 arenas, 9 quantities each. docs/covariates.md has the figures of 400."""
    inside = []
    for seed in range(60):
        votes, theta = simulate(seed, votes=1500, side=0.25)
        fitted = fit_contextual(votes, covariates=["x0", "x1"], side=True)
        assert fitted.rating_lower is not None
        assert fitted.rating_upper is not None
        order = [int(model[1:]) for model in fitted.models]
        truth = 1000 + POINTS * (theta - theta.mean())[order]
        inside += list((fitted.rating_lower <= truth) & (truth <= fitted.rating_upper))
        for row, gamma in zip(fitted.parameters["covariates"], (0.5, -0.3, 0.25), strict=True):
            inside.append(row["lower"] <= POINTS * gamma <= row["upper"])
    assert 0.92 < np.mean(inside) < 0.98


def test_a_style_that_flatters_the_worst_is_taken_out() -> None:
    votes, theta = simulate(0, votes=20_000, gamma=(0.8,), confounded=6.0, spread=0.4)
    plain, styled = table(fit_bradley_terry(votes)), table(fit_contextual(votes, covariates=["x0"]))
    truth = {f"m{k}": 1000 + POINTS * (t - theta.mean()) for k, t in enumerate(theta)}
    error = {name: max(abs(fit[m] - truth[m]) for m in truth) for name, fit in (("plain", plain), ("styled", styled))}
    assert error["plain"] > 200
    assert error["styled"] < 40
    assert sorted(styled, key=styled.__getitem__) == sorted(truth, key=truth.__getitem__)
    assert sorted(plain, key=plain.__getitem__) != sorted(truth, key=truth.__getitem__)


def test_position_bias_is_estimated_and_removed() -> None:
    """One model is always shown first."""
    votes, theta = simulate(5, votes=30_000, gamma=(), side=0.6, models=4)
    turn = (votes["model_b"] == "m0").to_numpy()
    votes = votes[~turn].reset_index(drop=True)
    plain, free = table(fit_bradley_terry(votes)), fit_contextual(votes, side=True)
    truth = 1000 + POINTS * (theta[0] - theta.mean())
    assert coefficients(free)["side"]["points"] == pytest.approx(0.6 * POINTS, abs=12)
    assert table(free)["m0"] == pytest.approx(truth, abs=15)
    assert plain["m0"] > truth + 40


def test_every_kind_of_covariate() -> None:
    rng = np.random.default_rng(2)
    votes, _ = simulate(2, votes=2000)
    votes["size_a"], votes["size_b"] = np.exp(rng.normal(0, 1, (2, 2000)))
    votes["length_a"], votes["length_b"] = rng.integers(0, 3, (2, 2000))
    votes["style_a"], votes["style_b"] = rng.choice(["photo", "anime", "oil"], (2, 2000))
    votes["extra"] = rng.normal(0, 1, 2000)
    fitted = fit_contextual(votes, covariates=["size:log", "length:relative", "style:category", "extra"])
    assert list(coefficients(fitted)) == ["size:log", "length:relative", "style[oil]", "style[photo]", "extra"]
    a, b = votes["length_a"].to_numpy(), votes["length_b"].to_numpy()
    hand = votes.assign(
        size=np.log(votes["size_a"] / votes["size_b"]),
        length=np.where(a + b > 0, (a - b) / np.maximum(a + b, 1), 0.0),
        oil=(votes["style_a"] == "oil") * 1.0 - (votes["style_b"] == "oil"),
        photo=(votes["style_a"] == "photo") * 1.0 - (votes["style_b"] == "photo"),
    )
    hand = hand.drop(columns=[f"{name}_{s}" for name in ("size", "length", "style") for s in "ab"])
    other = fit_contextual(hand, covariates=["size", "length", "oil", "photo", "extra"])
    assert table(other) == pytest.approx(table(fitted), abs=1e-6)
    points = [row["points"] for row in other.parameters["covariates"]]
    assert [row["points"] for row in fitted.parameters["covariates"]] == pytest.approx(points, abs=1e-6)
    as_text = votes.assign(size_a=votes["size_a"].map(repr), size_b=votes["size_b"].map(repr))
    assert table(fit_contextual(as_text, covariates=["size:log"])) == pytest.approx(
        table(fit_contextual(votes, covariates=["size:log"])), abs=1e-9
    )


def test_merged_rows_are_the_votes_one_by_one() -> None:
    votes, _ = simulate(4, votes=900)
    votes["level"] = np.random.default_rng(0).integers(-2, 3, len(votes))
    merged = fit_contextual(votes, covariates=["level"])
    single = fit_contextual(votes.assign(vote=range(len(votes))), covariates=["level"], cluster="vote")
    assert table(single) == pytest.approx(table(merged), abs=1e-6)
    assert merged.covariance is not None
    np.testing.assert_allclose(single.covariance, merged.covariance * 900 / 899, rtol=1e-6)


@pytest.mark.parametrize("cluster", [None, "who"])
def test_the_bootstrap_agrees_with_the_sandwich(cluster: str | None) -> None:
    votes, _ = simulate(8, votes=600, ties=0.2)
    votes["who"] = np.arange(len(votes)) % 60
    drawn = fit_contextual(votes, covariates=["x0"], side=True, ci="bootstrap", bootstrap=300, cluster=cluster)
    exact = fit_contextual(votes, covariates=["x0"], side=True, cluster=cluster)
    assert drawn.covariance is not None
    assert exact.covariance is not None
    np.testing.assert_allclose(np.diag(drawn.covariance), np.diag(exact.covariance), rtol=0.35)
    for name, row in coefficients(exact).items():
        assert coefficients(drawn)[name]["standard_error"] == pytest.approx(row["standard_error"], rel=0.2)
        assert coefficients(drawn)[name]["points"] == pytest.approx(row["points"], abs=1e-9)
    again = fit_contextual(votes, covariates=["x0"], side=True, ci="bootstrap", bootstrap=300, cluster=cluster)
    assert again.to_dict() == drawn.to_dict()


def test_what_cannot_be_told_apart_is_named() -> None:
    votes, _ = simulate(0, votes=300)
    size = {f"m{k}": float(k + 1) for k in range(6)}
    votes["size_a"], votes["size_b"] = votes["model_a"].map(size), votes["model_b"].map(size)
    with pytest.raises(NotIdentifiable, match="'size' does not vary within any pair of models"):
        fit_contextual(votes, covariates=["size"])
    assert "'size' does not vary" in fit_contextual(votes, covariates=["size"], ridge=1.0).warnings[0]
    both = votes["x0_a"] - votes["x0_b"] + 2 * (votes["x1_a"] - votes["x1_b"]) + votes["size_a"] - votes["size_b"]
    with pytest.raises(NotIdentifiable, match="'y' follows from the ratings and the covariates x0, x1"):
        fit_contextual(votes.assign(y=both), covariates=["x0", "x1", "y"])
    with pytest.raises(NotIdentifiable, match="'same': both sides are the same in every vote"):
        fit_contextual(votes.assign(same_a=2, same_b=2), covariates=["same"])
    sure = votes.assign(sure=votes["winner"].map({"model_a": 1.0, "model_b": -1.0}))
    with pytest.raises(NotIdentifiable, match="'sure' has no bound"):
        fit_contextual(sure, covariates=["x0", "sure"])
    assert coefficients(fit_contextual(sure, covariates=["x0", "sure"], ridge=1.0))["sure"]["points"] > 500


def test_unusable_covariates_are_refused_by_row_and_column() -> None:
    votes, _ = simulate(0, votes=50)
    for error, message, covariates, changes in (
        (UsageError, "needs the columns speed_a and speed_b, or one column speed", ["speed"], {}),
        (UsageError, "needs the columns x9_a and x9_b", ["x9:log"], {}),
        (UsageError, "'square' is none of log, relative, category", ["x0:square"], {}),
        (UsageError, "'x0' is there twice", ["x0", "x0"], {}),
        (UsageError, "there are columns x0_a, x0_b and x0", ["x0"], {"x0": 1.0}),
        (InputError, "row 3: x0_a is empty, not a finite number", ["x0"], {"x0_a": [0.0, 1.0, math.nan] + [1.0] * 47}),
        (InputError, "row 1: x0_b is 'big', not a finite .* x0:category", ["x0"], {"x0_b": "big"}),
        (InputError, "row 2: x0_a is 0; log needs numbers above 0", ["x0:log"], {"x0_a": [1, 0] * 25, "x0_b": 1}),
        (InputError, "row 1: x0_a is -1; relative needs", ["x0:relative"], {"x0_a": -1, "x0_b": 1}),
        (InputError, "row 2: s_a is empty", ["s:category"], {"s_a": ["u", ""] * 25, "s_b": "v"}),
        (UsageError, "has 51 levels", ["s:category"], {"s_a": range(50), "s_b": "v"}),
        (UsageError, "'side' is there already", ["side"], {"side": 1.0}),
    ):
        with pytest.raises(error, match=message):
            fit_contextual(votes.assign(**changes), covariates=covariates, side="side" in covariates)
    with pytest.raises(UsageError, match="ridge=-1"):
        fit_contextual(votes, ridge=-1)
    with pytest.raises(UsageError, match="give the table of votes"):
        fit_contextual("votes.csv")  # type: ignore[arg-type]


def test_the_columns_to_read_from_a_file() -> None:
    available = ["model_a", "size_a", "size_b", "gap"]
    assert covariate_columns(["size:log", "gap", "size"], available) == ["size_a", "size_b", "gap"]
    with pytest.raises(UsageError, match=r"'gap:log': needs the columns gap_a and gap_b$"):
        covariate_columns(["gap:log"], available)


def test_weights_dropped_votes_and_a_prior() -> None:
    votes, _ = simulate(6, votes=400, models=4)
    twice = fit_contextual(votes.assign(weight=2.0), covariates=["x0"])
    assert table(twice) == pytest.approx(table(fit_contextual(pd.concat([votes] * 2), covariates=["x0"])), abs=1e-6)
    bad = votes.assign(winner=np.where(np.arange(400) % 5 == 0, "both_bad", votes["winner"]))
    dropped = fit_contextual(bad, covariates=["x0"], both_bad="drop")
    kept = fit_contextual(bad[bad["winner"] != "both_bad"], covariates=["x0"])
    assert table(dropped) == pytest.approx(table(kept), abs=1e-9)
    top = pd.DataFrame({"model_a": ["top"], "model_b": ["m0"], "winner": ["model_a"], "x0_a": [0.1], "x0_b": [0.4]})
    with pytest.raises(NotIdentifiable, match="undefeated"):
        fit_contextual(pd.concat([votes, top]), covariates=["x0"])
    fitted = fit_contextual(pd.concat([votes, top], ignore_index=True), covariates=["x0"], prior=300.0)
    assert "prior" in fitted.warnings[0]


def test_a_hundred_thousand_votes_take_a_moment() -> None:
    votes, _ = simulate(0, votes=100_000, models=100, gamma=(0.5, -0.3, 0.2, 0.1))
    start = time.process_time()
    fit_contextual(votes, covariates=["x0", "x1", "x2", "x3"])
    assert time.process_time() - start < 3
