"""Juries, judges that sit on no battle of their own family, and second attempts past the cache."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paragone.arena.store import Store
from paragone.data import GeneratorCard, VoterKind

N_BATTLES = 18


def mllm(server: Any, *models: str) -> list[str]:
    named = [part for model in models for part in ("--model", model)]
    return ["--judge", "mllm", *named, "--base-url", server.base_url]


def of_family(folder: Path, **families: str) -> None:
    with Store(folder / "arena.db") as store:
        store.add_generators(GeneratorCard(name, family=family) for name, family in families.items())


def by_model(fake_server: ModuleType, answers: dict[str, Any]) -> Any:
    """Another judge behind each name of a model."""
    return lambda received: answers[received.body["model"]](received)


def test_a_jury_decides_by_majority_and_its_outcomes_are_a_file_of_votes(
    command: Any, server: Any, fake_server: ModuleType, folder: Path, tmp_path: Path
) -> None:
    honest = server.behaviour
    server.behaviour = by_model(
        fake_server,
        {"one": honest, "two": honest, "odd": fake_server.prefers(lambda image: -fake_server.brightness(image))},
    )
    target = tmp_path / "jury.csv"
    ended = command("judge", *mllm(server, "one", "two", "odd"), "--jury-votes", target, "--json", "-")
    assert ended.code == 0, ended.err
    jury = ended.document["jury"]
    assert (jury["rule"], jury["n_votes"], jury["n_unanimous"], jury["n_without"]) == ("majority", N_BATTLES, 0, 0)
    assert [(row["model"], row["won"], row["lost"]) for row in jury["models"]] == [
        ("bright", 12, 0),
        ("grey", 6, 6),
        ("dark", 0, 12),
    ]
    with Store(folder / "arena.db") as store:
        assert store.counts()["judge_votes"] == 3 * N_BATTLES, "every juror's vote is its own; the jury's is a view"
    with target.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["voter"] for row in rows} == {"jury of 3 by majority"}
    assert rows[0]["reason"].startswith("jurors: model_")
    table = command("judge", *mllm(server, "one", "two", "odd"))
    assert "jury of 3 by majority: 18 outcomes, 0 of them unanimous" in table.out


def test_mean_log_odds_weighs_how_sure_the_jurors_are(command: Any, server: Any, fake_server: ModuleType) -> None:
    sure, unsure = (
        fake_server.verdict("first", soft={"first": 0.97, "second": 0.02, "tie": 0.01}),
        fake_server.verdict("second", soft={"first": 0.4, "second": 0.6}),
    )
    server.behaviour = by_model(fake_server, {"sure": sure, "shy": unsure, "coy": unsure})
    run = [*mllm(server, "sure", "shy", "coy"), "--order", "first-only", "--soft", "--json", "-"]
    odds = command("judge", *run, "--rule", "mean-log-odds").document["jury"]
    assert odds["outcomes"]["model_a"] == N_BATTLES
    assert math.log(0.975 / 0.025) / 3 > 2 / 3 * math.log(0.6 / 0.4), "what the rule adds up"
    majority = command("judge", *run).document["jury"]
    assert majority["outcomes"]["model_b"] == N_BATTLES
    server.behaviour = by_model(fake_server, {"sure": fake_server.verdict("first"), "shy": unsure, "coy": unsure})
    hard = command("judge", *run, "--no-cache", "--seed", "9", "--battles", "3", "--rule", "mean-log-odds").document
    assert hard["jury"]["n_without"] + hard["jury"]["n_votes"] == 3, "without probabilities nothing is made up"


def test_a_judge_does_not_sit_on_battles_of_its_own_family(command: Any, server: Any, folder: Path) -> None:
    of_family(folder, bright="Qwen", grey="FLUX")
    ended = command("judge", *mllm(server, "qwen3-vl-32b", "eyes"), "--json", "-")
    document = ended.document
    relative, stranger = document["judges"]
    assert (relative["family"], relative["n_same_family"], relative["n_votes"]) == ("Qwen", 12, 6)
    assert (stranger["family"], stranger["n_same_family"], stranger["n_votes"]) == ("", 0, N_BATTLES)
    assert any("12 battles with a model of its own family (Qwen) are not put to it" in w for w in document["warnings"])
    assert (document["jury"]["n_votes"], document["jury"]["n_seats_left"]) == (N_BATTLES, 12)
    with Store(folder / "arena.db") as store:
        votes = store.votes(VoterKind.JUDGE)
        mine = votes[votes["voter"].str.startswith("qwen3")]
        assert not (set(mine["model_a"]) | set(mine["model_b"])) & {"bright"}
    asked = command("judge", *mllm(server, "qwen3-vl-32b"), "--same-family", "ask", "--json", "-").document
    assert (asked["n_votes"], asked["judges"][0]["n_same_family"]) == (12, 0)
    assert any("bright is of the judge's own family" in warning for warning in asked["warnings"])
    named = command("judge", *mllm(server, "eyes"), "--family", "flux", "--dry-run", "--json", "-").document
    assert named["judges"][0]["n_battles"] == 0, "all are judged"
    other = command("judge", *mllm(server, "lens"), "--family", "flux", "--dry-run", "--json", "-").document
    assert other["judges"][0]["n_battles"] == 6


def test_a_jury_of_one_family_is_told(command: Any, server: Any, folder: Path) -> None:
    of_family(folder, bright="Gemma")
    ended = command("judge", *mllm(server, "a", "b"), "--family", "a=X", "--family", "b=x", "--battles", "3")
    assert "all jurors are of one family (X)" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "m", "--rule", "majority"], "a jury has two judges or more"),
        (["--model", "m", "--model", "n", "--rule", "mean-log-odds"], "needs probabilities"),
        (["--model", "m", "--retry", "ok"], "'ok' is none of refused, filtered, invalid, error, timeout"),
        (["--model", "m", "--family", "other=X"], "no --model is called 'other'"),
        (["--model", "m", "--model", "n", "--family", "X"], "write --family MODEL=FAMILY"),
        (["--model", "m", "--clips", "hologram"], "use one of native, frames, sheet, single"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_call(
    command: Any, server: Any, arguments: list[str], message: str
) -> None:
    ended = command("judge", "--judge", "mllm", "--base-url", server.base_url, *arguments)
    assert (ended.code, server.n_calls) == (2, 0)
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_invalid_answers_are_asked_again_past_the_cache_and_nothing_else_is(
    command: Any, server: Any, fake_server: ModuleType, folder: Path
) -> None:
    honest = server.behaviour

    def mumbles(received: Any) -> Any:  # about the grey ones, and when it is asked to mend its reply
        if max(map(fake_server.brightness, received.images)) < 0.6:
            return fake_server.completion("I would rather not say which.")
        return honest(received)

    server.behaviour = mumbles
    first = command("judge", *mllm(server, "eyes"), "--json", "-").document
    assert (first["n_votes"], first["judges"][0]["statuses"]["invalid"]) == (12, 12)
    n_calls = server.n_calls
    assert command("judge", *mllm(server, "eyes"), "--json", "-").document["n_calls"] == 0
    assert command("judge", *mllm(server, "eyes"), "--retry", "refused", "--json", "-").document["n_calls"] == 0
    again = command("judge", *mllm(server, "eyes"), "--retry", "invalid", "--json", "-").document
    assert (again["n_votes"], again["n_calls"], server.n_calls - n_calls) == (0, 24, 24), "with one repair each"
    server.behaviour = honest
    mended = command("judge", *mllm(server, "eyes"), "--retry", "invalid,refused", "--json", "-").document
    assert (mended["n_votes"], mended["n_calls"], mended["judges"][0]["n_known"]) == (6, 12, 12)
    assert [row["share"] for row in mended["judges"][0]["coverage"]] == [1.0, 1.0, 1.0]
    with Store(folder / "arena.db") as store:
        assert store.counts()["judge_votes"] == N_BATTLES
        assert store.judge_calls()["attempt"].max() == 3
        assert store.verify() == []
    # what took the place of the mumbling in the cache is good in another store, too
    server.behaviour = fake_server.fails(400)
    other = folder.with_name("other")
    with Store(folder / "arena.db") as store, Store(other / "arena.db", create=True) as copy:
        copy.add_generators(store.generators())
        copy.add_prompts(store.prompts())
        copy.add_samples(store.samples())
    (other / "samples").symlink_to(folder / "samples")
    known = command("judge", *mllm(server, "eyes"), "--dir", other, "--json", "-").document
    assert (known["n_votes"], known["n_calls"]) == (N_BATTLES, 0)


def test_only_the_refused_order_is_asked_again(command: Any, server: Any, fake_server: ModuleType) -> None:
    honest = server.behaviour

    def refuses_one_order(received: Any) -> Any:
        first, second = map(fake_server.brightness, received.images)
        return fake_server.refuses()(received) if first > second else honest(received)

    server.behaviour = refuses_one_order
    first = command("judge", *mllm(server, "eyes"), "--json", "-").document
    assert (first["n_votes"], first["n_waiting"]) == (0, 0)
    server.behaviour = honest
    again = command("judge", *mllm(server, "eyes"), "--retry", "refused", "--json", "-").document
    assert (again["n_votes"], again["n_calls"], again["n_cached"]) == (N_BATTLES, N_BATTLES, N_BATTLES)


def test_a_vote_is_shown_with_the_very_messages_and_the_raw_reply(
    command: Any, server: Any, fake_server: ModuleType, folder: Path, tmp_path: Path
) -> None:
    server.then(fake_server.says("The second \x1b[2J one."))
    command("judge", *mllm(server, "eyes"), "--max-concurrency", "1", "--battles", "3")
    shown = command("judge", "show", "1", "--media", tmp_path / "sent", "--json", "-").document
    calls = shown["calls"]
    assert [call["exchanged"] for call in calls] == [False, True]
    assert sorted(len(call["calls"]) for call in calls) == [1, 2], "a reply that could not be read, and its repair"
    for call in (*calls[0]["calls"], *calls[1]["calls"]):
        assert call["doubt"] == ""
        assert call["messages"][0]["content"] == server.requests[0].body["messages"][0]["content"]
        sent = [fake_server.image_digests(received) for received in server.requests[:3]]
        digests = [part["sha256"] for part in call["messages"][1]["content"] if part["type"] == "image"]
        assert digests in sent
        assert (tmp_path / "sent" / f"{digests[0]}.png").is_file()
        assert json.loads(call["record"]["raw"])["object"] == "chat.completion"
    text = command("judge", "show", shown["battle"][:12])
    assert "messages: as they were sent (same digest)" in text.out
    assert "user> The first picture:" in text.out
    assert "raw reply: {" in text.out
    assert "\x1b" not in text.out
    (folder / "samples" / "dark" / "p0-0.png").write_bytes((folder / "samples" / "grey" / "p0-1.png").read_bytes())
    for path in (folder / "samples").rglob("*.png"):
        path.write_bytes((folder / "samples" / "bright" / "p1-2.png").read_bytes())
    assert "the pictures are not those that were sent" in command("judge", "show", "1").out
    for name, words in (("999999", "no vote and no battle"), ("", "several battles begin")):
        ended = command("judge", "show", name)
        assert (ended.code, words in ended.err) == (2, True)
