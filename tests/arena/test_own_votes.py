"""A voter's own votes on both databases: agreement against a slow count, and what may be taken back."""

from __future__ import annotations

import random

import pytest

from paragone.arena.own_votes import FREE, TAKEN_BACK, VOTES_PER_TAKE_BACK, take_back, voter_record
from paragone.arena.store import Store
from paragone.data import GeneratorCard, Prompt, Sample, VoterKind, Winner, sample_id
from paragone.data.errors import VoteRefused

MODELS = ("a", "b", "c")


@pytest.fixture
def store(database_url: str) -> Store:
    store = Store(database_url, create=True)
    store.add_generators(GeneratorCard(name) for name in MODELS)
    store.add_prompts([Prompt("p", "a bear")])
    digests = {model: format(n, "064x") for n, model in enumerate(MODELS)}
    store.add_samples(Sample(sample_id(m, "p", 0, d), d, f"{m}.png", "p", m, 0, 8, 8) for m, d in digests.items())
    yield store  # type: ignore[misc]
    store.close()


def vote(store: Store, voter: str, rng: random.Random, winner: Winner | None = None) -> str:
    issued = store.issue_battle(voter, rng)
    store.record_vote(issued.token, winner or rng.choice(list(Winner)), voter=voter)
    return issued.battle.id


def slow_record(store: Store, voter: str) -> tuple[int, int, int]:
    """Every vote of the voter beside a count of all others' on the same two models."""
    votes = store.votes(VoterKind.HUMAN)
    mine = votes[votes["voter"] == voter]
    others = votes[votes["voter"] != voter]

    def wins(one: str, two: str) -> int:
        first = (others["model_a"] == one) & (others["model_b"] == two) & (others["winner"] == "model_a")
        second = (others["model_a"] == two) & (others["model_b"] == one) & (others["winner"] == "model_b")
        return int((first | second).sum())

    compared = agreeing = 0
    for row in mine.itertuples():
        if row.winner in ("model_a", "model_b"):
            better, worse = (row.model_a, row.model_b)[:: 1 if row.winner == "model_a" else -1]
            lead = wins(better, worse) - wins(worse, better)
            compared += lead != 0
            agreeing += lead > 0
    return len(mine), compared, agreeing


def test_record_against_a_slow_count(store: Store) -> None:
    rng = random.Random(3)
    for number in range(120):
        vote(store, f"voter-{number % 5}", rng)
    take_back(store, vote(store, "voter-0", rng), voter="voter-0", within_s=60)
    for voter in ("voter-0", "voter-1", "nobody"):
        record = voter_record(store, voter)
        assert (record.n_votes, record.n_compared, record.n_agreeing) == slow_record(store, voter)
    assert voter_record(store, "voter-0").n_taken_back == 1
    few = voter_record(store, "voter-1", enough=1000)
    assert (few.n_votes, few.n_compared) == (24, 0)


def test_a_vote_that_was_taken_back_counts_for_nothing(store: Store) -> None:
    rng = random.Random(0)
    vote(store, "one", rng, Winner.MODEL_A)
    counts = store.pair_counts(VoterKind.HUMAN)
    battle = vote(store, "two", rng, Winner.MODEL_A)
    take_back(store, battle, voter="two", within_s=60)
    assert store.pair_counts(VoterKind.HUMAN).equals(counts)
    assert store.events()[["rule", "actor"]].to_numpy().tolist() == [[TAKEN_BACK, "two"]]
    assert store.verify() == []
    with pytest.raises(VoteRefused, match="does not count any more"):
        take_back(store, battle, voter="two", within_s=60)


def test_only_ones_own_and_only_soon(store: Store) -> None:
    battle = vote(store, "one", random.Random(0))
    with pytest.raises(VoteRefused, match="no vote of yours"):
        take_back(store, battle, voter="two", within_s=60)
    with pytest.raises(VoteRefused, match="this one is older"):
        take_back(store, battle, voter="one", within_s=-1)
    assert store.events().empty


def test_only_so_many(store: Store) -> None:
    rng = random.Random(0)
    for given in range(1, 2 * VOTES_PER_TAKE_BACK + 1):
        allowed = FREE + given // VOTES_PER_TAKE_BACK
        battle = vote(store, "one", rng)
        if len(store.events()) < allowed:
            take_back(store, battle, voter="one", within_s=60)
        else:
            with pytest.raises(VoteRefused, match="this one stays"):
                take_back(store, battle, voter="one", within_s=60)
    assert len(store.events()) == FREE + 2
