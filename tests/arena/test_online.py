"""Ratings that follow the votes are the fit of all votes, at every vote."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paragone.arena import Cells, OnlineBradleyTerry, fit_bradley_terry
from paragone.arena.votes import CodedVotes, fold
from paragone.data.errors import NotIdentifiable, UnknownOutcome, UsageError

POINTS = 400 / math.log(10)
RING = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
VOTE = st.tuples(
    st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(["model_a", "model_b", "tie", "both_bad"])
).filter(lambda v: v[0] != v[1])


def frame(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])


@settings(max_examples=20)
@given(
    st.lists(VOTE, min_size=1, max_size=12),
    st.sampled_from([{}, {"both_bad": "drop"}, {"anchor": {"b": 1200.0}}, {"prior": 200.0}]),
)
def test_after_every_vote_the_ratings_are_those_of_a_cold_fit(
    votes: list[tuple[str, str, str]], options: dict[str, Any]
) -> None:
    rows = [(a, b, winner) for a, b in RING for winner in ("model_a", "model_b")]
    online = OnlineBradleyTerry(list("dbca"), **options)
    for row in rows:
        online.add(*row)
    for vote in votes:
        online.add(*vote)
        rows.append(vote)
        cold = fit_bradley_terry(frame(rows), ci="none", **options)
        here = online.ratings()
        assert here.models == cold.models
        np.testing.assert_allclose(here.rating, cold.rating, atol=1e-8 * POINTS)
        assert here.to_dict()["parameters"] == cold.to_dict()["parameters"]
        assert (here.n_votes, here.warnings) == (cold.n_votes, cold.warnings)
    both = online.cells(), Cells.from_votes(frame(rows))
    for name in ("i", "j", "n", "weight", "square"):
        np.testing.assert_array_equal(*(getattr(cells, name) for cells in both))


def many(models: int, votes: int) -> Cells:
    rng = np.random.default_rng(0)
    theta = rng.normal(0, 0.8, models)
    a = rng.integers(models, size=votes)
    b = (a + rng.integers(1, models, size=votes)) % models
    won = rng.random(votes) < 1 / (1 + np.exp(theta[b] - theta[a]))
    outcome = np.where(rng.random(votes) < 0.2, 2, np.where(won, 0, 1))
    return fold(CodedVotes(tuple(f"m{k:03d}" for k in range(models)), a, b, outcome, None))


def test_many_models_are_followed_fast_and_exactly() -> None:
    online = OnlineBradleyTerry.from_cells(many(200, 100_000))
    online.theta()
    rng, seconds = np.random.default_rng(1), []
    for _ in range(300):
        a, b = rng.choice(200, 2, replace=False)
        online.add(f"m{a:03d}", f"m{b:03d}", rng.choice(["model_a", "model_b", "tie"]))
        start = time.process_time()
        theta = online.theta()
        seconds.append(time.process_time() - start)
    cold = fit_bradley_terry(online.cells(), ci="none", scale=1.0, base=math.e, initial=0.0)
    order = [online.models.index(model) for model in cold.models]
    np.testing.assert_allclose(theta[order], cold.rating, atol=1e-8)
    assert np.median(seconds) < 0.02  # 1 ms on an idle core


def test_a_flood_of_votes_is_followed_too() -> None:
    online = OnlineBradleyTerry.from_cells(many(10, 500))
    online.theta()
    online.add("m003", "m004", "model_a", count=10_000)
    cold = fit_bradley_terry(online.cells(), ci="none")
    here = online.ratings()
    assert here.models == cold.models
    np.testing.assert_allclose(here.rating, cold.rating, atol=1e-6)


def test_ratings_come_once_they_exist() -> None:
    online = OnlineBradleyTerry(["a", "b", "c"])
    with pytest.raises(NotIdentifiable, match="no votes"):
        online.ratings()
    online.add("a", "b", "model_a")
    with pytest.raises(NotIdentifiable, match="never met"):
        online.theta()
    online.add("b", "c", "tie")
    with pytest.raises(NotIdentifiable, match="undefeated"):
        online.theta()
    online.add("c", "a", "model_a", count=2)
    assert np.isfinite(online.theta()).all()
    held = OnlineBradleyTerry(["a", "b", "c"], prior=300.0)
    held.add("a", "b", "model_a")
    assert "prior" in held.ratings().warnings[0]


def test_what_cannot_be_counted_is_refused() -> None:
    online = OnlineBradleyTerry(["apple", "pear"])
    with pytest.raises(UsageError, match="did you mean 'pear'"):
        online.add("apple", "peer", "tie")
    with pytest.raises(UsageError, match="both sides"):
        online.add("pear", "pear", "tie")
    with pytest.raises(UsageError, match="count=0"):
        online.add("apple", "pear", "tie", count=0)
    with pytest.raises(UnknownOutcome, match="draw"):
        online.add("apple", "pear", "draw")
    with pytest.raises(UsageError, match="twice"):
        OnlineBradleyTerry(["a", "a"])
    weighted = Cells.from_votes(frame([("a", "b", "tie")]).assign(weight=2.0))
    with pytest.raises(UsageError, match="without weights"):
        OnlineBradleyTerry.from_cells(weighted)
    assert online.cells().n_votes == 0
