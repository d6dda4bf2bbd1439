"""`paragone judge` from the outside: a small arena, a server that speaks the API, and judges of all kinds."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from paragone.arena import fit_contextual
from paragone.arena.store import Store
from paragone.data import Prompt, VoterKind, Winner

FAKE_SERVER = Path(__file__).parents[1] / "judges" / "fake_server.py"
MODELS = {"dark": 60, "grey": 120, "bright": 200}  # the server's judge prefers the brighter picture
N_SEEDS, PROMPTS = 3, ("p0", "p1")
N_BATTLES = 3 * N_SEEDS * len(PROMPTS)
PRICES = ("--price-in", "1", "--price-out", "2")


def mllm(server: Any, *more: object) -> tuple[object, ...]:
    return ("--judge", "mllm", "--model", "eyes", "--base-url", server.base_url, *more)


def people_vote(folder: Path, n: int) -> None:
    """Each of two people prefers the brighter model."""
    with Store(folder / "arena.db") as store:
        for voter in ("ann", "bob"):
            for _ in range(n):
                issued = store.issue_battle(voter)
                a, b = MODELS[issued.battle.model_a], MODELS[issued.battle.model_b]
                store.record_vote(issued.token, Winner.MODEL_A if a > b else Winner.MODEL_B, voter=voter)


def test_an_arena_is_judged_over_http_and_every_command_shows_it(command: Any, folder: Path, server: Any) -> None:
    people_vote(folder, 30)
    ended = command("judge", *mllm(server, "--json", "-", *PRICES))
    assert ended.code == 0, ended.err
    document = ended.document
    assert document["schema"] == "paragone.judge/1"
    assert (document["n_calls"], document["n_cached"]) == (2 * N_BATTLES, 0)
    assert (document["n_votes"], document["n_invalid"], document["n_waiting"]) == (N_BATTLES, 0, 0)
    assert server.n_calls == 2 * N_BATTLES
    (judge,) = document["judges"]
    assert judge["consistency"]["share"] == 1.0
    assert Decimal(document["cost_usd"]) == (Decimal(judge["input_tokens"]) + 2 * judge["output_tokens"]) / 10**6 > 0
    assert [row["share"] for row in judge["coverage"]] == [1.0, 1.0, 1.0]

    board = command("leaderboard", "--voters", "judge", "--json", "-").document
    assert [row["model"] for row in board["models"]] == ["bright", "grey", "dark"]
    agreement = command("agreement")
    assert agreement.code == 0
    assert judge["judge"] in agreement.out
    assert f"100.0% of {N_BATTLES} battles decided alike in both orders" in agreement.out
    line = next(line.split() for line in agreement.out.splitlines() if line.split()[:2] == ["human", "judge"])
    assert line[3] == "1.00"

    with Store(folder / "arena.db") as store:
        assert store.verify() == []
        assert store.counts()["judge_votes"] == N_BATTLES
        details = store.judge_details(judge["judge"])
    assert sum(details["cost_usd"], Decimal(0)) == Decimal(document["cost_usd"])
    (call,) = details["details"][0]["calls"]
    assert {"request_sha256", "template_sha256", "parameters", "served_model", "latency_s", "input_tokens"} <= set(call)
    assert "choices" in json.dumps(call)  # the raw reply


def test_the_same_command_again_asks_nothing(command: Any, server: Any, folder: Path, tmp_path: Path) -> None:
    command("judge", *mllm(server))
    n_calls = server.n_calls
    again = command("judge", *mllm(server, "--json", "-")).document
    assert (again["n_calls"], again["n_cached"], again["n_votes"]) == (0, 0, 0)
    assert again["judges"][0]["n_known"] == N_BATTLES
    # another store, the same pictures: from the cache, in no time
    other = tmp_path / "other"
    with Store(folder / "arena.db") as store, Store(other / "arena.db", create=True) as copy:
        copy.add_generators(store.generators())
        copy.add_prompts(store.prompts())
        copy.add_samples(store.samples())
    (other / "samples").symlink_to(folder / "samples")
    cached = command("judge", *mllm(server, "--dir", other, "--json", "-", *PRICES)).document
    assert (cached["n_calls"], cached["n_cached"], cached["n_votes"]) == (0, 2 * N_BATTLES, N_BATTLES)
    assert Decimal(cached["cost_usd"]) == 0
    assert server.n_calls == n_calls


def test_the_table_for_people(command: Any, server: Any) -> None:
    ended = command("judge", *mllm(server))
    assert ended.code == 0
    headings, row = (line.split() for line in ended.out.splitlines()[:2])
    assert headings[:5] == ["judge", "calls", "cached", "votes", "invalid"]
    assert row[1:6] == [str(2 * N_BATTLES), "0", str(N_BATTLES), "0", "–"]
    assert "the cost is unknown; give --price-in" in ended.err


def test_a_budget_stops_before_it_is_overdrawn_and_more_money_goes_on(command: Any, server: Any) -> None:
    first = command("judge", *mllm(server, "--budget", "0.025", "--json", "-", *PRICES))
    assert first.code == 0
    document = first.document
    assert 0 < document["n_votes"] < N_BATTLES
    assert 0 < Decimal(document["cost_usd"]) <= Decimal("0.025")
    assert "--budget" in document["judges"][0]["stopped"]
    assert document["n_waiting"] == N_BATTLES - document["n_votes"]
    n_before = server.n_calls
    second = command("judge", *mllm(server, "--budget", "5", "--json", "-", *PRICES)).document
    assert second["n_waiting"] == 0
    assert document["n_votes"] + second["n_votes"] == N_BATTLES
    assert server.n_calls == 2 * N_BATTLES == n_before + second["n_calls"]  # nothing was paid for twice


def test_a_dry_run_says_what_it_would_be_and_sends_nothing(command: Any, server: Any, folder: Path) -> None:
    dry = command("judge", *mllm(server, "--dry-run", "--json", "-", *PRICES)).document
    assert server.n_calls == 0
    (row,) = dry["judges"]
    assert (row["n_battles"], row["n_calls"], row["n_cached"]) == (N_BATTLES, 2 * N_BATTLES, 0)
    real = command("judge", *mllm(server, "--json", "-", *PRICES)).document
    assert Decimal(row["cost_usd"]) >= Decimal(real["cost_usd"]) > 0
    table = command("judge", *mllm(server, "--dry-run"))
    assert table.out.splitlines()[1].split()[1:4] == ["0", "0", "0"]


def test_one_balanced_order_lets_the_board_know_the_side(
    command: Any, server: Any, fake_server: ModuleType, folder: Path
) -> None:
    server.behaviour = fake_server.always_first()
    document = command("judge", *mllm(server, "--order", "balanced", "--json", "-")).document
    assert (document["n_calls"], document["n_votes"]) == (N_BATTLES, N_BATTLES)
    assert document["judges"][0]["consistency"] is None
    with Store(folder / "arena.db") as store:
        votes = store.votes(VoterKind.JUDGE)
        assert set(store.judge_calls()["side_order"]) == {"ab"}  # the sides of the battle are the order shown
    assert set(votes["winner"]) == {"model_a"}
    counts = votes.groupby(["model_a", "model_b"]).size()
    assert counts.tolist() == [N_SEEDS] * 6  # each first equally often, so the ratings do not move
    ratings = fit_contextual(votes, side=True, ridge=0.1)
    assert ratings.parameters["covariates"][0]["points"] > 100
    assert ratings.to_frame()["rating"].std() < 1e-6


def test_a_judge_that_always_says_first_makes_only_ties_in_both_orders(
    command: Any, server: Any, fake_server: ModuleType
) -> None:
    server.behaviour = fake_server.always_first()
    document = command("judge", *mllm(server, "--json", "-")).document
    assert document["judges"][0]["consistency"]["share"] == 0.0
    board = command("leaderboard", "--voters", "judge", "--json", "-").document
    assert len({round(row["rating"], 6) for row in board["models"]}) == 1


def test_refusals_are_no_votes_and_a_leaning_coverage_is_told(
    command: Any, server: Any, fake_server: ModuleType, folder: Path
) -> None:
    refuse, decide = fake_server.refuses(), server.behaviour
    bright = {path.read_bytes() for path in (folder / "samples" / "bright").iterdir()}
    assert bright

    def refuses_the_bright(received: Any) -> Any:
        return (refuse if max(map(fake_server.brightness, received.images)) > 0.7 else decide)(received)

    server.behaviour = refuses_the_bright
    ended = command("judge", *mllm(server))
    assert ended.code == 0
    third = N_BATTLES // 3
    assert f"without a verdict: {4 * third} refused" in ended.out
    document = command("judge", *mllm(server, "--json", "-")).document
    assert [(row["model"], row["share"]) for row in document["judges"][0]["coverage"]] == [
        ("bright", 0.0),
        ("dark", 0.5),
        ("grey", 0.5),
    ]
    assert "answered 0.0% of the battles of bright, unlike" in ended.err
    with Store(folder / "arena.db") as store:
        assert store.counts()["judge_votes"] == third


def test_what_got_no_reply_is_asked_again(command: Any, server: Any, fake_server: ModuleType, folder: Path) -> None:
    server.then(fake_server.fails(422), fake_server.fails(422))
    ended = command("judge", *mllm(server, "--max-concurrency", "1", "--json", "-"))
    assert ended.code == 0
    document = ended.document
    missing = N_BATTLES - document["n_votes"]
    assert missing in (1, 2)
    assert document["n_waiting"] == missing
    assert "the same command asks them again" in document["warnings"][-2]
    again = command("judge", *mllm(server, "--json", "-")).document
    assert (again["n_votes"], again["n_waiting"]) == (missing, 0)
    with Store(folder / "arena.db") as store:
        assert store.counts()["judge_votes"] == N_BATTLES
        assert store.judge_calls()["attempt"].max() == 2
        assert again["judges"][0]["coverage"][0]["share"] == 1.0


def test_a_refused_key_ends_the_run_with_what_was_judged(
    command: Any, server: Any, fake_server: ModuleType, folder: Path
) -> None:
    decide = server.behaviour
    server.behaviour = fake_server.fails(401)
    ended = command("judge", *mllm(server))
    assert (ended.code, ended.out) == (5, "")
    assert "401" in ended.err
    assert ended.err.count("\n") == 1
    n_before = server.n_calls
    server.behaviour = lambda received: (decide if server.n_calls < n_before + 20 else fake_server.fails(401))(received)
    ended = command("judge", *mllm(server, "--json", "-"))
    assert ended.code == 5
    assert 5 <= ended.document["n_votes"] == n_votes(folder) <= 10
    server.behaviour = decide
    assert command("judge", *mllm(server, "--json", "-")).document["n_waiting"] == 0
    assert n_votes(folder) == N_BATTLES


def test_battles_that_people_voted_on(command: Any, server: Any, folder: Path) -> None:
    assert "nobody has voted" in command("judge", *mllm(server, "--of", "votes")).err
    people_vote(folder, 10)
    document = command("judge", *mllm(server, "--of", "votes", "--json", "-")).document
    with Store(folder / "arena.db") as store:
        people, judges = store.votes(VoterKind.HUMAN), store.votes(VoterKind.JUDGE)
    couples = {frozenset(pair) for pair in zip(people["sample_a"], people["sample_b"], strict=True)}
    assert len(judges) == document["n_votes"] == len(couples)
    assert set(judges["battle"]) <= set(people["battle"])


def test_a_jury_votes_side_by_side(command: Any, server: Any, folder: Path) -> None:
    more = ("--model", "other-eyes", "--judge", f"{__name__}:Lamp")
    sys.modules.setdefault(__name__, sys.modules[type(command).__module__])
    document = command("judge", *mllm(server, *more, "--battles", "6", "--json", "-")).document
    assert len(document["judges"]) == 3
    assert [judge["n_votes"] for judge in document["judges"]] == [6, 6, 6]
    with Store(folder / "arena.db") as store:
        assert store.votes(VoterKind.JUDGE).groupby("battle").size().tolist() == [3] * 6


class Lamp:
    """A plain judge that is given by its module."""

    name = "lamp-1"

    def compare(self, prompt: Prompt, a: Path, b: Path, /) -> Any:
        from paragone.data import Verdict

        lights = [max(Image.open(path).convert("L").tobytes()) for path in (a, b)]
        return Verdict(Winner.MODEL_A if lights[0] > lights[1] else Winner.MODEL_B, judge=self.name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "mllm"], "--model"),
        (["--judge", "nobody"], "no judge is called 'nobody'"),
        (["--judge", "digits", "--model", "m"], "asks no model"),
        (["--judge", "mllm", "--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--budget", "1"], "--price-in"),
        (["--judge", "digits", "--price-in", "1"], "go together"),
        (["--judge", "digits", "--budget", "lots"], "no amount of US dollars"),
        (["--judge", "digits", "--no-cache", "--cache", "x.db"], "leave out one"),
        (["--judge", "digits", "--api-key-env", "NOT_THERE"], "not set"),
        (["--judge", "digits", "--battles", "1000"], "fewer than the"),
        ([], "--judge"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_2(command: Any, arguments: list[str], message: str) -> None:
    ended = command("judge", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_missing_picture_is_named_before_the_first_call(command: Any, server: Any, folder: Path) -> None:
    (folder / "samples" / "grey" / "p0-1.png").unlink()
    ended = command("judge", *mllm(server))
    assert ended.code == 2
    assert "p0-1.png: the file of a stored sample is not there" in ended.err
    assert server.n_calls == 0
    assert "Traceback" not in ended.err


def started(folder: Path, home: Path, url: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    arguments = ["judge", "--dir", str(folder), "--judge", "mllm", "--model", "eyes", "--base-url", url]
    options = ["--max-concurrency", "2", "--json", "-"]
    environment = os.environ | {"PARAGONE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "paragone", *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for(server: Any, n_calls: int) -> None:
    limit = time.monotonic() + 90
    while server.n_calls < n_calls:
        assert time.monotonic() < limit, "the command has asked nothing"
        time.sleep(0.01)


def n_votes(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'arena.db'}?mode=ro", uri=True) as database:
        (count,) = database.execute("SELECT count(*) FROM votes").fetchone()
    database.close()
    return int(count)


def test_a_killed_run_goes_on_where_it_was(command: Any, folder: Path, tmp_path: Path, fake_server: Any) -> None:
    with fake_server.FakeServer(latency_s=0.05) as server:
        killed = started(folder, tmp_path / "home", server.base_url)
        wait_for(server, 12)
        killed.kill()
        killed.communicate()
        n_sent = server.n_calls
        again = started(folder, tmp_path / "home", server.base_url)
        out, err = again.communicate(timeout=120)
        assert again.returncode == 0, err
        document = json.loads(out)
        assert document["n_waiting"] == 0
        assert n_votes(folder) == N_BATTLES
        assert server.n_calls <= 2 * N_BATTLES + 4  # only what was on its way is paid for again
        assert server.n_calls == n_sent + document["n_calls"]


def test_ctrl_c_waits_for_what_is_on_its_way(folder: Path, tmp_path: Path, fake_server: Any) -> None:
    with fake_server.FakeServer(latency_s=0.1) as server:
        process = started(folder, tmp_path / "home", server.base_url)
        wait_for(server, 8)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "the same command goes on from there" in err
        document = json.loads(out)
        assert document["n_calls"] == server.n_calls  # none was cut off
        assert 0 < document["n_votes"] == n_votes(folder) < N_BATTLES
