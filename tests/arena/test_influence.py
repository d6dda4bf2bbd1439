"""The fewest votes that turn an order round, and ratings without a voter, against fits of every possible subset."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from paragone.arena import fit_bradley_terry, leave_one_out, votes_to_flip
from paragone.arena.influence import POINTS, Kinds, leave_out_steps
from paragone.arena.votes import code_clusters
from paragone.data.errors import InputError, NotIdentifiable, UsageError


def arena(
    seed: int, *, models: int = 4, votes: int = 60, spread: float = 0.4, voters: int = 8, ties: float = 0.15
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, spread, models)
    a = rng.integers(models, size=votes)
    b = (a + rng.integers(1, models, size=votes)) % models
    first = rng.random(votes) < 1 / (1 + np.exp(theta[b] - theta[a]))
    winner = np.where(rng.random(votes) < ties, "tie", np.where(first, "model_a", "model_b"))
    names = np.array([f"m{k}" for k in range(models)])
    return pd.DataFrame(
        {
            "model_a": names[a],
            "model_b": names[b],
            "winner": winner,
            "voter": [f"v{k}" for k in rng.integers(voters, size=votes)],
            "prompt": [f"p{k}" for k in rng.integers(6, size=votes)],
        }
    )


def ratings(votes: pd.DataFrame, prior: float | None = None) -> dict[str, float]:
    fitted = fit_bradley_terry(votes, ci="none", prior=prior)
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def turned(votes: pd.DataFrame, above: str, below: str) -> bool:
    try:
        table = ratings(votes)
    except NotIdentifiable:
        return False
    return table[below] > table[above] + 1e-6


def smallest(votes: pd.DataFrame, above: str, below: str, most: int) -> int:
    """The size of the smallest set, by trying one vote of each sort after the other; most + 1 if there is none."""
    sorts = votes.groupby(["model_a", "model_b", "winner"]).groups
    for size in range(1, most + 1):
        tried = set()
        for labels in combinations([label for rows in sorts.values() for label in list(rows)[:size]], size):
            what = tuple(sorted(tuple(votes.loc[label, ["model_a", "model_b", "winner"]]) for label in labels))
            if what not in tried:
                tried.add(what)
                if turned(votes.drop(index=list(labels)), above, below):
                    return size
    return most + 1


class TestVotesToFlip:
    def test_the_smallest_set_of_every_possible_one(self) -> None:
        checked = 0
        for seed in range(12):
            votes = arena(seed, models=3, votes=24)
            try:
                flip = votes_to_flip(votes)
            except NotIdentifiable:
                continue
            if flip.n_removed is not None and flip.n_removed <= 2:
                assert flip.n_removed == smallest(votes, flip.above, flip.below, 2)
                checked += 1
        assert checked >= 4

    @pytest.mark.parametrize("seed", range(6))
    def test_the_set_turns_the_order(self, seed: int) -> None:
        votes = arena(seed, models=6, votes=600)
        votes.index = votes.index[::-1] + 1000  # labels, not positions
        flip = votes_to_flip(votes)
        table = ratings(votes)
        best, second = sorted(table, key=lambda name: -table[name])[:2]
        assert (flip.above, flip.below) == (best, second)
        assert flip.difference == pytest.approx(table[best] - table[second], abs=1e-4)
        assert flip.verified
        assert flip.n_removed == len(flip.rows) == len(set(flip.rows)) == flip.cells["removed"].sum()
        assert flip.share == flip.n_removed / 600
        left = ratings(votes.drop(index=list(flip.rows)))
        assert left[second] > left[best]
        assert flip.difference_after == pytest.approx(left[best] - left[second])
        assert flip.n_predicted is not None
        assert flip.n_removed - 1 <= flip.n_predicted <= 1.6 * flip.n_removed  # it takes the curvature to stay
        assert (flip.cells["removed"] <= flip.cells["n"]).all()
        for row in flip.cells.itertuples():
            of = votes.loc[list(flip.rows)]
            as_said = (of["model_a"] == row.model_a) & (of["model_b"] == row.model_b) & (of["winner"] == row.winner)
            other = (of["model_a"] == row.model_b) & (of["model_b"] == row.model_a)
            swap = {"model_a": "model_b", "tie": "tie"}
            assert (as_said | (other & (of["winner"] == swap[str(row.winner)]))).sum() == row.removed

    def test_a_random_set_of_that_size_does_not_turn_it(self) -> None:
        votes = arena(5, models=6, votes=600)
        flip = votes_to_flip(votes)
        assert flip.n_removed is not None
        rng = np.random.default_rng(0)
        some = [votes.drop(index=rng.choice(600, flip.n_removed, replace=False)) for _ in range(20)]
        assert sum(turned(left, flip.above, flip.below) for left in some) <= 10

    def test_two_models_in_closed_form(self) -> None:
        votes = pd.DataFrame(
            {"model_a": ["a"] * 18, "model_b": ["b"] * 18, "winner": ["model_a"] * 11 + ["model_b"] * 7}
        )
        flip = votes_to_flip(votes)
        assert (flip.n_removed, flip.rows) == (5, (0, 1, 2, 3, 4))
        assert flip.difference_after == pytest.approx(POINTS * math.log(6 / 7))
        assert flip.voters is None

    def test_named_models_and_their_neighbours(self) -> None:
        votes = arena(1, models=5, votes=500)
        order = fit_bradley_terry(votes, ci="none").models
        for flip in (votes_to_flip(votes, above=order[2]), votes_to_flip(votes, below=order[3])):
            assert (flip.above, flip.below) == (order[2], order[3])
        far = votes_to_flip(votes, above=order[0], below=order[4])
        near = votes_to_flip(votes, above=order[0])
        assert far.n_removed is None or near.n_removed is None or far.n_removed >= near.n_removed
        with pytest.raises(UsageError, match="is not rated above"):
            votes_to_flip(votes, above=order[3], below=order[1])
        with pytest.raises(UsageError, match="rated first"):
            votes_to_flip(votes, below=order[0])
        with pytest.raises(UsageError, match="rated last"):
            votes_to_flip(votes, above=order[-1])
        with pytest.raises(UsageError, match="did you mean"):
            votes_to_flip(votes, above="m1x")

    def test_heavy_votes_count_more(self) -> None:
        votes = pd.DataFrame({"model_a": ["a"] * 9, "model_b": ["b"] * 9, "winner": ["model_a"] * 5 + ["model_b"] * 4})
        votes["weight"] = [1.0, 1.0, 8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        flip = votes_to_flip(votes)
        assert flip.rows in ((2, 0), (0, 2), (2,)) or 2 in flip.rows
        assert flip.n_removed in (1, 2)

    def test_needed_votes_are_never_taken(self) -> None:
        """Without any win over b, a would have no rating; with one win for one defeat the two are equal."""
        rows = (
            [("a", "b", "model_a")] * 6 + [("a", "b", "model_b")] + [("b", "c", "model_a"), ("b", "c", "model_b")] * 3
        )
        votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])
        assert votes_to_flip(votes).n_removed is None
        more = pd.concat([votes, votes[votes["winner"] == "model_b"].head(1)], ignore_index=True)
        flip = votes_to_flip(more)
        assert flip.rows == (0, 1, 2, 3, 4)
        assert flip.verified

    def test_nothing_to_be_done(self) -> None:
        votes = pd.DataFrame({"model_a": ["a"] * 2, "model_b": ["b"] * 2, "winner": ["tie", "tie"]})
        flip = votes_to_flip(votes)
        assert (flip.n_removed, flip.n_predicted, flip.share, flip.verified) == (None, None, None, False)
        assert len(flip.cells) == 0
        json.dumps(flip.to_dict(), allow_nan=False)

    def test_a_prior_for_an_undefeated_model(self) -> None:
        rows = [("a", "b", "model_a")] * 4 + [("b", "c", "model_a"), ("b", "c", "model_b")] * 3
        votes = pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])
        with pytest.raises(NotIdentifiable):
            votes_to_flip(votes)
        assert votes_to_flip(votes, prior=300.0).verified

    def test_voters_and_json(self) -> None:
        votes = arena(3, models=5, votes=400)
        flip = votes_to_flip(votes)
        assert flip.voters is not None
        assert flip.voters["removed"].sum() == flip.n_removed
        document = json.loads(json.dumps(flip.to_dict(), allow_nan=False))
        assert document["n_removed"] == flip.n_removed
        assert document["cells"][0]["removed"] == flip.cells["removed"].iloc[0]

    def test_rows_need_labels_of_their_own(self) -> None:
        votes = arena(0)
        with pytest.raises(InputError, match="same label"):
            votes_to_flip(pd.concat([votes, votes]))


class TestLeaveOneOut:
    @pytest.mark.parametrize("column", ["voter", "prompt"])
    def test_against_fits_without_each_value(self, column: str) -> None:
        votes = arena(2, models=5, votes=500)
        table = leave_one_out(votes, column, exact=100)
        assert set(table[column]) == set(votes[column])
        assert table["change"].abs().is_monotonic_decreasing
        whole = ratings(votes)
        place = {name: rank for rank, name in enumerate(sorted(whole, key=lambda name: -whole[name]))}
        for row in table.itertuples():
            value = getattr(row, column)
            left = ratings(votes[votes[column] != value])
            exact = left[row.model] - whole[row.model]
            assert row.change_exact == pytest.approx(exact, abs=1e-4)
            assert row.change == pytest.approx(exact, rel=0.06, abs=0.3)
            assert row.n_votes == (votes[column] == value).sum()
            assert row.first == max(left, key=lambda name: left[name])
            order = sorted(left, key=lambda name: -left[name])
            assert row.rank_changes == sum(place[name] != rank for rank, name in enumerate(order))

    def test_one_model_and_few_refits(self) -> None:
        votes = arena(2, models=5, votes=500)
        table = leave_one_out(votes, "voter", model="m3", exact=2)
        assert set(table["model"]) == {"m3"}
        assert table["change_exact"].notna().tolist() == [True, True] + [False] * 6
        assert table["rank_changes"].isna().sum() == 6

    def test_what_nothing_is_left_without(self) -> None:
        votes = arena(0, models=3, votes=60).assign(voter="rest")
        votes.loc[(votes["model_a"] == "m0") | (votes["model_b"] == "m0"), "voter"] = "all of m0"
        table = leave_one_out(votes, "voter").set_index("voter")
        assert math.isnan(table.loc["all of m0", "change_exact"])
        assert pd.isna(table.loc["all of m0", "first"])

    def test_wrong_questions(self) -> None:
        votes = arena(0)
        with pytest.raises(UsageError, match="no column 'town'"):
            leave_one_out(votes, "town")
        with pytest.raises(UsageError, match="no votes on a model"):
            leave_one_out(votes, "voter", model="zzz")
        with pytest.raises(UsageError, match="prior"):
            leave_one_out(votes, "voter", prior=-1.0)


def test_leaving_out_by_one_step_is_second_order() -> None:
    """Eight times the votes leave a group of fixed size an eighth of the share: the error falls about 64-fold."""
    errors = []
    for times in (1, 8):
        votes = pd.concat([arena(k, models=5, votes=400, voters=10) for k in range(times)], ignore_index=True)
        votes["voter"] = np.where(votes.index < 40, "one", "others")
        kinds = Kinds.from_votes(votes, both_bad="tie", prior=None)
        group = code_clusters(votes, "voter")
        step = next(iter(leave_out_steps(kinds, kinds.fit(kinds.count), group)))
        exact = ratings(votes[votes["voter"] == "others"])
        theta = np.array([exact[name] for name in kinds.models])
        errors.append(np.abs(POINTS * (step - step.mean()) - (theta - theta.mean())).max())
    assert errors[0] < 1.5
    assert errors[1] < errors[0] / 10
