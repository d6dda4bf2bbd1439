"""The board says whose votes it counts, drops nobody, mixes no protocols, and is the same document every time."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from paragone.arena import fit_bradley_terry, fit_elo
from paragone.arena.leaderboard import (
    CARD_COLUMNS,
    RATING_COLUMNS,
    build_leaderboard,
    kinds_with_votes,
    leaderboard_csv,
    leaderboard_document,
    measures_by_model,
    rank_text,
    store_leaderboard,
)
from paragone.arena.store import Store
from paragone.data import (
    GeneratorCard,
    InputError,
    Judgement,
    MetricResult,
    Prompt,
    Sample,
    UsageError,
    Verdict,
    Winner,
    sample_id,
)
from paragone.data.battles import round_robin

MODELS = ("anna", "bea", "carl")


def make_votes(n: int = 60, *, seed: int = 0) -> pd.DataFrame:
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        a, b = rng.sample(range(3), 2)
        winner = "tie" if rng.random() < 0.1 else "model_a" if rng.random() < 0.5 + 0.2 * (b - a) / 2 else "model_b"
        rows.append((MODELS[a], MODELS[b], winner))
    return pd.DataFrame(rows, columns=["model_a", "model_b", "winner"])


def samples_of(models: tuple[str, ...]) -> list[Sample]:
    return [
        Sample(sample_id(m, "p", s, "0" * 64), "0" * 64, f"samples/{m}/{s}.png", "p", m, s, 8, 8)
        for m in models
        for s in range(20)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db", create=True) as opened:
        opened.add_generators(GeneratorCard(name, licence="MIT", open_weights=True) for name in (*MODELS, "dora"))
        opened.add_prompts([Prompt("p", "x")])
        opened.add_samples(samples_of((*MODELS, "dora")))
        yield opened


def let_judge_vote(store: Store, *, n: int = 45, models: tuple[str, ...] = MODELS) -> None:
    rng = random.Random(2)

    def judgements() -> Iterator[Judgement]:
        for battle in round_robin(samples_of(models), n_battles=n):
            winner = rng.choice((Winner.MODEL_A, Winner.MODEL_B, Winner.TIE))
            yield Judgement(battle, (Verdict(winner),) * 2, winner, consistent=True)

    store.record_judgements(judgements(), judge="ruler")


def let_people_vote(store: Store, winners: list[Winner]) -> None:
    rng = random.Random(5)
    for winner in winners:
        issued = store.issue_battle("v", rng)
        store.record_vote(issued.token, winner, voter="v")


class TestBuild:
    def test_columns_and_order(self) -> None:
        ratings, elo = fit_bradley_terry(make_votes()), fit_elo(make_votes())
        cards = [GeneratorCard("bea", licence="MIT", open_weights=False, usd_per_image=Decimal("0.04"))]
        measures = pd.DataFrame({"fd": {"anna": 1.0, "carl": 3.0}})
        board = build_leaderboard(ratings, elo=elo, cards=cards, measures=measures)
        assert list(board.columns) == [*RATING_COLUMNS, *CARD_COLUMNS, "fd"]
        assert tuple(board["model"]) == ratings.models
        rows = board.set_index("model")
        for n, model in enumerate(ratings.models):
            assert rows.at[model, "rating"] == ratings.rating[n]
            assert rows.at[model, "n_votes"] == ratings.model_votes[n]
        assert rows["elo"].to_dict() == dict(zip(elo.models, elo.rating, strict=True))
        assert rows.at["bea", "open_weights"] is False or not rows.at["bea", "open_weights"]
        assert rows.at["anna", "open_weights"] is pd.NA
        assert rows.at["bea", "usd_per_image"] == 0.04
        assert rows.at["anna", "fd"] == 1.0
        assert math.isnan(rows.at["bea", "fd"])

    def test_models_without_votes_come_last_and_have_no_rank(self) -> None:
        ratings = fit_bradley_terry(make_votes())
        cards = [GeneratorCard(name) for name in ("zoe", "anna", "abe")]
        board = build_leaderboard(ratings, cards=cards, measures=pd.DataFrame({"fd": {"uma": 1.0}}))
        assert list(board["model"])[3:] == ["abe", "uma", "zoe"]
        assert board["rank"].isna().tolist() == [False] * 3 + [True] * 3
        assert board["n_votes"].tolist()[3:] == [0, 0, 0]
        assert rank_text(board.to_dict("records")[-1]) == "–"

    def test_no_votes_at_all(self) -> None:
        board = build_leaderboard(None, cards=[GeneratorCard("bea"), GeneratorCard("anna")])
        assert list(board["model"]) == ["anna", "bea"]
        assert list(build_leaderboard(None).columns) == [*RATING_COLUMNS, *CARD_COLUMNS]

    def test_metric_that_would_hide_a_column(self) -> None:
        with pytest.raises(InputError, match="cannot be called 'rating'"):
            build_leaderboard(fit_bradley_terry(make_votes()), measures=pd.DataFrame({"rating": {"anna": 1.0}}))

    def test_elo_without_intervals_shows_none(self) -> None:
        board = build_leaderboard(fit_elo(make_votes()))
        assert board["rating_lower"].isna().all()
        assert [rank_text(row) for row in board.to_dict("records")] == ["1", "2", "3"]


class TestMeasures:
    def frame(self, *rows: tuple[str, str, str, float]) -> pd.DataFrame:
        columns = ["model", "metric", "signature", "value"]
        return pd.DataFrame(rows, columns=columns).assign(higher_is_better=False)

    def test_protocols_are_not_mixed(self) -> None:
        results = self.frame(
            ("anna", "fd", "old", 1.0), ("bea", "fd", "old", 2.0), ("carl", "fd", "new", 3.0), ("anna", "kid", "k", 4.0)
        )
        measures = measures_by_model(results)
        assert measures.frame["fd"].dropna().to_dict() == {"anna": 1.0, "bea": 2.0}
        assert measures.protocols["fd"] == {"signature": "old", "higher_is_better": False}
        assert list(measures.frame.columns) == ["fd", "kid"]
        assert len(measures.warnings) == 1
        assert "fd was measured under 2 protocols" in measures.warnings[0]

    def test_of_equals_the_latest(self) -> None:
        results = self.frame(("anna", "fd", "old", 1.0), ("anna", "fd", "new", 2.0))
        assert measures_by_model(results).frame.at["anna", "fd"] == 2.0

    def test_none(self) -> None:
        measures = measures_by_model(self.frame())
        assert measures.frame.empty
        assert measures.warnings == ()


class TestStoreBoards:
    def test_kinds_are_kept_apart(self, store: Store) -> None:
        assert kinds_with_votes(store) == []
        let_judge_vote(store)
        assert kinds_with_votes(store) == ["judge"]
        let_people_vote(store, [Winner.MODEL_A, Winner.MODEL_B, Winner.TIE])
        assert kinds_with_votes(store) == ["judge", "human"]
        boards = {kind: store_leaderboard(store, voters=kind) for kind in ("human", "judge", "all")}
        n_votes = {kind: board.document()["n_votes"] for kind, board in boards.items()}
        assert n_votes == {"human": 3, "judge": 45, "all": 48}
        assert {kind: board.document()["voters"] for kind, board in boards.items()} == {k: k for k in boards}

    @pytest.mark.parametrize("method", ["bradley-terry", "davidson", "elo"])
    def test_same_as_fitting_the_votes(self, store: Store, method: str) -> None:
        from paragone.arena.ratings import ALL_RATERS

        let_judge_vote(store)
        board = store_leaderboard(store, voters="judge", method=method)
        expected = ALL_RATERS[method].fit(store.votes())
        got = board.frame.set_index("model")["rating"]
        for model, rating in zip(expected.models, expected.rating, strict=True):
            assert got[model] == pytest.approx(rating, abs=1e-5)
        assert board.frame["model"].iloc[-1] == "dora"  # no votes, not dropped

    def test_unbounded_ratings_get_a_prior_and_say_so(self, store: Store) -> None:
        let_people_vote(store, [Winner.MODEL_A])
        board = store_leaderboard(store, voters="human")
        assert board.ratings is not None
        assert board.ratings.parameters["prior"] == 400.0
        assert any("prior (standard deviation 400 points)" in warning for warning in board.warnings)
        assert any("no bound" in warning for warning in board.warnings)

    def test_identified_ratings_get_none(self, store: Store) -> None:
        let_judge_vote(store)
        board = store_leaderboard(store, voters="judge")
        assert board.ratings is not None
        assert board.ratings.parameters["prior"] is None
        assert board.warnings == ()

    def test_no_votes(self, store: Store) -> None:
        document = store_leaderboard(store, voters="all").document()
        assert document["ratings"] is None
        assert document["n_votes"] == 0
        assert [row["model"] for row in document["models"]] == ["anna", "bea", "carl", "dora"]

    def test_unknown_method(self, store: Store) -> None:
        with pytest.raises(UsageError, match="glicko"):
            store_leaderboard(store, voters="all", method="glicko")


class TestDocument:
    def test_schema_and_determinism(self, store: Store, tmp_path: Path) -> None:
        let_judge_vote(store)
        store.add_metric_results("anna", [MetricResult("fd", 1.5, False, 10, signature="fd|n:10")])
        document = store_leaderboard(store, voters="judge").document()
        text = json.dumps(document, allow_nan=False)
        assert text == json.dumps(store_leaderboard(store, voters="judge").document(), allow_nan=False)
        assert set(document) == {
            "schema", "voters", "n_votes", "models", "measures", "ratings", "parameters", "warnings",
        }  # fmt: skip
        assert document["schema"] == "paragone.leaderboard/1"
        assert document["ratings"]["schema"] == "paragone.ratings/1"
        assert document["parameters"]["method"] == "bradley-terry"
        assert document["measures"] == {"fd": {"signature": "fd|n:10", "higher_is_better": False}}
        rows = {row["model"]: row for row in document["models"]}
        assert rows["anna"]["fd"] == 1.5
        assert rows["bea"]["fd"] is None
        assert rows["dora"]["rank"] is None
        assert "20" not in {key[:2] for key in rows["anna"]}  # no dates among the columns

    def test_without_a_store(self) -> None:
        ratings = fit_bradley_terry(make_votes())
        document = leaderboard_document(build_leaderboard(ratings), ratings, voters="all", warnings=["w"])
        assert document["warnings"] == ["w"]
        json.dumps(document, allow_nan=False)


class TestCsv:
    def test_formulas_are_kept_inert(self) -> None:
        names = ["=1+1", "+a", "-b", "@c", "\td", "fine", 'quo"te, comma', "a=b"]
        board = build_leaderboard(None, cards=[GeneratorCard(n, licence="=evil()") for n in names])
        rows = list(csv.DictReader(io.StringIO(leaderboard_csv(board))))
        assert {row["model"] for row in rows} == {"'=1+1", "'+a", "'-b", "'@c", "'\td", "fine", 'quo"te, comma', "a=b"}
        assert {row["licence"] for row in rows} == {"'=evil()"}

    def test_negative_numbers_stay_numbers(self) -> None:
        board = build_leaderboard(None, measures=pd.DataFrame({"kid": {"anna": -0.5}}))
        assert next(csv.DictReader(io.StringIO(leaderboard_csv(board))))["kid"] == "-0.5"

    def test_metric_names_are_inert_too(self) -> None:
        board = build_leaderboard(None, measures=pd.DataFrame({"=x": {"anna": 1.0}}))
        assert leaderboard_csv(board).splitlines()[0].endswith(",'=x")
