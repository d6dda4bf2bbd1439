"""Boards that keep up with the votes say what a board made from all votes says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from paragone.arena import running
from paragone.arena.chain import EventKind
from paragone.arena.elo import elo_history, fit_elo
from paragone.arena.leaderboard import board_categories, store_leaderboard
from paragone.arena.ratings import ALL_RATERS
from paragone.arena.store import Store, VoteEvent
from paragone.arena.votes import Cells
from paragone.data import (
    Battle,
    GeneratorCard,
    Judgement,
    Prompt,
    Sample,
    UsageError,
    Verdict,
    VoterKind,
    Winner,
    sample_id,
)

MODELS = ("dora", "anna", "carl", "bea")
OUTCOMES = list(Winner)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url, create=True) as opened:
        opened.add_generators(GeneratorCard(name) for name in (*MODELS, "idle"))
        opened.add_prompts(
            [Prompt("p0", "a bear", tags=("text",)), Prompt("p1", "a sign", tags=("text", "hard")), Prompt("p2", "x")]
        )
        opened.add_samples(sample(m, f"p{p}") for m in MODELS for p in range(3))
        yield opened


def sample(model: str, prompt: str) -> Sample:
    digest = f"{MODELS.index(model)}{prompt[1]}" * 32
    return Sample(sample_id(model, prompt, 0, digest), digest, f"{model}-{prompt}.png", prompt, model, 0, 8, 8, 1.5)


def vote(store: Store, n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    battles = []
    for _ in range(n):
        issued = store.issue_battle("eve", rng)
        store.record_vote(issued.token, rng.choice(OUTCOMES), voter="eve")
        battles.append(issued.battle.id)
    return battles


def judge(store: Store, n: int, name: str = "ruler") -> None:
    rng = random.Random(n)
    made = []
    for k in range(n):
        a, b = rng.sample(MODELS, 2)
        fought = Battle(f"{name}-{k}", "p0", a, b, sample(a, "p0").id, sample(b, "p0").id)
        winner = rng.choice(OUTCOMES)
        made.append(Judgement(fought, (Verdict(winner), Verdict(winner)), winner, True))
    store.record_judgements(made, judge=name)


def agrees(store: Store) -> None:
    """The carried state against everything made anew from the votes."""
    for kind in (VoterKind.HUMAN, VoterKind.JUDGE, None):
        votes = store.votes(kind).drop(columns="created_at")
        columns, points = store.running.elo(kind)
        rows = columns.counting(kind)
        names = ["model_a", "model_b", "winner"]
        assert columns.frame(rows).to_numpy().tolist() == votes[names].to_numpy().tolist()
        if votes.empty:
            continue
        slow = fit_elo(votes)
        assert [points[model] for model in slow.models] == pytest.approx(slow.rating, abs=1e-9)
        voters = "all" if kind is None else str(kind)
        board = store_leaderboard(store, voters=voters, elo_interval=False)  # type: ignore[arg-type]
        assert board.elo is not None
        assert board.elo.models == slow.models
        np.testing.assert_allclose(board.elo.rating, slow.rating)
        assert board.elo.parameters == slow.parameters
        assert board.elo.warnings == slow.warnings
        cells = Cells.from_counts(store.pair_counts(kind))
        assert board.ratings is not None
        expected = ALL_RATERS["bradley-terry"].fit(cells, prior=board.ratings.parameters.get("prior"))
        assert board.ratings.to_dict()["models"] == expected.to_dict()["models"]


def test_votes_and_events_are_followed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STRIDE", 8)
    vote(store, 21)
    agrees(store)
    judge(store, 12)
    vote(store, 5, seed=1)
    agrees(store)
    store.add_events(
        [
            VoteEvent(3, EventKind.EXCLUDE),
            VoteEvent(20, EventKind.CORRECT, winner=Winner.TIE),
            VoteEvent(4, EventKind.FLAG),
        ]
    )
    agrees(store)
    store.add_events([VoteEvent(3, EventKind.RESTORE)])
    vote(store, 1, seed=2)
    agrees(store)
    other = Store(store.path or store._database.name) if store.path else store  # a process that comes late
    agrees(other)


def test_a_vote_says_what_it_did(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STRIDE", 4)
    battles = vote(store, 15)
    judge(store, 3)
    history = elo_history(store.votes(VoterKind.HUMAN))
    votes = store.votes(VoterKind.HUMAN)
    for number, battle in enumerate(battles, 1):
        effect = store.vote_effect(battle)
        assert effect is not None
        after = history[history["vote"] == number].set_index("model")["rating"]
        assert (effect.after_a, effect.after_b) == pytest.approx((after[effect.model_a], after[effect.model_b]))
        before = history[history["vote"] < number].groupby("model")["rating"].last()
        assert effect.before_a == pytest.approx(before.get(effect.model_a, 1000.0))
        assert effect.before_b == pytest.approx(before.get(effect.model_b, 1000.0))
        assert (effect.model_a, effect.model_b) == tuple(votes[["model_a", "model_b"]].iloc[number - 1])
        assert 0 < effect.expected_a < 1
    store.add_events([VoteEvent(int(votes["id"].iloc[2]), EventKind.EXCLUDE)])
    assert store.vote_effect(battles[2]) is None
    assert store.vote_effect("ruler-0") is None
    assert store.vote_effect("none such") is None


def test_boards_of_categories_are_of_their_prompts_alone(store: Store) -> None:
    vote(store, 40)
    assert board_categories(store).tags == ("hard", "text")
    assert board_categories(store).tasks == ("text-to-image",)
    for tag, prompts in (("text", ["p0", "p1"]), ("hard", ["p1"])):
        votes = store.votes()
        mine = votes[votes["prompt"].isin(prompts)]
        board = store_leaderboard(store, voters="human", tag=tag)
        assert board.ratings is not None
        assert board.ratings.n_votes == len(mine)
        expected = ALL_RATERS["bradley-terry"].fit(Cells.from_votes(mine), prior=board.ratings.parameters.get("prior"))
        assert board.ratings.to_dict()["models"] == expected.to_dict()["models"]
        assert board.document()["category"] == {"tag": tag}
    vote(store, 3, seed=9)
    assert store_leaderboard(store, voters="human", task="text-to-image").ratings.n_votes == 43  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="no prompt has tag 'none'; the store has the tags hard, text"):
        store_leaderboard(store, voters="human", tag="none")


def test_a_joint_board_is_the_peoples_made_sharper(store: Store) -> None:
    rng = random.Random(0)
    judge(store, 60)
    fought = store.votes(VoterKind.JUDGE)
    vote(store, 200)
    people = store.votes(VoterKind.HUMAN)
    assert set(people["prompt"]) == {"p0", "p1", "p2"}
    board = store_leaderboard(store, voters="joint")
    assert board.ratings is not None
    assert board.ratings.method == "joint"
    assert board.ratings.n_votes == 200
    assert board.document()["voters"] == "joint"
    assert len(fought) == 60
    with pytest.raises(UsageError, match="joint board"):
        store_leaderboard(store, voters="joint", method=rng.choice(["elo", "davidson"]))
