"""No acknowledged vote is lost and none is doubled: under SIGKILL, many writers, a full disk, a read-only file."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback
from pathlib import Path

import pytest

from paragone.arena import store_votes
from paragone.arena.elo import fit_elo
from paragone.arena.leaderboard import store_leaderboard
from paragone.arena.store import Store
from paragone.data import GeneratorCard, InputError, Prompt, Sample, VoterKind, Winner, sample_id

WRITERS = Path(__file__).with_name("writers.py")
THOROUGH = bool(os.environ.get("PARAGONE_THOROUGH"))  # CI; minutes
ROUNDS = 50 if THOROUGH else 5
VOTES = 250 if THOROUGH else 25  # of each of eight writers


def make_arena(url: str) -> None:
    with Store(url, create=True) as store:
        store.add_generators(GeneratorCard(name) for name in "abcd")
        store.add_prompts([Prompt("p", "a bear")])
        digests = {name: format(n, "064x") for n, name in enumerate("abcd")}
        store.add_samples(
            Sample(sample_id(name, "p", 0, digests[name]), digests[name], f"{name}.png", "p", name, 0, 8, 8)
            for name in digests
        )


def run_writers(*arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, str(WRITERS), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    battles: list[str] = json.loads(done.stdout)
    return battles


def test_no_acknowledged_vote_is_lost_when_writers_are_killed(database_url: str) -> None:
    make_arena(database_url)
    acknowledged = run_writers("kill", database_url, str(ROUNDS))
    with Store(database_url) as store:
        stored = list(store.votes(VoterKind.HUMAN)["battle"])
        assert len(acknowledged) >= ROUNDS
        assert len(set(stored)) == len(stored)
        assert set(acknowledged) <= set(stored)
        assert len(stored) - len(acknowledged) <= ROUNDS * 4  # each may die between the vote and its word of it
        assert store.verify() == []


@pytest.mark.slow
def test_eight_processes_lose_nothing(database_url: str) -> None:
    make_arena(database_url)
    acknowledged = run_writers("all", database_url, str(VOTES))
    with Store(database_url) as store:
        assert sorted(acknowledged) == sorted(store.votes(VoterKind.HUMAN)["battle"])
        assert len(acknowledged) == 8 * VOTES
        assert store.verify() == []


def test_a_full_disk_is_named_and_nothing_is_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk's end: the write fails in the same place."""
    url = f"sqlite:///{tmp_path}/arena.db"
    make_arena(url)
    script = textwrap.dedent(f"""
        import resource, signal
        from paragone.arena.store import Store
        from paragone.data import InputError, Winner
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Store({url!r}) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
            n = 0
            try:
                while n < 5000:
                    issued = store.issue_battle("v")
                    store.record_vote(issued.token, Winner.TIE, voter="v")
                    n += 1
            except InputError as error:
                print(n, error)
            print(len(store.votes()), len(store.generators()))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, after = done.stdout.splitlines()
    assert "arena.db: cannot write to this database" in said
    n = int(said.split()[0])
    assert n > 0
    assert after == f"{n} 4"  # reading goes on
    with Store(url) as store:
        assert len(store.votes()) == n
        assert store.verify() == []
        issued = store.issue_battle("v")
        store.record_vote(issued.token, Winner.TIE, voter="v")  # and writing, once there is room


def test_reading_never_waits_for_a_writer(database_url: str) -> None:
    """A transaction that takes its time hides what it has written, and nobody waits for it to see the rest."""
    make_arena(database_url)
    with Store(database_url) as store, Store(database_url) as reader:
        with store._database.write() as writing:
            writing.exec_driver_sql("UPDATE generators SET licence = 'MIT'")
            started = time.monotonic()
            assert {card.licence for card in reader.generators()} == {None}
            assert len(reader.samples()) == 4
            assert reader.verify() == []
            store_leaderboard(reader, voters="all")
            assert time.monotonic() - started < 5  # a writer's own patience is 10 s and more
        assert {card.licence for card in reader.generators()} == {"MIT"}


def test_a_clock_that_goes_back_changes_no_order(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of votes is that of their numbers, whatever the time says."""
    make_arena(database_url)
    times = iter([f"2026-01-01T00:00:{second:02d}.000Z" for second in range(59, 0, -1)])
    monkeypatch.setattr(store_votes, "now", lambda: next(times))
    battles = []
    with Store(database_url) as store:
        for _ in range(8):
            issued = store.issue_battle("v")
            store.mark_shown(issued.token)
            store.record_vote(issued.token, Winner.MODEL_A, voter="v")
            battles.append(issued.battle.id)
        votes = store.votes()
        assert list(votes["battle"]) == battles
        assert list(votes["created_at"]) == sorted(votes["created_at"], reverse=True)
        assert store.verify() == []
        before = store_leaderboard(store, voters="human", elo_interval=False)
        assert before.elo is not None
        expected = fit_elo(votes.drop(columns="created_at"))
        assert before.elo.rating.tolist() == pytest.approx(expected.rating.tolist())


def test_a_read_only_file_can_be_read() -> None:
    """Root may write to anything, so the checks run in a child that is nobody."""
    folder = Path(tempfile.mkdtemp(prefix="paragone-read-only-", dir="/tmp"))
    try:
        make_arena(f"sqlite:///{folder}/arena.db")
        for path in folder.glob("arena.db*"):
            path.chmod(0o444)
        folder.chmod(0o555)
        if os.geteuid() != 0:
            read_only_checks(folder)
            return
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                read_only_checks(folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def read_only_checks(folder: Path) -> None:
    """Reading goes on, writing is refused in one line, and nothing is left half written."""
    before = {path.name: path.read_bytes() for path in folder.glob("arena.db")}
    with Store(folder / "arena.db") as store:
        assert len(store.generators()) == 4
        with pytest.raises(InputError, match=r"arena\.db.*cannot write"):
            store.add_generators([GeneratorCard("e")])
        assert len(store.generators()) == 4
    assert {path.name: path.read_bytes() for path in folder.glob("arena.db")} == before


def test_a_server_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(
        InputError, match=r"postgresql\+psycopg://eve:\*\*\*@127\.0\.0\.1:1/arena: cannot read"
    ) as caught:
        Store("postgresql://eve:secret@127.0.0.1:1/arena")
    assert "secret" not in str(caught.value)


def test_limits_were_not_left_behind() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
