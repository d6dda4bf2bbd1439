"""Online Elo against arithmetic by hand and a plain loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paragone.arena.elo import elo_history, elo_update, expected_score, fit_elo
from paragone.data.errors import NotIdentifiable, UsageError


def frame(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["model_a", "model_b", "winner"])


def ratings(votes: pd.DataFrame, **options: float) -> dict[str, float]:
    fitted = fit_elo(votes, **options)  # type: ignore[arg-type]
    return dict(zip(fitted.models, fitted.rating.tolist(), strict=True))


def plain_elo(votes: pd.DataFrame, k: float) -> dict[str, float]:
    """The textbook loop."""
    table: dict[str, float] = {}
    for a, b, winner in votes[["model_a", "model_b", "winner"]].itertuples(index=False):
        r_a, r_b = table.setdefault(a, 1000.0), table.setdefault(b, 1000.0)
        e_a = 1 / (1 + 10 ** ((r_b - r_a) / 400))
        s_a = {"model_a": 1.0, "model_b": 0.0}.get(winner, 0.5)
        table[a] += k * (s_a - e_a)
        table[b] += k * ((1 - s_a) - (1 - e_a))
    return table


def test_expected_score_of_known_differences() -> None:
    assert expected_score(1000, 1000) == 0.5
    assert expected_score(1400, 1000) == pytest.approx(10 / 11, abs=1e-15)
    assert expected_score(1000, 1200) == pytest.approx(1 / (1 + 10**0.5), abs=1e-15)
    assert expected_score(0, 1e9) == 0.0
    assert expected_score(1, 0, scale=1, base=3) == pytest.approx(3 / 4, abs=1e-15)


def test_golden_trace() -> None:
    assert elo_update(1000, 1000, 1.0, k=32) == (1016.0, 984.0)
    assert ratings(frame(("a", "b", "model_a")), k=32) == {"a": 1016.0, "b": 984.0}
    # Then b wins: a expected 1/(1 + 10^(−32/400)) = 0.5459219; 1016 − 32·0.5459219 = 998.5305.
    assert ratings(frame(("a", "b", "model_a"), ("a", "b", "model_b")), k=32) == pytest.approx(
        {"a": 998.5304985, "b": 1001.4695015}, abs=1e-6
    )


def test_a_weight_is_a_longer_step() -> None:
    assert ratings(frame(("a", "b", "model_a")).assign(weight=[2.0])) == {"a": 1004.0, "b": 996.0}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from(["model_a", "model_b", "tie", "both_bad"])
        ).filter(lambda v: v[0] != v[1]),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([1.0, 4.0, 32.0]),
)
def test_the_fast_loop_is_the_plain_loop(rows: list[tuple[str, str, str]], k: float) -> None:
    votes = frame(*rows)
    assert ratings(votes, k=k) == pytest.approx(plain_elo(votes, k), abs=1e-9)
    history = elo_history(votes, k=k)
    assert len(history) == 2 * len(votes)
    assert history.groupby("model")["rating"].last().to_dict() == pytest.approx(ratings(votes, k=k))


def test_elo_update_is_the_step_of_the_loop() -> None:
    votes = frame(("a", "b", "model_a"), ("c", "a", "tie"), ("b", "c", "model_b"))
    table = dict.fromkeys("abc", 1000.0)
    for a, b, score in (("a", "b", 1.0), ("c", "a", 0.5), ("b", "c", 0.0)):
        table[a], table[b] = elo_update(table[a], table[b], score)
    assert ratings(votes) == pytest.approx(table, abs=1e-12)


def test_extreme_steps_stay_finite_and_sum_to_zero() -> None:
    rng = np.random.default_rng(0)
    rows = [("a", "b", "model_a"), ("b", "c", "model_b"), ("a", "c", "tie")]
    votes = frame(*[rows[k] for k in rng.integers(3, size=500)])
    fitted = fit_elo(votes, k=1e6)
    assert np.isfinite(fitted.rating).all()
    assert fitted.rating.sum() == pytest.approx(3000, abs=1e-4)


def test_order_matters_and_is_said() -> None:
    votes = frame(("a", "b", "model_a"), ("a", "b", "model_b"))
    assert ratings(votes, k=32) != ratings(votes[::-1], k=32)
    assert "order" in fit_elo(votes).warnings[0]


def test_rows_out_of_time_are_said() -> None:
    votes = frame(("a", "b", "model_a"), ("a", "b", "model_b"))
    assert len(fit_elo(votes.assign(created_at=["2026-01-01", "2026-01-02"])).warnings) == 1
    assert "created_at" in fit_elo(votes.assign(created_at=["2026-01-02", "2026-01-01"])).warnings[1]
    assert "created_at" in fit_elo(votes.assign(created_at=["2026-01-02", 5])).warnings[1]


def test_groups_that_never_met_are_said() -> None:
    fitted = fit_elo(frame(("a", "b", "model_a"), ("c", "d", "tie")))
    assert "a, b | c, d" in fitted.warnings[1]


def test_both_bad_is_a_tie_or_dropped() -> None:
    votes = frame(("a", "b", "model_a"), ("a", "b", "both_bad"), ("a", "b", "model_a"))
    assert fit_elo(votes, both_bad="drop").n_votes == 2
    assert ratings(votes.drop(1)) == ratings(votes, both_bad="drop")  # type: ignore[arg-type]
    assert ratings(votes) != ratings(votes, both_bad="drop")  # type: ignore[arg-type]
    assert fit_elo(votes).parameters["both_bad"] == "tie"
    assert elo_history(votes, both_bad="drop")["vote"].tolist() == [1, 1, 3, 3]
    with pytest.raises(NotIdentifiable, match="no votes"):
        fit_elo(votes[1:2], both_bad="drop")


def test_the_anchor_shifts_all() -> None:
    votes = frame(("a", "b", "model_a"), ("b", "c", "model_a"))
    free, tied = ratings(votes), ratings(votes, anchor=("b", 1200.0))  # type: ignore[arg-type]
    assert tied["b"] == 1200.0
    assert {m: tied[m] - free[m] for m in free} == pytest.approx(dict.fromkeys("abc", 1200 - free["b"]))


@pytest.mark.parametrize("options", [{"k": 0.0}, {"k": float("nan")}, {"scale": -1.0}, {"base": 1.0}])
def test_options_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        ratings(frame(("a", "b", "tie")), **options)


def simulated(n_votes: int, seed: int) -> pd.DataFrame:
    """Votes on four models 100 points apart."""
    rng = np.random.default_rng(seed)
    truth = np.array([1150.0, 1050.0, 950.0, 850.0])
    a = rng.integers(4, size=n_votes)
    b = (a + rng.integers(1, 4, size=n_votes)) % 4
    wins = rng.random(n_votes) < 1 / (1 + 10 ** ((truth[b] - truth[a]) / 400))
    return pd.DataFrame({"model_a": a, "model_b": b, "winner": np.where(wins, "model_a", "model_b")}).astype(
        {"model_a": str, "model_b": str}
    )


def test_the_bootstrap_matches_the_spread_over_new_votes() -> None:
    spread = np.std(
        [fit_elo(simulated(600, seed)).to_frame().set_index("model")["rating"] for seed in range(60)], axis=0
    )
    rated = fit_elo(simulated(600, 1000), ci="bootstrap", bootstrap=300)
    frame = rated.to_frame().set_index("model")
    half = (frame["rating_upper"] - frame["rating_lower"]) / 2
    assert np.mean(half / 1.96) == pytest.approx(np.mean(spread), rel=0.25)
    assert rated.covariance is not None
    np.testing.assert_allclose(rated.covariance.sum(axis=1), 0, atol=1e-6)  # every vote's gain is another's loss


def test_the_bootstrap_leaves_the_rating_alone_and_repeats_with_its_seed() -> None:
    votes = simulated(200, 0)
    plain, one, same = fit_elo(votes), *(fit_elo(votes, ci="bootstrap", seed=3) for _ in range(2))
    np.testing.assert_array_equal(plain.rating, one.rating)
    np.testing.assert_array_equal(one.rating_lower, same.rating_lower)
    assert not np.array_equal(one.rating_lower, fit_elo(votes, ci="bootstrap", seed=4).rating_lower)
    assert one.parameters["ci"] == "bootstrap"


def test_a_replicate_plays_the_votes_that_it_draws() -> None:
    """All votes alike: whatever is drawn, each replicate ends where the one order ends."""
    votes = pd.DataFrame({"model_a": ["x"] * 50, "model_b": ["y"] * 50, "winner": ["model_a"] * 50})
    rated = fit_elo(votes, k=16, ci="bootstrap")
    np.testing.assert_allclose(rated.rating_lower, rated.rating, atol=1e-9)
    np.testing.assert_allclose(rated.rating_upper, rated.rating, atol=1e-9)


def test_an_anchor_has_no_interval_of_its_own() -> None:
    rated = fit_elo(simulated(300, 0), ci="bootstrap", anchor=("0", 1200.0))
    row = rated.to_frame().set_index("model").loc["0"]
    assert row["rating_lower"] == row["rating"] == row["rating_upper"] == 1200.0


def test_wrong_bootstraps_are_refused() -> None:
    votes = simulated(50, 0)
    with pytest.raises(UsageError, match="at least 100"):
        fit_elo(votes, ci="bootstrap", bootstrap=10)
    with pytest.raises(UsageError, match="bootstrap"):
        fit_elo(votes, ci="sandwich")  # type: ignore[arg-type]
