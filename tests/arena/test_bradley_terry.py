"""Bradley-Terry against slow, readable oracles, worked examples and the promises of its options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.ratings import Ratings
from paragone.arena.votes import Cells
from paragone.data.errors import InputError, NotIdentifiable, UsageError

POINTS = 400 / math.log(10)
SCORE = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "both_bad": 0.5}


def frame(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["model_a", "model_b", "winner"])


def table(fitted: Ratings) -> dict[str, float]:
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def standard_errors(fitted: Ratings) -> dict[str, float]:
    assert fitted.variance is not None
    return dict(zip(fitted.models, np.sqrt(fitted.variance).tolist(), strict=True))


def random_votes(seed: int, *, models: int = 6, votes: int = 400, ties: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 1, models)
    a = rng.integers(models, size=votes)
    b = (a + rng.integers(1, models, size=votes)) % models
    d = theta[a] - theta[b]
    p = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(votes, ties)], axis=1)
    u = rng.random(votes)[:, None]
    outcome = (u > np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
    names = np.array([f"m{k}" for k in range(models)], object)
    return pd.DataFrame(
        {
            "model_a": names[a],
            "model_b": names[b],
            "winner": np.array(["model_a", "model_b", "tie"], object)[outcome],
            "voter": [f"v{k}" for k in rng.integers(40, size=votes)],
        }
    )


def naive_bradley_terry(votes: pd.DataFrame) -> dict[str, float]:
    """Minorisation-maximisation (Hunter, Annals of Statistics 32, 2004): π_i ← wins_i / Σ_j n_ij/(π_i + π_j)."""
    models = sorted({*votes["model_a"], *votes["model_b"]})
    index = {name: k for k, name in enumerate(models)}
    wins, met = np.zeros(len(models)), np.zeros((len(models), len(models)))
    for a, b, winner in votes[["model_a", "model_b", "winner"]].itertuples(index=False):
        i, j = index[a], index[b]
        wins[i] += SCORE[winner]
        wins[j] += 1 - SCORE[winner]
        met[i, j] += 1
        met[j, i] += 1
    strength = np.ones(len(models))
    for _ in range(100_000):
        new = wins / (met / (strength[:, None] + strength[None, :])).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        if np.abs(np.log(new / strength)).max() < 1e-13:
            break
        strength = new
    return dict(zip(models, (1000 + POINTS * np.log(strength)).tolist(), strict=True))


def design(votes: pd.DataFrame, models: tuple[str, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """[V, M] ±1 and [V] score of side A, a row a vote."""
    x = np.zeros((len(votes), len(models)))
    for row, (a, b) in enumerate(zip(votes["model_a"], votes["model_b"], strict=True)):
        x[row, models.index(a)], x[row, models.index(b)] = 1, -1
    return x, votes["winner"].map(SCORE).to_numpy()


def naive_sandwich(votes: pd.DataFrame, fitted: Ratings, groups: list[Any] | None = None) -> np.ndarray[Any, Any]:
    """Pseudo-inverse of the information, scores summed vote by vote (or group by group)."""
    x, y = design(votes, fitted.models)
    w = votes["weight"].to_numpy() if "weight" in votes else np.ones(len(votes))
    p = 1 / (1 + np.exp(-x @ fitted.rating / POINTS))
    bread = np.linalg.pinv(x.T @ (x * (w * p * (1 - p))[:, None]))
    scores = x * (w * (y - p))[:, None]
    if groups is not None:
        n = len(set(groups))
        sums = np.array([scores[[g == group for g in groups]].sum(axis=0) for group in sorted(set(groups))])
        scores = sums * math.sqrt(n / (n - 1))
    return POINTS**2 * bread @ (scores.T @ scores) @ bread


def test_the_worked_example_of_wikipedia() -> None:
    """https://en.wikipedia.org/wiki/Bradley–Terry_model, worked example: strengths 0.139, 0.226, 0.143, 0.492."""
    wins = {"ab": 2, "ad": 1, "ba": 3, "bc": 5, "cb": 3, "cd": 1, "da": 4, "dc": 3}
    counts = pd.DataFrame(
        [(i, j, "model_a", n) for (i, j), n in wins.items()], columns=["model_a", "model_b", "winner", "count"]
    )
    fitted = table(fit_bradley_terry(Cells.from_counts(counts)))
    strength = {model: math.exp(rating / POINTS) for model, rating in fitted.items()}
    share = {model: value / sum(strength.values()) for model, value in strength.items()}
    assert share == pytest.approx({"a": 0.139, "b": 0.226, "c": 0.143, "d": 0.492}, abs=5e-4)


def test_two_models_in_closed_form() -> None:
    votes = frame(*[("a", "b", "model_a")] * 30, *[("b", "a", "model_a")] * 10)
    fitted = fit_bradley_terry(votes)
    difference, error = fitted.difference("a", "b")
    assert difference == pytest.approx(POINTS * math.log(3), abs=1e-8)
    assert error == pytest.approx(POINTS / math.sqrt(40 * 0.75 * 0.25), abs=1e-8)
    assert fitted.probability("a", "b") == pytest.approx(0.75, abs=1e-12)
    assert fitted.probability("b", "a") == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_newton_agrees_with_the_naive_fit(seed: int) -> None:
    votes = random_votes(seed)
    assert table(fit_bradley_terry(votes)) == pytest.approx(naive_bradley_terry(votes), abs=1e-6)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(sorted(SCORE))).filter(
            lambda v: v[0] != v[1]
        ),
        min_size=4,
        max_size=40,
    )
)
def test_few_votes_agree_with_the_naive_fit_or_are_refused(rows: list[tuple[str, str, str]]) -> None:
    votes = frame(*rows)
    try:
        fitted = fit_bradley_terry(votes)
    except NotIdentifiable:
        assume(False)
    assert table(fitted) == pytest.approx(naive_bradley_terry(votes), abs=1e-6)


def test_a_long_chain_keeps_its_range() -> None:
    """60 models, 60 : 40 from each to the next: 59 steps of 400·log10(1.5) points."""
    rows = [
        (f"m{k:02d}", f"m{k + 1:02d}", winner, n) for k in range(59) for winner, n in (("model_a", 60), ("model_b", 40))
    ]
    chain = pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "count"])
    fitted = fit_bradley_terry(Cells.from_counts(chain))
    assert np.ptp(fitted.rating) == pytest.approx(59 * 400 * math.log10(1.5), abs=1e-6)
    assert np.ptp(fitted.rating) == pytest.approx(4155.75, abs=0.01)
    assert fitted.models[0] == "m00"


def test_lopsided_votes_converge() -> None:
    counts = pd.DataFrame(
        [
            ("a", "b", "model_a", 1_000_000),
            ("b", "a", "model_a", 1),
            ("b", "c", "model_a", 999_999),
            ("c", "b", "tie", 1),
        ],
        columns=["model_a", "model_b", "winner", "count"],
    )
    fitted = fit_bradley_terry(Cells.from_counts(counts))
    assert fitted.difference("a", "b")[0] == pytest.approx(400 * 6, abs=1e-5)
    assert fitted.difference("b", "c")[0] == pytest.approx(400 * math.log10(999_999.5 / 0.5), abs=1e-5)


def test_the_sandwich_is_the_sum_over_votes() -> None:
    votes = random_votes(1)
    fitted = fit_bradley_terry(votes)
    assert fitted.covariance is not None
    np.testing.assert_allclose(fitted.covariance, naive_sandwich(votes, fitted), rtol=1e-9, atol=1e-7)
    half = 1.959963984540054 * np.sqrt(np.diag(fitted.covariance))
    np.testing.assert_allclose(fitted.rating_upper, fitted.rating + half, atol=1e-9)
    np.testing.assert_allclose(fitted.rating_lower, fitted.rating - half, atol=1e-9)


def test_the_clustered_sandwich_is_the_sum_over_clusters() -> None:
    votes = random_votes(2)
    fitted = fit_bradley_terry(votes, cluster="voter")
    expected = naive_sandwich(votes, fitted, votes["voter"].tolist())
    np.testing.assert_allclose(fitted.covariance, expected, rtol=1e-9, atol=1e-7)
    assert fitted.parameters["n_clusters"] == votes["voter"].nunique()
    assert not fitted.warnings
    alone = fit_bradley_terry(votes.assign(vote=range(len(votes))), cluster="vote")
    factor = len(votes) / (len(votes) - 1)
    np.testing.assert_allclose(alone.covariance, factor * naive_sandwich(votes, fitted), rtol=1e-9, atol=1e-7)


def test_few_or_missing_clusters_are_said() -> None:
    votes = random_votes(2)
    few = votes.assign(voter=[f"v{k % 3}" for k in range(len(votes))])
    assert "only 3 values of voter" in fit_bradley_terry(few, cluster="voter").warnings[0]
    with pytest.raises(NotIdentifiable, match="one cluster"):
        fit_bradley_terry(votes.assign(voter="v"), cluster="voter")
    for hole in ("", None):
        with pytest.raises(InputError, match="row 5: voter is empty"):
            fit_bradley_terry(votes.assign(voter=["v", "w", "v", "w", hole, *votes["voter"][5:]]), cluster="voter")
    with pytest.raises(UsageError, match="no column 'rater'"):
        fit_bradley_terry(votes, cluster="rater")
    with pytest.raises(UsageError, match="none"):
        fit_bradley_terry(votes, cluster="voter", ci="none")


def test_weights_count_once_in_the_bread_and_squared_in_the_filling() -> None:
    votes = random_votes(3)
    votes["weight"] = np.random.default_rng(0).choice([0.5, 1.0, 3.0], len(votes))
    fitted = fit_bradley_terry(votes)
    np.testing.assert_allclose(fitted.covariance, naive_sandwich(votes, fitted), rtol=1e-9, atol=1e-7)
    x, y = design(votes, fitted.models)
    w = votes["weight"].to_numpy()

    def loss(theta: np.ndarray[Any, Any]) -> float:
        d = x @ theta
        return float((w * (np.logaddexp(0, d) - y * d)).sum() + theta.sum() ** 2)

    best = minimize(loss, np.zeros(len(fitted.models)), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(fitted.rating, 1000 + POINTS * best, atol=1e-4)
    assert fitted.n_votes == len(votes)


def test_a_weight_of_two_rates_as_two_votes_do() -> None:
    votes = random_votes(4)
    heavy = fit_bradley_terry(votes.assign(weight=2.0))
    double = fit_bradley_terry(pd.concat([votes, votes]))
    single = fit_bradley_terry(votes)
    assert table(heavy) == pytest.approx(table(double), abs=1e-6)
    assert standard_errors(heavy) == pytest.approx(standard_errors(single), rel=1e-9)  # no more votes were cast


def test_cells_and_votes_give_the_same() -> None:
    votes = random_votes(5)
    cells = Cells.from_votes(votes)
    for ci in ("none", "sandwich", "bootstrap"):
        assert fit_bradley_terry(cells, ci=ci).to_dict() == fit_bradley_terry(votes, ci=ci).to_dict()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="table of votes"):
        fit_bradley_terry(cells, cluster="voter")
    with pytest.raises(UsageError, match="weighted cells"):
        fit_bradley_terry(Cells.from_votes(votes.assign(weight=2.0)), ci="bootstrap")


def test_an_anchor_moves_the_zero_and_widens_the_intervals_but_no_difference() -> None:
    votes = random_votes(6)
    free = fit_bradley_terry(votes)
    for anchor in ({"m3": 1500.0}, ("m3", 1500.0)):
        tied = fit_bradley_terry(votes, anchor=anchor)
        assert table(tied)["m3"] == 1500.0
        assert standard_errors(tied)["m3"] == pytest.approx(0, abs=1e-6)
        assert tied.difference("m1", "m2") == pytest.approx(free.difference("m1", "m2"), abs=1e-6)
        assert standard_errors(tied)["m1"] == pytest.approx(free.difference("m1", "m3")[1], rel=1e-9)
        assert tied.parameters["anchor"] == {"m3": 1500.0}
    for wrong in ({"m3": 1.0, "m2": 1.0}, {}, {"m9": 1.0}, {"m3": math.inf}):
        with pytest.raises(UsageError):
            fit_bradley_terry(votes, anchor=wrong)


def test_the_scale_is_a_change_of_units() -> None:
    votes = random_votes(7)
    elo = fit_bradley_terry(votes)
    natural = fit_bradley_terry(votes, scale=1.0, base=math.e, initial=0.0)
    np.testing.assert_allclose(natural.rating * POINTS + 1000, elo.rating, atol=1e-6)
    np.testing.assert_allclose(natural.covariance * POINTS**2, elo.covariance, rtol=1e-6, atol=1e-6)
    assert natural.probability("m1", "m2") == pytest.approx(elo.probability("m1", "m2"))


UNBOUNDED = frame(("a", "b", "model_a"), ("b", "c", "model_a"), ("c", "b", "model_a"), ("c", "d", "tie"))
APART = frame(("a", "b", "tie"), ("c", "d", "model_a"), ("d", "c", "model_a"))


def test_undefeated_and_winless_models_are_named() -> None:
    with pytest.raises(NotIdentifiable, match=r"undefeated by all others: a; .*: b, c, d; .*prior"):
        fit_bradley_terry(UNBOUNDED)
    with pytest.raises(NotIdentifiable, match=r"without a win or tie against any other: z;"):
        fit_bradley_terry(frame(("a", "b", "tie"), ("a", "z", "model_a")))
    with pytest.raises(NotIdentifiable, match=r"groups that never met.*: a, b \| c, d;"):
        fit_bradley_terry(APART)


def test_no_votes_are_refused() -> None:
    with pytest.raises(NotIdentifiable, match="no votes"):
        fit_bradley_terry(frame())
    with pytest.raises(NotIdentifiable, match="no votes"):
        fit_bradley_terry(frame(("a", "b", "both_bad")), both_bad="drop")
    with pytest.raises(NotIdentifiable, match=r"a, b \| c;"):
        fit_bradley_terry(frame(("a", "b", "tie"), ("a", "c", "both_bad")), both_bad="drop")


@pytest.mark.parametrize("votes", [UNBOUNDED, APART], ids=["undefeated", "apart"])
def test_a_prior_makes_ratings_finite_and_says_so(votes: pd.DataFrame) -> None:
    fitted = fit_bradley_terry(votes, prior=300.0)
    assert "prior" in fitted.warnings[0]
    assert fitted.parameters["prior"] == 300.0
    x, y = design(votes, fitted.models)

    def loss(theta: np.ndarray[Any, Any]) -> float:
        d = x @ theta
        return float((np.logaddexp(0, d) - y * d).sum() + 0.5 * ((POINTS / 300) ** 2) * (theta**2).sum())

    best = minimize(loss, np.zeros(len(fitted.models)), method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(fitted.rating, 1000 + POINTS * best, atol=1e-4)
    errors = standard_errors(fitted)
    assert all(60 < error < 300 for error in errors.values())


def test_a_prior_hardly_matters_to_many_votes() -> None:
    votes = random_votes(8, votes=20_000)
    free, held = fit_bradley_terry(votes), fit_bradley_terry(votes, prior=400.0)
    assert table(held) == pytest.approx(table(free), abs=0.5)
    assert standard_errors(held) == pytest.approx(standard_errors(free), rel=0.01)
    assert not held.warnings


def test_ties_alone_rate_all_equal_with_an_interval() -> None:
    fitted = fit_bradley_terry(frame(*[("a", "b", "tie"), ("b", "c", "both_bad")] * 10))
    np.testing.assert_allclose(fitted.rating, 1000, atol=1e-9)
    assert fitted.rank.tolist() == [1, 1, 1]
    # The information of 10 even votes a pair: 2.5 on each edge of the chain a - b - c.
    assert fitted.difference("a", "b")[1] == pytest.approx(POINTS / math.sqrt(2.5), rel=1e-9)
    assert "a, b, c are ties" in fitted.warnings[0]
    with pytest.raises(NotIdentifiable, match="every vote is a tie"):
        fit_bradley_terry(frame(*[("a", "b", "tie")] * 10), ci="bootstrap")


def test_half_win_ties_draw_ratings_together() -> None:
    decided = frame(*[("a", "b", "model_a")] * 30, *[("a", "b", "model_b")] * 10)
    drawn = pd.concat([decided, frame(*[("a", "b", "tie")] * 40)])
    assert fit_bradley_terry(drawn).difference("a", "b")[0] < 0.6 * fit_bradley_terry(decided).difference("a", "b")[0]


@pytest.mark.parametrize(
    "options",
    [
        {"ci": "fisher"},
        {"ci": "bootstrap", "bootstrap": 10},
        {"scale": 0.0},
        {"base": 1.0},
        {"initial": math.nan},
        {"prior": 0.0},
        {"seed": -1},
        {"both_bad": "loss"},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(reversed(options))):
        fit_bradley_terry(random_votes(0), **options)


def test_the_result_explains_itself() -> None:
    votes = random_votes(9)
    fitted = fit_bradley_terry(votes)
    document = fitted.to_dict()
    assert document["schema"] == "paragone.ratings/1"
    assert document["method"] == "bradley-terry"
    assert document["n_votes"] == len(votes)
    assert document["parameters"]["ties"] == "half a win each way"
    assert document["parameters"]["ci"] == "sandwich"
    rows = document["models"]
    assert [row["rank"] for row in rows] == sorted(row["rank"] for row in rows)
    for row in rows:
        mine = votes[(votes["model_a"] == row["model"]) | (votes["model_b"] == row["model"])]
        score = np.where(mine["model_a"] == row["model"], mine["winner"].map(SCORE), 1 - mine["winner"].map(SCORE))
        assert row["n_votes"] == len(mine)
        assert row["win_rate"] == pytest.approx(score.mean())
        assert row["rating_lower"] < row["rating"] < row["rating_upper"]
        assert row["rank_lower"] <= row["rank"] <= row["rank_upper"]
    bare = fit_bradley_terry(votes, ci="none")
    assert {row["rating_lower"] for row in bare.to_dict()["models"]} == {None}
    assert {row["rank_upper"] for row in bare.to_dict()["models"]} == {None}
    with pytest.raises(UsageError, match="no standard error"):
        bare.difference("m1", "m2")
    with pytest.raises(UsageError, match="did you mean 'm1'"):
        bare.probability("m11", "m2")
    with pytest.raises(ValueError, match="read-only"):
        bare.rating[0] = 0


def test_a_full_newton_step_may_be_too_long() -> None:
    """Found by search: from equal ratings, Newton without backtracking runs away on these votes."""
    rows = [
        ("m0", "m5", "model_a", 37595),
        ("m2", "m4", "tie", 13),
        ("m4", "m5", "tie", 659),
        ("m3", "m2", "model_a", 49083),
        ("m0", "m2", "model_a", 231),
        ("m2", "m0", "tie", 5),
        ("m3", "m1", "model_a", 94),
        ("m0", "m3", "model_b", 16073),
        ("m1", "m3", "model_a", 61),
        ("m2", "m4", "model_b", 9173),
        ("m4", "m1", "tie", 11),
        ("m1", "m4", "model_b", 2405),
    ]
    table = pd.DataFrame(rows, columns=["model_a", "model_b", "winner", "count"])
    fitted = fit_bradley_terry(Cells.from_counts(table))
    theta = dict(zip(fitted.models, (fitted.rating - 1000) / POINTS, strict=True))
    d = np.array([theta[a] - theta[b] for a, b in zip(table["model_a"], table["model_b"], strict=True)])
    surplus = table["count"] * (1 / (1 + np.exp(-d)) - table["winner"].map(SCORE))
    for model in fitted.models:
        side = (table["model_a"] == model).astype(int) - (table["model_b"] == model).astype(int)
        assert (side * surplus).sum() == pytest.approx(0, abs=1e-6)


def test_equal_models_share_a_rank_and_are_sorted_by_name_whatever_the_last_digit_says() -> None:
    """Every model has a twin with the same votes; their ratings differ by rounding only."""
    votes = random_votes(0, models=30, votes=3000)
    twins = {f"m{k}": name for k, name in enumerate(np.random.default_rng(1).permutation([f"t{k}" for k in range(30)]))}
    sides = [{}, {"model_a"}, {"model_b"}, {"model_a", "model_b"}]
    parts = [votes.assign(**{side: votes[side].map(twins) for side in twinned}) for twinned in sides]
    fitted = fit_bradley_terry(pd.concat(parts))
    assert [*fitted.models] == [name for m in fitted.models[::2] for name in (m, twins[m])]
    assert fitted.rank.tolist() == np.repeat(np.arange(1, 61, 2), 2).tolist()
    assert (np.diff(fitted.rating)[::2] != 0).any()
