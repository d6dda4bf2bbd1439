"""Honest voters are left alone, spammers are found, and flags are a table that can be taken back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from paragone.arena import fit_bradley_terry
from paragone.arena.vote_quality import FLAGS, adjusted, apply_flags, flag_sensitivity, flag_votes, flagged
from paragone.data.errors import InputError, NotIdentifiable, UsageError

MODELS = np.array(["ash", "birch", "cedar", "fir", "oak", "pine", "rowan", "yew"])
THETA = np.linspace(-1.2, 1.2, MODELS.size)
ALPHA = 0.01
GOLDEN = {f"g{k}": str(MODELS[-1]) for k in range(9, 1000, 10)}
Answer = Callable[[np.random.Generator, NDArray[np.float64]], NDArray[np.str_]]


def honest(rng: np.random.Generator, d: NDArray[np.float64]) -> NDArray[np.str_]:
    """A person: own sharpness and share of ties, a slight preference for the left, now and then a slip."""
    p = 1 / (1 + np.exp(-d * rng.uniform(0.75, 1.3) - 0.05))
    p = 0.05 + 0.9 * p
    answer = np.where(rng.random(d.size) < p, "model_a", "model_b")
    return np.where(rng.random(d.size) < rng.beta(2, 8) * np.exp(-np.abs(d) / 2), "tie", answer)


def coin(rng: np.random.Generator, d: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.where(rng.random(d.size) < 0.5, "model_a", "model_b")


def contrary(rng: np.random.Generator, d: NDArray[np.float64]) -> NDArray[np.str_]:
    return honest(rng, -d)


def one_side(rng: np.random.Generator, d: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.where(rng.random(d.size) < 0.95, "model_a", "model_b")


def undecided(rng: np.random.Generator, d: NDArray[np.float64]) -> NDArray[np.str_]:
    return np.where(rng.random(d.size) < 0.97, "tie", "model_a")


def voter(
    rng: np.random.Generator, name: str, n: int, answer: Answer = honest, *, gap: float = 8.0, think: float = 4.0
) -> pd.DataFrame:
    """`n` votes of one voter, about `gap` seconds apart; every tenth battle is a golden one (yew against ash)."""
    a = rng.integers(MODELS.size, size=n)
    b = (a + rng.integers(1, MODELS.size, size=n)) % MODELS.size
    gold = np.arange(n) % 10 == 9
    a, b = np.where(gold, MODELS.size - 1, a), np.where(gold, 0, b)
    turned = rng.random(n) < 0.5
    a, b = np.where(turned, b, a), np.where(turned, a, b)
    d = THETA[a] - THETA[b]
    time = 1.7e9 + rng.uniform(0, 1e6) + np.cumsum(rng.lognormal(np.log(gap), 0.5, n))
    return pd.DataFrame(
        {
            "model_a": MODELS[a],
            "model_b": MODELS[b],
            "winner": answer(rng, np.where(gold, 3.0 * d, d)),
            "voter": name,
            "battle": [f"g{k}" if g else f"{name}-{k}" for k, g in enumerate(gold)],
            "created_at": time,
            "seconds": rng.lognormal(np.log(think), 0.45, n),
        }
    )


def crowd(seed: int, voters: int = 40) -> pd.DataFrame:
    """Honest voters, some with a handful of votes and some with hundreds, some twice as quick as others."""
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(1 / 60, voters) + 2
    tables = [voter(rng, f"v{k}", int(n), gap=float(rng.uniform(5, 15))) for k, n in enumerate(sizes)]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.slow
def test_honest_voters_are_left_alone() -> None:
    """A check may flag anybody in an arena with a chance of 1 %; four of 40 arenas has a chance of 0.07 %."""
    alarms = dict.fromkeys(FLAGS, 0)
    for seed in range(40):
        for name in set(flag_votes(crowd(seed), golden=GOLDEN, alpha=ALPHA)["flag"]):
            alarms[name] += 1
    assert max(alarms.values()) <= 3, alarms
    assert sum(alarms.values()) <= 5, alarms


def test_false_alarms_at_the_edge_of_what_is_honest() -> None:
    """All 30 voters have just the share of one side, or of ties, that a check still allows: 1 % of 120 arenas alarm."""
    alarms = dict.fromkeys(("constant-side", "always-tie"), 0)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        names = [f"v{k % 30}" for k in range(3000)]
        sides = np.where(rng.random(3000) < 0.6, "model_a", "model_b")
        ties = np.where(rng.random(3000) < 0.75, "tie", np.where(np.arange(3000) % 2, "model_a", "model_b"))
        usual = np.where(np.arange(3000) % 30 < 16, "model_a", ties)  # most voters have none, so that 75 % is the limit
        alarms["constant-side"] += len(flag_votes(plain(3000, winner=sides, voter=names), checks=["constant-side"])) > 0
        alarms["always-tie"] += len(flag_votes(plain(3000, winner=usual, voter=names), checks=["always-tie"])) > 0
    assert max(alarms.values()) <= 5, alarms


def test_false_alarms_of_outliers_at_the_edge() -> None:
    """All 30 voters toss a coin in a tenth of their votes and follow the model in the rest: 1 % of 60 arenas."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a = rng.integers(MODELS.size, size=3000)
        b = (a + rng.integers(1, MODELS.size, size=3000)) % MODELS.size
        p = 0.05 + 0.9 / (1 + np.exp(THETA[b] - THETA[a]))
        winner = np.where(rng.random(3000) < p, "model_a", "model_b")
        names = [f"v{k % 30}" for k in range(3000)]
        votes = pd.DataFrame({"model_a": MODELS[a], "model_b": MODELS[b], "winner": winner, "voter": names})
        alarms += len(flag_votes(votes, checks=["outlier"])) > 0
    assert alarms <= 3


def spammed(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(1000 + seed)
    bad = [
        voter(rng, "coin", 300, coin),
        voter(rng, "contrary", 120, contrary),
        voter(rng, "one-side", 60, one_side),
        voter(rng, "undecided", 60, undecided),
        voter(rng, "burst", 150, gap=0.4),
        voter(rng, "fast", 30, think=0.15),
    ]
    votes = pd.concat([crowd(seed), *bad], ignore_index=True)
    return pd.concat([votes, votes[votes["voter"] == "v1"].tail(2)], ignore_index=True)


WANTED = {
    "coin": {"outlier"},
    "contrary": {"outlier", "golden"},
    "one-side": {"constant-side"},
    "undecided": {"always-tie"},
    "burst": {"burst"},
    "fast": {"fast"},
    "v1": {"duplicate"},
}


def test_spammers_are_found_and_nobody_else() -> None:
    missed, strangers = [], []
    for seed in range(12):
        found = flag_votes(spammed(seed), golden=GOLDEN).groupby("voter")["flag"].agg(set).to_dict()
        missed += [(seed, who, flag) for who, names in WANTED.items() for flag in names - found.get(who, set())]
        strangers += [(seed, who) for who in found if who not in WANTED]
    assert len(missed) <= 3, missed
    assert len(strangers) <= 1, strangers


def plain(rows: int, **columns: object) -> pd.DataFrame:
    """Votes of one voter on one pair, model a winning."""
    table = {"model_a": "a", "model_b": "b", "winner": "model_a", "voter": "v"} | columns
    return pd.DataFrame(table, index=range(rows))


class TestChecks:
    def test_duplicates_by_battle_keep_the_first_vote_in_time(self) -> None:
        votes = plain(4, battle=["x", "y", "x", "x"], created_at=[3.0, 2.0, 1.0, 4.0])
        flags = flag_votes(votes, checks=["duplicate"])
        assert flags["row"].tolist() == [0, 3]
        assert set(flags["severity"]) == {"high"}
        assert "row 3" in flags["evidence"].iloc[0]

    def test_duplicates_by_prompt_and_pair_whatever_the_sides(self) -> None:
        votes = plain(4, prompt=["p", "p", "q", "p"], voter=["v", "v", "v", "w"])
        votes.loc[1, ["model_a", "model_b"]] = ["b", "a"]
        flags = flag_votes(votes, checks=["duplicate"])
        assert flags["row"].tolist() == [1]
        assert flags["severity"].tolist() == ["low"]

    @pytest.mark.parametrize("unit", ["seconds", "reaction_ms", "dwell_ms", "times"])
    def test_fast(self, unit: str) -> None:
        seconds = np.array([0.05, 0.39, 0.41, 9.0, np.nan])
        columns: dict[str, object] = {"seconds": seconds} if unit == "seconds" else {unit: 1000 * seconds}
        if unit == "times":
            shown = pd.Timestamp("2026-01-01T10:00:00Z")
            seconds = np.nan_to_num(seconds, nan=5.0)
            columns = {
                "shown_at": shown.isoformat(),
                "consumed_at": [(shown + pd.Timedelta(seconds=s)).isoformat() for s in seconds],
            }
        flags = flag_votes(plain(5, **columns), checks=["fast"])
        assert flags["row"].tolist() == [0, 1]
        assert flag_votes(plain(5, **columns), checks=["fast"], min_seconds=0.1)["row"].tolist() == [0]

    def test_a_burst_is_only_the_burst(self) -> None:
        steady = np.cumsum(np.full(50, 10.0))
        time = np.concatenate([steady, 600 + 0.5 * np.arange(60), 1e4 + steady])
        votes = pd.concat([plain(160, created_at=time), plain(50, created_at=steady, voter="w")], ignore_index=True)
        flags = flag_votes(votes, checks=["burst"])
        assert set(flags["row"]) >= set(range(50, 110))
        assert set(flags["row"]) <= set(range(44, 116))
        stamps = [pd.Timestamp(t, unit="s", tz="UTC").isoformat() for t in votes["created_at"]]
        pd.testing.assert_frame_equal(flag_votes(votes.assign(created_at=stamps), checks=["burst"]), flags)

    def test_sides_within_the_tolerance_are_a_habit(self) -> None:
        winner = np.array(["model_a", "model_b"])[(np.arange(1000) % 10 >= 6).astype(int)]
        assert flag_votes(plain(1000, winner=winner), checks=["constant-side"]).empty
        assert len(flag_votes(plain(1000, winner=winner), checks=["constant-side"], side_tolerance=0.05)) == 1

    def test_golden_answers_by_the_models_name_whatever_the_side(self) -> None:
        votes = plain(40, prompt="easy", voter=["good"] * 20 + ["bad"] * 20)
        votes.loc[5, ["model_a", "model_b", "winner"]] = ["b", "a", "model_b"]
        votes.loc[20:33, "winner"] = "tie"
        flags = flag_votes(votes, checks=["golden"], golden={"easy": "a"}, golden_column="prompt")
        assert flags["voter"].tolist() == ["bad"]
        assert flags["row"].isna().all()
        assert "6 of 20" in flags["evidence"].iloc[0]
        with pytest.raises(InputError, match="row 1: its golden answer 'c'"):
            flag_votes(votes, checks=["golden"], golden={"easy": "c"}, golden_column="prompt")

    def test_outliers_are_measured_by_the_others(self) -> None:
        """One voter outvotes all others together, against them; it is still the outlier, and they are not."""
        votes = pd.concat(
            [
                *(plain(12, voter=f"v{k}", winner=["model_a"] * 10 + ["model_b"] * 2) for k in range(10)),
                plain(200, voter="many", winner=["model_b"] * 180 + ["model_a"] * 20),
            ],
            ignore_index=True,
        )
        assert flag_votes(votes, checks=["outlier"])["voter"].tolist() == ["many"]

    def test_what_cannot_run_is_said(self) -> None:
        flags = flag_votes(plain(3))
        assert flags.empty
        assert list(flags.columns) == ["row", "voter", "flag", "evidence", "severity"]
        assert set(flags.attrs["not_run"]) == {"duplicate", "fast", "burst", "golden"}
        assert set(flag_votes(plain(3).drop(columns="voter")).attrs["not_run"]) == set(FLAGS)
        assert set(flag_votes(plain(0)).attrs["not_run"]) == set(FLAGS)
        with pytest.raises(UsageError, match="'burst' cannot run: the votes have no column 'created_at'"):
            flag_votes(plain(3), checks=["burst"])

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"checks": ["bursts"]}, "no 'bursts'"),
            ({"alpha": 0.0}, "alpha"),
            ({"lapse": 1.0}, "lapse"),
            ({"side_tolerance": 0.5}, "side_tolerance"),
            ({"pace": 0.5}, "pace"),
        ],
    )
    def test_wrong_options(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            flag_votes(plain(3), **options)

    def test_wrong_rows(self) -> None:
        with pytest.raises(InputError, match="row 2: created_at 'noon' is not a time"):
            flag_votes(plain(2, created_at=["2026-01-01T10:00:00Z", "noon"]))
        with pytest.raises(InputError, match="row 2: voter is empty"):
            flag_votes(plain(2, voter=["v", None]))

    def test_adjusted_p_values(self) -> None:
        """The worked example by hand: p·C/rank, then the smallest of those behind."""
        np.testing.assert_allclose(adjusted(np.array([0.04, 0.01, 0.03, 0.9])), [0.16 / 3, 0.04, 0.16 / 3, 0.9])


class TestExclusion:
    def test_out_and_back(self) -> None:
        votes = spammed(0)
        before = votes.copy()
        flags = flag_votes(votes, golden=GOLDEN)
        left = apply_flags(votes, flags)
        assert set(left["voter"]).isdisjoint({"coin", "contrary", "one-side", "undecided"})
        assert len(left) == len(votes) - flagged(votes, flags).sum()
        pd.testing.assert_frame_equal(votes, before)
        pd.testing.assert_frame_equal(apply_flags(votes, flags, exclude=()), votes)
        pd.testing.assert_frame_equal(apply_flags(votes, flags.iloc[:0]), votes)
        kept = apply_flags(votes, flags, exclude=["always-tie"])
        assert "coin" in set(kept["voter"])
        assert "undecided" not in set(kept["voter"])

    def test_flags_survive_a_file(self) -> None:
        votes = spammed(1)
        flags = flag_votes(votes, golden=GOLDEN)
        again = pd.read_csv(io.StringIO(flags.to_csv(index=False)))
        pd.testing.assert_frame_equal(apply_flags(votes, again), apply_flags(votes, flags))

    def test_flags_follow_the_labels_of_votes(self) -> None:
        votes = plain(3, battle=["x", "x", "y"]).set_index(pd.Index(["one", "two", "three"]))
        flags = flag_votes(votes, checks=["duplicate"])
        assert list(apply_flags(votes.iloc[::-1], flags).index) == ["three", "one"]
        with pytest.raises(InputError, match="row 'two' is not among the votes"):
            apply_flags(votes.drop(index="two"), flags)
        with pytest.raises(UsageError, match="no flag 'twice'"):
            apply_flags(votes, flags, exclude=["twice"])

    def test_ratings_without_the_flagged_votes_are_nearer_to_the_truth(self) -> None:
        rng = np.random.default_rng(0)
        votes = pd.concat([crowd(3), *(voter(rng, f"bad{k}", 400, contrary) for k in range(2))], ignore_index=True)
        table = flag_sensitivity(votes, flag_votes(votes, checks=["outlier"])).set_index("model")
        left = fit_bradley_terry(votes[~votes["voter"].str.startswith("bad")], ci="none")
        for model, rating in zip(left.models, left.rating, strict=True):
            assert table.loc[model, "rating_without"] == pytest.approx(rating)
        truth = pd.Series(THETA, index=MODELS)
        errors = [
            (table[name].sub(1000).mul(np.log(10) / 400) - truth).abs().mean() for name in ("rating", "rating_without")
        ]
        assert errors[1] < errors[0] / 1.5
        np.testing.assert_allclose(table["change"], table["rating_without"] - table["rating"])

    def test_models_and_ratings_that_nothing_is_left_of(self) -> None:
        votes = pd.DataFrame(
            [("a", "b", w, "v", f"{w}1") for w in ("model_a", "model_b")]
            + [("a", "c", w, "v", "x") for w in ("tie", "model_a", "model_b")],
            columns=["model_a", "model_b", "winner", "voter", "battle"],
        )
        flags = flag_votes(votes, checks=["duplicate"])
        table = flag_sensitivity(votes, flags).set_index("model")
        assert table["n_without"].tolist() == [3, 2, 1] or table["n_without"].sum() == 6
        votes.loc[2, "winner"] = "model_a"
        with pytest.raises(NotIdentifiable, match="without the flagged votes"):
            flag_sensitivity(votes, flags)
        assert flag_sensitivity(votes, flags, prior=400.0)["rating_without"].notna().all()
