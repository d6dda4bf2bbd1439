"""Partially pooled categories: against a slow posterior, both limits, and arenas whose truth is known."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.categories import fit_categories
from paragone.arena.ratings import Ratings
from paragone.data.errors import InputError, NotIdentifiable, UsageError

Array = np.ndarray[Any, Any]
POINTS = 400 / math.log(10)
SIZES = (3000, 600, 150, 80, 40, 40)


def simulate(
    seed: int,
    *,
    sizes: tuple[int, ...] = SIZES,
    tau: float = 80.0,
    models: int = 8,
    ties: float = 0.0,
) -> tuple[pd.DataFrame, Array]:
    """Votes in categories c0, c1, … and their true ratings [C, M], `tau` points around what they share."""
    rng = np.random.default_rng(seed)
    shared, names = rng.normal(0, 0.8, models), np.array([f"m{k}" for k in range(models)], object)
    frames, truths = [], []
    for c, size in enumerate(sizes):
        theta = shared + rng.normal(0, tau / POINTS, models)
        a = rng.integers(models, size=size)
        b = (a + rng.integers(1, models, size=size)) % models
        won = rng.random(size) < 1 / (1 + np.exp(theta[b] - theta[a]))
        winner = np.where(won, "model_a", "model_b").astype(object)
        winner[rng.random(size) < ties] = "tie"
        frames.append(pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner, "category": f"c{c}"}))
        truths.append(1000 + POINTS * (theta - theta.mean()))
    return pd.concat(frames, ignore_index=True), np.stack(truths)


def in_order(fitted: Ratings) -> Array:
    """[M] ratings of m0, m1, …"""
    return fitted.rating[np.argsort([int(model[1:]) for model in fitted.models])]


def test_same_as_a_general_optimiser_at_a_given_tau() -> None:
    """The mode, and the inverse of the whole Hessian, which our code never builds."""
    votes, _ = simulate(1, sizes=(120, 40, 15), models=4)
    tau = 70 / POINTS
    category = votes["category"].str[1:].astype(int).to_numpy()
    a, b = (votes[side].str[1:].astype(int).to_numpy() for side in ("model_a", "model_b"))
    sign = np.where(votes["winner"] == "model_a", 1.0, -1.0)

    def loss(x: Array) -> float:
        mu, theta = x[:4], x[4:].reshape(3, 4)
        d = sign * (theta[category, a] - theta[category, b])
        return float(np.log1p(np.exp(-d)).sum() + ((theta - mu) ** 2).sum() / (2 * tau**2) + mu.sum() ** 2 / 8)

    best = minimize(loss, np.zeros(16), method="BFGS", options={"gtol": 1e-7}).x

    def bend(s: Array, t: Array) -> float:
        return (loss(best + s + t) - loss(best + s - t) - loss(best - s + t) + loss(best - s - t)) / 4e-6

    step = 1e-3 * np.eye(16)
    covariance = np.linalg.inv(np.array([[bend(s, t) for t in step] for s in step]))
    contrast = np.eye(4) - 1 / 4
    fitted = fit_categories(votes, by="category", tau=70)
    for c in range(3):
        board, own = fitted[f"c{c}"], best[4 + 4 * c : 8 + 4 * c]
        np.testing.assert_allclose(in_order(board), 1000 + POINTS * (own - own.mean()), atol=0.05)
        part = covariance[4 + 4 * c : 8 + 4 * c, 4 + 4 * c : 8 + 4 * c]
        order = [int(model[1:]) for model in board.models]
        expected = POINTS**2 * (contrast @ part @ contrast)[np.ix_(order, order)]
        assert board.covariance is not None
        np.testing.assert_allclose(board.covariance, expected, rtol=1e-3, atol=1)


def test_dispersion_is_one_without_ties_and_falls_with_them() -> None:
    for ties, expected in ((0.0, 1.0), (0.3, 0.65)):  # 0.7 between equals, less where one is better
        votes, _ = simulate(2, ties=ties)
        pool = fit_categories(votes, by="category")["c0"].parameters["pool"]
        assert pool["dispersion"] == pytest.approx(expected, abs=0.03 if ties else 1e-9)


def test_little_tau_is_one_board_and_much_is_one_each() -> None:
    votes, _ = simulate(3, sizes=(2000, 500))
    pooled = in_order(fit_bradley_terry(votes))
    together, apart = (fit_categories(votes, by="category", tau=tau) for tau in (0.01, 1e6))
    for c in range(2):
        own = fit_bradley_terry(votes[votes["category"] == f"c{c}"])
        np.testing.assert_allclose(in_order(together[f"c{c}"]), pooled, atol=0.1)
        np.testing.assert_allclose(in_order(apart[f"c{c}"]), in_order(own), atol=0.1)
        assert min(together[f"c{c}"].parameters["pool"]["shrinkage"].values()) > 0.99
        assert max(apart[f"c{c}"].parameters["pool"]["shrinkage"].values()) < 0.3


def test_big_categories_keep_their_own_ratings_and_thin_ones_borrow() -> None:
    """12 arenas; docs/covariates.md has the figures of 100."""
    off: dict[str, list[Array]] = {"ours": [], "pooled": [], "separate": []}
    inside = []
    for seed in range(12):
        votes, truth = simulate(seed)
        boards, pooled = fit_categories(votes, by="category"), in_order(fit_bradley_terry(votes))
        ours = np.stack([in_order(board) for board in boards.values()])
        own = [fit_bradley_terry(votes[votes["category"] == c], prior=400.0, ci="none") for c in boards]
        off["ours"].append(((ours - truth) ** 2).mean(axis=1))
        off["pooled"].append(((pooled - truth) ** 2).mean(axis=1))
        off["separate"].append(np.array([np.mean((in_order(o) - t) ** 2) for o, t in zip(own, truth, strict=True)]))
        for board, true in zip(boards.values(), truth, strict=True):
            assert board.covariance is not None
            error = board.rating - true[[int(model[1:]) for model in board.models]]
            inside.append(np.abs(error) < 1.96 * np.sqrt(np.diag(board.covariance)))
    error = {name: np.sqrt(np.mean(values, axis=0)) for name, values in off.items()}
    assert (error["ours"][2:] < 0.85 * error["pooled"][2:]).all()
    assert (error["ours"][2:] < 0.85 * error["separate"][2:]).all()
    assert error["ours"][0] == pytest.approx(error["separate"][0], rel=0.1)
    assert 0.91 < np.mean(inside) < 0.99


@pytest.mark.parametrize("tau", [20.0, 80.0, 200.0])
def test_tau_is_estimated(tau: float) -> None:
    found = [fit_categories(simulate(s, tau=tau)[0], by="category")["c0"].parameters["pool"] for s in range(5)]
    assert np.mean([pool["tau"] for pool in found]) == pytest.approx(tau, rel=0.25)
    assert all(pool["tau_lower"] <= pool["tau"] <= pool["tau_upper"] for pool in found)
    assert all(pool["tau_estimated"] for pool in found)


def test_a_model_without_votes_in_a_category_still_has_a_rating() -> None:
    votes, _ = simulate(5)
    gone = (votes["category"] == "c4") & ((votes["model_a"] == "m0") | (votes["model_b"] == "m0"))
    board = fit_categories(votes[~gone], by="category")["c4"]
    assert any("no votes on m0 in this category" in note for note in board.warnings)
    row = board.models.index("m0")
    assert board.model_votes[row] == 0
    assert board.parameters["pool"]["shrinkage"]["m0"] == pytest.approx(1)
    assert board.covariance is not None
    assert np.argmax(np.diag(board.covariance)) == row
    with pytest.raises(NotIdentifiable, match="never met"):
        fit_categories(votes[votes["model_a"].isin(["m0", "m1"]) == votes["model_b"].isin(["m0", "m1"])], by="category")


def test_names_sides_and_order_do_not_matter() -> None:
    votes, _ = simulate(6, sizes=(300, 60, 30), ties=0.2)
    base = fit_categories(votes, by="category")
    swap = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
    turned = votes.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    turned = turned.assign(winner=turned["winner"].map(swap), kind=turned["category"].map({"c0": 2, "c1": 1, "c2": 0}))
    again = fit_categories(turned.sample(frac=1, random_state=1), by="kind")
    assert list(again) == ["0", "1", "2"]
    for old, new in (("c0", "2"), ("c1", "1"), ("c2", "0")):
        np.testing.assert_allclose(again[new].rating, base[old].rating, atol=1e-5)
        assert again[new].models == base[old].models


def test_a_board_is_a_rating_like_any_other() -> None:
    votes, _ = simulate(0, sizes=(300, 60))
    boards = fit_categories(votes, by="category", anchor={"m3": 1200})
    for name, board in boards.items():
        assert dict(zip(board.models, board.rating, strict=True))["m3"] == pytest.approx(1200)
        assert board.n_votes == (votes["category"] == name).sum()
        assert board.probability("m0", "m1") + board.probability("m1", "m0") == pytest.approx(1)
        assert board.difference("m0", "m1")[1] > 0
        assert board.to_dict()["parameters"]["pool"]["by"] == "category"
    bare = fit_categories(votes, by="category", ci="none")["c0"]
    assert bare.covariance is None
    assert bare.rating_lower is None


def test_what_cannot_be_used_is_refused() -> None:
    votes, _ = simulate(0, sizes=(100, 50))
    with pytest.raises(UsageError, match="no column 'style'"):
        fit_categories(votes, by="style")
    with pytest.raises(InputError, match="row 1: category is empty"):
        fit_categories(votes.assign(category=""), by="category")
    with pytest.raises(UsageError, match="tau=0"):
        fit_categories(votes, by="category", tau=0)
    with pytest.raises(UsageError, match="ci='sandwich'"):
        fit_categories(votes, by="category", ci="sandwich")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give the table of votes"):
        fit_categories("votes.csv", by="category")  # type: ignore[arg-type]
    with pytest.raises(NotIdentifiable, match="no votes"):
        fit_categories(votes.head(0), by="category")


def test_twenty_categories_of_fifty_models_take_a_moment() -> None:
    votes, _ = simulate(0, sizes=(4000,) * 3 + (300,) * 17, models=50)
    start = time.process_time()
    fit_categories(votes, by="category")
    assert time.process_time() - start < 4
