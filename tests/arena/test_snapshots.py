"""Kept ratings are what the votes of their moment give, to the byte; files are what the store says of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from paragone.__main__ import main
from paragone.arena.chain import EventKind
from paragone.arena.snapshots import check_snapshots, take_snapshot, votes_as_of
from paragone.arena.store import Store, VoteEvent
from paragone.data import GeneratorCard, Prompt, Sample, UsageError, Winner, sample_id
from paragone.data.media import MediaFolder

MODELS = ("anna", "bea", "carl")


def fill(store: Store, project: Path) -> None:
    store.add_generators(GeneratorCard(name) for name in MODELS)
    store.add_prompts([Prompt("p", "a bear")])
    for n, model in enumerate(MODELS):
        Image.new("RGB", (8, 8), (80 * n, 0, 0)).save(project / "picture.png")
        path = MediaFolder(project).put((project / "picture.png").read_bytes(), suffix=".png")
        digest = Path(path).stem
        store.add_samples([Sample(sample_id(model, "p", 0, digest), digest, path, "p", model, 0, 8, 8)])


def vote(store: Store, n: int, rng: random.Random) -> None:
    for _ in range(n):
        issued = store.issue_battle("eve", rng)
        store.record_vote(issued.token, rng.choice([Winner.MODEL_A, Winner.MODEL_B, Winner.TIE]), voter="eve")


def test_every_moment_can_be_made_again(database_url: str, tmp_path: Path) -> None:
    rng = random.Random(2)
    with Store(database_url, create=True) as store:
        fill(store, tmp_path)
        with pytest.raises(UsageError, match="no votes of this kind"):
            take_snapshot(store, voters="human")
        vote(store, 12, rng)
        take_snapshot(store, voters="human")
        store.add_events([VoteEvent(n, EventKind.EXCLUDE) for n in (2, 3)])
        take_snapshot(store, voters="human", method="davidson")
        vote(store, 8, rng)
        store.add_events([VoteEvent(2, EventKind.RESTORE), VoteEvent(5, EventKind.CORRECT, winner=Winner.MODEL_B)])
        take_snapshot(store, voters="all")
        assert list(check_snapshots(store)) == []
        kept = store.snapshots()
        assert [json.loads(text)["n_votes"] for text in kept["document"]] == [12, 10, 19]
        assert kept["head"].nunique() == 2
        first = votes_as_of(store, last_vote=12, last_event=0)
        assert list(first["winner"]) == list(first["given"])
        assert len(votes_as_of(store, last_vote=12)) == 11
        now = votes_as_of(store)
        assert list(now["winner"]) == list(store.votes()["winner"])
        with pytest.raises(Exception, match="append-only"), store._database.write() as connection:
            connection.exec_driver_sql("DELETE FROM rating_snapshots")


def test_a_snapshot_that_its_votes_do_not_give_is_named(database_url: str, tmp_path: Path) -> None:
    with Store(database_url, create=True) as store:
        fill(store, tmp_path)
        vote(store, 12, random.Random(3))
        store.save_snapshot(voters="human", method="bradley-terry", document="{}")
        assert "snapshot 1 of" in next(iter(check_snapshots(store)))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with Store(tmp_path / "arena.db", create=True) as store:
        fill(store, tmp_path)
        vote(store, 12, random.Random(2))
        take_snapshot(store, voters="human")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_doctor_finds_a_sound_arena_sound(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--dir", str(project), "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "paragone.doctor/1"
    assert document["sound"] is True
    assert [check["check"] for check in document["checks"]] == ["database", "kept ratings", "samples", "media"]
    assert document["counts"]["human_votes"] == 12


def test_doctor_names_what_is_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(project / "arena.db") as store:
        one, two, three = (project / sample.path for sample in store.samples())
    one.unlink()
    two.write_bytes(b"another picture")
    three.with_name("." + three.name + ".tmp").write_bytes(b"half")
    assert run("doctor", "--dir", str(project)) == 1
    out = capsys.readouterr().out
    assert "the sample of 'anna' for 'p' is missing" in out
    assert "is not the file that was stored" in out
    assert "samples: 2 problems" in out
    assert "its content is not what its name says" in out


def test_doctor_makes_a_backup_that_is_sound(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = project / "copy" / "arena.db"
    assert run("doctor", "--dir", str(project), "--backup", str(copy)) == 0
    capsys.readouterr()
    assert run("doctor", "--db", str(copy), "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["human_votes"] == 12
    assert run("doctor", "--dir", str(project), "--backup", str(copy)) == 2
    assert "is there already" in capsys.readouterr().err


def test_doctor_without_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--dir", str(tmp_path)) == 2
    assert "not a project folder" in capsys.readouterr().err


def test_media_are_there_once_and_whole(tmp_path: Path) -> None:
    media = MediaFolder(tmp_path)
    path = media.put(b"picture", suffix=".PNG")
    assert media.put(b"picture", suffix=".png") == path
    assert (tmp_path / path).read_bytes() == b"picture"
    (tmp_path / path).write_bytes(b"damaged")
    assert list(media.damaged()) == [tmp_path / path]
    assert media.put(b"picture", suffix=".png") == path
    assert list(media.damaged()) == []
    for suffix in ("/../x", ".p/g", ".toolong"):
        with pytest.raises(Exception, match="ending"):
            media.put(b"x", suffix=suffix)
