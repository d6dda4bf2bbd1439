"""The store keeps facts: once, whole, in order, across threads, kills and second tries."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from paragone.arena import store_sqlite
from paragone.arena.chain import EventKind
from paragone.arena.store import Store, VoteEvent
from paragone.data import (
    Battle,
    GeneratorCard,
    InputError,
    Judgement,
    MetricResult,
    Prompt,
    Sample,
    Status,
    UsageError,
    Verdict,
    VoterKind,
    Winner,
    sample_id,
)
from paragone.data.errors import VoteRefused

MODELS = ("anna", "bea", "carl")
PROMPTS = ("p1", "p2")
SEEDS = (0, 1)


def make_sample(model: str, prompt: str, seed: int, *, content: str = "") -> Sample:
    digest = hashlib.sha256(f"{model}{prompt}{seed}{content}".encode()).hexdigest()
    path = f"samples/{model}/{prompt}-{seed}.png"
    return Sample(sample_id(model, prompt, seed, digest), digest, path, prompt, model, seed, 8, 8)


def fill(store: Store) -> None:
    store.add_generators(GeneratorCard(name) for name in MODELS)
    store.add_prompts(Prompt(name, f"draw {name}") for name in PROMPTS)
    store.add_samples(make_sample(m, p, s) for m in MODELS for p in PROMPTS for s in SEEDS)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """On both databases: every test that uses it runs twice."""
    with Store(database_url, create=True) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    """On a file, for what only files have."""
    with Store(tmp_path / "arena.db", create=True) as opened:
        fill(opened)
        yield opened


def file_of(store: Store) -> Path:
    assert store.path is not None
    return store.path


def battle(n: int, a: str = "anna", b: str = "bea", *, prompt: str = "p1", seed: int = 0) -> Battle:
    return Battle(f"battle-{n}", prompt, a, b, make_sample(a, prompt, seed).id, make_sample(b, prompt, seed).id)


def judgement(n: int, winner: Winner = Winner.MODEL_A) -> Judgement:
    verdict = Verdict(winner, judge="ruler", scores=(0.75, 0.25), reason="sharper")
    return Judgement(battle(n), (verdict, verdict), winner, consistent=True)


def failed(n: int, status: Status) -> Judgement:
    return Judgement(battle(n), (Verdict(Winner.TIE), Verdict(None, status, "no answer")), None, None)


def read_everything(path: Path) -> None:
    with Store(path) as store:
        store.generators()
        store.prompts()
        store.samples()
        store.votes()


class TestOpening:
    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"gone\.db: no such database"):
            Store(tmp_path / "gone.db")
        assert not (tmp_path / "gone.db").exists()

    @pytest.mark.parametrize("create", [False, True])
    def test_other_files_are_refused_and_left_alone(self, tmp_path: Path, create: bool) -> None:
        text, foreign = tmp_path / "notes.txt", tmp_path / "other.db"
        text.write_text("this is not a database, but long enough to look at " * 20)
        with sqlite3.connect(foreign) as connection:
            connection.execute("CREATE TABLE votes (id)")
        connection.close()
        for path in (text, foreign):
            before = path.read_bytes()
            with pytest.raises(InputError, match=path.name):
                Store(path, create=create)
            assert path.read_bytes() == before

    def test_empty_file_without_create(self, tmp_path: Path) -> None:
        (tmp_path / "arena.db").touch()
        with pytest.raises(InputError, match="is empty"):
            Store(tmp_path / "arena.db")

    def test_newer_schema_is_refused(self, file_store: Store) -> None:
        with sqlite3.connect(file_of(file_store)) as connection:
            connection.execute("UPDATE schema_info SET version = 99")
        connection.close()
        with pytest.raises(InputError, match="schema version 99"):
            Store(file_of(file_store))

    def test_url_opens_the_same_file(self, file_store: Store) -> None:
        with Store(f"sqlite:///{file_of(file_store)}") as other:
            assert other.counts() == file_store.counts()

    @pytest.mark.parametrize(
        "url", ["mysql://u:secret@host/arena", "postgresql://u:secret@host", "sqlite://", "sqlite:///:memory:", "://"]
    )
    def test_other_urls_never_become_files(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError) as caught:
            Store(url, create=True)
        assert "secret" not in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_create_twice_keeps_everything(self, file_store: Store) -> None:
        with Store(file_of(file_store), create=True) as again:
            assert again.counts()["samples"] == len(MODELS) * len(PROMPTS) * len(SEEDS)

    def test_settings_are_really_on(self, file_store: Store) -> None:
        with file_store._database.write() as connection:
            read = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
            }
        assert read == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "recursive_triggers": 1,
            "busy_timeout": 10_000,
        }

    def test_writer_that_hangs_is_reported(self, file_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        fcntl = pytest.importorskip("fcntl")
        monkeypatch.setattr(store_sqlite, "LOCK_S", 0.05)
        with (file_of(file_store).parent / "arena.db-lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(InputError, match=r"arena\.db-lock: held by another process"):
                file_store.add_generators([GeneratorCard("dora")])
        file_store.add_generators([GeneratorCard("dora")])

    def test_damaged_file_is_named(self, file_store: Store) -> None:
        file_store.close()
        content = bytearray(file_of(file_store).read_bytes())
        content[4096:12288] = b"x" * 8192
        file_of(file_store).write_bytes(content)
        with pytest.raises(InputError, match=r"arena\.db: cannot read this database"):
            read_everything(file_of(file_store))

    def test_light_import(self) -> None:
        code = (
            "import sys, paragone.arena.store; print([m for m in ('torch', 'streamlit', 'click') if m in sys.modules])"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "[]"


class TestFacts:
    def test_cards_come_back_whole_and_can_be_corrected(self, store: Store) -> None:
        card = GeneratorCard("anna", "d", "f", False, "MIT", "https://a.example", "2026-01-31", Decimal("0.0400"))
        store.add_generators([card])
        assert store.generators()[0] == card
        store.add_generators([replace(card, licence=None, open_weights=None)])
        assert store.generators()[0] == replace(card, licence=None, open_weights=None)

    def test_prompts_come_back_whole(self, store: Store) -> None:
        prompt = Prompt("p3", "Ein Bär, der «malt» 🎨", tags=("ä", "b"), source="in.png")
        store.add_prompts([prompt, prompt])
        assert store.prompts()[-1] == prompt

    def test_prompt_cannot_change_its_words(self, store: Store) -> None:
        with pytest.raises(InputError, match="prompt p1: is stored with another text"):
            store.add_prompts([Prompt("new", "x"), Prompt("p1", "draw something else")])
        assert [prompt.id for prompt in store.prompts()] == ["p1", "p2"]  # all or nothing

    def test_samples_are_added_once(self, store: Store) -> None:
        before = store.samples()
        store.add_samples(before)
        assert store.samples() == before
        assert [s.seed for s in store.samples(model="bea", prompt="p2")] == [0, 1]
        assert {s.model for s in store.samples(prompt="p1")} == set(MODELS)

    def test_changed_model_needs_a_new_name(self, store: Store) -> None:
        with pytest.raises(InputError, match=r"sample anna p1 0: .*own name"):
            store.add_samples([make_sample("anna", "p1", 0, content="retrained")])

    def test_sample_of_unknown_model(self, store: Store) -> None:
        with pytest.raises(InputError, match=r"sample zoe p1 0: the model or the prompt .* not in the store"):
            store.add_samples([make_sample("zoe", "p1", 0)])

    @pytest.mark.parametrize("path", ["/etc/passwd", "samples/../../x.png", "..\\x.png", "C:/x.png", ""])
    def test_sample_path_stays_in_the_project(self, store: Store, path: str) -> None:
        with pytest.raises(InputError, match="not relative to the project folder"):
            store.add_samples([replace(make_sample("anna", "p1", 7), path=path)])

    @pytest.mark.parametrize("name", ["", " anna", "anna\n"])
    def test_generator_names_are_clean(self, store: Store, name: str) -> None:
        with pytest.raises(InputError, match="no blanks"):
            store.add_generators([GeneratorCard(name)])

    def test_metric_results(self, store: Store) -> None:
        result = MetricResult(
            "fd", 1.5, False, 100, 200, ci_low=1.0, ci_high=2.0, signature="fd|n:100", details={"splits": [1, 2]}
        )
        store.add_metric_results("anna", [result, replace(result, metric="kid", signature="kid|n:100")])
        store.add_metric_results("anna", [replace(result, value=1.25)])
        frame = store.metric_results()
        assert list(frame["metric"]) == ["fd", "kid"]
        assert list(frame["value"]) == [1.25, 1.5]
        assert frame["details"][0] == {"splits": [1, 2]}
        assert frame["higher_is_better"].dtype == bool

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_metric_that_is_no_number(self, store: Store, value: float) -> None:
        with pytest.raises(InputError, match="anna: fd: value is"):
            store.add_metric_results("anna", [MetricResult("fd", value, False, 1)])

    def test_metric_of_unknown_model(self, store: Store) -> None:
        with pytest.raises(InputError, match="metric result zoe"):
            store.add_metric_results("zoe", [MetricResult("fd", 1.0, False, 1)])


class TestHumanVotes:
    def test_issue_then_vote(self, store: Store) -> None:
        issued = store.issue_battle("voter")
        assert {issued.sample_a.model, issued.sample_b.model} == {issued.battle.model_a, issued.battle.model_b}
        assert issued.sample_a.prompt_id == issued.sample_b.prompt_id == issued.prompt.id
        assert issued.sample_a.seed == issued.sample_b.seed
        assert 0 < issued.propensity < 1
        assert store.human_vote(issued.battle.id) is None
        store.mark_shown(issued.token)
        vote = store.record_vote(issued.token, Winner.BOTH_BAD, voter="voter", dwell_ms=1234)
        assert store.human_vote(issued.battle.id) == vote
        row = store.votes().iloc[0]
        assert (row["model_a"], row["model_b"]) == (issued.battle.model_a, issued.battle.model_b)
        assert (row["winner"], row["voter_kind"], row["prompt"]) == ("both_bad", "human", issued.prompt.id)
        assert store.verify() == []

    def test_only_a_hash_of_the_token_is_stored(self, file_store: Store) -> None:
        issued = file_store.issue_battle("voter")
        stored = b"".join(path.read_bytes() for path in file_of(file_store).parent.glob("arena.db*"))
        assert issued.token.encode() not in stored

    def test_times_are_in_order(self, store: Store) -> None:
        issued = store.issue_battle("voter")
        store.mark_shown(issued.token)
        store.record_vote(issued.token, Winner.TIE, voter="voter")
        with store._database.read() as connection:
            times = connection.exec_driver_sql("SELECT issued_at, shown_at, consumed_at FROM battles").one()
        assert None not in times
        assert list(times) == sorted(times)

    def test_second_use_is_refused(self, store: Store) -> None:
        issued = store.issue_battle("voter")
        store.record_vote(issued.token, Winner.MODEL_A, voter="voter")
        with pytest.raises(VoteRefused, match="voted on before"):
            store.record_vote(issued.token, Winner.MODEL_B, voter="voter")
        assert list(store.votes()["winner"]) == ["model_a"]

    @pytest.mark.parametrize("whose", ["token", "voter"])
    def test_foreign_token_is_refused(self, store: Store, whose: str) -> None:
        issued = store.issue_battle("voter")
        token, voter = (issued.token, "somebody") if whose == "voter" else ("guess", "voter")
        with pytest.raises(VoteRefused, match="not issued"):
            store.record_vote(token, Winner.MODEL_A, voter=voter)
        assert store.counts()["human_votes"] == 0
        store.record_vote(issued.token, Winner.MODEL_A, voter="voter")  # still good

    def test_one_vote_under_32_threads(self, store: Store) -> None:
        issued = store.issue_battle("voter")

        def press(n: int) -> str:
            winner = Winner.MODEL_A if n % 2 else Winner.MODEL_B
            try:
                return store.record_vote(issued.token, winner, voter="voter").winner
            except VoteRefused:
                return "refused"

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(press, range(32)))
        assert answers.count("refused") == 31
        assert store.counts()["human_votes"] == 1
        assert [winner for winner in answers if winner != "refused"] == list(store.votes()["winner"])
        assert store.verify() == []

    def test_many_voters_at_once_lose_nothing(self, store: Store) -> None:
        def vote(n: int) -> None:
            issued = store.issue_battle(f"voter-{n}")
            store.record_vote(issued.token, list(Winner)[n % 4], voter=f"voter-{n}")

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(vote, range(48)))
        assert store.counts()["human_votes"] == 48
        assert int(store.pair_counts(VoterKind.HUMAN)["count"].sum()) == 48
        assert store.verify() == []

    def test_failed_vote_leaves_the_token_unspent(self, store: Store) -> None:
        issued = store.issue_battle("voter")
        with pytest.raises(Exception, match=r"(?i)check constraint"):
            store.record_vote(issued.token, Winner.TIE, voter="voter", dwell_ms=-1)
        store.record_vote(issued.token, Winner.TIE, voter="voter")
        assert store.counts()["human_votes"] == 1

    def test_sides_and_pairs_are_drawn_evenly_at_first(self, store: Store) -> None:
        rng = random.Random(3)
        shown = [store.issue_battle("voter", rng).battle for _ in range(120)]
        first = sum(b.model_a < b.model_b for b in shown)
        assert 40 <= first <= 80  # 60 ± 3.6 standard deviations
        assert len({frozenset((b.model_a, b.model_b)) for b in shown}) == 3

    def test_nothing_to_show(self, database_url: str) -> None:
        with Store(database_url, create=True) as store:
            store.add_generators([GeneratorCard("anna"), GeneratorCard("bea")])
            store.add_prompts([Prompt("p1", "x"), Prompt("p2", "y")])
            store.add_samples([make_sample("anna", "p1", 0), make_sample("bea", "p2", 0)])
            with pytest.raises(InputError, match="no two models"):
                store.issue_battle("voter")

    def test_models_without_a_common_seed_still_meet(self, database_url: str) -> None:
        with Store(database_url, create=True) as store:
            store.add_generators([GeneratorCard("anna"), GeneratorCard("bea")])
            store.add_prompts([Prompt("p1", "x")])
            store.add_samples([make_sample("anna", "p1", 0), make_sample("bea", "p1", 5)])
            issued = store.issue_battle("voter")
            assert {issued.sample_a.seed, issued.sample_b.seed} == {0, 5}


class TestAppendOnly:
    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE votes SET winner = 'tie'",
            "DELETE FROM votes",
            "UPDATE judge_calls SET reason = ''",
            "DELETE FROM judge_calls",
            "UPDATE vote_events SET kind = 'restore'",
            "DELETE FROM vote_events",
        ],
    )
    def test_facts_cannot_be_changed(self, store: Store, change: str) -> None:
        store.record_judgements([judgement(1)], judge="ruler")
        store.add_events([VoteEvent(1, EventKind.FLAG)])
        with pytest.raises(Exception, match="append-only"), store._database.write() as connection:
            connection.exec_driver_sql(change)
        assert store.counts()["judge_votes"] == 1

    def test_votes_cannot_be_replaced(self, file_store: Store) -> None:
        file_store.record_judgements([judgement(1)], judge="ruler")
        with pytest.raises(Exception, match="append-only"), file_store._database.write() as connection:
            connection.exec_driver_sql("INSERT OR REPLACE INTO votes SELECT * FROM votes")

    @pytest.mark.parametrize(
        "row",
        [
            "(1, 'battle-1', 'p1', 'anna', 'bea', 'overall', 'model_c', 'v', 'human', 1, 'now', '')",
            "(1, 'battle-1', 'p1', 'anna', 'bea', 'overall', 'tie', 'v', 'robot', 1, 'now', '')",
            "(1, 'battle-1', 'p1', 'anna', 'bea', 'overall', 'tie', 'v', 'human', 'soon', 'now', '')",
            "(1, 'battle-9', 'p1', 'anna', 'bea', 'overall', 'tie', 'v', 'human', 1, 'now', '')",
        ],
    )
    def test_wrong_words_and_types_are_kept_out(self, store: Store, row: str) -> None:
        store.record_judgements([failed(1, Status.INVALID)], judge="ruler")
        with (
            pytest.raises(Exception, match=r"constraint|cannot store TEXT|invalid input syntax"),
            store._database.write() as c,
        ):
            c.exec_driver_sql(f"INSERT INTO votes VALUES {row}")

    def test_readers_cannot_write(self, store: Store) -> None:
        with pytest.raises(Exception, match=r"read-?only"), store._database.read() as connection:
            connection.exec_driver_sql("DELETE FROM pair_counts")


class TestJudgements:
    def test_battle_calls_and_vote(self, store: Store) -> None:
        assert store.record_judgements([judgement(1, Winner.MODEL_B)], judge="ruler", voter="ruler/2") == 1
        row = store.votes(VoterKind.JUDGE).iloc[0]
        assert (row["voter"], row["winner"], row["battle"]) == ("ruler/2", "model_b", "battle-1")
        assert store.counts()["judge_calls"] == 2
        with store._database.read() as connection:
            calls = connection.exec_driver_sql("SELECT side_order, winner, score_a, score_b FROM judge_calls").all()
        assert [tuple(call) for call in calls] == [("ab", "model_b", 0.75, 0.25), ("ba", "model_b", 0.75, 0.25)]

    def test_second_run_changes_nothing(self, store: Store) -> None:
        first = [judgement(n) for n in range(5)]
        assert store.record_judgements(first, judge="ruler") == 5
        before = store.counts()
        assert store.record_judgements([*first, *first], judge="ruler") == 0
        assert store.counts() == before
        assert store.record_judgements([judgement(5), judgement(5)], judge="ruler") == 1

    def test_no_winner_is_no_vote(self, store: Store) -> None:
        store.record_judgements([failed(1, Status.REFUSED)], judge="ruler")
        assert store.counts()["judge_votes"] == 0
        assert store.judged_battle_ids("ruler") == {"battle-1"}

    def test_outage_can_be_asked_again(self, store: Store) -> None:
        store.record_judgements([failed(1, Status.TIMEOUT), failed(2, Status.ERROR)], judge="ruler")
        assert store.judged_battle_ids("ruler") == set()
        assert store.record_judgements([judgement(1)], judge="ruler") == 1
        assert store.judged_battle_ids("ruler") == {"battle-1"}
        assert store.counts()["judge_calls"] == 6  # what failed is kept
        assert store.counts()["judge_votes"] == 1

    def test_two_judges_on_one_battle(self, store: Store) -> None:
        store.record_judgements([judgement(1)], judge="ruler")
        store.record_judgements([judgement(1, Winner.TIE)], judge="compass")
        assert list(store.votes()["voter"]) == ["ruler", "compass"]
        assert store.judged_battle_ids("nobody") == set()

    def test_human_battles_can_be_judged_too(self, store: Store) -> None:
        issued = store.issue_battle("voter")
        store.record_vote(issued.token, Winner.MODEL_A, voter="voter")
        verdict = Verdict(Winner.MODEL_B)
        store.record_judgements([Judgement(issued.battle, (verdict, verdict), Winner.MODEL_B, True)], judge="ruler")
        assert list(store.votes()["voter_kind"]) == ["human", "judge"]
        assert list(store.pair_counts(VoterKind.HUMAN)["winner"]) == ["model_a"]
        assert len(store.pair_counts()) == 2

    def test_contradicting_battle_is_refused_whole(self, store: Store) -> None:
        store.record_judgements([judgement(1)], judge="ruler")
        other = replace(judgement(1), battle=replace(battle(2, "anna", "carl"), id="battle-1"))
        with pytest.raises(InputError, match="battle battle-1: is stored with other samples"):
            store.record_judgements([judgement(3), other], judge="compass")
        assert store.judged_battle_ids("compass") == set()

    @pytest.mark.parametrize("change", [{"sample_a": "0" * 32}, {"model_a": "carl"}, {"prompt_id": "p2"}])
    def test_battle_of_unknown_samples(self, store: Store, change: dict[str, str]) -> None:
        wrong = replace(judgement(1), battle=replace(battle(1), **change))
        with pytest.raises(InputError, match="battle battle-1: the store has no sample"):
            store.record_judgements([wrong], judge="ruler")
        assert store.counts()["battles"] == 0

    def test_what_came_before_an_error_is_kept(self, store: Store) -> None:
        def judging() -> Iterator[Judgement]:
            yield judgement(1)
            yield judgement(2)
            raise RuntimeError("the provider went away")

        with pytest.raises(RuntimeError, match="provider"):
            store.record_judgements(judging(), judge="ruler")
        assert store.judged_battle_ids("ruler") == {"battle-1", "battle-2"}

    def test_killed_run_goes_on_where_it_was(self, store: Store, database_url: str, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        script = textwrap.dedent(f"""
            import importlib.util, pathlib, sys, time
            spec = importlib.util.spec_from_file_location("helpers", {str(Path(__file__))!r})
            helpers = importlib.util.module_from_spec(spec); sys.modules["helpers"] = helpers
            spec.loader.exec_module(helpers)
            def judging():
                for n in range(100_000):
                    if n == 200: pathlib.Path({str(ready)!r}).touch()
                    time.sleep(0.0002)
                    yield helpers.judgement(n)
            with helpers.Store({database_url!r}) as store:
                store.record_judgements(judging(), judge="ruler")
        """)
        with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while not ready.exists():
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        done = store.judged_battle_ids("ruler")
        assert 64 <= len(done) < 100_000
        counts = store.counts()
        assert (counts["battles"], counts["judge_calls"], counts["judge_votes"]) == (
            len(done),
            2 * len(done),
            len(done),
        )
        assert store.verify() == []
        wanted = [judgement(n) for n in range(len(done) + 50)]
        assert store.record_judgements(wanted, judge="ruler") == 50
        assert store.counts()["judge_votes"] == len(done) + 50
        assert store.verify() == []


class TestReading:
    def test_empty_frames_have_their_columns(self, store: Store) -> None:
        assert list(store.votes().columns[:7]) == [
            "model_a", "model_b", "winner", "voter", "voter_kind", "prompt", "created_at",
        ]  # fmt: skip
        assert list(store.pair_counts().columns) == ["model_a", "model_b", "winner", "count"]
        assert "higher_is_better" in store.metric_results().columns

    def test_pair_counts_equal_group_by(self, store: Store) -> None:
        rng = random.Random(0)
        store.record_judgements([replace(judgement(n, rng.choice(list(Winner)))) for n in range(40)], judge="ruler")
        for n in range(20):
            issued = store.issue_battle("v", rng)
            store.record_vote(issued.token, list(Winner)[n % 4], voter="v")
        for kind in (None, *VoterKind):
            votes = store.votes(kind)
            expected = votes.groupby(["model_a", "model_b", "winner"]).size().rename("count").reset_index()
            pd.testing.assert_frame_equal(store.pair_counts(kind), expected, check_dtype=False)

    def test_verify_sees_a_miscount(self, store: Store) -> None:
        store.record_judgements([judgement(1)], judge="ruler")
        with store._database.write() as connection:
            connection.exec_driver_sql("UPDATE pair_counts SET count = 2")
        assert any("disagree on ('anna', 'bea', 'model_a'" in problem for problem in store.verify())

    def test_data_version_follows_every_change(self, store: Store, database_url: str) -> None:
        before = store.data_version()
        assert store.data_version() == before
        store.add_prompts([Prompt("p1", "draw p1", tags=("new",))])
        own = store.data_version()
        assert own != before
        with Store(database_url) as other:
            other.record_judgements([judgement(1)], judge="ruler")
        assert store.data_version() != own
