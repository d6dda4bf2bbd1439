"""What every rater promises: each row of `ALL_RATERS` passes through the same tests."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena.ratings import ALL_RATERS, Rater, Ratings
from paragone.data.errors import InputError, NotIdentifiable, ParagoneError, UnknownOutcome

RATERS = [pytest.param(rater, id=name) for name, rater in ALL_RATERS.items()]
SWAP = {"model_a": "model_b", "model_b": "model_a"}
COLUMNS = ["model_a", "model_b", "winner"]
every_rater = pytest.mark.parametrize("rater", RATERS)


def frame(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """Votes, and who cast them: three voters in turn."""
    votes = pd.DataFrame(list(rows), columns=COLUMNS)
    return votes.assign(voter=[f"v{row % 3}" for row in range(len(votes))])


def table(fitted: Ratings) -> dict[str, float]:
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def counts_votes_alike(rater: Rater) -> bool:
    """Whether a vote counts the same whenever and by whomever it was cast."""
    return rater.order_invariant and not rater.needs


# Votes that every rater can fit: a ring of upsets, to which hypothesis adds what it likes.
RING = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("a", "c")]
BASE = [(a, b, winner) for a, b in RING for winner in ("model_a", "model_b", "tie")]
VOTE = st.tuples(
    st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(["model_a", "model_b", "tie", "both_bad"])
).filter(lambda v: v[0] != v[1])
TABLES = st.lists(VOTE, max_size=25).map(lambda rows: frame(*BASE, *rows))


@every_rater
@given(votes=TABLES)
def test_names_do_not_matter(rater: Rater, votes: pd.DataFrame) -> None:
    names = dict(zip("abcd", ["zeta", "007", "NA", "é"], strict=True))
    renamed = votes.assign(model_a=votes["model_a"].map(names), model_b=votes["model_b"].map(names))
    expected = {names[model]: rating for model, rating in table(rater.fit(votes)).items()}
    assert table(rater.fit(renamed)) == pytest.approx(expected, abs=1e-6)


@every_rater
@given(votes=TABLES, flips=st.lists(st.booleans(), min_size=40, max_size=40))
def test_sides_do_not_matter(rater: Rater, votes: pd.DataFrame, flips: list[bool]) -> None:
    flip = np.array(flips[: len(votes)])
    mirrored = frame(
        *(
            (b, a, SWAP.get(winner, winner)) if turned else (a, b, winner)
            for (a, b, winner), turned in zip(votes[COLUMNS].itertuples(index=False), flip, strict=True)
        )
    )
    assert table(rater.fit(mirrored)) == pytest.approx(table(rater.fit(votes)), abs=1e-6)


@every_rater
@given(votes=TABLES, seed=st.integers(0, 5))
def test_order_does_not_matter_where_it_should_not(rater: Rater, votes: pd.DataFrame, seed: int) -> None:
    shuffled = votes.sample(frac=1, random_state=seed)
    if rater.order_invariant:
        assert table(rater.fit(shuffled)) == pytest.approx(table(rater.fit(votes)), abs=1e-6)
    else:
        assert "order" in rater.fit(votes).warnings[0]


@pytest.mark.parametrize("rater", [row for row in RATERS if counts_votes_alike(ALL_RATERS[str(row.id)])])
@given(votes=TABLES)
def test_every_vote_twice_is_the_same_with_half_the_variance(rater: Rater, votes: pd.DataFrame) -> None:
    once, twice = rater.fit(votes), rater.fit(pd.concat([votes, votes]))
    assert table(twice) == pytest.approx(table(once), abs=1e-6)
    assert twice.n_votes == 2 * once.n_votes
    assert once.covariance is not None
    np.testing.assert_allclose(twice.covariance, once.covariance / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rater", [row for row in RATERS if not ALL_RATERS[str(row.id)].needs])
@given(votes=TABLES, vote=VOTE)
def test_a_win_never_lowers_the_winner_against_the_loser(
    rater: Rater, votes: pd.DataFrame, vote: tuple[str, str, str]
) -> None:
    a, b, _ = vote
    before, after = table(rater.fit(votes)), table(rater.fit(pd.concat([votes, frame((a, b, "model_a"))])))
    assert after[a] - after[b] > before[a] - before[b]
    if not rater.models_ties:  # a win also says that ties are rarer, which moves all ratings a little
        assert after[a] > before[a]
        assert after[b] < before[b]


@every_rater
@given(votes=TABLES)
def test_an_anchor_shifts_all_ratings_alike(rater: Rater, votes: pd.DataFrame) -> None:
    free, tied = table(rater.fit(votes)), table(rater.fit(votes, anchor={"b": 1234.5}))
    assert tied["b"] == pytest.approx(1234.5, abs=1e-9)
    assert {m: tied[m] - free[m] for m in free} == pytest.approx(dict.fromkeys("abcd", 1234.5 - free["b"]), abs=1e-6)


@every_rater
@given(votes=TABLES)
def test_the_mean_is_the_initial_rating(rater: Rater, votes: pd.DataFrame) -> None:
    assert rater.fit(votes, initial=1500.0).rating.mean() == pytest.approx(1500, abs=1e-6)


@every_rater
@given(votes=TABLES)
def test_the_result_is_sorted_whole_and_plain(rater: Rater, votes: pd.DataFrame) -> None:
    fitted = rater.fit(votes)
    assert fitted.method == rater.name
    assert fitted.parameters["both_bad"] == "tie"
    assert (np.diff(fitted.rating) <= 1e-6).all()
    assert fitted.rank[0] == 1
    assert (fitted.rating_lower is not None) == rater.has_intervals
    document = json.loads(json.dumps(fitted.to_dict(), allow_nan=False))
    assert document["schema"] == "paragone.ratings/1"
    assert list(document) == ["schema", "method", "n_votes", "models", "parameters", "warnings"]
    for row in document["models"]:
        assert list(row) == list(fitted.to_frame().columns)
        assert (row["rating_lower"] is not None) == rater.has_intervals
    assert sum(row["n_votes"] for row in document["models"]) == 2 * document["n_votes"] == 2 * len(votes)
    for a in "abc":
        assert fitted.probability(a, "d") + fitted.probability("d", a) == pytest.approx(1)
        higher = table(fitted)[a] > table(fitted)["d"]
        assert (fitted.probability(a, "d") > 0.5) == higher or fitted.probability(a, "d") == pytest.approx(0.5)
        if rater.has_intervals:
            difference, error = fitted.difference(a, "d")
            assert difference == pytest.approx(table(fitted)[a] - table(fitted)["d"])
            assert error > 0
            assert fitted.difference("d", a) == pytest.approx((-difference, error))


@every_rater
def test_equal_votes_rate_equal(rater: Rater) -> None:
    fitted = rater.fit(frame(*[(a, b, "tie") for a, b in RING], *[(a, b, w) for a, b in RING[:4] for w in SWAP]))
    if rater.order_invariant:
        np.testing.assert_allclose(fitted.rating, 1000, atol=1e-6)
        assert fitted.rank.tolist() == [1, 1, 1, 1]
        assert fitted.models == tuple("abcd")


@every_rater
def test_ties_alone_rate_equal_with_an_open_interval(rater: Rater) -> None:
    votes = frame(*[(a, b, winner) for a, b in RING for winner in ("tie", "both_bad")])
    if rater.models_ties:
        with pytest.raises(NotIdentifiable, match="every vote is a tie"):
            rater.fit(votes)
        return
    fitted = rater.fit(votes)
    np.testing.assert_allclose(fitted.rating, 1000, atol=1e-9)
    if rater.has_intervals:
        assert fitted.rating_lower is not None
        assert fitted.rating_upper is not None
        assert (fitted.rating_upper - fitted.rating_lower > 100).all()


@every_rater
def test_votes_that_rate_nobody_are_refused(rater: Rater) -> None:
    with pytest.raises(NotIdentifiable, match="no votes"):
        rater.fit(frame())
    with pytest.raises(NotIdentifiable, match="no votes"):
        rater.fit(frame(("a", "b", "both_bad")), both_bad="drop")
    with pytest.raises(InputError, match="cannot meet itself"):
        rater.fit(frame(("a", "a", "tie")))


@every_rater
def test_bad_votes_are_refused_by_row(rater: Rater) -> None:
    good = ("a", "b", "tie")
    for error, bad in (
        (UnknownOutcome, ("a", "b", "Model_C")),
        (UnknownOutcome, ("a", "b", None)),
        (InputError, ("a", None, "tie")),
        (InputError, ("", "b", "tie")),
        (InputError, (7, "b", "tie")),
    ):
        with pytest.raises(error, match="votes: row 2: "):
            rater.fit(pd.DataFrame([good, bad], columns=COLUMNS))
    with pytest.raises(InputError, match="no column 'winner'"):
        rater.fit(frame(good).drop(columns="winner"))


@every_rater
def test_groups_that_never_met_and_undefeated_models(rater: Rater) -> None:
    apart = frame(*BASE, ("x", "y", "tie"), ("x", "y", "model_a"), ("x", "y", "model_b"))
    undefeated = frame(*BASE, ("top", "a", "model_a"))
    winless = frame(*BASE, ("a", "low", "model_a"))
    if not rater.has_intervals:
        assert "never met" in " ".join(rater.fit(apart).warnings)
        assert np.isfinite(rater.fit(undefeated).rating).all()
        return
    for votes, message in (
        (apart, r"a, b, c, d \| x, y"),
        (undefeated, "undefeated.*: top;"),
        (winless, "any other: low;"),
    ):
        with pytest.raises(NotIdentifiable, match=message):
            rater.fit(votes)
        fitted = rater.fit(votes, prior=300.0)
        assert np.isfinite(fitted.rating).all()
        assert "prior" in fitted.warnings[0]


@every_rater
def test_both_bad_follows_the_named_rule(rater: Rater) -> None:
    votes = frame(*BASE, ("a", "b", "both_bad"), ("a", "b", "both_bad"))
    assert table(rater.fit(votes)) == pytest.approx(table(rater.fit(votes.replace("both_bad", "tie"))), abs=1e-6)
    dropped = rater.fit(votes, both_bad="drop")
    assert table(dropped) == pytest.approx(table(rater.fit(frame(*BASE))), abs=1e-6)
    assert (dropped.n_votes, dropped.parameters["both_bad"]) == (len(BASE), "drop")
    with pytest.raises(ParagoneError, match="both_bad"):
        rater.fit(votes, both_bad="loss")


@every_rater
def test_the_spelling_of_arena_dumps_is_accepted(rater: Rater) -> None:
    votes = frame(*BASE, ("a", "b", "tie (bothbad)"))
    assert table(rater.fit(votes)) == table(rater.fit(frame(*BASE, ("a", "b", "both_bad"))))


@every_rater
def test_options_are_keywords_and_shared(rater: Rater) -> None:
    parameters = inspect.signature(rater.fit).parameters
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    assert kinds.pop("votes") is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}
    assert {"scale", "base", "initial", "anchor", "both_bad"} <= set(kinds)
    assert {"ci", "prior"} <= set(kinds) or not rater.has_intervals
    assert {"ci", "bootstrap", "seed"} <= set(kinds) or not rater.has_bootstrap
    assert "cluster" in kinds or not rater.has_intervals or rater.needs == ("voter",)  # voters are its clusters
    assert set(rater.needs) <= set(kinds)


@every_rater
def test_a_fit_has_no_memory(rater: Rater) -> None:
    """A second table gets its own ratings, and fitting leaves the table as it was."""
    first, second = frame(*BASE), frame(*BASE, *[("d", "a", "model_a")] * 5)
    before = first.copy()
    once = rater.fit(first).to_dict()
    rater.fit(second)
    assert rater.fit(first).to_dict() == once
    assert rater.fit(second).to_dict() != once
    pd.testing.assert_frame_equal(first, before)


def test_the_table_names_every_rater_once() -> None:
    assert list(ALL_RATERS) == ["elo", "bradley-terry", "davidson", "rao-kupper", "contextual", "crowd-bt"]
    fits: list[Callable[..., Ratings]] = [rater.fit for rater in ALL_RATERS.values()]
    assert len(set(fits)) == len(fits)
    assert math.isclose(ALL_RATERS["elo"].expected_score(math.log(10), None), 10 / 11)
