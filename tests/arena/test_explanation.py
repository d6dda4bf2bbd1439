"""An explanation adds up: records are the votes', effects are fits without an opponent, votes wanted do separate."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from paragone.arena import explain_model, fit_bradley_terry
from paragone.arena.explanation import score_variance, votes_to_separate
from paragone.data.errors import NotIdentifiable, UsageError

NAMES = np.array(["ash", "birch", "cedar", "fir", "oak"])


def arena(seed: int, votes: int = 800, columns: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    theta = np.linspace(-0.5, 0.5, NAMES.size)
    a = rng.integers(NAMES.size, size=votes)
    b = (a + rng.integers(1, NAMES.size, size=votes)) % NAMES.size
    first = rng.random(votes) < 1 / (1 + np.exp(theta[b] - theta[a]))
    winner = np.where(rng.random(votes) < 0.2, "tie", np.where(first, "model_a", "model_b"))
    table = pd.DataFrame({"model_a": NAMES[a], "model_b": NAMES[b], "winner": winner})
    if columns:
        table["voter"] = [f"v{k}" for k in rng.integers(30, size=votes)]
        table["prompt"] = [f"p{k}" for k in rng.integers(7, size=votes)]
    return table


def test_the_rating_is_that_of_the_fit() -> None:
    votes = arena(0)
    ratings, explained = fit_bradley_terry(votes), explain_model(votes, "cedar")
    row = ratings.to_frame().set_index("model").loc["cedar"]
    for name in ("rating", "rating_lower", "rating_upper", "rank", "rank_lower", "rank_upper", "n_votes", "win_rate"):
        assert getattr(explained, name) == row[name]
    assert explained.n_models == 5
    assert explained.headline().startswith(f"cedar: {row['rating']:.1f} (")


def test_the_record_is_that_of_the_votes() -> None:
    votes = arena(1)
    explained = explain_model(votes, "fir")
    ratings = fit_bradley_terry(votes)
    assert set(explained.opponents["opponent"]) == set(NAMES) - {"fir"}
    for row in explained.opponents.itertuples():
        mine = votes[(votes["model_a"] == "fir") & (votes["model_b"] == row.opponent)]
        theirs = votes[(votes["model_b"] == "fir") & (votes["model_a"] == row.opponent)]
        wins = (mine["winner"] == "model_a").sum() + (theirs["winner"] == "model_b").sum()
        ties = (mine["winner"] == "tie").sum() + (theirs["winner"] == "tie").sum()
        n = len(mine) + len(theirs)
        assert (row.n, row.wins, row.ties, row.losses) == (n, wins, ties, n - wins - ties)
        assert row.score == pytest.approx((wins + ties / 2) / n)
        assert row.expected == pytest.approx(ratings.probability("fir", row.opponent), abs=1e-6)
        assert math.copysign(1, row.z) == math.copysign(1, row.score - row.expected)
        assert math.copysign(1, row.effect) == math.copysign(1, row.z)
    assert explained.opponents["effect"].abs().is_monotonic_decreasing
    weight = explained.opponents["n"] * (explained.opponents["score"] - explained.opponents["expected"])
    assert weight.sum() == pytest.approx(0.0, abs=1e-5)  # the likelihood's own equation


@pytest.mark.parametrize("anchor", [None, {"oak": 1200.0}])
def test_effects_are_fits_without_the_opponent(anchor: dict[str, float] | None) -> None:
    votes = arena(2, votes=2000)
    whole = fit_bradley_terry(votes, ci="none", anchor=anchor)
    for row in explain_model(votes, "birch", anchor=anchor).opponents.itertuples():
        cell = votes[["model_a", "model_b"]].isin(["birch", row.opponent]).all(axis=1)
        left = fit_bradley_terry(votes[~cell], ci="none", anchor=anchor)
        exact = whole.rating[whole.models.index("birch")] - left.rating[left.models.index("birch")]
        assert row.effect == pytest.approx(exact, rel=0.05, abs=0.3)


def test_residuals_are_standard_normal_under_the_model() -> None:
    z = np.concatenate([explain_model(arena(seed, columns=False), "cedar").opponents["z"] for seed in range(40)])
    assert abs(z.mean()) < 0.2
    assert z.std() == pytest.approx(1.0, abs=0.15)


def test_score_variance() -> None:
    """Ties at their share, and where so many are impossible at the most there can be."""
    p = np.array([0.5, 0.7, 0.99])
    found = score_variance(p, 0.2)
    for mean, ties, variance in zip(p, [0.2, 0.2, 0.02], found, strict=True):
        wins = mean - ties / 2
        assert variance == pytest.approx(wins + ties / 4 - mean**2)


def test_upsets() -> None:
    upsets = explain_model(arena(3, votes=2000), "cedar").upsets
    assert (upsets["probability"] < 0.5).all()
    assert upsets.iloc[0]["result"] == "win"
    assert set(upsets.loc[upsets["result"] == "loss", "opponent"]) <= {"ash", "birch"}


def test_neighbours() -> None:
    votes = arena(4, votes=600)
    ratings = fit_bradley_terry(votes)
    middle = explain_model(votes, ratings.models[2]).neighbours
    assert middle["position"].tolist() == ["above", "below"]
    assert middle["model"].tolist() == [ratings.models[1], ratings.models[3]]
    assert middle["verified"].all()
    for row, pair in zip(middle.itertuples(), ((1, 2), (2, 3)), strict=True):
        difference, error = ratings.difference(ratings.models[pair[0]], ratings.models[pair[1]])
        assert (row.difference, row.standard_error, row.z) == pytest.approx((difference, error, difference / error))
    assert explain_model(votes, ratings.models[0]).neighbours["position"].tolist() == ["below"]
    assert explain_model(votes, ratings.models[-1]).neighbours["position"].tolist() == ["above"]


def test_votes_to_separate_do_so_as_often_as_said() -> None:
    """300 arenas of two models with the truth at the estimate: 80 % show it at 95 % after so many votes, ± 6 %."""
    rng = np.random.default_rng(0)
    p, ties, now = 0.56, 0.2, 60
    d = 400 / math.log(10) * math.log(p / (1 - p))
    error = 400 / math.log(10) * math.sqrt(float(score_variance(np.array(p), ties)) / now) / (p * (1 - p))
    more = votes_to_separate(d, error, tie_share=ties)
    assert more is not None
    scores = rng.choice([1.0, 0.5, 0.0], p=[p - ties / 2, ties, 1 - p - ties / 2], size=(300, now + more))
    mean, spread = scores.mean(axis=1), scores.std(axis=1) / math.sqrt(now + more)
    assert (mean - 0.5 > 1.96 * spread).mean() == pytest.approx(0.8, abs=0.06)
    assert votes_to_separate(d, d / 2) == 0
    assert votes_to_separate(0.0, 10.0) is None
    cheap, dear = votes_to_separate(d, error, power=0.5), votes_to_separate(d, error, power=0.95)
    assert cheap is not None
    assert dear is not None
    assert cheap < more < dear


def test_tables_and_json() -> None:
    explained = explain_model(arena(5), "oak", cluster="voter", top=4)
    assert list(explained.tables()) == [
        "Opponents", "Upsets", "Neighbours", "Most influential voters", "Most influential prompts",
    ]  # fmt: skip
    assert explained.voters is not None
    assert len(explained.voters) == 4
    assert explained.voters["change_exact"].notna().all()
    document = json.loads(json.dumps(explained.to_dict(), allow_nan=False))
    assert document["schema"] == "paragone.explanation/1"
    assert document["opponents"][0]["opponent"] == explained.opponents["opponent"].iloc[0]
    bare = explain_model(arena(5, columns=False), "oak")
    assert (bare.voters, bare.prompts) == (None, None)
    assert "Most influential voters" not in bare.tables()
    assert bare.to_dict()["voters"] is None


def test_an_only_opponent_has_no_effect_to_tell() -> None:
    """Without the votes on its only opponent the model would have no rating."""
    rows = [("a", "b", "model_a"), ("a", "b", "model_b"), ("b", "c", "model_a"), ("b", "c", "model_b")]
    votes = pd.DataFrame(rows * 5, columns=["model_a", "model_b", "winner"])
    only = explain_model(votes, "a").opponents
    assert math.isnan(only["effect"].iloc[0])
    json.dumps(explain_model(votes, "a").to_dict(), allow_nan=False)


def test_wrong_questions() -> None:
    votes = arena(0)
    with pytest.raises(UsageError, match="did you mean 'cedar'"):
        explain_model(votes, "ceder")
    with pytest.raises(UsageError, match="power"):
        explain_model(votes, "cedar", power=1.0)
    with pytest.raises(UsageError, match="top"):
        explain_model(votes, "cedar", top=0)
    with pytest.raises(NotIdentifiable):
        explain_model(votes[votes["winner"] == "model_a"].head(3), "cedar")
