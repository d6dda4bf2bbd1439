"""The joint board: is it the people's board, only sharper, when the judges are biased?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.joint import fit_joint
from paragone.arena.ratings import Ratings
from paragone.data.errors import InputError, NotIdentifiable, UsageError

POINTS = 400 / math.log(10)
MODELS = 5
Array = np.ndarray[Any, Any]


def arena(seed: int, *, n_human: int = 400, n_judged: int = 3000, noise: float = 0.5) -> tuple[pd.DataFrame, Array]:
    """People are exactly Bradley-Terry; the judge sees what they see, with noise, for side A, model 0 and length."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 0.8, MODELS)
    a = rng.integers(MODELS, size=n_judged)
    b = (a + rng.integers(1, MODELS, size=n_judged)) % MODELS
    seen = theta[a] - theta[b] + rng.logistic(size=n_judged)
    biased = seen + 0.6 + 1.2 * ((a == 0).astype(float) - (b == 0)) + 0.5 * rng.normal(size=n_judged)
    judged = biased + rng.normal(0, noise, n_judged)
    names = np.array([f"m{k}" for k in range(MODELS)], object)
    parts = []
    for kind, score, n in (("human", seen, n_human), ("judge", judged, n_judged)):
        winner = np.where(
            np.abs(score[:n]) < 0.1 * (kind == "judge"), "tie", np.where(score[:n] > 0, "model_a", "model_b")
        )
        parts.append(
            pd.DataFrame(
                {
                    "model_a": names[a[:n]],
                    "model_b": names[b[:n]],
                    "winner": winner,
                    "kind": kind,
                    "battle": np.arange(n),
                    "voter": "judge" if kind == "judge" else [f"v{k % 40}" for k in range(n)],
                }
            )
        )
    return pd.concat(parts, ignore_index=True), 1000 + POINTS * (theta - theta.mean())


def people_of(votes: pd.DataFrame) -> pd.DataFrame:
    return votes[votes["kind"] == "human"].reset_index(drop=True)


def hits(fitted: Ratings, truth: Array) -> list[bool]:
    goal = np.array([truth[int(model[1:])] for model in fitted.models])
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    return ((fitted.rating_lower <= goal) & (goal <= fitted.rating_upper)).tolist()


def width(fitted: Ratings) -> float:
    assert fitted.rating_lower is not None
    assert fitted.rating_upper is not None
    return float((fitted.rating_upper - fitted.rating_lower).mean())


@pytest.mark.slow
def test_joint_intervals_cover_where_pooled_ones_do_not_and_are_narrower_than_the_peoples() -> None:
    joint, pooled, ratios = [], [], []
    for seed in range(150):
        votes, truth = arena(seed)
        fitted = fit_joint(votes)
        joint += hits(fitted, truth)
        ratios.append(width(fitted) / width(fit_bradley_terry(people_of(votes))))
        if seed < 40:
            pooled += hits(fit_bradley_terry(votes), truth)
    assert 0.93 <= np.mean(joint) <= 0.97
    assert np.mean(pooled) < 0.5
    assert np.mean(ratios) < 0.85


def test_a_judge_by_chance_costs_nothing() -> None:
    votes, _ = arena(0)
    rng = np.random.default_rng(1)
    judges = votes["kind"] == "judge"
    votes.loc[judges, "winner"] = rng.choice(["model_a", "model_b"], judges.sum())
    fitted = fit_joint(votes)
    assert fitted.parameters["lambda"] < 0.2  # chance alone leaves about 0.05
    assert 1.0 <= fitted.parameters["effective_gain"] < 1.05
    swap = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
    against = arena(0)[0]
    against.loc[judges, "winner"] = against.loc[judges, "winner"].map(swap)
    fitted = fit_joint(against)
    assert fitted.parameters["lambda"] == 0.0
    assert any("do not go with" in warning for warning in fitted.warnings)


@pytest.mark.parametrize("options", [{}, {"anchor": {"m1": 1200.0}}, {"cluster": "voter"}])
def test_lambda_0_is_the_peoples_board_exactly(options: dict[str, Any]) -> None:
    votes, _ = arena(2)
    people = fit_bradley_terry(people_of(votes), **options)
    joint = fit_joint(votes, judge_weight=0.0, **options)
    assert joint.models == people.models
    np.testing.assert_array_equal(joint.rating, people.rating)
    assert joint.covariance is not None
    assert people.covariance is not None
    np.testing.assert_allclose(joint.covariance, people.covariance, rtol=1e-9, atol=1e-9)
    assert joint.parameters["effective_gain"] == 1.0


def slow_joint(votes: pd.DataFrame, weight: float) -> Array:
    """The objective as it is written, battle by battle, by a general optimiser: [M] ratings in the order of names."""
    people = people_of(votes)
    judge = votes[votes["kind"] == "judge"]
    side = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}

    def terms(rows: pd.DataFrame, weights: Array) -> tuple[Array, Array, Array, Array]:
        a, b = (rows[c].str[1:].astype(int).to_numpy() for c in ("model_a", "model_b"))
        return a, b, rows["winner"].map(side).to_numpy(), weights

    def pair(rows: pd.DataFrame) -> pd.Series:  # type: ignore[type-arg]
        return rows[["model_a", "model_b"]].apply(lambda row: "|".join(sorted(row)), axis=1)

    voted = judge["battle"].isin(people["battle"])
    per_pair = pair(judge)
    n_all = per_pair.map(per_pair.value_counts())
    n_paired = per_pair.map(per_pair[voted].value_counts()).fillna(0)
    parts = [
        terms(people, np.ones(len(people))),
        terms(judge, weight * (n_paired / n_all).to_numpy()),
        terms(judge[voted], np.full(int(voted.sum()), -weight)),
    ]

    def loss(theta: Array) -> float:
        total = 0.5 * theta.sum() ** 2
        for a, b, y, w in parts:
            d = theta[a] - theta[b]
            total -= (w * (y * d - np.logaddexp(0, d))).sum()
        return float(total)

    theta = minimize(loss, np.zeros(MODELS), method="BFGS", options={"gtol": 1e-8}).x
    rating: Array = 1000 + POINTS * (theta - theta.mean())
    return rating


def test_the_fit_is_the_maximum_of_the_objective_as_it_is_written() -> None:
    votes, _ = arena(3, n_human=150, n_judged=600)
    for weight in (0.4, 1.0):
        fitted = fit_joint(votes, judge_weight=weight)
        goal = slow_joint(votes, weight)
        ours = dict(zip(fitted.models, fitted.rating.tolist(), strict=True))
        np.testing.assert_allclose([ours[f"m{k}"] for k in range(MODELS)], goal, atol=0.05)


def test_the_chosen_lambda_has_the_least_variance() -> None:
    votes, _ = arena(4, noise=1.0)
    chosen = fit_joint(votes)
    best = chosen.parameters["lambda"]
    assert 0.1 < best < 0.9

    def trace(weight: float) -> float:
        fitted = fit_joint(votes, judge_weight=weight)
        assert fitted.variance is not None
        return float(fitted.variance.sum())

    at_best = trace(best)
    assert at_best <= min(trace(w) for w in (0.0, best - 0.1, best + 0.1, 1.0)) * (1 + 2e-3)
    assert chosen.parameters["effective_gain"] == pytest.approx(trace(0.0) / at_best)
    assert chosen.parameters["n_human"] == chosen.parameters["n_paired"] == chosen.n_votes == 400
    assert chosen.parameters["n_judge"] == 3000
    assert chosen.method == "joint"


@pytest.mark.slow
def test_the_sandwich_is_the_spread_over_arenas() -> None:
    theta_hat, variances = [], []
    for seed in range(120):
        votes, truth = arena(seed, n_human=300, n_judged=1500)
        fitted = fit_joint(votes, judge_weight=0.6)
        order = np.argsort(fitted.models)
        theta_hat.append(fitted.rating[order] - truth)
        assert fitted.variance is not None
        variances.append(fitted.variance[order])
    assert np.mean(variances) == pytest.approx(np.var(theta_hat, axis=0).mean(), rel=0.15)


def test_rows_sides_and_several_judges() -> None:
    votes, _ = arena(5)
    base = fit_joint(votes)
    shuffled = fit_joint(votes.sample(frac=1, random_state=1).reset_index(drop=True))
    np.testing.assert_allclose(shuffled.rating, base.rating, atol=1e-6)
    turned = votes.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    turned["winner"] = votes["winner"].map({"model_a": "model_b", "model_b": "model_a", "tie": "tie"})
    half = votes.index % 2 == 0
    mixed = pd.concat([votes[half], turned[~half]], ignore_index=True)
    np.testing.assert_allclose(fit_joint(mixed).rating, base.rating, atol=1e-6)
    doubled = pd.concat([votes, votes[votes["kind"] == "judge"].assign(voter="twin")], ignore_index=True)
    twin = fit_joint(doubled)
    np.testing.assert_allclose(twin.rating, base.rating, atol=1e-6)  # a judge that repeats another adds nothing
    np.testing.assert_allclose(twin.rating_upper, base.rating_upper, atol=1e-6)


def test_judges_without_more_battles_and_thin_overlap_are_said() -> None:
    votes, _ = arena(6, n_human=200, n_judged=200)
    fitted = fit_joint(votes)
    assert any("the judges add nothing" in warning for warning in fitted.warnings)
    np.testing.assert_array_equal(fitted.rating, fit_bradley_terry(people_of(votes)).rating)
    votes, _ = arena(7, n_human=45)
    assert any("only 45 human votes" in warning for warning in fit_joint(votes).warnings)


def test_corrected_votes_without_a_maximum_give_one_step_and_a_warning() -> None:
    rows = [("a", "b", "model_a", "human", f"h{n}") for n in range(8)] + [("a", "b", "model_b", "human", "h8")]
    rows += [("a", "b", w, "judge", f"h{n}") for n, w in enumerate(["model_b"] * 3 + ["model_a"] * 5 + ["model_b"])]
    rows += [("a", "b", "model_a", "judge", f"x{n}") for n in range(500)]
    votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "kind", "battle"])
    fitted = fit_joint(votes, judge_weight=1.0)
    assert any("one Newton step" in warning for warning in fitted.warnings)
    assert np.isfinite(fitted.rating).all()


def test_what_cannot_be_joined_is_named() -> None:
    votes, _ = arena(8, n_human=60, n_judged=200)
    with pytest.raises(InputError, match="no vote has kind = judge"):
        fit_joint(people_of(votes))
    with pytest.raises(InputError, match="no battle has votes of people and of judges"):
        fit_joint(votes.assign(battle=range(len(votes))))
    with pytest.raises(InputError, match="row 1: kind is 'robot'"):
        fit_joint(votes.assign(kind="robot"))
    with pytest.raises(UsageError, match="no column 'species'"):
        fit_joint(votes, kind="species")
    with pytest.raises(UsageError, match="judge_weight=2"):
        fit_joint(votes, judge_weight=2.0)
    with pytest.raises(UsageError, match="weights have no meaning"):
        fit_joint(votes.assign(weight=1.0))
    with pytest.raises(UsageError, match="both_bad"):
        fit_joint(votes, both_bad="own")  # type: ignore[arg-type]
    unseen = votes[(votes["kind"] == "judge") | ((votes["model_a"] != "m0") & (votes["model_b"] != "m0"))]
    with pytest.raises(NotIdentifiable, match=r"the human votes alone: .*m0"):
        fit_joint(unseen)
