"""Votes of other arenas become battles without pictures: all of a file or nothing, and again without harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from paragone.arena.exporting import export_votes
from paragone.arena.import_votes import NOT_BLIND, import_votes
from paragone.arena.store import Store
from paragone.arena.store_agreement import picture_votes
from paragone.arena.votes import Cells
from paragone.data import InputError, Task, VoterKind
from paragone.data.errors import UnknownOutcome

CSV = """model_a,model_b,winner,voter,prompt,category,created_at
a,b,model_a,eve,a fox,text,2026-01-02T03:04:05Z
a,b,model_a,eve,a fox,text,2026-01-02T03:04:05Z
b,c,tie,adam,a fox,hard,2026-01-02T04:04:05+01:00
c,a,both_bad,,,,
"""
LMARENA = [
    {
        "question_id": "q1",
        "model_a": "a",
        "model_b": "b",
        "winner": "model_b",
        "judge": "u1",
        "anony": True,
        "tstamp": 1.5,
    },
    {
        "question_id": "q2",
        "model_a": "b",
        "model_b": "c",
        "winner": "tie (bothbad)",
        "judge": "u2",
        "anony": False,
        "tstamp": 2,
    },
]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with Store(database_url, create=True) as opened:
        yield opened


def test_a_file_of_votes_becomes_an_arena(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(CSV)
    done = import_votes(store, path, task=Task.TEXT_TO_VIDEO)
    assert (done.new["votes"], done.new["generators"], done.new["prompts"], done.new["battles"]) == (4, 3, 2, 4)
    assert any("1 votes do not say who" in note for note in done.notes)
    votes = store.votes()
    assert list(votes["winner"]) == ["model_a", "model_a", "tie", "both_bad"]
    assert list(votes["voter"]) == ["eve", "eve", "adam", "unknown"]
    assert list(votes["created_at"])[:3] == ["2026-01-02T03:04:05.000Z"] * 3
    assert votes["sample_a"].isna().all()
    assert {prompt.text: prompt.tags for prompt in store.prompts()} == {
        "a fox": ("hard", "text"),
        "(the prompt was not recorded)": (),
    }
    assert store.prompts()[0].task is Task.TEXT_TO_VIDEO
    assert store.verify() == []
    assert Cells.from_counts(store.pair_counts()).n_votes == 4
    assert len(set(picture_votes(store)["item"])) == 4
    with pytest.raises(InputError, match="no battle to show"):
        store.issue_battle("eve")


def test_the_same_again_or_more_of_it_adds_only_what_is_new(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(CSV.replace("c,a,both_bad,,,,", "c,a,both_bad,eve,,,2026-01-01"))
    import_votes(store, path)
    before = store.votes()
    again = import_votes(store, path)
    assert not +again.new
    assert again.present["votes"] == 4
    path.write_text(path.read_text() + "a,b,model_a,eve,a fox,text,2026-01-02T03:04:05Z\n")
    assert import_votes(store, path).new["votes"] == 1
    assert store.votes().iloc[:4].equals(before)
    assert store.verify() == []


def test_votes_on_named_models_are_kept_out_and_can_be_taken_back(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "battles.json"
    path.write_text(json.dumps(LMARENA))
    done = import_votes(store, path)
    assert done.new["votes"] == 2
    assert "1 votes on named models (anony is false) are excluded from every board" in done.notes[-1]
    assert list(store.votes()["voter"]) == ["u1"]
    assert list(store.votes()["created_at"]) == ["1970-01-01T00:00:01.500Z"]
    assert list(store.events()["rule"]) == [NOT_BLIND]
    assert store.verify() == []
    export_votes(store, tmp_path / "again.json")
    assert [row["winner"] for row in json.loads((tmp_path / "again.json").read_text())] == ["model_b"]


def test_people_and_judges_on_one_battle_share_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(
        "model_a,model_b,winner,voter,battle,kind\n"
        "a,b,tie,eve,1,human\na,b,tie,ruler,1,judge\na,b,model_a,adam,1,human\na,b,tie,other,1,judge\n"
    )
    import_votes(store, path)
    votes = store.votes().set_index("voter")["battle"]
    assert votes["eve"] == votes["ruler"] == votes["other"] != votes["adam"]
    assert len(store.votes(VoterKind.JUDGE)) == 2
    assert not import_votes(store, path).new["votes"]


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("a,b,model_c,v,,,", UnknownOutcome, "row 5: unknown outcome 'model_c'"),
        ("a,a,tie,v,,,", InputError, "row 5: 'a' is on both sides"),
        ("a,b,tie,v,,,yesterday", InputError, "row 5: created_at 'yesterday' is not a time"),
    ],
)
def test_a_row_that_cannot_be_used_keeps_all_out(
    store: Store, tmp_path: Path, line: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(f"{CSV}{line}\n")
    with pytest.raises(error, match=message):
        import_votes(store, path)
    assert not any(store.counts().values())


def test_a_voter_who_voted_twice_on_one_battle_is_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("model_a,model_b,winner,voter,battle\na,b,tie,eve,1\na,b,model_a,eve,1\n")
    with pytest.raises(InputError, match=r"votes\.csv: row 2: "):
        import_votes(store, path)
    assert not any(store.counts().values())
