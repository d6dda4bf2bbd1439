"""What is said of votes later: it moves the counts, never the votes, and can be taken back without a trace in them."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paragone.arena.chain import EVENT_FACTS, GENESIS, VOTE_FACTS, EventKind, first_break, link
from paragone.arena.leaderboard import store_leaderboard
from paragone.arena.store import Store, VoteEvent
from paragone.arena.store_checks import chained_votes
from paragone.data import GeneratorCard, InputError, Prompt, Sample, VoterKind, Winner, sample_id

N_VOTES = 16


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    rng = random.Random(1)
    with Store(database_url, create=True) as opened:
        opened.add_generators(GeneratorCard(name) for name in "abc")
        opened.add_prompts([Prompt("p", "a bear")])
        digests = {name: format(n, "064x") for n, name in enumerate("abc")}
        opened.add_samples(
            Sample(sample_id(name, "p", 0, digests[name]), digests[name], f"{name}.png", "p", name, 0, 8, 8)
            for name in "abc"
        )
        for _ in range(N_VOTES):
            issued = opened.issue_battle("eve", rng)
            opened.record_vote(issued.token, rng.choice(list(Winner)), voter="eve", dwell_ms=1000)
        yield opened


def counted(store: Store) -> pd.DataFrame:
    votes = store.votes()
    return votes.groupby(["model_a", "model_b", "winner"]).size().rename("count").reset_index()


EVENT = st.tuples(st.integers(1, N_VOTES), st.sampled_from(list(EventKind)), st.sampled_from(list(Winner)))


@given(st.lists(st.lists(EVENT, min_size=1, max_size=8), max_size=4))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_always_follow(store: Store, batches: list[list[tuple[int, EventKind, Winner]]]) -> None:
    """The store is not emptied between examples: the events only grow, which is how they live."""
    given_before = store.votes(excluded=True)["given"]
    for batch in batches:
        store.add_events(
            [VoteEvent(n, kind, winner=winner if kind is EventKind.CORRECT else None) for n, kind, winner in batch]
        )
    assert store.verify() == []
    pd.testing.assert_frame_equal(store.pair_counts(), counted(store), check_dtype=False)
    pd.testing.assert_series_equal(store.votes(excluded=True)["given"], given_before)


def test_exclude_and_restore_leave_the_board_as_it_was(store: Store) -> None:
    before = store_leaderboard(store, voters="human").document()
    store.add_events([VoteEvent(n, EventKind.EXCLUDE, rule="burst", actor="ada") for n in (1, 2, 3, 4, 5)])
    without = store_leaderboard(store, voters="human").document()
    assert without["n_votes"] == N_VOTES - 5
    assert without != before
    assert len(store.votes()) == N_VOTES - 5
    assert list(store.votes(excluded=True)["excluded"][:6]) == [True] * 5 + [False]
    store.add_events([VoteEvent(n, EventKind.RESTORE) for n in (1, 2, 3, 4, 5)])
    assert store_leaderboard(store, voters="human").document() == before
    assert list(store.events()["kind"]) == ["exclude"] * 5 + ["restore"] * 5


def test_a_flag_is_only_a_mark(store: Store) -> None:
    before = store.pair_counts()
    store.add_events([VoteEvent(7, EventKind.FLAG, rule="fast", reason="0.2 s")] * 2)
    assert store.votes()["flags"].sum() == 2
    pd.testing.assert_frame_equal(store.pair_counts(), before)
    store.add_events([VoteEvent(7, EventKind.UNFLAG)])
    assert store.votes()["flags"].sum() == 0


def test_a_correction_counts_instead(store: Store) -> None:
    given = store.votes().iloc[0]["winner"]
    other = next(winner for winner in Winner if winner != given)
    store.add_events([VoteEvent(1, EventKind.CORRECT, winner=other)])
    row = store.votes().iloc[0]
    assert (row["winner"], row["given"]) == (other, given)


def test_nonsense_is_refused_whole(store: Store) -> None:
    with pytest.raises(InputError, match="vote 999: there is no such vote"):
        store.add_events([VoteEvent(1, EventKind.EXCLUDE), VoteEvent(999, EventKind.EXCLUDE)])
    assert store.events().empty
    for kind, winner in ((EventKind.CORRECT, None), (EventKind.FLAG, Winner.TIE)):
        with pytest.raises(InputError, match="vote 1: a correction names"):
            VoteEvent(1, kind, winner=winner)


TAMPERING = {
    "another winner": "UPDATE votes SET winner = CASE winner WHEN 'tie' THEN 'model_a' ELSE 'tie' END WHERE id = 9",
    "another side": "UPDATE battles SET model_a = model_b, model_b = model_a WHERE id = "
    "(SELECT battle_id FROM votes WHERE id = 9)",
    "a vote removed": "DELETE FROM votes WHERE id = 9",
    "two votes exchanged": "UPDATE votes SET voter = CASE id WHEN 9 THEN 'x' ELSE 'y' END WHERE id IN (9, 10)",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_is_found(store: Store, how: str) -> None:
    with store._database.write() as connection:
        for trigger in ("votes_no_update", "votes_no_delete", "votes_no_change"):
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger} ON votes")
            else:
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {trigger}")
        connection.exec_driver_sql(TAMPERING[how])
    number = 10 if how == "a vote removed" else 9
    assert f"vote {number} does not follow from the row before it" in store.verify()[0]


def test_the_chain_can_be_checked_without_the_store(store: Store) -> None:
    with store._database.read() as connection:
        log = [dict(row._mapping) for row in connection.execute(chained_votes())]
    assert first_break(log, VOTE_FACTS) is None
    assert log[0]["digest"] == link(GENESIS, log[0], VOTE_FACTS)
    log[4]["dwell_ms"] += 1
    assert first_break(log, VOTE_FACTS) == 4
    assert first_break([], EVENT_FACTS) is None


def test_both_databases_give_the_same_chain_and_board(postgres_server: str, tmp_path: object) -> None:
    """Names that languages sort differently, and the same judgements, in both."""
    import secrets

    import psycopg

    from paragone.data import Battle, Judgement, Verdict

    name = f"arena_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    names = ("Zoe", "anna", "_x", "Ärger", "a b")
    boards, heads = [], []
    for url in (f"sqlite:///{tmp_path}/arena.db", postgres_server.replace("/postgres?", f"/{name}?")):
        with Store(url, create=True) as store:
            store.add_generators(GeneratorCard(model) for model in names)
            store.add_prompts([Prompt("p", "x")])
            samples = {m: Sample(f"s{n}", format(n, "064x"), f"{n}.png", "p", m, 0, 8, 8) for n, m in enumerate(names)}
            store.add_samples(samples.values())
            rng = random.Random(5)
            judgements = []
            for n in range(60):
                a, b = rng.sample(names, 2)
                winner = rng.choice(list(Winner))
                fought = Battle(f"b{n}", "p", a, b, samples[a].id, samples[b].id)
                judgements.append(Judgement(fought, (Verdict(winner), Verdict(winner)), winner, True))
            store.record_judgements(judgements, judge="ruler")
            boards.append(store_leaderboard(store, voters="judge").document())
            heads.append(store.votes(VoterKind.JUDGE)[["model_a", "model_b", "winner", "battle"]])
            assert [card.name for card in store.generators()] == sorted(names)
    assert boards[0] == boards[1]
    pd.testing.assert_frame_equal(heads[0], heads[1])
