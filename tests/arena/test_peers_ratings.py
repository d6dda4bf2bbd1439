"""Our ratings beside those of evalica, arena-rank and choix, on the same votes.

The tolerances are what the peers' own stopping rules leave: evalica can be told to go on to the last digit, arena-rank
stops on the relative change of a mean loss, here up to four thousandths of a point early.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.contextual import fit_contextual
from paragone.arena.elo import fit_elo
from paragone.arena.ratings import Ratings
from paragone.arena.ties import fit_davidson

pytestmark = pytest.mark.peers
N_MODELS = 20
POINTS = 400 / math.log(10)
COVARIATES = ["length", "colour"]


@pytest.fixture(scope="module")
def votes() -> pd.DataFrame:
    """6,000 votes with ties, both_bad and two covariates (differences a − b)."""
    rng = np.random.default_rng(7)
    strength = rng.normal(0, 1, N_MODELS)
    names = np.array([f"model-{k:02d}" for k in range(N_MODELS)], object)
    n = 6_000
    a = rng.integers(N_MODELS, size=n)
    b = (a + rng.integers(1, N_MODELS, size=n)) % N_MODELS
    covariates = rng.normal(size=(n, 2))
    d = strength[a] - strength[b] + covariates @ [0.4, -0.2]
    p_tie = 0.25 * np.exp(-np.abs(d))
    draw = rng.random(n)
    winner = np.where(rng.random(n) < 1 / (1 + np.exp(-d)), "model_a", "model_b").astype(object)
    winner[draw < p_tie] = "tie"
    winner[draw < 0.05] = "both_bad"
    return pd.DataFrame(
        {"model_a": names[a], "model_b": names[b], "winner": winner, **dict(zip(COVARIATES, covariates.T, strict=True))}
    )


def points(ratings: Ratings) -> pd.Series[float]:
    return pd.Series(ratings.rating, index=list(ratings.models)).sort_index()


def evalica_votes(votes: pd.DataFrame) -> tuple[list[str], list[str], list[Any]]:
    evalica = pytest.importorskip("evalica", reason="the peer evalica is not installed")
    words = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y}
    winners = [words.get(winner, evalica.Winner.Draw) for winner in votes["winner"]]
    return votes["model_a"].tolist(), votes["model_b"].tolist(), winners


def centred(scores: pd.Series[float]) -> pd.Series[float]:
    """Scores that are odds, as points with a mean of 1000."""
    rating = 400 * np.log10(scores.astype(float))
    return (1000 + rating - rating.mean()).sort_index()


def test_bradley_terry_is_evalicas(votes: pd.DataFrame) -> None:
    given = evalica_votes(votes)
    import evalica

    theirs = centred(evalica.bradley_terry(*given, tolerance=1e-15, limit=100_000).scores)
    assert (points(fit_bradley_terry(votes)) - theirs).abs().max() < 1e-9


def test_elo_is_evalicas_in_the_same_order(votes: pd.DataFrame) -> None:
    given = evalica_votes(votes)
    import evalica

    for k in (4.0, 32.0):
        theirs = evalica.elo(*given, k=k).scores.sort_index()
        assert (points(fit_elo(votes, k=k)) - theirs).abs().max() < 1e-9


def test_davidson_is_newman_with_twice_the_tie_parameter(votes: pd.DataFrame) -> None:
    given = evalica_votes(votes)
    import evalica

    theirs = evalica.newman(*given, tolerance=1e-13, limit=100_000)
    ours = fit_davidson(votes)
    assert (points(ours) - centred(theirs.scores)).abs().max() < 1e-9
    assert ours.parameters["tie_parameter"] == pytest.approx(2 * theirs.v, rel=1e-12)


@pytest.fixture
def arena_rank() -> None:
    for package in ("jax", "optax", "jaxtyping", "arena_rank"):
        pytest.importorskip(package, reason="the peer arena-rank (or jax) is not installed")


@pytest.mark.usefixtures("arena_rank")
def test_bradley_terry_and_its_sandwich_are_arena_ranks(votes: pd.DataFrame) -> None:
    """Its regularised Hessian (1e-5 a vote) leaves its intervals narrower, here by 0.08 %."""
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    found = BradleyTerry(n_competitors=N_MODELS).compute_ratings_and_cis(PairDataset.from_pandas(votes))
    ours = fit_bradley_terry(votes).to_frame().sort_values("model")
    assert np.abs(np.asarray(found["ratings"]) - ours["rating"]).max() < 1e-3
    assert np.sqrt(np.asarray(found["variances"])) == pytest.approx(np.sqrt(ours["variance"]), rel=2e-3)
    assert np.abs(np.asarray(found["rating_lower"]) - ours["rating_lower"]).max() < 0.05


@pytest.mark.usefixtures("arena_rank")
def test_covariates_are_arena_ranks(votes: pd.DataFrame) -> None:
    """Without its ridge, its weights and its centring, which we do not have."""
    from arena_rank.models.contextual_bradley_terry import ContextualBradleyTerry
    from arena_rank.utils.data_utils import ContextualPairDataset

    data = ContextualPairDataset.from_pandas(votes, COVARIATES, reweighted=False, normalize_features=False)
    model = ContextualBradleyTerry(n_competitors=N_MODELS, n_features=2, reg=0.0)
    found = model.compute_ratings_and_cis(data)
    ours = fit_contextual(votes, covariates=COVARIATES)
    frame = ours.to_frame().sort_values("model")
    assert np.abs(np.asarray(found["ratings"]) - frame["rating"]).max() < 0.02
    coefficients = [row["points"] / POINTS for row in ours.parameters["covariates"]]
    assert np.asarray(found["coeffs"]) == pytest.approx(coefficients, abs=1e-5)
    assert np.sqrt(np.asarray(found["variances"])) == pytest.approx(np.sqrt(frame["variance"]), rel=2e-3)


def test_a_prior_is_choixs_regularisation(votes: pd.DataFrame) -> None:
    """A normal prior on θ of precision λ is choix's α = λ/2."""
    choix = pytest.importorskip("choix", reason="the peer choix is not installed")
    decided = votes[votes["winner"].isin(["model_a", "model_b"])].head(400)
    names = sorted({*decided["model_a"], *decided["model_b"]})
    a, b = (decided[column].map(names.index) for column in ("model_a", "model_b"))
    won = decided["winner"] == "model_a"
    data = [(x, y) if first else (y, x) for x, y, first in zip(a, b, won, strict=True)]
    for sd in (50.0, 200.0):
        alpha = (POINTS / sd) ** 2 / 2
        theta = choix.opt_pairwise(len(names), data, alpha=alpha, method="Newton-CG", tol=1e-14)
        theirs = pd.Series(1000 + POINTS * theta, index=names)
        assert (points(fit_bradley_terry(decided, prior=sd)) - (theirs - theirs.mean() + 1000)).abs().max() < 1e-4
